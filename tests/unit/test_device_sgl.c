/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory as programs use it: api.md sections 1.4, 2.7 and 4.6.3. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define READ VFIO_USER_F_DMA_REGION_READ
#define WRITE VFIO_USER_F_DMA_REGION_WRITE
#define RW (READ | WRITE)
#define FILE_IO VFIO_USER_F_DMA_REGION_FILE_IO
#define MAX 8

/* What programs that use the API through ctypes take an entry for. */
struct mirror {
    void *dma_addr;
    void *region;
    uint64_t length;
    uint64_t offset;
    bool writeable;
};

static union {
    struct mirror entries[MAX];
    char bytes[MAX * sizeof(struct mirror)];
} sgl;

static dma_sg_t *sg(size_t index)
{
    return (dma_sg_t *)&sgl.entries[index];
}

/* api.md 3.3: what is added can be looked up already. */
static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    uint64_t entry[5];

    assert_int_equal(vfu_addr_to_sgl(ctx, info->iova.iov_base, info->iova.iov_len,
                                     (dma_sg_t *)entry, 1, PROT_READ),
                     1);
    assert_int_equal(entry[0], (uintptr_t)info->iova.iov_base);
    assert_int_equal(entry[2], info->iova.iov_len);
}

static void (*while_removing)(vfu_ctx_t *ctx, vfu_dma_info_t *info);

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if (while_removing != NULL) {
        while_removing(ctx, info);
    }
}

static int setup_dma(void **state)
{
    struct device *device;

    while_removing = NULL;
    memset(&sgl, 0xa5, sizeof(sgl));
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_dma(device->ctx, 100, on_added, on_removed), 0);
    device_attach(device);
    return 0;
}

static void map_at(struct device *device, uint32_t flags, uint64_t address, uint64_t size, int fd,
                   uint64_t offset)
{
    const struct vfio_user_dma_map request = {
        .argsz = 32,
        .flags = flags,
        .addr = address,
        .size = size,
        .offset = offset,
    };

    assert_int_equal(
        device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), &fd, fd >= 0), 0);
}

/* Memory without a descriptor. */
static void map(struct device *device, uint32_t flags, uint64_t address, uint64_t size)
{
    map_at(device, flags, address, size, -1, 0);
}

static int unmap(struct device *device, uint64_t address, uint64_t size)
{
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = address, .size = size };

    return device_request(device, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0);
}

static int translate(struct device *device, uint64_t address, size_t length, size_t max, int prot)
{
    errno = 77;
    return vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)(uintptr_t)address, length, sg(0), max,
                           prot);
}

#define ASSERT_FAILS(call, error)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        assert_int_equal((call), -1);                                                              \
        assert_int_equal(errno, (error));                                                          \
    } while (0)

/* --- vfu_addr_to_sgl --- */

/* api.md 1.4: 40 bytes, of this layout. */
static void test_entry_layout(void **state)
{
    assert_int_equal(dma_sg_size(), 40);
    map(*state, RW, 0x10000, 2 * PAGE);
    assert_int_equal(translate(*state, 0x10100, 0x200, 1, PROT_WRITE), 1);
    assert_int_equal((uintptr_t)sgl.entries[0].dma_addr, 0x10000);
    assert_int_not_equal((uint32_t)(uintptr_t)sgl.entries[0].region, 0);
    assert_int_equal(sgl.entries[0].length, 0x200);
    assert_int_equal(sgl.entries[0].offset, 0x100);
    assert_true(sgl.entries[0].writeable);
    /* The next entry is as it was. */
    assert_int_equal((uint8_t)sgl.bytes[40], 0xa5);
    assert_int_equal(translate(*state, 0x10100, 0x200, 1, PROT_READ), 1);
    assert_false(sgl.entries[0].writeable);
}

/* api.md 2.7: 0 for no bytes, at any address. */
static void test_translate_nothing_is_0(void **state)
{
    assert_int_equal(translate(*state, 0, 0, 1, PROT_READ), 0);
    assert_int_equal(translate(*state, UINT64_MAX, 0, 0, PROT_WRITE), 0);
}

