/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What any thread may read of a DMA region, at any time, and reads for every translation: half a
 * cache line, apart from the rest of the region. Its memory stays one until the context is
 * destroyed, and what is read is checked against @use (or the index's sequence) afterwards. Every
 * access is atomic for that reason. Loads acquire and stores release, so that no reader takes what
 * was written later for what it asked for; fences would do the same, but ThreadSanitizer does not
 * know them.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* In struct dma_range.state, beside PROT_READ and PROT_WRITE. */
#define DMA_FAULTED 0x10u /* some of its memory was found to be gone */
#define DMA_LOGGED 0x20u  /* it has a dirty bitmap */
#define DMA_FILE 0x40u    /* it is accessed as a file */

struct dma_range {
    uint64_t first; /* guest addresses, both included */
    uint64_t last;
    uint8_t *vaddr; /* of the first byte here; NULL if it is not mapped */
    uint32_t use;   /* of the memory; 0: there is no region here */
    uint32_t state;
};
static_assert(sizeof(struct dma_range) == 32, "two of them in a cache line");

#define DMA_LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define DMA_STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

static inline void dma_range_load(const struct dma_range *shared, struct dma_range *copy)
{
    copy->use = DMA_LOAD(shared->use);
    copy->first = DMA_LOAD(shared->first);
    copy->last = DMA_LOAD(shared->last);
    copy->vaddr = DMA_LOAD(shared->vaddr);
    copy->state = DMA_LOAD(shared->state);
}

/*
 * @use comes last: it says that the rest is right. Of this and what the memory guard says of a
 * mapping each sees the other, or is seen.
 */
static inline void dma_range_store(struct dma_range *shared, const struct dma_range *range)
{
    DMA_STORE(shared->first, range->first);
    DMA_STORE(shared->last, range->last);
    DMA_STORE(shared->vaddr, range->vaddr);
    DMA_STORE(shared->state, range->state);
    __atomic_store_n(&shared->use, range->use, __ATOMIC_SEQ_CST);
}

/* One comparison, because a processor cannot guess on which side of a region an address is. */
static inline bool dma_range_has(const struct dma_range *range, uint64_t address)
{
    return address - range->first <= range->last - range->first;
}
