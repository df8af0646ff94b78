/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_slab.h"

#include "device/dma.h"

#include <stdlib.h>

#define FIRST_CHUNK 64u
#define MAX_SLOTS (FIRST_CHUNK * ((1u << DMA_SLAB_CHUNKS) - 1))

/* Uses of all slots of all contexts. */
static uint32_t uses;

static uint32_t chunk_size(unsigned chunk)
{
    return FIRST_CHUNK << chunk;
}

/* Chunk k starts with slot 64 * (2^k - 1). */
static unsigned chunk_of(uint32_t slot, uint32_t *position)
{
    unsigned chunk = 31 - (unsigned)__builtin_clz(slot / FIRST_CHUNK + 1);

    *position = slot - FIRST_CHUNK * ((1u << chunk) - 1);
    return chunk;
}

void dma_slab_fini(struct dma_slab *slab)
{
    for (unsigned i = 0; i < DMA_SLAB_CHUNKS; i++) {
        free(slab->chunks[i]);
    }
    *slab = (struct dma_slab){ .used = 0 };
}

/* A slot that was never used. */
static struct dma_region *take_new(struct dma_slab *slab)
{
    uint32_t position;
    unsigned chunk = chunk_of(slab->used, &position);
    struct dma_region *regions;

    if (slab->used == MAX_SLOTS) {
        return NULL;
    }
    regions = slab->chunks[chunk];
    if (regions == NULL) {
        regions = calloc(chunk_size(chunk), sizeof(*regions));
        if (regions == NULL) {
            return NULL;
        }
        DMA_STORE(slab->chunks[chunk], regions);
    }
    regions[position].slot = slab->used;
    DMA_STORE(slab->used, slab->used + 1);
    return &regions[position];
}

static struct dma_region *take_spare(struct dma_slab *slab)
{
    struct dma_region *region = slab->spare;

    if (region != NULL) {
        slab->spare = region->next_spare;
    }
    return region;
}

struct dma_region *dma_slab_take(struct dma_slab *slab, uint64_t *handle)
{
    struct dma_region *region = take_spare(slab);

    if (region == NULL) {
        region = take_new(slab);
    }
    if (region != NULL) {
        uint64_t use = __atomic_add_fetch(&uses, 1, __ATOMIC_RELAXED);

        *handle = use << 32 | (region->slot + 1);
    }
    return region;
}

void dma_slab_give(struct dma_slab *slab, struct dma_region *region)
{
    DMA_STORE(region->range.handle, 0);
    region->next_spare = slab->spare;
    slab->spare = region;
}

static bool is_mapped_at(const struct dma_region *region, const uint8_t *address, uint64_t length)
{
    const struct iovec *mapping = &region->info.mapping;
    const uint8_t *start = mapping->iov_base;

    return __atomic_load_n(&region->range.handle, __ATOMIC_SEQ_CST) != 0 &&
           DMA_LOAD(region->range.vaddr) != NULL &&
           (address >= start ? (uint64_t)(address - start) < mapping->iov_len
                             : (uint64_t)(start - address) < length);
}

struct dma_region *dma_slab_find(const struct dma_slab *slab, uint32_t slot, const uint8_t *address,
                                 uint64_t length)
{
    uint32_t used = DMA_LOAD(slab->used);

    for (; slot < used; slot++) {
        uint32_t position;
        unsigned chunk = chunk_of(slot, &position);
        struct dma_region *region = &DMA_LOAD(slab->chunks[chunk])[position];

        if (is_mapped_at(region, address, length)) {
            return region;
        }
    }
    return NULL;
}

bool dma_slab_look_up(const struct dma_slab *slab, uint64_t handle, struct dma_range *range)
{
    uint32_t slot = (uint32_t)handle - 1;
    const struct dma_region *regions;
    const struct dma_range *shared;
    uint32_t position;
    unsigned chunk;

    if ((uint32_t)handle == 0 || slot >= MAX_SLOTS) {
        return false;
    }
    chunk = chunk_of(slot, &position);
    regions = DMA_LOAD(slab->chunks[chunk]);
    if (regions == NULL) {
        return false;
    }
    shared = &regions[position].range;
    dma_range_load(shared, range);
    /* The same before and after: then what lies between is of this use. */
    return range->handle == handle && __atomic_load_n(&shared->handle, __ATOMIC_RELAXED) == handle;
}
