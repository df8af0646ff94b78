/* SPDX-License-Identifier: BSD-3-Clause */
/* The index of DMA regions, and the hash table that it has for many of them. */
#include "tests/unit/dma_index_helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096ull

static struct dma_index index_;

static int setup(void **state)
{
    memset(&index_, 0, sizeof(index_));
    return 0;
}

static int teardown(void **state)
{
    dma_index_fini(&index_);
    return 0;
}

static struct dma_region *add(uint64_t address, uint64_t size)
{
    struct dma_region *region = index_add(&index_, address, size);

    assert_non_null(region);
    return region;
}

/* Both ways to find a region agree with @expected, which has @address or is NULL. */
static void expect_at(uint64_t address, struct dma_region *expected)
{
    struct dma_range range;
    uint64_t handle;

    assert_ptr_equal(dma_index_find(&index_, address, address), expected);
    assert_int_equal(dma_index_look_up(&index_, address, &range, &handle), expected != NULL);
    if (expected != NULL) {
        assert_memory_equal(&range, expected->range, sizeof(range));
        assert_true(dma_slab_look_up(&index_.slab, handle, &range));
        assert_int_equal(handle, dma_slab_handle(expected->slot, range.use));
    }
}

static void test_empty_finds_nothing(void **state)
{
    expect_at(0, NULL);
    expect_at(UINT64_MAX, NULL);
    assert_null(dma_index_find(&index_, 0, UINT64_MAX));
    assert_int_equal(dma_index_count(&index_), 0);
}

static void test_finds_the_lowest_that_intersects(void **state)
{
    struct dma_region *high = add(0x3000, 0x1000);
    struct dma_region *low = add(0x1000, 0x1000);

    assert_null(dma_index_find(&index_, 0, 0xfff));
    assert_ptr_equal(dma_index_find(&index_, 0, 0x1000), low);
    assert_ptr_equal(dma_index_find(&index_, 0x1fff, 0x3000), low);
    assert_null(dma_index_find(&index_, 0x2000, 0x2fff));
    assert_ptr_equal(dma_index_find(&index_, 0x2000, 0x3000), high);
    assert_ptr_equal(dma_index_find(&index_, 0x3fff, UINT64_MAX), high);
    assert_null(dma_index_find(&index_, 0x4000, UINT64_MAX));
}

static void test_region_up_to_the_last_address(void **state)
{
    struct dma_region *last = add(UINT64_MAX - PAGE + 1, PAGE);
    struct dma_region *byte = add(UINT64_MAX - PAGE, 1);

    expect_at(UINT64_MAX, last);
    expect_at(UINT64_MAX - PAGE, byte);
    expect_at(UINT64_MAX - PAGE - 1, NULL);
}

static void test_handle_of_a_region_that_is_gone(void **state)
{
    struct dma_region *region = add(0, PAGE);
    struct dma_range range;
    uint64_t old, new;

    assert_true(dma_index_look_up(&index_, 0, &range, &old));
    index_drop(&index_, region);
    assert_false(dma_slab_look_up(&index_.slab, old, &range));
    assert_ptr_equal(add(0, PAGE), region); /* the same slot */
    assert_false(dma_slab_look_up(&index_.slab, old, &range));
    assert_true(dma_index_look_up(&index_, 0, &range, &new));
    assert_true(dma_slab_look_up(&index_.slab, new, &range));
    assert_false(dma_slab_look_up(&index_.slab, 0, &range));
    assert_false(dma_slab_look_up(&index_.slab, new + 1, &range));
    assert_false(dma_slab_look_up(&index_.slab, new | UINT32_MAX, &range));
    assert_false(dma_slab_look_up(&index_.slab, (uint32_t) new, &range));
}

/* --- against a plain list ------------------------------------------------------------------- */

#define PLACES 3000

/* Where regions may be, in ascending order and not overlapping, with gaps or without. */
static struct {
    uint64_t address;
    uint64_t size;
    struct dma_region *region; /* NULL: not there now */
} places[PLACES];

static unsigned seed;

static uint64_t number(uint64_t below)
{
    return ((uint64_t)(unsigned)rand_r(&seed) << 31 | (unsigned)rand_r(&seed)) % below;
}

static uint64_t a_page(unsigned i)
{
    return PAGE;
}

static uint64_t a_byte(unsigned i)
{
    return 1;
}

static uint64_t any_size(unsigned i)
{
    return number(1ull << number(44)) + 1;
}

/* The largest of their classes. */
static uint64_t every_class(unsigned i)
{
    return 1ull << i % 44;
}

/* Just too large for their class: they lie across blocks. */
static uint64_t two_pages_and_a_byte(unsigned i)
{
    return 2 * PAGE + 1;
}

static uint64_t few_are_large(unsigned i)
{
    return i % 100 == 0 ? 1ull << 30 : PAGE;
}

static struct dma_region *region_with(uint64_t address)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (places[i].region != NULL && address >= places[i].address &&
            address - places[i].address < places[i].size) {
            return places[i].region;
        }
    }
    return NULL;
}

static struct dma_region *region_from(uint64_t address)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (places[i].region != NULL && address <= places[i].address + (places[i].size - 1)) {
            return places[i].region;
        }
    }
    return NULL;
}

static void toggle(unsigned i)
{
    if (places[i].region != NULL) {
        index_drop(&index_, places[i].region);
        places[i].region = NULL;
    } else {
        places[i].region = add(places[i].address, places[i].size);
    }
}

