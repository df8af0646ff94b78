/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_index.h"

#include "device/dma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 16

void dma_index_fini(struct dma_index *index)
{
    free(index->entries);
    *index = (struct dma_index){ 0 };
}

static struct dma_region **begin(const struct dma_index *index)
{
    return index->entries + index->first;
}

/* The number of regions that end before @address. */
static size_t count_before(const struct dma_index *index, uint64_t address)
{
    size_t low = 0;
    size_t high = index->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (dma_region_last(begin(index)[middle]) < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct dma_region *dma_index_find(const struct dma_index *index, uint64_t first, uint64_t last)
{
    size_t position = count_before(index, first);
    struct dma_region *region;

    if (position == index->count) {
        return NULL;
    }
    region = begin(index)[position];
    return dma_region_first(region) <= last ? region : NULL;
}

/* Makes room for one more at the end. */
static int reserve(struct dma_index *index)
{
    size_t capacity = index->capacity > 0 ? index->capacity * 2 : MIN_CAPACITY;
    struct dma_region **entries;

    if (index->first + index->count < index->capacity) {
        return 0;
    }
    if (index->first > index->capacity / 2) {
        memmove(index->entries, begin(index), index->count * sizeof(*index->entries));
        index->first = 0;
        return 0;
    }
    entries = reallocarray(index->entries, capacity, sizeof(*entries));
    if (entries == NULL) {
        return -ENOMEM;
    }
    index->entries = entries;
    index->capacity = capacity;
    return 0;
}

int dma_index_insert(struct dma_index *index, struct dma_region *region)
{
    int err = reserve(index);
    size_t position;

    if (err < 0) {
        return err;
    }
    position = count_before(index, dma_region_first(region));
    memmove(begin(index) + position + 1, begin(index) + position,
            (index->count - position) * sizeof(*index->entries));
    begin(index)[position] = region;
    index->count++;
    return 0;
}

void dma_index_remove(struct dma_index *index, const struct dma_region *region)
{
    size_t position = count_before(index, dma_region_first(region));

    index->count--;
    if (position == 0) {
        index->first++;
        return;
    }
    memmove(begin(index) + position, begin(index) + position + 1,
            (index->count - position) * sizeof(*index->entries));
}
