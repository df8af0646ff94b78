/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_index.h"

#include "device/dma.h"

#include <errno.h>
#include <stdlib.h>

#define LEAF_MAX 256u
#define DIRECTORY_MIN 16u

struct dma_leaf {
    size_t count;
    struct dma_leaf *next_spare;
    uint64_t last[LEAF_MAX];  /* address of each region's last byte */
    uint32_t slots[LEAF_MAX]; /* in the slab */
};

struct dma_entry {
    uint64_t last;
    uint32_t slot;
};

struct dma_directory {
    struct dma_directory *outgrown; /* the one before */
    size_t capacity;
    struct dma_slot {
        uint64_t last; /* of the leaf's last region */
        struct dma_leaf *leaf;
    } slots[];
};

void dma_index_fini(struct dma_index *index)
{
    while (index->leaves > 0) {
        free(index->directory->slots[--index->leaves].leaf);
    }
    while (index->spare != NULL) {
        struct dma_leaf *next = index->spare->next_spare;

        free(index->spare);
        index->spare = next;
    }
    while (index->directory != NULL) {
        struct dma_directory *outgrown = index->directory->outgrown;

        free(index->directory);
        index->directory = outgrown;
    }
    dma_blocks_fini(&index->blocks);
    dma_slab_fini(&index->slab);
    *index = (struct dma_index){ 0 };
}

/* --- looking up: by any thread, so of what may change meanwhile --- */

/*
 * How many of @count ascending addresses, which are @stride bytes apart, are less than @address. A
 * processor cannot guess which half is the right one: without branches it does not have to.
 */
static inline size_t less_than(const uint64_t *ascending, size_t stride, size_t count,
                               uint64_t address)
{
    const uint8_t *start = (const uint8_t *)ascending;
    const uint8_t *base = start;

    while (count > 0) {
        size_t half = (count + 1) / 2;
        const uint8_t *next = base + half * stride;
        bool less = DMA_LOAD(*(const uint64_t *)(next - stride)) < address;

        base = __builtin_expect_with_probability(less, true, 0.5) ? next : base;
        count -= half;
    }
    return (size_t)(base - start) / stride;
}

/* The number of leaves that end before @address. */
static size_t leaves_before(const struct dma_directory *directory, size_t count, uint64_t address)
{
    return less_than(&directory->slots[0].last, sizeof(directory->slots[0]), count, address);
}

static size_t entries_before(const struct dma_leaf *leaf, size_t count, uint64_t address)
{
    return less_than(leaf->last, sizeof(leaf->last[0]), count, address);
}

/*
 * Tells the slot of the first region that does not end before @address. False if there is none.
 * While the index is being changed it may be a wrong one, but never anything else.
 */
static bool find_in_order(const struct dma_index *index, uint64_t address, uint32_t *slot)
{
    /* The number first: a directory that is seen with it has room for as many. */
    size_t leaves = DMA_LOAD(index->leaves);
    const struct dma_directory *directory = DMA_LOAD(index->directory);
    const struct dma_leaf *leaf;
    size_t position;
    size_t count;

    position = leaves > 0 ? leaves_before(directory, leaves, address) : 0;
    if (position == leaves) {
        return false;
    }
    leaf = DMA_LOAD(directory->slots[position].leaf);
    count = DMA_LOAD(leaf->count);
    position = entries_before(leaf, count, address);
    if (position == count) {
        return false;
    }
    *slot = DMA_LOAD(leaf->slots[position]);
    return true;
}

struct dma_region *dma_index_find(const struct dma_index *index, uint64_t first, uint64_t last)
{
    uint32_t slot;

    if (!find_in_order(index, first, &slot) || dma_slab_range(&index->slab, slot)->first > last) {
        return NULL;
    }
    return dma_slab_region(&index->slab, slot);
}

_Thread_local uint64_t dma_index_recent;

