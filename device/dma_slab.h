/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of DMA regions: in slots that are used again, but stay until the context is
 * destroyed, so that whoever comes too late finds that the region is gone, and not other data.
 *
 * Slots come in chunks, each twice as large as the one before: the upper bits of a slot's number
 * tell the chunk, the others the place in it. A handle names one use of one slot, and no other one
 * of any context: its lower half, never 0, is the slot's number and 1, its upper half the use's. It
 * goes to programs in dma_sg_t.
 */
#pragma once

#include "device/dma_range.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dma_region;
struct dirty_bitmap;

#define DMA_SLAB_CHUNKS 32
#define DMA_SLAB_PLACE_BITS 27
#define DMA_SLAB_END UINT32_MAX

struct dma_slab {
    struct dma_chunk {
        struct dma_range *ranges;
        uint32_t size; /* in slots; 0: there is no such chunk */
    } chunks[DMA_SLAB_CHUNKS];
    struct dma_region *regions[DMA_SLAB_CHUNKS]; /* of the same slots */
    void *memory[DMA_SLAB_CHUNKS];               /* which both of them are in */
    struct dma_region *spare;
    uint32_t next; /* the first slot that was never given out */
};

/* What is needed of a region only if its range's state says so. */
struct dma_details {
    int fd;                     /* DMA_FILE */
    uint64_t offset;            /* in the file */
    struct dirty_bitmap *dirty; /* DMA_LOGGED; else NULL */
};

/* A slab is empty when it is all zero. Nobody looks anything up any more. */
void dma_slab_fini(struct dma_slab *slab);

/*
 * A region that is nobody's yet, of undefined content but for its slot and range, and the use under
 * which to publish that. Returns NULL without memory.
 */
struct dma_region *dma_slab_take(struct dma_slab *slab, uint32_t *use);

/* The region's handle means nothing from now on. */
void dma_slab_give(struct dma_slab *slab, struct dma_region *region);

/* For any thread: what is in a slot that was given out. */
struct dma_region *dma_slab_region(const struct dma_slab *slab, uint32_t slot);

/*
 * For any thread, also in a signal handler: the first region from slot @from on that has any of
 * the @length bytes mapped that are at @address here, or NULL.
 */
struct dma_region *dma_slab_find(const struct dma_slab *slab, uint32_t from, const uint8_t *address,
                                 uint64_t length);

/*
 * The first slot from @slot on that there is memory for, whether it has a region or not;
 * DMA_SLAB_END if there is none.
 */
uint32_t dma_slab_next(const struct dma_slab *slab, uint32_t slot);

/* For any thread: what else is known of the region that @handle names. False if it is gone. */
bool dma_slab_look_up_details(const struct dma_slab *slab, uint64_t handle,
                              struct dma_details *details);

static inline uint64_t dma_slab_handle(uint32_t slot, uint32_t use)
{
    return (uint64_t)use << 32 | (slot + 1);
}

static inline uint32_t dma_slab_place(uint32_t slot)
{
    return slot & ((1u << DMA_SLAB_PLACE_BITS) - 1);
}

/* For any thread: the range in a slot that was given out. */
static inline struct dma_range *dma_slab_range(const struct dma_slab *slab, uint32_t slot)
{
    const struct dma_chunk *chunk = &slab->chunks[slot >> DMA_SLAB_PLACE_BITS];

    return &DMA_LOAD(chunk->ranges)[dma_slab_place(slot)];
}

/* For any thread: the range of the region that @handle names. False if it is gone. */
static inline bool dma_slab_look_up(const struct dma_slab *slab, uint64_t handle,
                                    struct dma_range *range)
{
    uint32_t slot = (uint32_t)handle - 1;
    uint32_t use = (uint32_t)(handle >> 32);
    const struct dma_range *shared;

    if (dma_slab_place(slot) >= DMA_LOAD(slab->chunks[slot >> DMA_SLAB_PLACE_BITS].size)) {
        return false;
    }
    shared = dma_slab_range(slab, slot);
    dma_range_load(shared, range);
    /* The same before and after: then what lies between is of this use. */
    return use != 0 && range->use == use && __atomic_load_n(&shared->use, __ATOMIC_RELAXED) == use;
}
