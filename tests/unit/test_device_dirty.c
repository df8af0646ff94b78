/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of dirty pages: api.md sections 4.6.2 and 4.11. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)
#define FILE_IO VFIO_USER_F_DMA_REGION_FILE_IO
#define MIB (1u << 20)
#define GET_BITMAP VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return 0;
}

static bool marks_while_removing;

static void mark(vfu_ctx_t *ctx, uint64_t address, uint64_t length);

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if (marks_while_removing) {
        mark(ctx, (uintptr_t)info->iova.iov_base + PAGE, 1);
    }
}

static int setup_without_dma(void **state)
{
    const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, transition, data, data };
    struct device *device;

    marks_while_removing = false;
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
    device_attach(device);
    return 0;
}

static int setup(void **state)
{
    setup_without_dma(state);
    return vfu_setup_device_dma(((struct device *)*state)->ctx, 100, NULL, on_removed);
}

/* --- the client's side --- */

static int map(struct device *device, uint32_t flags, uint64_t address, uint64_t size, int fd)
{
    const struct vfio_user_dma_map request = {
        .argsz = 32,
        .flags = flags,
        .addr = address,
        .size = size,
    };

    return device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), &fd, fd >= 0);
}

/* A region with memory of its own. */
static void map_memory(struct device *device, uint64_t address, uint64_t size)
{
    int fd = device_memory(size);

    assert_int_equal(map(device, RW, address, size, fd), 0);
    close(fd);
}

static int unmap(struct device *device, uint64_t address, uint64_t size)
{
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = address, .size = size };

    return device_request(device, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0);
}

static int feature(struct device *device, uint32_t flags, const void *data_, size_t size)
{
    uint8_t payload[256];
    const struct vfio_user_device_feature head = { .argsz = MIB + 64, .flags = flags };

    memcpy(payload, &head, sizeof(head));
    if (size > 0) {
        memcpy(payload + sizeof(head), data_, size);
    }
    return device_request(device, VFIO_USER_DEVICE_FEATURE, payload, sizeof(head) + size, NULL, 0);
}

static int start(struct device *device, uint64_t page_size)
{
    const struct vfio_user_device_feature_dma_logging_control control = { .page_size = page_size };

    return feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET,
                   &control, sizeof(control));
}

static int stop(struct device *device)
{
    return feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | VFIO_DEVICE_FEATURE_SET, NULL, 0);
}

static const uint8_t *reported; /* the bitmap of the last report */

static size_t bitmap_bytes(uint64_t length, uint64_t page_size)
{
    return (size_t)(((length - 1) / page_size / 64 + 1) * 8);
}

static int report(struct device *device, uint64_t address, uint64_t length, uint64_t page_size)
{
    const struct vfio_user_device_feature_dma_logging_report request = {
        .iova = address,
        .length = length,
        .page_size = page_size,
    };
    int err = feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET,
                      &request, sizeof(request));

    if (err == 0) {
        /* api.md 4.11: header with the total, the request, the bitmap. */
        size_t total = 32 + bitmap_bytes(length, page_size);

        assert_int_equal(device_answer.size, total);
        assert_int_equal(*(uint32_t *)device_answer.payload, total);
        assert_memory_equal(device_answer.payload + 8, &request, sizeof(request));
        reported = device_answer.payload + 32;
    }
    return err;
}

static bool bit(const uint8_t *bitmap, uint64_t number)
{
    return bitmap[number / 8] >> (number % 8) & 1;
}

/* The report has exactly these bits. */
static void expect_bits(uint64_t pages, size_t count, const uint64_t *numbers)
{
    for (uint64_t i = 0; i < (pages + 63) / 64 * 64; i++) {
        bool expected = false;

        for (size_t j = 0; j < count; j++) {
            expected |= numbers[j] == i;
        }
        if (bit(reported, i) != expected) {
            fail_msg("page %lu of %lu: %d", (unsigned long)i, (unsigned long)pages, !expected);
        }
    }
}