bool dma_index_search(const struct dma_index *index, uint64_t address, struct dma_range *range,
                      uint64_t *handle)
{
    uint64_t sequence;
    bool found;

    do {
        uint32_t slot;

        sequence = DMA_LOAD(index->sequence) & ~1ull;
        found = (DMA_LOAD(index->blocks.table) != NULL &&
                 dma_blocks_find(&index->blocks, &index->slab, address, &slot)) ||
                find_in_order(index, address, &slot);
        if (found) {
            dma_range_load(dma_slab_range(&index->slab, slot), range);
            *handle = dma_slab_handle(slot, range->use);
            found = range->first <= address;
        }
        /* No load above can be later than this one: each of them acquires. */
    } while (__atomic_load_n(&index->sequence, __ATOMIC_RELAXED) != sequence);
    if (found) {
        dma_index_recent = *handle;
    }
    return found;
}

/* --- changing: by the context's thread --- */

static void begin_change(struct dma_index *index)
{
    /* The stores that follow release this one. */
    __atomic_store_n(&index->sequence, index->sequence + 1, __ATOMIC_RELAXED);
}

static void end_change(struct dma_index *index)
{
    DMA_STORE(index->sequence, index->sequence + 1);
}

static void set_entry(struct dma_leaf *leaf, size_t position, const struct dma_entry *entry)
{
    DMA_STORE(leaf->last[position], entry->last);
    DMA_STORE(leaf->slots[position], entry->slot);
}

static void copy_entry(struct dma_leaf *to, size_t position, const struct dma_leaf *from, size_t at)
{
    const struct dma_entry entry = { .last = from->last[at], .slot = from->slots[at] };

    set_entry(to, position, &entry);
}

static void set_slot(struct dma_directory *directory, size_t position, const struct dma_slot *slot)
{
    /* Whoever sees the leaf in use sees a leaf. */
    DMA_STORE(directory->slots[position].leaf, slot->leaf);
    DMA_STORE(directory->slots[position].last, slot->last);
}

/* The leaf's last region is another one. */
static void update_slot(struct dma_index *index, size_t position)
{
    struct dma_slot *slot = &index->directory->slots[position];

    DMA_STORE(slot->last, slot->leaf->last[slot->leaf->count - 1]);
}

static void insert_entry(struct dma_leaf *leaf, size_t position, const struct dma_entry *entry)
{
    for (size_t i = leaf->count; i > position; i--) {
        copy_entry(leaf, i, leaf, i - 1);
    }
    set_entry(leaf, position, entry);
    DMA_STORE(leaf->count, leaf->count + 1);
}

static void remove_entry(struct dma_leaf *leaf, size_t position)
{
    for (size_t i = position + 1; i < leaf->count; i++) {
        copy_entry(leaf, i - 1, leaf, i);
    }
    DMA_STORE(leaf->count, leaf->count - 1);
}

/* Moves the entries from @position on to the end of @to. */
static void move_entries(struct dma_leaf *from, size_t position, struct dma_leaf *to)
{
    size_t count = to->count;

    for (size_t i = position; i < from->count; i++) {
        copy_entry(to, count++, from, i);
    }
    DMA_STORE(to->count, count);
    DMA_STORE(from->count, position);
}

static void insert_leaf(struct dma_index *index, size_t position, struct dma_leaf *leaf)
{
    struct dma_directory *directory = index->directory;
    const struct dma_slot slot = { .leaf = leaf };

    for (size_t i = index->leaves; i > position; i--) {
        set_slot(directory, i, &directory->slots[i - 1]);
    }
    set_slot(directory, position, &slot);
    DMA_STORE(index->leaves, index->leaves + 1);
}

/* The leaf is empty. */
static void remove_leaf(struct dma_index *index, size_t position)
{
    struct dma_directory *directory = index->directory;
    struct dma_leaf *leaf = directory->slots[position].leaf;

    for (size_t i = position + 1; i < index->leaves; i++) {
        set_slot(directory, i - 1, &directory->slots[i]);
    }
    DMA_STORE(index->leaves, index->leaves - 1);
    leaf->next_spare = index->spare;
    index->spare = leaf;
}