/* api.md 2.7: one entry per region, in order, that cover the range exactly. */
static void test_translate_several_regions(void **state)
{
    map(*state, RW, 0x12000, PAGE);
    map(*state, RW, 0x10000, PAGE + 0x10); /* no alignment needed */
    map(*state, RW, 0x11010, PAGE - 0x10);
    assert_int_equal(translate(*state, 0x10ff0, 0x1100, MAX, PROT_READ | PROT_WRITE), 3);
    assert_int_equal((uintptr_t)sgl.entries[0].dma_addr, 0x10000);
    assert_int_equal(sgl.entries[0].offset, 0xff0);
    assert_int_equal(sgl.entries[0].length, 0x20);
    assert_int_equal((uintptr_t)sgl.entries[1].dma_addr, 0x11010);
    assert_int_equal(sgl.entries[1].offset, 0);
    assert_int_equal(sgl.entries[1].length, PAGE - 0x10);
    assert_int_equal((uintptr_t)sgl.entries[2].dma_addr, 0x12000);
    assert_int_equal(sgl.entries[2].offset, 0);
    assert_int_equal(sgl.entries[2].length, 0xf0);
    assert_ptr_not_equal(sgl.entries[0].region, sgl.entries[1].region);
}

/* api.md 2.7, 7.6: -n - 1 and errno 0 if n entries are needed; what there is room for is filled in.
 */
static void test_translate_with_too_little_room(void **state)
{
    map(*state, RW, 0, PAGE);
    map(*state, RW, PAGE, PAGE);
    assert_int_equal(translate(*state, 0, PAGE, 0, PROT_READ), -2);
    assert_int_equal(errno, 0);
    assert_int_equal(translate(*state, 0, PAGE + 1, 0, PROT_READ), -3);
    assert_int_equal(errno, 0);
    assert_int_equal(translate(*state, 8, PAGE, 1, PROT_READ), -3);
    assert_int_equal(errno, 0);
    assert_int_equal(sgl.entries[0].length, PAGE - 8);
    assert_int_equal((uint8_t)sgl.bytes[40], 0xa5);
    assert_int_equal(vfu_addr_to_sgl(((struct device *)*state)->ctx, NULL, 8, NULL, 0, PROT_READ),
                     -2);
}

/* api.md 2.7: ENOENT for any byte that no region has. */
static void test_translate_what_is_not_there_is_enoent(void **state)
{
    ASSERT_FAILS(translate(*state, 0, 1, 1, PROT_READ), ENOENT);
    map(*state, RW, 2 * PAGE, PAGE);
    map(*state, RW, 4 * PAGE, PAGE);
    ASSERT_FAILS(translate(*state, 2 * PAGE - 1, 2, MAX, PROT_READ), ENOENT);
    ASSERT_FAILS(translate(*state, 2 * PAGE, PAGE + 1, MAX, PROT_READ), ENOENT);
    ASSERT_FAILS(translate(*state, 2 * PAGE, 3 * PAGE, MAX, PROT_READ), ENOENT);
    ASSERT_FAILS(translate(*state, 4 * PAGE, PAGE + 1, MAX, PROT_READ), ENOENT);
    ASSERT_FAILS(translate(*state, 4 * PAGE, PAGE + 1, 0, PROT_READ), ENOENT);
    assert_int_equal(translate(*state, 4 * PAGE, PAGE, MAX, PROT_READ), 1);
}

static void test_translate_up_to_the_last_address(void **state)
{
    map(*state, RW, UINT64_MAX - PAGE + 1, PAGE);
    assert_int_equal(translate(*state, UINT64_MAX - PAGE + 1, PAGE, MAX, PROT_READ), 1);
    assert_int_equal(sgl.entries[0].length, PAGE);
    assert_int_equal(translate(*state, UINT64_MAX, 1, MAX, PROT_READ), 1);
    map(*state, RW, 0, PAGE);
    ASSERT_FAILS(translate(*state, UINT64_MAX, 2, MAX, PROT_READ), ENOENT);
    ASSERT_FAILS(translate(*state, PAGE - 1, SIZE_MAX, MAX, PROT_READ), ENOENT);
}

/*
 * api.md 2.7: EACCES for writing where the client allows none, in the order of addresses, and only
 * for entries that are stored; reading is not looked at.
 */