#define EXPECT_BITS(pages, ...)                                                                    \
    do {                                                                                           \
        const uint64_t numbers_[] = { __VA_ARGS__ };                                               \
        expect_bits((pages), sizeof(numbers_) / sizeof(numbers_[0]), numbers_);                    \
    } while (0)

#define EXPECT_NO_BITS(pages) expect_bits((pages), 0, NULL)

/* --- the device's side --- */

static union {
    char bytes[8 * 40];
    uint64_t aligned;
} sgl;

static dma_sg_t *translate(vfu_ctx_t *ctx, uint64_t address, uint64_t length, int prot)
{
    dma_sg_t *sg = (dma_sg_t *)sgl.bytes;

    assert_true(vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, length, sg, 8, prot) > 0);
    return sg;
}

static void mark(vfu_ctx_t *ctx, uint64_t address, uint64_t length)
{
    vfu_sgl_mark_dirty(ctx, translate(ctx, address, length, PROT_WRITE), 1);
}

/* --- start and stop --- */

/* api.md 4.11, 7.2 W9, W10. */
static void test_start_bad_page_sizes_are_einval(void **state)
{
    const uint64_t bad[] = { 0, 1, 2048, 4095, 4097, 12288, UINT64_MAX };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(start(*state, bad[i]), EINVAL);
    }
    assert_int_equal(start(*state, 1ull << 63), 0);
    assert_int_equal(stop(*state), 0);
    assert_int_equal(start(*state, PAGE), 0);
}

static void test_start_without_dma_is_einval(void **state)
{
    assert_int_equal(start(*state, PAGE), EINVAL);
    assert_int_equal(stop(*state), 0);
    assert_int_equal(report(*state, 0, PAGE, PAGE), EINVAL);
}

/* api.md 4.11: again with the same size is a success, with another EINVAL. */
static void test_start_again(void **state)
{
    assert_int_equal(start(*state, PAGE), 0);
    assert_int_equal(start(*state, PAGE), 0);
    assert_int_equal(start(*state, 2 * PAGE), EINVAL);
    assert_int_equal(stop(*state), 0);
    assert_int_equal(stop(*state), 0);
    assert_int_equal(start(*state, 2 * PAGE), 0);
}

/* api.md 4.11: a region smaller than the page is EINVAL, and logging stays off. */
static void test_start_with_a_small_region_is_einval(void **state)
{
    map_memory(*state, 0x100000, 4 * PAGE);
    assert_int_equal(map(*state, RW, 0, 16, -1), 0); /* without memory it does not matter */
    assert_int_equal(start(*state, 8 * PAGE), EINVAL);
    assert_int_equal(report(*state, 0x100000, 4 * PAGE, PAGE), EINVAL);
    assert_int_equal(start(*state, 4 * PAGE), 0);
}

/* api.md 4.6.1: while it is on, such a region cannot be added. */
static void test_map_smaller_than_a_logged_page_is_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);
    size_t before = device_count_descriptors();

    assert_int_equal(start(device, 4 * PAGE), 0);
    assert_int_equal(map(device, RW, 0, 2 * PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW | FILE_IO, 0, 2 * PAGE, fd), EINVAL);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(map(device, RW, 0, 2 * PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0x100000, 4 * PAGE, fd), 0);
    close(fd);
}

/* The ranges of the request are not looked at, but they have to be there. */
static void test_start_with_ranges(void **state)
{
    uint64_t control[2 + 2 * 3] = { PAGE, 3, 1, 2, 3, 4, 5, 6 };
    const uint32_t set = VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET;

    assert_int_equal(feature(*state, set, control, sizeof(control) - 1), EINVAL);
    assert_int_equal(feature(*state, set, control, sizeof(control)), 0);
    assert_memory_equal(device_answer.payload + 8, control, sizeof(control));
    control[1] = 0xffffffff;
    assert_int_equal(feature(*state, set, control, sizeof(control)), EINVAL);
}

