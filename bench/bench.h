/* SPDX-License-Identifier: BSD-3-Clause */
/* What the groups of measurements have in common, and their names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bench {
    const char *build;       /* the build tree */
    const char *peer_device; /* bench-device with another library; NULL: no comparison */
    bool quick;              /* whether it runs, not how fast */
};

/* How often to do something: @count times, or a few. */
static inline size_t bench_count(const struct bench *bench, size_t count)
{
    return bench->quick && count > 4 ? 4 : count;
}

void bench_access(const struct bench *bench);
void bench_calls(const struct bench *bench);
void bench_dma(const struct bench *bench);
void bench_copy(const struct bench *bench);
void bench_interrupts(const struct bench *bench);
void bench_migration(const struct bench *bench);
void bench_processes(const struct bench *bench);
void bench_sessions(const struct bench *bench);
void bench_translate(const struct bench *bench);