static void test_translate_looks_at_writing_only(void **state)
{
    map(*state, RW, 0, PAGE);
    map(*state, READ, PAGE, PAGE);
    map(*state, WRITE, 2 * PAGE, PAGE);
    map(*state, 0, 3 * PAGE, PAGE);
    ASSERT_FAILS(translate(*state, 0, 2 * PAGE, MAX, PROT_WRITE), EACCES);
    ASSERT_FAILS(translate(*state, PAGE, 1, MAX, PROT_READ | PROT_WRITE), EACCES);
    ASSERT_FAILS(translate(*state, PAGE, 8 * PAGE, MAX, PROT_WRITE), EACCES);
    ASSERT_FAILS(translate(*state, 3 * PAGE, 1, MAX, PROT_WRITE), EACCES);
    assert_int_equal(translate(*state, 0, 2 * PAGE, 1, PROT_WRITE), -3);
    assert_int_equal(translate(*state, 0, 2 * PAGE, 0, PROT_WRITE), -3);
    assert_int_equal(translate(*state, 0, 4 * PAGE, MAX, PROT_READ), 4);
    assert_int_equal(translate(*state, 2 * PAGE, PAGE, MAX, PROT_WRITE), 1);
}

/* api.md 2.7, 7.4 W53: not a crash. */
static void test_translate_without_dma_is_einval(void **state)
{
    struct device *device = *state;

    ASSERT_FAILS(translate(*state, 0, 1, 1, PROT_READ), EINVAL);
    ASSERT_FAILS(translate(*state, 0, 0, 1, PROT_READ), EINVAL);
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, NULL, NULL), 0);
    ASSERT_FAILS(vfu_addr_to_sgl(device->ctx, 0, 1, NULL, 1, PROT_READ), EINVAL);
    ASSERT_FAILS(vfu_addr_to_sgl(device->ctx, 0, 1, NULL, 0, PROT_READ), ENOENT);
}

/* --- vfu_sgl_get, vfu_sgl_put, vfu_sg_is_mappable --- */

static void test_get_gives_the_memory(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);
    struct iovec iov[2];

    assert_int_equal(pwrite(fd, "end", 3, 2 * PAGE - 3), 3);
    assert_int_equal(pwrite(fd, "other", 5, 3 * PAGE), 5);
    map_at(device, RW, 0x10000, PAGE, fd, PAGE);
    map_at(device, RW, 0x11000, PAGE, fd, 3 * PAGE);
    assert_int_equal(translate(device, 0x11000 - 3, 8, 2, PROT_WRITE), 2);
    assert_true(vfu_sg_is_mappable(device->ctx, sg(0)));
    assert_int_equal(vfu_sgl_get(device->ctx, sg(0), iov, 2, 0), 0);
    assert_int_equal(iov[0].iov_len, 3);
    assert_memory_equal(iov[0].iov_base, "end", 3);
    assert_int_equal(iov[1].iov_len, 5);
    assert_memory_equal(iov[1].iov_base, "other", 5);
    memcpy(iov[1].iov_base, "OTHER", 5);
    vfu_sgl_put(device->ctx, sg(0), iov, 2);
    vfu_sgl_put(device->ctx, sg(0), iov, 2);
    close(fd);
}

/* api.md 2.7: EFAULT without a mapping; those before are filled in. */
static void test_get_what_is_not_mapped_is_efault(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    struct iovec iov[2] = { { NULL, 0 } };

    map_at(device, RW, 0, PAGE, fd, 0);
    map(device, RW, PAGE, PAGE);
    map_at(device, RW | FILE_IO, 2 * PAGE, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 3 * PAGE, 3, PROT_READ), 3);
    assert_true(vfu_sg_is_mappable(device->ctx, sg(0)));
    assert_false(vfu_sg_is_mappable(device->ctx, sg(1)));
    assert_false(vfu_sg_is_mappable(device->ctx, sg(2)));
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), iov, 2, 0), EFAULT);
    assert_int_equal(iov[0].iov_len, PAGE);
    assert_null(iov[1].iov_base);
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(2), iov, 1, 0), EFAULT);
    close(fd);
}

/* Touching memory that the client allows no access to would kill the device. */
static void test_get_what_may_not_be_accessed_is_efault(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    char byte;
    struct iovec iov;

    map_at(device, 0, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 1, 1, PROT_READ), 1);
    assert_false(vfu_sg_is_mappable(device->ctx, sg(0)));
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EFAULT);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, &byte, VFU_SGL_DIRECT_ACCESS), EPERM);
    close(fd);
}

