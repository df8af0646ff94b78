/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages the device has written: a bit for each page of each region that has memory here.
 *
 * Bits are set by any thread, at any time, with one atomic operation per 64 of them. So that none
 * is ever set in memory that is gone, a bitmap stays with its region when logging ends, and is used
 * again when it begins anew.
 */
#pragma once

#include "device/dma.h"

#include <stddef.h>
#include <stdint.h>

/* What all bitmaps together may take: 8 TiB of guest memory in pages of 4 KiB. */
#define DIRTY_LOG_MAX_BYTES (256ul << 20)

/* Smallest page size, as log2. */
#define DIRTY_LOG_MIN_SHIFT 12

/* A question, and the bitmap for its answer. */
struct dirty_report {
    uint64_t first; /* guest addresses, both included */
    uint64_t last;
    unsigned shift;  /* log2 of the size of the pages that the bitmap is about */
    uint64_t *pages; /* one bit per page from @first on */
};

/* --- for any thread --- */

/* The device has written @length bytes at @offset of the region, which is not smaller. */
void dirty_bitmap_mark(struct dirty_bitmap *bitmap, uint64_t offset, uint64_t length);

/* --- for the context's thread --- */

/*
 * Starts logging in pages of @page_size bytes. Returns 0, also if that is so already; -EINVAL (no
 * DMA, no page size, another one already, larger than a region) or -ENOMEM: nothing has changed.
 */
int dirty_log_start(struct dma *dma, uint64_t page_size);
void dirty_log_stop(struct dma *dma);

/* Whether the log has pages that are not larger than a new region. Returns 0 or -EINVAL. */
int dirty_log_check_size(const struct dma *dma, const struct dma_region *region);

/* Starts logging for a new region, if it is on. Returns 0 or -ENOMEM. */
int dirty_log_watch(struct dma *dma, struct dma_region *region);

/* Frees the bitmap of a region that nobody uses any more. */
void dirty_log_forget(struct dma *dma, struct dma_region *region);

/* Bytes of a bitmap for @length bytes (not 0) in pages of @page_size: whole groups of 64 bits. */
uint64_t dirty_log_report_size(uint64_t length, uint64_t page_size);

/*
 * Whether a report can be given: logging is on, and there is logged memory in the range. Fills in
 * all but the bitmap. Returns 0, -ENOENT (nothing is mapped there) or -EINVAL.
 */
int dirty_log_prepare(const struct dma *dma, uint64_t address, uint64_t length, uint64_t page_size,
                      struct dirty_report *report);

/*
 * Sets the report's bits, which are all zero, and clears those of the log that it has told all of.
 */
void dirty_log_collect(struct dma *dma, struct dirty_report *report);
