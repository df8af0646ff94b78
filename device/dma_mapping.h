/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where files of guest memory are mapped. A guest with an IOMMU maps and unmaps thousands of parts
 * of one file: the first of them maps all of it, and the others only get their place in that.
 *
 * A mapping serves another region if it is of the same file (no other one has that device and inode
 * while it is mapped), has the same protection, which the region's own descriptor allows too, and
 * nothing of it has gone: what the guard has put in place of its pages is never given out anew. All
 * of a file is never more than one region could be. What is larger, or no file with an end, is
 * mapped for each region by itself.
 *
 * So a range that was unmapped can stay where the program can touch it, as can what the client
 * never mapped of the file. The program had its descriptor: nothing is there that it could not have
 * mapped.
 *
 * For the context's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct transport;

/* A descriptor that came with a request, and what fstat(2) says of it. */
struct dma_file {
    int fd;
    dev_t device;
    ino_t inode;
    uint64_t size;      /* 0: it has no end */
    uint64_t page_size; /* a power of two */
};

struct dma_mapping {
    dev_t device;
    ino_t inode;
    uint64_t offset; /* in the file */
    uint64_t length;
    uint8_t *address;
    uint32_t prot;
    bool whole;      /* all of the file */
    bool known;      /* one of dma_mappings.known[] */
    bool faulted;    /* any thread sets it, in a signal handler */
    uint32_t pieces; /* of it that were replaced, in the same way */
    size_t users;    /* regions; may be 0 if it is known */
};

/* Whole files that are remembered, and how many of them that no region uses. */
#define DMA_MAPPINGS_KNOWN 16
#define DMA_MAPPINGS_IDLE 4

struct dma_mappings {
    struct dma_mapping *known[DMA_MAPPINGS_KNOWN]; /* the last used first; owned if idle */
    size_t count;
    uint64_t bytes; /* of all that were mapped as a whole, known or not */
};

/*
 * Finds or makes a mapping that has @length bytes at @offset, both multiples of the file's pages.
 * Returns 0, -ENOMEM, or the negative errno of mmap(2).
 */
int dma_mappings_get(struct dma_mappings *mappings, const struct transport *transport,
                     const struct dma_file *file, uint64_t offset, uint64_t length, uint32_t prot,
                     struct dma_mapping **result);

/*
 * A region of @length bytes has gone. If it was the last one its mapping may be kept for the next,
 * but not if it was all of the file: then the client has taken the memory back.
 */
void dma_mappings_put(struct dma_mappings *mappings, struct dma_mapping *mapping, uint64_t length);

/*
 * For the memory guard, in a signal handler: a piece of the mapping is to become another. False if
 * that would be too many, for the process: then all of it has to.
 */
bool dma_mapping_split(struct dma_mapping *mapping);

/* Lets go of all that no region uses. */
void dma_mappings_trim(struct dma_mappings *mappings);