/* api.md 2.7 and 7.4 W49, W53. */
static void test_get_bad_arguments_are_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    struct iovec iov;

    map_at(device, RW, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, PAGE, 1, PROT_WRITE), 1);
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 0, 0), EINVAL);
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 1), EINVAL);
    vfu_sgl_mark_dirty(device->ctx, sg(0), 0);
    sgl.entries[0].length++;
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    sgl.entries[0].offset = UINT64_MAX;
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    vfu_sgl_mark_dirty(device->ctx, sg(0), 1);
    memset(&sgl, 0, sizeof(sgl));
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    assert_false(vfu_sg_is_mappable(device->ctx, sg(0)));
    sgl.entries[0].region = (void *)-1l;
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    sgl.entries[0].region = (void *)0x7ffffffful;
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    vfu_sgl_mark_dirty(device->ctx, sg(0), 1);
    close(fd);
}

static void test_get_without_unregister_callback_is_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    struct iovec iov;

    assert_int_equal(vfu_setup_device_dma(device->ctx, 1, NULL, NULL), 0);
    map_at(device, RW, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, PAGE, 1, PROT_READ), 1);
    ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
    close(fd);
}

/* --- life of an entry --- */

/* api.md 4.6.3: other regions' comings and goings do not matter to an entry. */
static void test_entry_outlives_changes_of_other_regions(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    struct iovec iov;

    map_at(device, RW, 0x100000, PAGE, fd, 0);
    assert_int_equal(translate(device, 0x100000, PAGE, 1, PROT_READ), 1);
    for (uint64_t i = 0; i < 99; i++) {
        map(device, RW, i * PAGE, PAGE);
    }
    assert_int_equal(unmap(device, 0, PAGE), 0);
    assert_int_equal(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), 0);
    close(fd);
}

/* api.md 7.1 W4: an entry whose region has gone is recognised, whatever came in its place. */
static void test_entry_of_a_region_that_is_gone_is_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    struct iovec iov;
    char byte;

    map_at(device, RW, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 1, 1, PROT_WRITE), 1);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(unmap(device, 0, PAGE), 0);
        ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
        map_at(device, RW, 0, PAGE, fd, 0);
        ASSERT_FAILS(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), EINVAL);
        ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, &byte, VFU_SGL_DIRECT_ACCESS), EINVAL);
        ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, &byte, VFU_SGL_DIRECT_ACCESS), EINVAL);
        ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, &byte, 0), EINVAL);
        assert_false(vfu_sg_is_mappable(device->ctx, sg(0)));
        vfu_sgl_put(device->ctx, sg(0), &iov, 1);
    }
    close(fd);
}

static void test_entry_of_another_context_is_einval(void **state)
{
    struct device *device = *state;
    struct device other;
    struct iovec iov;
    int fd = device_memory(PAGE);

    device_create(&other);
    assert_int_equal(vfu_setup_device_dma(other.ctx, 100, on_added, on_removed), 0);
    device_attach(&other);
    map_at(device, RW, 0, PAGE, fd, 0);
    map_at(&other, RW, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 1, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(device->ctx, sg(0), &iov, 1, 0), 0);
    ASSERT_FAILS(vfu_sgl_get(other.ctx, sg(0), &iov, 1, 0), EINVAL);
    device_destroy(&other);
    close(fd);
}

static int removed_regions;

static void use_while_removing(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct iovec iov;

    /* The old entry works, and so does a new translation. */
    assert_int_equal(vfu_sgl_get(ctx, sg(0), &iov, 1, 0), 0);
    assert_ptr_equal(iov.iov_base, info->vaddr);
    vfu_sgl_put(ctx, sg(0), &iov, 1);
    assert_int_equal(
        vfu_addr_to_sgl(ctx, info->iova.iov_base, info->iova.iov_len, sg(0), 1, PROT_READ), 1);
    assert_int_equal(vfu_sgl_get(ctx, sg(0), &iov, 1, 0), 0);
    removed_regions++;
}

/* api.md 3.3: until the unregister callback returns. */
static void test_entry_works_in_the_unregister_callback(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);

    while_removing = use_while_removing;
    removed_regions = 0;
    map_at(device, RW, 0, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 1, 1, PROT_WRITE), 1);
    assert_int_equal(unmap(device, 0, PAGE), 0);
    assert_int_equal(removed_regions, 1);
    close(fd);
}

/* --- vfu_sgl_read, vfu_sgl_write --- */

