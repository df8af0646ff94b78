/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dirty_log.h"

#include "device/dma.h"

#include <errno.h>
#include <stdlib.h>

#define WORD_BITS 64u

struct dirty_bitmap {
    struct dirty_bitmap *outgrown; /* the one before, which a thread may still set bits in */
    size_t words;
    unsigned shift; /* log2 of the page size */
    uint64_t pages[];
};

/* Bits @from to @to of a word, both included; none if they are the wrong way round. */
static uint64_t word_mask(uint64_t word, uint64_t from, uint64_t to)
{
    uint64_t low = word * WORD_BITS;
    uint64_t high = low + WORD_BITS - 1;
    uint64_t mask = UINT64_MAX;

    if (from > to || to < low || from > high) {
        return 0;
    }
    if (from > low) {
        mask <<= from - low;
    }
    if (to < high) {
        mask &= UINT64_MAX >> (high - to);
    }
    return mask;
}

void dirty_bitmap_mark(struct dirty_bitmap *bitmap, uint64_t offset, uint64_t length)
{
    unsigned shift = __atomic_load_n(&bitmap->shift, __ATOMIC_RELAXED);
    uint64_t from = offset >> shift;
    uint64_t to;

    if (length == 0) {
        return;
    }
    to = (offset + (length - 1)) >> shift;
    for (uint64_t word = from / WORD_BITS; word <= to / WORD_BITS && word < bitmap->words; word++) {
        /* Also if it is set already: a report that clears it must see what was written before. */
        __atomic_fetch_or(&bitmap->pages[word], word_mask(word, from, to), __ATOMIC_RELEASE);
    }
}

static size_t words_for(uint64_t length, unsigned shift)
{
    return (size_t)((((length - 1) >> shift) / WORD_BITS) + 1);
}

static size_t bitmap_size(size_t words)
{
    return sizeof(struct dirty_bitmap) + words * sizeof(uint64_t);
}

static bool has_memory(const struct dma_region *region)
{
    return region->range->vaddr != NULL || region->fd >= 0;
}

/* Makes a bitmap for the region's pages, unless it has one that is large enough. */
static int provide_bitmap(struct dma *dma, struct dma_region *region, unsigned shift)
{
    size_t words = words_for(region->info.iova.iov_len, shift);
    struct dirty_bitmap *bitmap;

    if (region->bitmap != NULL && region->bitmap->words >= words) {
        return 0;
    }
    if (bitmap_size(words) > DIRTY_LOG_MAX_BYTES - dma->log_bytes) {
        return -ENOMEM;
    }
    bitmap = calloc(1, bitmap_size(words));
    if (bitmap == NULL) {
        return -ENOMEM;
    }
    bitmap->words = words;
    bitmap->outgrown = region->bitmap;
    region->bitmap = bitmap;
    dma->log_bytes += bitmap_size(words);
    return 0;
}

/* The region's bitmap is clean, and bits are set in it from now on. */
static void enable_bitmap(struct dma_region *region, unsigned shift)
{
    struct dirty_bitmap *bitmap = region->bitmap;

    __atomic_store_n(&bitmap->shift, shift, __ATOMIC_RELAXED);
    for (size_t i = 0; i < bitmap->words; i++) {
        if (__atomic_load_n(&bitmap->pages[i], __ATOMIC_RELAXED) != 0) {
            __atomic_store_n(&bitmap->pages[i], 0, __ATOMIC_RELAXED);
        }
    }
    DMA_STORE(region->dirty, bitmap);
    __atomic_fetch_or(&region->range->state, DMA_LOGGED, __ATOMIC_ACQ_REL);
}

int dirty_log_watch(struct dma *dma, struct dma_region *region)
{
    int err;

    if (dma->log_shift == 0 || !has_memory(region)) {
        return 0;
    }
    err = provide_bitmap(dma, region, dma->log_shift);
    if (err == 0) {
        enable_bitmap(region, dma->log_shift);
    }
    return err;
}

int dirty_log_check_size(const struct dma *dma, const struct dma_region *region)
{
    return dma->log_shift != 0 && region->has_file &&
                   region->info.iova.iov_len >> dma->log_shift == 0
               ? -EINVAL
               : 0;
}