/* What was marked without a log, or in an earlier one, is not reported. */
static void test_start_is_clean(void **state)
{
    struct device *device = *state;

    map_memory(device, 0, 128 * PAGE);
    mark(device->ctx, PAGE, 1);
    assert_int_equal(start(device, PAGE), 0);
    assert_int_equal(report(device, 0, 128 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(128);
    mark(device->ctx, 0, 128 * PAGE);
    assert_int_equal(stop(device), 0);
    assert_int_equal(report(device, 0, 128 * PAGE, PAGE), EINVAL);
    mark(device->ctx, 0, 128 * PAGE);
    for (uint64_t page = 2 * PAGE; page >= PAGE; page /= 2) {
        assert_int_equal(start(device, page), 0);
        assert_int_equal(report(device, 0, 128 * PAGE, page), 0);
        EXPECT_NO_BITS(128 * PAGE / page);
        mark(device->ctx, 127 * PAGE, 1);
        assert_int_equal(report(device, 0, 128 * PAGE, page), 0);
        EXPECT_BITS(128 * PAGE / page, 127 * PAGE / page);
        mark(device->ctx, 0, 128 * PAGE);
        assert_int_equal(stop(device), 0);
    }
}

/* A client that starts and stops over and over takes no more memory. */
static void test_start_and_stop_keep_within_bounds(void **state)
{
    struct device *device = *state;

    map_memory(device, 0, 1024 * PAGE);
    for (int round = 0; round < 100; round++) {
        assert_int_equal(start(device, round % 2 == 0 ? 64 * PAGE : PAGE), 0);
        assert_int_equal(stop(device), 0);
    }
    assert_true(device->ctx->session.dma.log_bytes <= 2 * 1024 / 8 + 256);
    assert_int_equal(unmap(device, 0, 1024 * PAGE), 0);
    assert_int_equal(device->ctx->session.dma.log_bytes, 0);
}

/* api.md 7.2 W19: bounded, whatever the regions. */
static void test_start_with_too_much_memory_is_enomem(void **state)
{
    struct device *device = *state;
    int fd = memfd_create("large", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8ll << 40), 0);
    /* Accessed as files, regions do not even take addresses. */
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(map(device, RW | FILE_IO, i << 43, 8ull << 40, fd), 0);
    }
    assert_int_equal(start(device, PAGE), ENOMEM);
    assert_int_equal(start(device, 64 * PAGE), 0);
    close(fd);
}

/* The same while it is on; the region is not added then. */
static void test_map_of_too_much_memory_is_enomem(void **state)
{
    struct device *device = *state;
    int fd = memfd_create("large", MFD_CLOEXEC);
    size_t before;

    assert_true(fd >= 0);
    before = device_count_descriptors();
    assert_int_equal(ftruncate(fd, 8ll << 40), 0);
    assert_int_equal(start(device, PAGE), 0);
    assert_int_equal(map(device, RW | FILE_IO, 0, 8ull << 40, fd), ENOMEM);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(unmap(device, 0, 8ull << 40), ENOENT);
    assert_int_equal(device->ctx->session.dma.log_bytes, 0);
    assert_int_equal(map(device, RW | FILE_IO, 0, 1ull << 30, fd), 0);
    close(fd);
}

/* --- marking --- */

