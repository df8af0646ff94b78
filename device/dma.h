/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest memory that a client has given: its ranges, and where they are mapped. */
#pragma once

#include "device/dma_index.h"
#include "device/dma_mapping.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-user/libvfio-user.h>

struct dirty_report;

#define DMA_MAX_REGION_SIZE (8ull << 40)

struct dma_region {
    struct dma_range *range; /* for all threads, as are these details: */
    uint64_t offset;         /* in the file */
    struct dirty_bitmap *dirty;
    int fd;              /* owned; to be accessed as a file; -1: not so */
    uint32_t slot;       /* in the slab */
    vfu_dma_info_t info; /* what the program sees; iova.iov_len is never 0 */
    uint32_t faults;     /* how often its memory was found to be gone; by any thread */
    bool has_file;       /* a descriptor came with it, and was not withheld */
    dev_t device;        /* of that file */
    ino_t inode;
    struct dma_mapping *mapping; /* NULL: none */
    struct dirty_bitmap *bitmap; /* owned; kept when logging ends */
    struct dma_region *next_spare;
};

struct dma {
    bool enabled;
    size_t max_regions;
    vfu_dma_register_cb_t *added;
    vfu_dma_unregister_cb_t *removed;
    struct dma_index index;
    struct dma_mappings mappings;
    uint64_t bytes;           /* of all regions that have memory here */
    unsigned log_shift;       /* dirty pages are logged: log2 of their size; 0: they are not; any
                                 thread may look, to save further looks */
    size_t log_bytes;         /* that all dirty bitmaps take */
    struct dma *next_guarded; /* these three are of memory_guard.c */
    int zeros;                /* the session's own; owned; -1: those of the process */
    uint64_t zeros_used;      /* bytes, by the session */
    bool faulted;             /* some memory of the session was found to be gone */
    bool fault_logged;
};

/* A range that a client wants to add. */
struct dma_request {
    uint64_t address;
    uint64_t size;   /* not 0; does not reach beyond 2^64 */
    uint64_t offset; /* in the file */
    uint32_t prot;   /* PROT_READ, PROT_WRITE */
    int fd;          /* -1: none. Taken by dma_add(): set to -1 if it is kept. */
    int refused;     /* negative errno: one came that cannot be used; 0: no */
    bool map;        /* map it; else it is accessed as a file */
};

static inline uint64_t dma_region_first(const struct dma_region *region)
{
    return DMA_LOAD(region->range->first);
}

/* The address of its last byte: a region may end at 2^64. */
static inline uint64_t dma_region_last(const struct dma_region *region)
{
    return DMA_LOAD(region->range->last);
}

/* For any thread: some of the region's memory has gone. */
static inline void dma_region_fault(struct dma_region *region)
{
    __atomic_fetch_add(&region->faults, 1, __ATOMIC_ACQ_REL);
    __atomic_fetch_or(&region->range->state, DMA_FAULTED, __ATOMIC_ACQ_REL);
}

/*
 * Adds a range and tells the program; repeating one changes nothing. Returns 0, -EINVAL (overlap,
 * limits, end of file), -ENOSPC (too large), -ENOMEM, -ENODEV (no memory), or the negative errno of
 * mmap(2).
 */
int dma_add(struct vfu_ctx *ctx, struct dma_request *request);

/* The region that is exactly this one, or NULL. */
struct dma_region *dma_find_exact(const struct dma *dma, uint64_t address, uint64_t size);

/*
 * Removes a region. Into @report, unless it is NULL, goes what was logged of it, also by the
 * program's callback.
 */
void dma_remove(struct vfu_ctx *ctx, struct dma_region *region, struct dirty_report *report);

/* Removes all of them, in ascending order. */
void dma_remove_all(struct vfu_ctx *ctx);

/* Logs, once a session, that memory has gone. */
void dma_log_faults(struct vfu_ctx *ctx);

/* All regions are removed already. */
void dma_fini(struct dma *dma);
