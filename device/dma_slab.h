/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of DMA regions: in slots that are used again, but stay until the context is
 * destroyed, so that whoever comes too late finds that the region is gone, and not other data.
 *
 * A handle names one use of one slot, and no other one of any context: its lower half, never 0,
 * is the slot's number, its upper half the use's. It goes to programs in dma_sg_t.
 */
#pragma once

#include "device/dma_range.h"

#include <stdbool.h>
#include <stdint.h>

struct dma_region;

/* Slots come in chunks of which each is twice as large as the one before. */
#define DMA_SLAB_CHUNKS 26

struct dma_slab {
    struct dma_region *chunks[DMA_SLAB_CHUNKS];
    struct dma_region *spare;
    uint32_t used; /* slots that were ever given out */
};

/* A slab is empty when it is all zero. Nobody looks anything up any more. */
void dma_slab_fini(struct dma_slab *slab);

/*
 * A region that is nobody's yet, of undefined content but for its slot, and the handle under which
 * to publish it. Returns NULL without memory.
 */
struct dma_region *dma_slab_take(struct dma_slab *slab, uint64_t *handle);

/* The region's handle means nothing from now on. */
void dma_slab_give(struct dma_slab *slab, struct dma_region *region);

/*
 * For any thread, also in a signal handler: the first region from slot @slot on that has any of
 * the @length bytes mapped that are at @address here, or NULL.
 */
struct dma_region *dma_slab_find(const struct dma_slab *slab, uint32_t slot, const uint8_t *address,
                                 uint64_t length);

/* For any thread: the range of the region that @handle names. False if it is gone. */
bool dma_slab_look_up(const struct dma_slab *slab, uint64_t handle, struct dma_range *range);