/* Makes room for one more leaf, and that leaf. Returns 0 or -ENOMEM. */
static int reserve(struct dma_index *index)
{
    struct dma_directory *old = index->directory;
    size_t capacity = old != NULL ? old->capacity * 2 : DIRECTORY_MIN;
    struct dma_directory *directory;

    if (index->spare == NULL) {
        index->spare = calloc(1, sizeof(*index->spare));
    }
    if (index->spare == NULL) {
        return -ENOMEM;
    }
    if (old != NULL && index->leaves < old->capacity) {
        return 0;
    }
    directory = calloc(1, sizeof(*directory) + capacity * sizeof(directory->slots[0]));
    if (directory == NULL) {
        return -ENOMEM;
    }
    directory->outgrown = old;
    directory->capacity = capacity;
    for (size_t i = 0; i < index->leaves; i++) {
        directory->slots[i] = old->slots[i];
    }
    DMA_STORE(index->directory, directory);
    return 0;
}

static struct dma_leaf *take_spare(struct dma_index *index)
{
    struct dma_leaf *leaf = index->spare;

    index->spare = leaf->next_spare;
    DMA_STORE(leaf->count, 0);
    return leaf;
}

/*
 * Makes the full leaf at @position two. What arrives in ascending order leaves full leaves behind;
 * else each gets a half.
 */
static void split_leaf(struct dma_index *index, size_t position, bool ascending)
{
    struct dma_leaf *full = index->directory->slots[position].leaf;
    struct dma_leaf *leaf = take_spare(index);

    move_entries(full, ascending ? LEAF_MAX - 1 : LEAF_MAX / 2, leaf);
    insert_leaf(index, position + 1, leaf);
    update_slot(index, position);
    update_slot(index, position + 1);
}

static void insert(struct dma_index *index, const struct dma_entry *entry, uint64_t first)
{
    const struct dma_slot *slots = index->directory->slots;
    size_t position = leaves_before(index->directory, index->leaves, first);
    bool at_end = position == index->leaves;

    if (index->leaves == 0) {
        insert_leaf(index, 0, take_spare(index));
    }
    if (position == index->leaves) {
        position--;
    }
    if (slots[position].leaf->count == LEAF_MAX) {
        split_leaf(index, position, at_end);
        position += first > slots[position].last;
    }
    insert_entry(slots[position].leaf,
                 entries_before(slots[position].leaf, slots[position].leaf->count, first), entry);
    update_slot(index, position);
}

int dma_index_insert(struct dma_index *index, struct dma_region *region)
{
    const struct dma_entry entry = { .last = dma_region_last(region), .slot = region->slot };
    int err = reserve(index);

    if (err < 0) {
        return err;
    }
    begin_change(index);
    insert(index, &entry, dma_region_first(region));
    index->count++;
    end_change(index);
    dma_blocks_insert(&index->blocks, &index->slab, region->slot);
    return 0;
}

/* Makes the leaf at @position one with the next, if they are half of one together. */
static void merge_leaves(struct dma_index *index, size_t position)
{
    struct dma_leaf *leaf;
    struct dma_leaf *next;

    if (position + 1 >= index->leaves) {
        return;
    }
    leaf = index->directory->slots[position].leaf;
    next = index->directory->slots[position + 1].leaf;
    if (leaf->count + next->count <= LEAF_MAX / 2) {
        move_entries(next, 0, leaf);
        remove_leaf(index, position + 1);
        update_slot(index, position);
    }
}

void dma_index_remove(struct dma_index *index, const struct dma_region *region)
{
    uint64_t first = dma_region_first(region);
    size_t position = leaves_before(index->directory, index->leaves, first);
    struct dma_leaf *leaf = index->directory->slots[position].leaf;

    dma_blocks_remove(&index->blocks, &index->slab, region->slot);
    begin_change(index);
    remove_entry(leaf, entries_before(leaf, leaf->count, first));
    if (leaf->count == 0) {
        remove_leaf(index, position);
    } else {
        update_slot(index, position);
        merge_leaves(index, position);
    }
    if (position > 0) {
        merge_leaves(index, position - 1);
    }
    index->count--;
    end_change(index);
}
