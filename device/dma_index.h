/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DMA regions of a client by guest address. Regions never overlap.
 *
 * Ascending regions in leaves of bounded size, and a sorted directory of the leaves: a look-up is
 * two short binary searches, a change moves at most one leaf and one directory. When there are more
 * regions than a leaf takes, most look-ups are done by a hash table (dma_blocks.h) instead.
 *
 * One thread changes the index: the context's. Any thread may look up at any time, without a lock
 * and without writing anything: a change makes the sequence odd while it lasts, and whoever looked
 * up meanwhile does so again. Memory that was once part of the index therefore stays until
 * dma_index_fini(): leaves are used again, and the directories that were outgrown add up to less
 * than the present one.
 *
 * What a region takes, in bytes: 32 for what look-ups read, 136 for the rest of it; 12 to 24 in
 * leaves, 48 if most of those that were there have been removed; and 16 to 32 in the hash table,
 * twice that if regions lie across its blocks, and as much again for tables that were outgrown.
 * There is room for up to twice as many slots. So about 220 are touched, and 512 is the most that
 * is allocated for each of many regions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/dma_blocks.h"
#include "device/dma_slab.h"

struct dma_leaf;
struct dma_directory;

struct dma_index {
    uint64_t sequence; /* odd: being changed */
    size_t count;      /* of regions */
    size_t leaves;     /* in use */
    struct dma_directory *directory;
    struct dma_blocks blocks;
    struct dma_leaf *spare;
    struct dma_slab slab; /* which the regions are in */
};

/* An index is empty when it is all zero. Nobody looks up any more. */
void dma_index_fini(struct dma_index *index);

/* @region is of the slab, published, and overlaps none. Returns 0 or -ENOMEM. */
int dma_index_insert(struct dma_index *index, struct dma_region *region);

/* @region is in the index. */
void dma_index_remove(struct dma_index *index, const struct dma_region *region);

/*
 * For the context's thread: the lowest region with bytes in @first..@last, both included; NULL if
 * there is none.
 */
struct dma_region *dma_index_find(const struct dma_index *index, uint64_t first, uint64_t last);

/*
 * The handle that this thread was told last: of any index, whose handles are no other's. These are
 * 8 of the bytes that the C library has for libraries which are loaded late.
 */
extern _Thread_local uint64_t dma_index_recent __attribute__((tls_model("initial-exec")));

/* What follows, without a guess. */
bool dma_index_search(const struct dma_index *index, uint64_t address, struct dma_range *range,
                      uint64_t *handle);

/*
 * For any thread: copies what is known of the region that has @address, and tells its handle. False
 * if none has.
 */
static inline bool dma_index_look_up(const struct dma_index *index, uint64_t address,
                                     struct dma_range *range, uint64_t *handle)
{
    *handle = dma_index_recent;
    return (dma_slab_look_up(&index->slab, *handle, range) && dma_range_has(range, address)) ||
           dma_index_search(index, address, range, handle);
}

static inline size_t dma_index_count(const struct dma_index *index)
{
    return index->count;
}