/* api.md 4.11: put, mark_dirty and direct writes; of entries for writing only. */
static void test_marked_by(void **state)
{
    struct device *device = *state;
    vfu_ctx_t *ctx = device->ctx;
    char bytes[2 * PAGE];
    dma_sg_t *sg;

    memset(bytes, 1, sizeof(bytes));
    map_memory(device, 0x10000, 16 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    vfu_sgl_put(ctx, translate(ctx, 0x10000 + PAGE - 1, 2, PROT_WRITE), NULL, 1);
    vfu_sgl_mark_dirty(ctx, translate(ctx, 0x10000 + 4 * PAGE, PAGE, PROT_WRITE), 1);
    sg = translate(ctx, 0x10000 + 8 * PAGE + 1, 2 * PAGE, PROT_WRITE);
    assert_int_equal(vfu_sgl_write(ctx, sg, 1, bytes, VFU_SGL_DIRECT_ACCESS), 0);
    /* These do not. */
    assert_int_equal(vfu_sgl_read(ctx, translate(ctx, 0x10000 + 12 * PAGE, PAGE, PROT_WRITE), 1,
                                  bytes, VFU_SGL_DIRECT_ACCESS),
                     0);
    vfu_sgl_put(ctx, translate(ctx, 0x10000 + 13 * PAGE, PAGE, PROT_READ), NULL, 1);
    vfu_sgl_mark_dirty(ctx, translate(ctx, 0x10000 + 14 * PAGE, PAGE, PROT_READ), 1);
    vfu_sgl_mark_dirty(ctx, translate(ctx, 0x10000 + 14 * PAGE, PAGE, PROT_WRITE), 0);
    assert_int_equal(report(device, 0x10000, 16 * PAGE, PAGE), 0);
    EXPECT_BITS(16, 0, 1, 4, 8, 9, 10);
    /* api.md 4.11: what was reported is clear. */
    assert_int_equal(report(device, 0x10000, 16 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(16);
}

/* api.md 2.7 [C]: twice is harmless, and marks again. */
static void test_marked_again(void **state)
{
    struct device *device = *state;
    dma_sg_t *sg;

    map_memory(device, 0, PAGE);
    assert_int_equal(start(device, PAGE), 0);
    sg = translate(device->ctx, 0, 1, PROT_WRITE);
    for (int i = 0; i < 2; i++) {
        vfu_sgl_put(device->ctx, sg, NULL, 1);
        vfu_sgl_put(device->ctx, sg, NULL, 1);
        assert_int_equal(report(device, 0, PAGE, PAGE), 0);
        EXPECT_BITS(1, 0);
    }
}

/* api.md 7.2 W20: of several regions, among them one without memory here. */
static void test_marked_over_several_regions(void **state)
{
    struct device *device = *state;
    int fd = device_memory(2 * PAGE);

    map_memory(device, 0, 2 * PAGE);
    assert_int_equal(map(device, RW, 2 * PAGE, PAGE, -1), 0);
    assert_int_equal(map(device, RW | FILE_IO, 3 * PAGE, 2 * PAGE, fd), 0);
    assert_int_equal(start(device, PAGE), 0);
    vfu_sgl_mark_dirty(device->ctx, translate(device->ctx, PAGE, 2 * PAGE + 1, PROT_WRITE), 3);
    assert_int_equal(report(device, 0, 5 * PAGE, PAGE), 0);
    EXPECT_BITS(5, 1, 3);
    close(fd);
}

/* api.md 4.11: relative to the region, whatever its alignment; new ones are logged at once. */
static void test_marked_in_a_new_region(void **state)
{
    struct device *device = *state;

    assert_int_equal(start(device, PAGE), 0);
    map_memory(device, 0x10800, 3 * PAGE);
    mark(device->ctx, 0x10800 + PAGE, 1);
    assert_int_equal(report(device, 0x10800, 3 * PAGE, PAGE), 0);
    EXPECT_BITS(3, 1);
    /* And not those of one that was there before. */
    mark(device->ctx, 0x10800, 1);
    assert_int_equal(unmap(device, 0x10800, 3 * PAGE), 0);
    map_memory(device, 0x10800, 3 * PAGE);
    assert_int_equal(report(device, 0x10800, 3 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(3);
}

/* --- reports --- */

/* api.md 4.11. */
static void test_report_errors(void **state)
{
    struct device *device = *state;
    struct {
        struct vfio_user_device_feature head;
        struct vfio_user_device_feature_dma_logging_report report;
    } request = {
        .head = { 39, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET },
        .report = { 0, 4 * PAGE, PAGE },
    };

    assert_int_equal(report(device, 0, PAGE, PAGE), ENOENT);
    map_memory(device, 0, 4 * PAGE);
    assert_int_equal(map(device, RW, 0x100000, 4 * PAGE, -1), 0);
    assert_int_equal(report(device, 0, 4 * PAGE, PAGE), EINVAL); /* it is off */
    assert_int_equal(start(device, PAGE), 0);
    assert_int_equal(report(device, 0, 4 * PAGE, 0), EINVAL);
    assert_int_equal(report(device, 0, PAGE - 1, PAGE), EINVAL);
    assert_int_equal(report(device, 0, 0, PAGE), EINVAL);
    assert_int_equal(report(device, 0, 4 * PAGE, 3 * PAGE), EINVAL);
    assert_int_equal(report(device, UINT64_MAX - PAGE + 1, 2 * PAGE, PAGE), EINVAL);
    assert_int_equal(report(device, 0x200000, PAGE, PAGE), ENOENT);
    assert_int_equal(report(device, UINT64_MAX - PAGE + 1, PAGE, PAGE), ENOENT);
    /* A region without memory here: the client knows itself. */
    assert_int_equal(report(device, 0x100000, 4 * PAGE, PAGE), EINVAL);
    /* argsz has to hold all of it. */
    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_FEATURE, &request, sizeof(request), NULL, 0),
        EINVAL);
    request.head.argsz = 40;
    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_FEATURE, &request, sizeof(request), NULL, 0), 0);
}

/* api.md 7.2 W19: no more than fits into a message. */
static void test_report_too_large_is_einval(void **state)
{
    struct device *device = *state;

    map_memory(device, 0, 4 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, PAGE, 1);
    assert_int_equal(report(device, 0, 32ull << 30, PAGE), 0);
    assert_int_equal(device_answer.size, 32 + MIB);
    assert_int_equal(reported[0], 2);
    assert_int_equal(report(device, 0, (32ull << 30) + 1, PAGE), EINVAL);
    assert_int_equal(report(device, 0, 1ull << 63, 1), EINVAL);
    assert_int_equal(report(device, 0, UINT64_MAX, 1ull << 43), 0);
}

/* api.md 7.3 W27: shorter than the region: nothing beyond is told, or forgotten. */
static void test_report_of_a_part(void **state)
{
    struct device *device = *state;

    map_memory(device, 0, 256 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, 10 * PAGE, 100 * PAGE);
    assert_int_equal(report(device, 0, 12 * PAGE, PAGE), 0);
    EXPECT_BITS(12, 10, 11);
    /* From anywhere. */
    assert_int_equal(report(device, 107 * PAGE, 100 * PAGE, PAGE), 0);
    EXPECT_BITS(100, 0, 1, 2);
    assert_int_equal(report(device, 0, 16 * PAGE, PAGE), 0);
    EXPECT_BITS(16, 12, 13, 14, 15);
    assert_int_equal(report(device, 100 * PAGE, 20 * PAGE, PAGE), 0);
    EXPECT_BITS(20, 0, 1, 2, 3, 4, 5, 6);
    assert_int_equal(report(device, 0, 256 * PAGE, PAGE), 0);
    for (uint64_t i = 0; i < 256; i++) {
        assert_int_equal(bit(reported, i), i >= 16 && i < 100);
    }
}

/* A page that is reported in part is dirty, and stays so for the other part. */
static void test_report_of_a_part_of_a_page(void **state)
{
    struct device *device = *state;

    map_memory(device, 0, 4 * 4 * PAGE);
    assert_int_equal(start(device, 4 * PAGE), 0);
    mark(device->ctx, 4 * PAGE, 1);
    assert_int_equal(report(device, 0, 5 * PAGE, PAGE), 0);
    EXPECT_BITS(5, 4);
    assert_int_equal(report(device, 7 * PAGE, 5 * PAGE, PAGE), 0);
    EXPECT_BITS(5, 0);
    assert_int_equal(report(device, 5 * PAGE, 2 * PAGE, PAGE), 0);
    EXPECT_BITS(2, 0, 1);
    assert_int_equal(report(device, 4 * PAGE, 4 * PAGE, PAGE), 0);
    EXPECT_BITS(4, 0, 1, 2, 3);
    assert_int_equal(report(device, 0, 16 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(16);
    /* Less than its first page. */
    mark(device->ctx, 0, 1);
    assert_int_equal(report(device, 0, PAGE, PAGE), 0);
    EXPECT_BITS(1, 0);
    assert_int_equal(report(device, 0, 4 * PAGE, PAGE), 0);
    EXPECT_BITS(4, 0, 1, 2, 3);
}

/* A region's last page ends where it ends, also if that is the last address. */
static void test_report_up_to_the_last_address(void **state)
{
    struct device *device = *state;
    const uint64_t base = UINT64_MAX - 7 * PAGE + 1;

    map_memory(device, base, 7 * PAGE);
    assert_int_equal(start(device, 4 * PAGE), 0);
    mark(device->ctx, UINT64_MAX - 1, 1);
    assert_int_equal(report(device, base, 7 * PAGE, PAGE), 0);
    EXPECT_BITS(7, 4, 5, 6);
    assert_int_equal(report(device, base, 7 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(7);
}

/* An entry that was changed to nothing, which is no page. */
static void test_nothing_is_marked_by_no_bytes(void **state)
{
    struct device *device = *state;
    uint64_t *entry;

    map_memory(device, 0, 2 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    entry = (uint64_t *)translate(device->ctx, 0, PAGE, PROT_WRITE);
    entry[2] = 0;
    vfu_sgl_put(device->ctx, (dma_sg_t *)entry, NULL, 1);
    assert_int_equal(report(device, 0, 2 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(2);
}

/* api.md 7.3 W27: over several regions, with nothing in between. */
static void test_report_over_several_regions(void **state)
{
    struct device *device = *state;

    map_memory(device, 0x10000, 4 * PAGE);
    map_memory(device, 0x14000, 4 * PAGE);
    map_memory(device, 0x20000, 4 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, 0x13000, 1);
    mark(device->ctx, 0x14000, 1);
    mark(device->ctx, 0x17000, 1);
    mark(device->ctx, 0x21000, 1);
    assert_int_equal(report(device, 0, 64 * PAGE, PAGE), 0);
    EXPECT_BITS(64, 0x13, 0x14, 0x17, 0x21);
    assert_int_equal(report(device, 0, 64 * PAGE, PAGE), 0);
    EXPECT_NO_BITS(64);
    mark(device->ctx, 0x13000, 1);
    mark(device->ctx, 0x23000, 1);
    assert_int_equal(report(device, 0x8000, 32 * PAGE, 4 * PAGE), 0);
    EXPECT_BITS(8, 2, 6);
}

/* Regions that are not aligned to the pages of the question. */
static void test_report_of_unaligned_regions(void **state)
{
    struct device *device = *state;

    map_memory(device, 0x10800, 4 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, 0x10800, 1);
    assert_int_equal(report(device, 0x10000, 8 * PAGE, PAGE), 0);
    EXPECT_BITS(8, 0, 1);
    mark(device->ctx, 0x14700, 1); /* its last page: 0x13800 to 0x147ff */
    assert_int_equal(report(device, 0x10000, 8 * PAGE, PAGE), 0);
    EXPECT_BITS(8, 3, 4);
}

/*
 * api.md 4.11, 7.2 W10: pages of other sizes than logged, beyond 256 of them; against a plain model
 * of bytes, with the same random marks.
 */
static void test_report_converts_page_sizes(void **state)
{
    enum {
        PAGES = 3000,
    };
    struct device *device = *state;
    static bool dirty[PAGES]; /* logged pages */
    unsigned seed = 7;

    map_memory(device, 1 << 30, PAGES * PAGE - 100);
    for (uint64_t logged = PAGE; logged <= 16 * PAGE; logged *= 4) {
        for (uint64_t asked = 512; asked <= 256 * PAGE; asked *= 8) {
            uint64_t count = (PAGES * PAGE - 100 + asked - 1) / asked;

            assert_int_equal(start(device, logged), 0);
            memset(dirty, 0, sizeof(dirty));
            for (int i = 0; i < 40; i++) {
                uint64_t offset = (uint64_t)rand_r(&seed) % (PAGES * PAGE - 100);

                mark(device->ctx, (1 << 30) + offset, 1);
                dirty[offset / logged] = true;
            }
            assert_int_equal(report(device, 1 << 30, PAGES * PAGE - 100, asked), 0);
            for (uint64_t i = 0; i < (count + 63) / 64 * 64; i++) {
                bool expected = false;

                for (uint64_t at = i * asked; i < count && at < (i + 1) * asked; at += 512) {
                    expected |= at < PAGES * PAGE - 100 && dirty[at / logged];
                }
                assert_int_equal(bit(reported, i), expected);
            }
            assert_int_equal(report(device, 1 << 30, PAGES * PAGE - 100, asked), 0);
            EXPECT_NO_BITS(count);
            assert_int_equal(stop(device), 0);
        }
    }
}

/* --- unmapping with a bitmap --- */

static int unmap_dirty(struct device *device, uint32_t argsz, uint64_t address, uint64_t size,
                       uint64_t page_size, uint64_t bitmap_size, size_t sent)
{
    struct {
        struct vfio_user_dma_unmap unmap;
        struct vfio_user_bitmap bitmap;
    } request = {
        .unmap = { .argsz = argsz, .flags = GET_BITMAP, .addr = address, .size = size },
        .bitmap = { .pgsize = page_size, .size = bitmap_size },
    };
    int err = device_request(device, VFIO_USER_DMA_UNMAP, &request, sent, NULL, 0);

    if (err == 0) {
        assert_int_equal(device_answer.size, 40 + bitmap_size);
        assert_memory_equal(device_answer.payload, &request, 40);
        reported = device_answer.payload + 40;
    }
    return err;
}

/*
 * Compares reports of random parts with a plain table of pages. Two regions with a gap between
 * them, and logs that begin in the midst of a word of most reports, and before or after its first.
 */
static void test_report_agrees_with_a_plain_table(void **state)
{
    enum { PAGES = 600, GAP_FROM = 301, GAP_TO = 340 };
    struct device *device = *state;
    bool dirty[PAGES] = { false };
    unsigned seed = 1;

    map_memory(device, 0, GAP_FROM * PAGE);
    map_memory(device, GAP_TO * PAGE, (PAGES - GAP_TO) * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    for (int round = 0; round < 2000; round++) {
        uint64_t first = (unsigned)rand_r(&seed) % PAGES;
        uint64_t count = (unsigned)rand_r(&seed) % (PAGES - first) + 1;

        for (int i = 0; i < 20; i++) {
            unsigned page = (unsigned)rand_r(&seed) % PAGES;

            if (page < GAP_FROM || page >= GAP_TO) {
                mark(device->ctx, page * PAGE + 7, 1);
                dirty[page] = true;
            }
        }
        if (first >= GAP_FROM && first + count <= GAP_TO) {
            assert_int_equal(report(device, first * PAGE, count * PAGE, PAGE), ENOENT);
            continue;
        }
        assert_int_equal(report(device, first * PAGE, count * PAGE, PAGE), 0);
        for (uint64_t i = 0; i < count; i++) {
            assert_int_equal(bit(reported, i), dirty[first + i]);
            dirty[first + i] = false;
        }
        for (uint64_t i = count; i % 64 != 0; i++) {
            assert_false(bit(reported, i));
        }
    }
}

/* api.md 4.6.2: the request, the bitmap's header and the bitmap. */
static void test_unmap_with_bitmap(void **state)
{
    struct device *device = *state;

    map_memory(device, 0x100000, 128 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, 0x100000 + 70 * PAGE, 1);
    assert_int_equal(unmap_dirty(device, 56, 0x100000, 128 * PAGE, PAGE, 16, 40), 0);
    EXPECT_BITS(128, 70);
    assert_int_equal(report(device, 0x100000, PAGE, PAGE), ENOENT);
}

/* What the device marks when it is told is not lost. */
static void test_unmap_with_bitmap_reports_the_last_marks(void **state)
{
    struct device *device = *state;

    map_memory(device, 0x100000, 64 * PAGE);
    assert_int_equal(start(device, PAGE), 0);
    mark(device->ctx, 0x100000, 1);
    marks_while_removing = true;
    assert_int_equal(unmap_dirty(device, 48, 0x100000, 64 * PAGE, PAGE, 8, 40), 0);
    EXPECT_BITS(64, 0, 1);
}

/* api.md 4.6.2: the region stays mapped. */
static void test_unmap_with_bitmap_errors(void **state)
{
    struct device *device = *state;
    const uint64_t at = 0x100000, size = 64 * PAGE;

    map_memory(device, at, size);
    assert_int_equal(map(device, RW, 0, size, -1), 0);
    assert_int_equal(unmap_dirty(device, 48, at, size, PAGE, 8, 40), EINVAL); /* it is off */
    assert_int_equal(start(device, PAGE), 0);
    assert_int_equal(unmap_dirty(device, 48, at, size, PAGE, 8, 39), EINVAL);
    assert_int_equal(unmap_dirty(device, 48, at, size, PAGE, 8, 24), EINVAL);
    assert_int_equal(unmap_dirty(device, 47, at, size, PAGE, 8, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, MIB + 1, at, size, PAGE, 8, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, MIB, at, size, PAGE, 16, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, MIB, at, size, PAGE, 0, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, MIB, at, size, PAGE, UINT64_MAX - 20, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, 48, at, size, 0, 8, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, 48, at, size, 3 * PAGE, 8, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, 48, at, size, 128 * PAGE, 8, 40), EINVAL);
    assert_int_equal(unmap_dirty(device, 48, at, size - PAGE, PAGE, 8, 40), ENOENT);
    assert_int_equal(unmap_dirty(device, 48, at + PAGE, size, PAGE, 8, 40), ENOENT);
    assert_int_equal(unmap_dirty(device, 48, 0, size, PAGE, 8, 40), EINVAL); /* no memory here */
    assert_int_equal(report(device, at, size, PAGE), 0);
    assert_int_equal(unmap(device, 0, size), 0);
    assert_int_equal(unmap_dirty(device, MIB, at, size, PAGE, 8, 40), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_bad_page_sizes_are_einval),
        cmocka_unit_test_setup_teardown(test_start_without_dma_is_einval, setup_without_dma,
                                        device_teardown),
        TEST(test_start_again),
        TEST(test_start_with_a_small_region_is_einval),
        TEST(test_map_smaller_than_a_logged_page_is_einval),
        TEST(test_start_with_ranges),
        TEST(test_start_is_clean),
        TEST(test_start_and_stop_keep_within_bounds),
        TEST(test_start_with_too_much_memory_is_enomem),
        TEST(test_map_of_too_much_memory_is_enomem),
        TEST(test_marked_by),
        TEST(test_marked_again),
        TEST(test_marked_over_several_regions),
        TEST(test_marked_in_a_new_region),
        TEST(test_report_errors),
        TEST(test_report_too_large_is_einval),
        TEST(test_report_of_a_part),
        TEST(test_report_of_a_part_of_a_page),
        TEST(test_report_up_to_the_last_address),
        TEST(test_nothing_is_marked_by_no_bytes),
        TEST(test_report_over_several_regions),
        TEST(test_report_of_unaligned_regions),
        TEST(test_report_converts_page_sizes),
        TEST(test_report_agrees_with_a_plain_table),
        TEST(test_unmap_with_bitmap),
        TEST(test_unmap_with_bitmap_reports_the_last_marks),
        TEST(test_unmap_with_bitmap_errors),
    };

    return cmocka_run_group_tests_name("device_dirty", tests, NULL, NULL);
}