static void check_copies(struct device *device, uint32_t flags)
{
    int fd = device_memory(4 * PAGE);
    char data[8] = "";

    assert_int_equal(pwrite(fd, "guest", 6, PAGE + 0x10), 6);
    map_at(device, RW | flags, 0x10000, PAGE, fd, PAGE);
    assert_int_equal(translate(device, 0x10010, 6, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_read(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_string_equal(data, "guest");
    memcpy(data, "GUEST", 6);
    assert_int_equal(vfu_sgl_write(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    memset(data, 0, sizeof(data));
    assert_int_equal(pread(fd, data, 6, PAGE + 0x10), 6);
    assert_string_equal(data, "GUEST");
    close(fd);
}

static void test_copy_where_memory_is_mapped(void **state)
{
    check_copies(*state, 0);
}

static void test_copy_where_memory_is_a_file(void **state)
{
    check_copies(*state, FILE_IO);
}

/* api.md 2.7: an error, or an end, of the file is EIO. */
static void test_copy_beyond_the_end_of_the_file_is_eio(void **state)
{
    struct device *device = *state;
    int fd = device_memory(2 * PAGE);
    char data[PAGE];

    map_at(device, RW | FILE_IO, 0, 2 * PAGE, fd, 0);
    assert_int_equal(ftruncate(fd, PAGE + 1), 0);
    assert_int_equal(translate(device, PAGE, PAGE, 1, PROT_READ), 1);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_int_equal(translate(device, 0, 1, 1, PROT_WRITE), 1);
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
    close(fd);
}

/* api.md 2.7: in this order. */
static void test_copy_bad_arguments(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    char data[8];

    map_at(device, READ, 0, PAGE, fd, 0);
    map_at(device, WRITE, PAGE, PAGE, fd, 0);
    assert_int_equal(translate(device, 0, 8, 1, PROT_READ), 1);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 2, data, 2), EINVAL);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, data, 3), EINVAL);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 0, data, VFU_SGL_DIRECT_ACCESS), ENOTSUP);
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 2, data, VFU_SGL_DIRECT_ACCESS), ENOTSUP);
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EPERM);
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, data, 0), EPERM);
    /* An entry that was made for reading where writing is allowed. */
    assert_int_equal(translate(device, PAGE, 8, 1, PROT_READ), 1);
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EPERM);
    /* An entry that was changed. */
    assert_int_equal(translate(device, 0, 8, 1, PROT_READ), 1);
    sgl.entries[0].writeable = true;
    ASSERT_FAILS(vfu_sgl_write(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EPERM);
    sgl.entries[0].writeable = false;
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, NULL, VFU_SGL_DIRECT_ACCESS), EINVAL);
    ASSERT_FAILS(vfu_sgl_read(device->ctx, NULL, 1, data, VFU_SGL_DIRECT_ACCESS), EINVAL);
    sgl.entries[0].length = 0; /* that is nothing, and no message to the client */
    assert_int_equal(vfu_sgl_read(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(vfu_sgl_read(device->ctx, sg(0), 1, data, 0), 0);
    memset(&sgl, 0, sizeof(sgl));
    ASSERT_FAILS(vfu_sgl_read(device->ctx, sg(0), 1, data, VFU_SGL_DIRECT_ACCESS), EINVAL);
    close(fd);
}

#define DMA(test) cmocka_unit_test_setup_teardown(test, setup_dma, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA(test_entry_layout),
        DMA(test_translate_nothing_is_0),
        DMA(test_translate_several_regions),
        DMA(test_translate_with_too_little_room),
        DMA(test_translate_what_is_not_there_is_enoent),
        DMA(test_translate_up_to_the_last_address),
        DMA(test_translate_looks_at_writing_only),
        ATTACHED(test_translate_without_dma_is_einval),
        DMA(test_get_gives_the_memory),
        DMA(test_get_what_is_not_mapped_is_efault),
        DMA(test_get_what_may_not_be_accessed_is_efault),
        DMA(test_get_bad_arguments_are_einval),
        DMA(test_get_without_unregister_callback_is_einval),
        DMA(test_entry_outlives_changes_of_other_regions),
        DMA(test_entry_of_a_region_that_is_gone_is_einval),
        DMA(test_entry_of_another_context_is_einval),
        DMA(test_entry_works_in_the_unregister_callback),
        DMA(test_copy_where_memory_is_mapped),
        DMA(test_copy_where_memory_is_a_file),
        DMA(test_copy_beyond_the_end_of_the_file_is_eio),
        DMA(test_copy_bad_arguments),
    };

    return cmocka_run_group_tests_name("device_sgl", tests, NULL, NULL);
}