void dirty_log_forget(struct dma *dma, struct dma_region *region)
{
    while (region->bitmap != NULL) {
        struct dirty_bitmap *outgrown = region->bitmap->outgrown;

        dma->log_bytes -= bitmap_size(region->bitmap->words);
        free(region->bitmap);
        region->bitmap = outgrown;
    }
}

/* The lowest region in the range that starts at @address; NULL if there is none. */
static struct dma_region *first_region(const struct dma *dma, uint64_t address, uint64_t last)
{
    return dma_index_find(&dma->index, address, last);
}

/* The next one after @region. */
static struct dma_region *next_region(const struct dma *dma, const struct dma_region *region,
                                      uint64_t last)
{
    uint64_t end = dma_region_last(region);

    return end < last ? dma_index_find(&dma->index, end + 1, last) : NULL;
}

#define FOR_EACH_REGION(region, dma, first, last)                                                  \
    for (struct dma_region *region = first_region((dma), (first), (last)); region != NULL;         \
         region = next_region((dma), region, (last)))

/* Makes sure that nothing can go wrong any more. */
static int provide_bitmaps(struct dma *dma, unsigned shift)
{
    FOR_EACH_REGION(region, dma, 0, UINT64_MAX)
    {
        int err = 0;

        if (has_memory(region)) {
            err = region->info.iova.iov_len >> shift == 0 ? -EINVAL
                                                          : provide_bitmap(dma, region, shift);
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* Returns log2 of a power of two, or 0 if it is none. */
static unsigned shift_of(uint64_t page_size)
{
    return page_size != 0 && (page_size & (page_size - 1)) == 0
               ? (unsigned)__builtin_ctzll(page_size)
               : 0;
}

int dirty_log_start(struct dma *dma, uint64_t page_size)
{
    unsigned shift = shift_of(page_size);
    int err;

    if (!dma->enabled || shift < DIRTY_LOG_MIN_SHIFT) {
        return -EINVAL;
    }
    if (dma->log_shift != 0) {
        return dma->log_shift == shift ? 0 : -EINVAL;
    }
    err = provide_bitmaps(dma, shift);
    if (err < 0) {
        return err;
    }
    FOR_EACH_REGION(region, dma, 0, UINT64_MAX)
    {
        if (has_memory(region)) {
            enable_bitmap(region, shift);
        }
    }
    DMA_STORE(dma->log_shift, shift);
    return 0;
}

void dirty_log_stop(struct dma *dma)
{
    FOR_EACH_REGION(region, dma, 0, UINT64_MAX)
    {
        __atomic_fetch_and(&region->range->state, ~DMA_LOGGED, __ATOMIC_ACQ_REL);
        DMA_STORE(region->dirty, NULL);
    }
    DMA_STORE(dma->log_shift, 0);
}

uint64_t dirty_log_report_size(uint64_t length, uint64_t page_size)
{
    uint64_t pages = (length - 1) / page_size + 1;

    return ((pages - 1) / WORD_BITS + 1) * sizeof(uint64_t);
}

int dirty_log_prepare(const struct dma *dma, uint64_t address, uint64_t length, uint64_t page_size,
                      struct dirty_report *report)
{
    const struct dma_region *region;

    report->first = address;
    report->shift = shift_of(page_size);
    if (length == 0 || __builtin_add_overflow(address, length - 1, &report->last)) {
        return -EINVAL;
    }
    region = first_region(dma, report->first, report->last);
    if (region == NULL) {
        return -ENOENT;
    }
    if (dma->log_shift == 0 || (report->shift == 0 && page_size != 1)) {
        return -EINVAL;
    }
    while (region != NULL && !has_memory(region)) {
        region = next_region(dma, region, report->last);
    }
    /* What the device wrote through messages, the client wrote. */
    return region != NULL ? 0 : -EINVAL;
}

/* Sets the bits for the pages that addresses @first to @last are in. */
static void set_pages(struct dirty_report *report, uint64_t first, uint64_t last)
{
    uint64_t from = (first - report->first) >> report->shift;
    uint64_t to = (last - report->first) >> report->shift;

    for (uint64_t word = from / WORD_BITS; word <= to / WORD_BITS; word++) {
        report->pages[word] |= word_mask(word, from, to);
    }
}

/* The part of a region's log that a report is about. */
struct part {
    uint64_t first; /* guest addresses, both included */
    uint64_t last;
    uint64_t seen_from; /* pages of the log with bytes in it, both included */
    uint64_t seen_to;
    uint64_t whole_from; /* those that are in it as a whole; none if the wrong way round */
    uint64_t whole_to;
    bool in_step;  /* the pages of the log are those of the report: */
    int64_t start; /* this one of them is the log's first */
};

static struct part part_of(const struct dma_region *region, unsigned shift,
                           const struct dirty_report *report)
{
    uint64_t base = dma_region_first(region);
    uint64_t end = dma_region_last(region);
    uint64_t mask = (1ull << shift) - 1;
    struct part part = {
        .first = report->first > base ? report->first : base,
        .last = report->last < end ? report->last : end,
        .in_step = report->shift == shift && ((base - report->first) & mask) == 0,
        .start = base >= report->first ? (int64_t)((base - report->first) >> shift)
                                       : -(int64_t)((report->first - base) >> shift),
    };

    part.seen_from = (part.first - base) >> shift;
    part.seen_to = (part.last - base) >> shift;
    part.whole_from = part.seen_from + (((part.first - base) & mask) != 0);
    part.whole_to = part.seen_to;
    if (part.last != end && ((part.last - base) & mask) != mask) {
        /* May become less than 0: then there is none. */
        if (part.whole_to == 0) {
            part.whole_from = 1;
        } else {
            part.whole_to--;
        }
    }
    return part;
}

/* Takes one word of the log: what is reported as a whole is clean from now on. */
static uint64_t take_word(struct dirty_bitmap *bitmap, const struct part *part, uint64_t word)
{
    uint64_t whole = word_mask(word, part->whole_from, part->whole_to);
    uint64_t bits = __atomic_load_n(&bitmap->pages[word], __ATOMIC_ACQUIRE);

    if (bits & whole) {
        bits = __atomic_fetch_and(&bitmap->pages[word], ~whole, __ATOMIC_ACQ_REL);
    }
    return bits & word_mask(word, part->seen_from, part->seen_to);
}

/* Tells of pages in step, which all are in the report. */
static void tell_word(const struct part *part, uint64_t word, uint64_t bits,
                      struct dirty_report *report)
{
    int64_t start = (int64_t)(word * WORD_BITS) + part->start;
    unsigned shift = (uint64_t)start % WORD_BITS;
    uint64_t *pages = report->pages + (start - (int64_t)shift) / (int64_t)WORD_BITS;

    if (bits << shift != 0) {
        pages[0] |= bits << shift;
    }
    if (shift != 0 && bits >> (WORD_BITS - shift) != 0) {
        pages[1] |= bits >> (WORD_BITS - shift);
    }
}

/* Tells of any pages. */
static void tell_pages(const struct dma_region *region, const struct part *part, uint64_t word,
                       uint64_t bits, struct dirty_report *report)
{
    unsigned shift = region->bitmap->shift;

    for (; bits != 0; bits &= bits - 1) {
        uint64_t page = word * WORD_BITS + (unsigned)__builtin_ctzll(bits);
        uint64_t first = dma_region_first(region) + (page << shift);
        uint64_t last = first + ((1ull << shift) - 1);

        set_pages(report, first > part->first ? first : part->first,
                  last < part->last && last > first ? last : part->last);
    }
}

static void collect_part(const struct dma_region *region, const struct part *part,
                         struct dirty_report *report)
{
    for (uint64_t word = part->seen_from / WORD_BITS; word <= part->seen_to / WORD_BITS; word++) {
        uint64_t bits = take_word(region->bitmap, part, word);

        if (bits != 0 && part->in_step) {
            tell_word(part, word, bits, report);
        } else if (bits != 0) {
            tell_pages(region, part, word, bits, report);
        }
    }
}

void dirty_log_collect(struct dma *dma, struct dirty_report *report)
{
    FOR_EACH_REGION(region, dma, report->first, report->last)
    {
        if (region->dirty != NULL) {
            struct part part = part_of(region, dma->log_shift, report);

            collect_part(region, &part, report);
        }
    }
}