/* Looks at the edges of a place, and in its midst. */
static void probe(unsigned i)
{
    const uint64_t first = places[i].address, last = first + (places[i].size - 1);

    expect_at(first, region_with(first));
    expect_at(last, region_with(last));
    expect_at(first + number(places[i].size), places[i].region);
    expect_at(last + 1, region_with(last + 1));
    expect_at(first - 1, region_with(first - 1));
    assert_ptr_equal(dma_index_find(&index_, first, UINT64_MAX), region_from(first));
}

static void compare(uint64_t (*size)(unsigned), uint64_t most_gap)
{
    uint64_t address = 1 << 20;
    size_t count = 0;

    for (unsigned i = 0; i < PLACES; i++) {
        places[i].size = size(i);
        address += most_gap > 0 ? number(most_gap) : 0;
        places[i].address = address;
        places[i].region = NULL;
        address += places[i].size;
    }
    /* All of them, then many changes, then none. */
    for (unsigned n = 0; n < PLACES; n++) {
        toggle(n * 7919 % PLACES);
    }
    for (unsigned step = 0; step < 2 * PLACES; step++) {
        toggle((unsigned)number(PLACES));
        probe((unsigned)number(PLACES));
    }
    for (unsigned i = 0; i < PLACES; i++) {
        count += places[i].region != NULL;
        expect_at(places[i].address, places[i].region);
    }
    assert_int_equal(dma_index_count(&index_), count);
    for (unsigned i = 0; i < PLACES; i++) {
        if (places[i].region != NULL) {
            toggle(i);
            expect_at(places[i].address, NULL);
        }
    }
    assert_int_equal(dma_index_count(&index_), 0);
    assert_int_equal(index_.leaves, 0);
    assert_int_equal(index_.blocks.entries, 0);
}

static void test_agrees_with_a_plain_list(void **state)
{
    uint64_t (*const sizes[])(unsigned) = { a_page,      a_byte,        any_size,
                                            every_class, few_are_large, two_pages_and_a_byte };

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        seed = i;
        compare(sizes[i], 0);
        compare(sizes[i], 5 * PAGE);
    }
}

/* --- many ------------------------------------------------------------------------------------ */

/* In and out in several orders. */
static void test_many_regions(void **state)
{
    enum {
        COUNT = 30000,
        STEP = 7919, /* prime to COUNT */
    };
    static struct dma_region *regions[COUNT];
    const unsigned steps[] = { 1, COUNT - 1, STEP };

    for (unsigned in = 0; in < 3; in++) {
        for (unsigned out = 0; out < 3; out++) {
            for (unsigned n = 0, i = 0; n < COUNT; n++, i = (i + steps[in]) % COUNT) {
                regions[i] = add(i * 2 * PAGE, PAGE);
            }
            for (unsigned i = 0; i < COUNT; i++) {
                expect_at(i * 2 * PAGE + 7, regions[i]);
                expect_at(i * 2 * PAGE + PAGE, NULL);
            }
            for (unsigned n = 0, i = 0; n < COUNT; n++, i = (i + steps[out]) % COUNT) {
                expect_at(i * 2 * PAGE, regions[i]);
                index_drop(&index_, regions[i]);
                expect_at(i * 2 * PAGE, NULL);
            }
            assert_int_equal(dma_index_count(&index_), 0);
            assert_int_equal(index_.leaves, 0);
        }
    }
}

/* Else what is measured of the one is that of the other. */
static void test_short_cut_finds_nearly_all(void **state)
{
    enum { COUNT = 50000 };
    unsigned found = 0;
    uint32_t slot;

    for (unsigned i = 0; i < COUNT; i++) {
        add(i * 3 * PAGE, 2 * PAGE);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        found += dma_blocks_find(&index_.blocks, &index_.slab, i * 3 * PAGE + PAGE, &slot);
        assert_false(dma_blocks_find(&index_.blocks, &index_.slab, (i * 3 + 2) * PAGE, &slot));
    }
    assert_true(found > COUNT / 100 * 98);
}

/* Whatever a client removes, few regions take little memory. */
static void test_gives_room_back(void **state)
{
    enum { COUNT = 20000 };
    static struct dma_region *regions[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        regions[i] = add(i * PAGE, PAGE);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        if (i % 100 != 0) {
            index_drop(&index_, regions[i]);
        }
    }
    assert_true(index_.leaves <= 4);
    for (unsigned i = 0; i < COUNT; i += 100) {
        expect_at(i * PAGE, regions[i]);
    }
}

/* A queue must not make the index grow without end. */
static void test_first_in_first_out_stays_small(void **state)
{
    enum { COUNT = 20000, LENGTH = 10 };
    static struct dma_region *regions[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        regions[i] = add(i * PAGE, PAGE);
        if (i >= LENGTH) {
            index_drop(&index_, regions[i - LENGTH]);
        }
    }
    assert_true(index_.leaves <= 2);
    assert_int_equal(index_.slab.chunks[1].size, 0);
    assert_null(index_.blocks.table);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_empty_finds_nothing),
        TEST(test_finds_the_lowest_that_intersects),
        TEST(test_region_up_to_the_last_address),
        TEST(test_handle_of_a_region_that_is_gone),
        TEST(test_agrees_with_a_plain_list),
        TEST(test_many_regions),
        TEST(test_short_cut_finds_nearly_all),
        TEST(test_gives_room_back),
        TEST(test_first_in_first_out_stays_small),
    };

    return cmocka_run_group_tests_name("device_dma_index", tests, NULL, NULL);
}
