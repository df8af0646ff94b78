/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/dma_index_helper.h"

struct dma_region *index_add(struct dma_index *index, uint64_t address, uint64_t size)
{
    struct dma_range range = { .first = address, .last = address + (size - 1) };
    struct dma_region *region = dma_slab_take(&index->slab, &range.use);

    if (region == NULL) {
        return NULL;
    }
    dma_range_store(region->range, &range);
    if (dma_index_insert(index, region) < 0) {
        dma_slab_give(&index->slab, region);
        return NULL;
    }
    return region;
}

void index_drop(struct dma_index *index, struct dma_region *region)
{
    dma_index_remove(index, region);
    dma_slab_give(&index->slab, region);
}
