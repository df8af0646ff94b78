/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration for a sample device whose state is a few bytes: nothing goes while it runs, all of it
 * when it has stopped. One such device in a program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

#define STATE_BLOCK_MAX 256

struct state_block {
    const char *name; /* of the device */
    uint64_t shape;   /* what has to be the same on both sides */
    size_t size;      /* of its state; at most STATE_BLOCK_MAX */

    void (*save)(vfu_ctx_t *ctx, void *state);
    /* Takes all of it or, returning false, nothing. */
    bool (*load)(vfu_ctx_t *ctx, const void *state);
    /* As after power-on. */
    void (*clear)(vfu_ctx_t *ctx);
    /* The device stops, or runs again. NULL: it does not matter. */
    void (*run)(vfu_ctx_t *ctx, bool running);
};

/* @block has to stay. As vfu_setup_device_migration_callbacks(). */
int state_block_describe(vfu_ctx_t *ctx, const struct state_block *block);

/* From the device's reset callback. */
void state_block_reset(void);
