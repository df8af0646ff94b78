/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_blocks.h"

#include "device/dma_slab.h"

#include <stdlib.h>

#define MIN_CLASS 12u

/* Fewer regions are found as fast in order. */
#define MIN_REGIONS 256u

/* One of so many regions makes its class usual. */
#define USUAL_PART 4u

#define WAYS 8u
#define MIN_BUCKETS_SHIFT 7u /* log2: for twice as many regions as there are then */

/* The lower half is the slot and 1, or 0: empty; the upper one is of the hash. */
struct dma_bucket {
    uint64_t entries[WAYS];
};
static_assert(sizeof(struct dma_bucket) == 64, "a cache line");

/* So many slots are moved to a new table with each region that comes: some microseconds. */
#define SLOTS_AT_ONCE 64u

struct dma_block_table {
    struct dma_block_table *outgrown; /* the one before */
    struct dma_block_table *other;    /* the same, while not all of it has been moved; else NULL */
    unsigned shift;                   /* log2 of the number of buckets */
    struct dma_bucket *buckets;
};

/* Where an entry is to be. */
struct place {
    struct dma_bucket *bucket;
    uint32_t tag;
};

void dma_blocks_fini(struct dma_blocks *blocks)
{
    while (blocks->table != NULL) {
        struct dma_block_table *outgrown = blocks->table->outgrown;

        free(blocks->table);
        blocks->table = outgrown;
    }
    *blocks = (struct dma_blocks){ .table = NULL };
}

static unsigned class_of(const struct dma_range *range)
{
    uint64_t rest = (range->last - range->first) >> MIN_CLASS;

    return rest != 0 ? 64 - (unsigned)__builtin_clzll(rest) : 0;
}

static inline struct place place_of(const struct dma_block_table *table, unsigned class,
                                    uint64_t address)
{
    uint64_t key = (address >> (class + MIN_CLASS) << 5) | class;
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;

    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull;
    return (struct place){
        .bucket = &table->buckets[hash >> (64 - table->shift)],
        .tag = (uint32_t)hash,
    };
}

/* Which entries have the tag, as bits. Where in the bucket they are no processor can guess. */
static unsigned matches(struct place place)
{
    unsigned found = 0;

    for (unsigned i = 0; i < WAYS; i++) {
        found |= (unsigned)(DMA_LOAD(place.bucket->entries[i]) >> 32 == place.tag) << i;
    }
    return found;
}

static bool find_in(const struct dma_block_table *table, uint32_t classes,
                    const struct dma_slab *slab, uint64_t address, uint32_t *slot)
{
    for (; classes != 0; classes &= classes - 1) {
        struct place place = place_of(table, (unsigned)__builtin_ctz(classes), address);

        for (unsigned found = matches(place); found != 0; found &= found - 1) {
            uint64_t entry = DMA_LOAD(place.bucket->entries[__builtin_ctz(found)]);
            struct dma_range range;

            if ((uint32_t)entry != 0) {
                *slot = (uint32_t)entry - 1;
                dma_range_load(dma_slab_range(slab, *slot), &range);
                if (dma_range_has(&range, address)) {
                    return true;
                }
            }
        }
    }
    return false;
}

bool dma_blocks_find(const struct dma_blocks *blocks, const struct dma_slab *slab, uint64_t address,
                     uint32_t *slot)
{
    const struct dma_block_table *table = DMA_LOAD(blocks->table);
    uint32_t classes = DMA_LOAD(blocks->usual);

    while (table != NULL && !find_in(table, classes, slab, address, slot)) {
        table = DMA_LOAD(table->other);
    }
    return table != NULL;
}

/* Replaces one entry by another; 0 is none. Returns whether there was such a one. */
static bool replace(struct place place, uint32_t old, uint32_t new)
{
    uint64_t wanted = old != 0 ? (uint64_t)place.tag << 32 | old : 0;

    for (unsigned i = 0; i < WAYS; i++) {
        if (place.bucket->entries[i] == wanted) {
            DMA_STORE(place.bucket->entries[i], new != 0 ? (uint64_t)place.tag << 32 | new : 0);
            return true;
        }
    }
    return false;
}

