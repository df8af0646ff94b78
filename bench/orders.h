/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the client writes to BAR 2 of bench-device, at 0, to have something done and timed within
 * the device's process, and what it reads there afterwards.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define ORDER_REGION 2 /* VFU_PCI_DEV_BAR2_REGION_IDX */

enum order_kind {
    ORDER_TRANSLATE, /* vfu_addr_to_sgl, vfu_sgl_get, vfu_sgl_put, one region after the other */
    ORDER_LOAD,      /* loads in @size bytes of memory, each from where the last one says */
    ORDER_COPY,      /* vfu_sgl_read of @size bytes; bare: memcpy */
    ORDER_TRIGGER,   /* vfu_irq_trigger; bare: a write to an eventfd */
    ORDER_WAKE,      /* vfu_irq_trigger after a while; the outcome is when */
    ORDER_KINDS,
};

#define ORDER_RANDOM (1u << 0)   /* the regions in no order */
#define ORDER_BARE (1u << 1)     /* without the library */
#define ORDER_WRITE (1u << 2)    /* vfu_sgl_write */
#define ORDER_MESSAGES (1u << 3) /* have the client copy */

/* How long the device does something else before ORDER_WAKE, so that the client waits. */
#define ORDER_WAKE_NS 100000u

struct order {
    uint32_t kind;
    uint32_t flags;
    uint64_t count;   /* how often; a multiple of 40 is done and timed in slices */
    uint64_t regions; /* of guest memory, from 0 on */
    uint64_t stride;  /* from one to the next */
    uint64_t size;
};
static_assert(sizeof(struct order) == 40, "layout");

struct outcome {
    uint64_t nanoseconds; /* for all of them */
    int32_t error;        /* errno of what failed, or 0 */
    uint32_t reserved;
};
static_assert(sizeof(struct outcome) == 16, "layout");
