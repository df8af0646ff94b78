/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A short cut through the index of DMA regions, for when there are many: by the blocks of guest
 * memory that they are in. A region of more than 2^(n-1) and up to 2^n bytes is of class n and in
 * one or two aligned blocks of 2^n bytes, so that a hash table of class and block has it in one or
 * two buckets: a cache line each, of slots.
 *
 * What is found here is right, but not everything is found: a full bucket takes no more, and only
 * classes are looked for that many regions are of. Then the ordered index has the answer. So a
 * client that chooses addresses that collide, or regions of all sizes, gets the speed of that one,
 * and without memory for a larger table nothing fails.
 *
 * A table that is too small is replaced by one of twice its size, into which each new region moves
 * some others: so nobody waits for all of them. One takes 16 to 32 bytes for each region when it
 * has grown for them, or twice that if they lie across blocks; and those that were outgrown, which
 * somebody may still look into, less than that together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dma_slab;
struct dma_block_table;

#define DMA_BLOCKS_CLASSES 32 /* 2^12 bytes, and all that is smaller, to 2^43: 8 TiB */

struct dma_blocks {
    struct dma_block_table *table; /* NULL: too few regions for one */
    uint32_t usual;                /* classes to look for, as bits from the lowest one on */
    size_t regions;
    size_t entries;  /* of the table that are in use */
    uint32_t filled; /* slots before this one are in the table, if there was room */
    uint32_t counts[DMA_BLOCKS_CLASSES];
};

/* Blocks are empty when they are all zero. Nobody looks up any more. */
void dma_blocks_fini(struct dma_blocks *blocks);

/*
 * For the context's thread. The region is in the slab already, and still; and so is everything else
 * that was inserted, and nothing more.
 */
void dma_blocks_insert(struct dma_blocks *blocks, const struct dma_slab *slab, uint32_t slot);
void dma_blocks_remove(struct dma_blocks *blocks, const struct dma_slab *slab, uint32_t slot);

/* For any thread: tells the slot of a region that has @address. False if none is found here. */
bool dma_blocks_find(const struct dma_blocks *blocks, const struct dma_slab *slab, uint64_t address,
                     uint32_t *slot);