/* Replaces the entries of a region's blocks, as above. Returns how many there were. */
static size_t replace_all(const struct dma_block_table *table, const struct dma_range *range,
                          uint32_t old, uint32_t new)
{
    unsigned class = class_of(range);
    unsigned shift = class + MIN_CLASS;
    size_t count = replace(place_of(table, class, range->first), old, new);

    if (range->first >> shift != range->last >> shift) {
        count += replace(place_of(table, class, range->last), old, new);
    }
    return count;
}

static struct dma_block_table *table_new(unsigned shift)
{
    size_t size = sizeof(struct dma_bucket) << shift;
    struct dma_block_table *table = calloc(1, sizeof(*table) + sizeof(struct dma_bucket) + size);
    uintptr_t start = (uintptr_t)(table + 1);

    if (table != NULL) {
        table->shift = shift;
        table->buckets = (void *)(start + (-start & (sizeof(struct dma_bucket) - 1)));
    }
    return table;
}

/* Has an empty table of twice the size filled, if there is memory for it. */
static void grow(struct dma_blocks *blocks)
{
    struct dma_block_table *old = blocks->table;
    struct dma_block_table *table = table_new(old != NULL ? old->shift + 1 : MIN_BUCKETS_SHIFT);

    if (table != NULL) {
        table->outgrown = old;
        table->other = old;
        blocks->entries = 0;
        blocks->filled = 0;
        DMA_STORE(blocks->table, table);
    }
}

static void fill(struct dma_blocks *blocks, const struct dma_slab *slab)
{
    struct dma_block_table *table = blocks->table;

    for (unsigned i = 0; i < SLOTS_AT_ONCE && blocks->filled != DMA_SLAB_END; i++) {
        uint32_t slot = dma_slab_next(slab, blocks->filled);

        if (slot == DMA_SLAB_END) {
            blocks->filled = DMA_SLAB_END;
            DMA_STORE(table->other, NULL);
        } else {
            const struct dma_range *range = dma_slab_range(slab, slot);

            blocks->entries += range->use != 0 ? replace_all(table, range, 0, slot + 1) : 0;
            blocks->filled = slot + 1;
        }
    }
}

/* Whether it is time for a larger table. One that is being filled must not be replaced. */
static bool is_crowded(const struct dma_blocks *blocks)
{
    const struct dma_block_table *table = blocks->table;

    return table != NULL ? blocks->filled == DMA_SLAB_END &&
                               blocks->entries >= (size_t)WAYS << table->shift >> 1
                         : blocks->regions > MIN_REGIONS;
}

/* Counts a region of a class. */
static void count(struct dma_blocks *blocks, unsigned class, int change)
{
    uint32_t usual = 0;

    blocks->counts[class] += (uint32_t)change;
    blocks->regions += (size_t)change;
    for (unsigned i = 0; i < DMA_BLOCKS_CLASSES; i++) {
        usual |= (uint32_t)(blocks->counts[i] > blocks->regions / USUAL_PART) << i;
    }
    DMA_STORE(blocks->usual, usual);
}

/*
 * While a table is being filled, what is in it is in the other one as well, or is too new for that.
 * What is not in it yet is put there when its slot's turn has come.
 */
void dma_blocks_insert(struct dma_blocks *blocks, const struct dma_slab *slab, uint32_t slot)
{
    const struct dma_range *range = dma_slab_range(slab, slot);

    count(blocks, class_of(range), 1);
    if (is_crowded(blocks)) {
        grow(blocks);
    }
    if (blocks->table != NULL) {
        if (slot < blocks->filled) {
            blocks->entries += replace_all(blocks->table, range, 0, slot + 1);
        }
        fill(blocks, slab);
    }
}

void dma_blocks_remove(struct dma_blocks *blocks, const struct dma_slab *slab, uint32_t slot)
{
    const struct dma_range *range = dma_slab_range(slab, slot);

    count(blocks, class_of(range), -1);
    if (blocks->table != NULL) {
        if (slot < blocks->filled) {
            blocks->entries -= replace_all(blocks->table, range, slot + 1, 0);
        }
        if (blocks->table->other != NULL) {
            replace_all(blocks->table->other, range, slot + 1, 0);
        }
    }
}
