/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DMA regions of a client by guest address. Regions never overlap; the index does not own
 * them. Sorted array: lookups are O(log n), and taking them out in ascending order is O(1) each.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct dma_region;

struct dma_index {
    struct dma_region **entries;
    size_t first; /* entries before this one are free */
    size_t count;
    size_t capacity;
};

/* An index is empty when it is all zero. */
void dma_index_fini(struct dma_index *index);

/* @region overlaps none. Returns 0 or -ENOMEM. */
int dma_index_insert(struct dma_index *index, struct dma_region *region);

/* @region is in the index. */
void dma_index_remove(struct dma_index *index, const struct dma_region *region);

/* The lowest region with bytes in @first..@last, both included; NULL if there is none. */
struct dma_region *dma_index_find(const struct dma_index *index, uint64_t first, uint64_t last);

static inline size_t dma_index_count(const struct dma_index *index)
{
    return index->count;
}
