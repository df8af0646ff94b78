/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the device of fuzz_client.c runs: standalone (standalone.c), or under a broker
 * (inline_broker.c) that is in the same process, seals nothing, and whose gate is called when the
 * device asks.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The path for vfu_create_ctx(). */
#define SURROUNDINGS_PATH_SIZE 64
extern char surroundings_path[SURROUNDINGS_PATH_SIZE];

/* Before the device is created, and after it is destroyed. */
void surroundings_begin(void);
void surroundings_end(void);

/*
 * A client's end of a connection to the device; the caller's. -1 if there cannot be another one.
 */
int surroundings_connect(void);

/*
 * Changes the next answer of the gate, as one that was taken over might: @changes (borrowed until
 * then) is how many descriptors to leave out, then places (2 bytes, little endian) and what to put
 * there (1 byte).
 */
void surroundings_lie(const uint8_t *changes, size_t size);
