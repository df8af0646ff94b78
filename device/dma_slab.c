/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_slab.h"

#include "device/dma.h"

#include <stdlib.h>

#define CACHE_LINE 64u
#define FIRST_CHUNK 64u
#define LAST_CHUNK 21u /* in which the bits for a place suffice */

/* Uses of all slots of all contexts. */
static uint32_t uses;

void dma_slab_fini(struct dma_slab *slab)
{
    for (unsigned i = 0; i < DMA_SLAB_CHUNKS; i++) {
        free(slab->memory[i]);
    }
    *slab = (struct dma_slab){ .next = 0 };
}

/* Ranges on cache lines of their own, and the regions behind them. Returns false without memory. */
static bool make_chunk(struct dma_slab *slab, unsigned chunk)
{
    size_t count = FIRST_CHUNK << chunk;
    uint8_t *memory =
        calloc(1, CACHE_LINE + count * (sizeof(struct dma_range) + sizeof(struct dma_region)));
    struct dma_range *ranges;

    if (memory == NULL) {
        return false;
    }
    slab->memory[chunk] = memory;
    ranges = (void *)(memory + CACHE_LINE - (uintptr_t)memory % CACHE_LINE);
    slab->regions[chunk] = (void *)(ranges + count);
    DMA_STORE(slab->chunks[chunk].ranges, ranges);
    /* Whoever sees the size sees the rest. */
    DMA_STORE(slab->chunks[chunk].size, (uint32_t)count);
    return true;
}

/* A slot that was never used. */
static struct dma_region *take_new(struct dma_slab *slab)
{
    uint32_t slot = slab->next;
    unsigned chunk = slot >> DMA_SLAB_PLACE_BITS;
    struct dma_region *region;

    if (chunk > LAST_CHUNK || (slab->memory[chunk] == NULL && !make_chunk(slab, chunk))) {
        return NULL;
    }
    region = dma_slab_region(slab, slot);
    region->range = dma_slab_range(slab, slot);
    region->slot = slot;
    slab->next = dma_slab_place(slot + 1) < slab->chunks[chunk].size
                     ? slot + 1
                     : (chunk + 1) << DMA_SLAB_PLACE_BITS;
    return region;
}

static struct dma_region *take_spare(struct dma_slab *slab)
{
    struct dma_region *region = slab->spare;

    if (region != NULL) {
        slab->spare = region->next_spare;
    }
    return region;
}

/* The number of a use is never 0. */
static uint32_t next_use(void)
{
    uint32_t use;

    do {
        use = __atomic_add_fetch(&uses, 1, __ATOMIC_RELAXED);
    } while (use == 0);
    return use;
}

struct dma_region *dma_slab_take(struct dma_slab *slab, uint32_t *use)
{
    struct dma_region *region = take_spare(slab);

    if (region == NULL) {
        region = take_new(slab);
    }
    if (region != NULL) {
        *use = next_use();
    }
    return region;
}

void dma_slab_give(struct dma_slab *slab, struct dma_region *region)
{
    DMA_STORE(region->range->use, 0);
    region->next_spare = slab->spare;
    slab->spare = region;
}

struct dma_region *dma_slab_region(const struct dma_slab *slab, uint32_t slot)
{
    return &slab->regions[slot >> DMA_SLAB_PLACE_BITS][dma_slab_place(slot)];
}

uint32_t dma_slab_next(const struct dma_slab *slab, uint32_t slot)
{
    for (unsigned chunk = slot >> DMA_SLAB_PLACE_BITS; chunk <= LAST_CHUNK; chunk++) {
        if (dma_slab_place(slot) < DMA_LOAD(slab->chunks[chunk].size)) {
            return slot;
        }
        slot = (chunk + 1) << DMA_SLAB_PLACE_BITS;
    }
    return DMA_SLAB_END;
}

static bool is_mapped_at(const struct dma_slab *slab, uint32_t slot, const uint8_t *address,
                         uint64_t length)
{
    const struct dma_range *range = dma_slab_range(slab, slot);
    const struct iovec *mapping = &dma_slab_region(slab, slot)->info.mapping;
    const uint8_t *start;

    /* First: while there is no use the rest is being changed. */
    if (__atomic_load_n(&range->use, __ATOMIC_SEQ_CST) == 0 || DMA_LOAD(range->vaddr) == NULL) {
        return false;
    }
    start = mapping->iov_base;
    return address >= start ? (uint64_t)(address - start) < mapping->iov_len
                            : (uint64_t)(start - address) < length;
}

struct dma_region *dma_slab_find(const struct dma_slab *slab, uint32_t from, const uint8_t *address,
                                 uint64_t length)
{
    for (uint32_t slot = from; (slot = dma_slab_next(slab, slot)) != DMA_SLAB_END; slot++) {
        if (is_mapped_at(slab, slot, address, length)) {
            return dma_slab_region(slab, slot);
        }
    }
    return NULL;
}

bool dma_slab_look_up_details(const struct dma_slab *slab, uint64_t handle,
                              struct dma_details *details)
{
    const struct dma_region *region;
    struct dma_range range;

    if (!dma_slab_look_up(slab, handle, &range)) {
        return false;
    }
    region = dma_slab_region(slab, (uint32_t)handle - 1);
    details->fd = DMA_LOAD(region->fd);
    details->offset = DMA_LOAD(region->offset);
    details->dirty = DMA_LOAD(region->dirty);
    return dma_slab_look_up(slab, handle, &range);
}
