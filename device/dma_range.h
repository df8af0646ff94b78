/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What any thread may read of a DMA region, at any time: a region's memory stays one until the
 * context is destroyed, and what is read is checked against the handle (or the index's sequence)
 * afterwards. Every access is atomic for that reason. Loads acquire and stores release, so that
 * no reader takes what was written later for what it asked for; fences would do the same, but
 * ThreadSanitizer does not know them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dirty_bitmap;

struct dma_range {
    uint64_t handle; /* of this use of the memory; 0: there is no region here */
    uint64_t first;  /* guest addresses, both included */
    uint64_t last;
    uint8_t *vaddr;  /* of the first byte here; NULL if it is not mapped */
    uint64_t offset; /* in the file */
    int fd;          /* to be accessed as a file; -1: not so */
    uint32_t prot;
    struct dirty_bitmap *dirty; /* NULL: not logged */
    uint32_t faults;            /* how often its memory was found to be gone */
};

#define DMA_LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define DMA_STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

static inline void dma_range_load(const struct dma_range *shared, struct dma_range *copy)
{
    copy->handle = DMA_LOAD(shared->handle);
    copy->first = DMA_LOAD(shared->first);
    copy->last = DMA_LOAD(shared->last);
    copy->vaddr = DMA_LOAD(shared->vaddr);
    copy->offset = DMA_LOAD(shared->offset);
    copy->fd = DMA_LOAD(shared->fd);
    copy->prot = DMA_LOAD(shared->prot);
    copy->dirty = DMA_LOAD(shared->dirty);
    copy->faults = DMA_LOAD(shared->faults);
}

/*
 * Everything but the handle, which says that the rest is right, and comes last. Of this and what
 * the memory guard says of a mapping each sees the other, or is seen.
 */
static inline void dma_range_store(struct dma_range *shared, const struct dma_range *range)
{
    DMA_STORE(shared->first, range->first);
    DMA_STORE(shared->last, range->last);
    DMA_STORE(shared->vaddr, range->vaddr);
    DMA_STORE(shared->offset, range->offset);
    DMA_STORE(shared->fd, range->fd);
    DMA_STORE(shared->prot, range->prot);
    DMA_STORE(shared->dirty, range->dirty);
    DMA_STORE(shared->faults, range->faults);
    __atomic_store_n(&shared->handle, range->handle, __ATOMIC_SEQ_CST);
}
