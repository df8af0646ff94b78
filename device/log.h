/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a context's log lines go: nowhere, until the program says otherwise. */
#pragma once

#include <time.h>

#include <vfio-user/libvfio-user.h>

/* Longest line, as programs that use the reference library may rely on. */
#define LOG_LINE_MAX 8192

/* Lines a second that a client can cause. */
#define LOG_CLIENT_LINES 10

struct log {
    vfu_log_fn_t *write; /* NULL: no log */
    int level;
    time_t second;       /* CLOCK_MONOTONIC; what the following count */
    unsigned lines;      /* that a client has caused */
    unsigned suppressed; /* those that there were too many of */
};

void log_init(struct log *log);

/*
 * As vfu_log(), for what a client can bring about as often as it likes: no more than
 * LOG_CLIENT_LINES a second are logged, and then how many there were.
 */
void log_client(struct vfu_ctx *ctx, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
