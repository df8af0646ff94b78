/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the client writes to BAR 2 of bench-device, at 0, to have something done and timed within
 * the device's process, and what it reads there afterwards.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

enum order_kind {
    ORDER_TRANSLATE, /* vfu_addr_to_sgl, vfu_sgl_get, vfu_sgl_put: @count times, one at a time */
    ORDER_LOAD,      /* @count loads of @size bytes of memory, each from where the last one says */
    ORDER_KINDS,
};

#define ORDER_RANDOM 1u

struct order {
    uint32_t kind;
    uint32_t flags;
    uint64_t count;
    uint64_t regions; /* of guest memory, from 0 on */
    uint64_t stride;  /* from one to the next */
    uint64_t size;
};
static_assert(sizeof(struct order) == 40, "layout");

struct outcome {
    uint64_t nanoseconds;
    int32_t error; /* errno of what failed, or 0 */
    uint32_t reserved;
};
static_assert(sizeof(struct outcome) == 16, "layout");
