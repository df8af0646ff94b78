/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: the two commands that change it. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define READ VFIO_USER_F_DMA_REGION_READ
#define WRITE VFIO_USER_F_DMA_REGION_WRITE
#define RW (READ | WRITE)
#define MMAP VFIO_USER_F_DMA_REGION_MMAP
#define FILE_IO VFIO_USER_F_DMA_REGION_FILE_IO
#define TIB (1ull << 40)

static struct {
    int added;
    int removed;
    vfu_dma_info_t last;
    uint64_t order[16]; /* of removal */
} program;

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    program.added++;
    program.last = *info;
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if (info->vaddr != NULL && (info->prot & PROT_READ)) {
        /* still mapped */
        assert_true(*(volatile char *)info->vaddr >= 0);
    }
    program.order[program.removed++ % 16] = (uintptr_t)info->iova.iov_base;
}

static int setup_dma(void **state)
{
    struct device *device;

    memset(&program, 0, sizeof(program));
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_dma(device->ctx, 4, on_added, on_removed), 0);
    device_attach(device);
    return 0;
}

static struct vfio_user_dma_map request_of(uint32_t flags, uint64_t offset, uint64_t address,
                                           uint64_t size)
{
    return (struct vfio_user_dma_map){
        .argsz = 32,
        .flags = flags,
        .offset = offset,
        .addr = address,
        .size = size,
    };
}

/* Sends a DMA_MAP, with @fd if it is not -1. */
static int map(struct device *device, uint32_t flags, uint64_t offset, uint64_t address,
               uint64_t size, int fd)
{
    const struct vfio_user_dma_map request = request_of(flags, offset, address, size);
    int err = device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), &fd, fd >= 0);

    assert_int_equal(device_answer.size, 0);
    return err;
}

static int unmap_with(struct device *device, uint32_t argsz, uint32_t flags, uint64_t address,
                      uint64_t size)
{
    const struct vfio_user_dma_unmap request = {
        .argsz = argsz,
        .flags = flags,
        .addr = address,
        .size = size,
    };
    int err = device_request(device, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0);

    if (err == 0) {
        assert_int_equal(device_answer.size, 24);
        assert_memory_equal(device_answer.payload, &request, 24);
    }
    return err;
}

static int unmap(struct device *device, uint64_t address, uint64_t size)
{
    return unmap_with(device, 24, 0, address, size);
}

static void test_map_gives_the_program_the_memory(void **state)
{
    int fd = device_memory(4 * PAGE);

    assert_int_equal(pwrite(fd, "guest", 5, PAGE), 5);
    assert_int_equal(map(*state, RW, PAGE, 0x100000, 2 * PAGE, fd), 0);
    assert_int_equal(program.added, 1);
    assert_int_equal((uintptr_t)program.last.iova.iov_base, 0x100000);
    assert_int_equal(program.last.iova.iov_len, 2 * PAGE);
    assert_int_equal(program.last.prot, PROT_READ | PROT_WRITE);
    assert_true(program.last.page_size >= PAGE);
    assert_memory_equal(program.last.vaddr, "guest", 5);
    memcpy(program.last.vaddr, "GUEST", 5);
    char back[5];
    assert_int_equal(pread(fd, back, 5, PAGE), 5);
    assert_memory_equal(back, "GUEST", 5);
    close(fd);
}

static void test_map_keeps_no_descriptor(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);
    size_t before = device_count_descriptors();

    assert_int_equal(map(device, RW, 0, 0, PAGE, fd), 0);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

static void test_map_unaligned_offset_covers_the_whole_range(void **state)
{
    int fd = device_memory(4 * PAGE);

    assert_int_equal(pwrite(fd, "x", 1, 3 * PAGE + 0x7ff), 1);
    assert_int_equal(map(*state, RW, PAGE + 0x800, 0x1800, 2 * PAGE, fd), 0);
    assert_int_equal(((char *)program.last.vaddr)[2 * PAGE - 1], 'x');
    assert_ptr_equal((char *)program.last.mapping.iov_base + 0x800 +
                         (PAGE & (program.last.page_size - 1)),
                     program.last.vaddr);
    assert_true((char *)program.last.vaddr + 2 * PAGE <=
                (char *)program.last.mapping.iov_base + program.last.mapping.iov_len);
    close(fd);
}

static void test_map_without_descriptor_has_no_memory(void **state)
{
    assert_int_equal(map(*state, READ, 0, 0x1000, PAGE, -1), 0);
    assert_int_equal(program.added, 1);
    assert_null(program.last.vaddr);
    assert_null(program.last.mapping.iov_base);
    assert_int_equal(program.last.mapping.iov_len, 0);
    assert_int_equal(program.last.prot, PROT_READ);
}

static void test_map_without_access_is_fine(void **state)
{
    int fd = device_memory(PAGE);

    assert_int_equal(map(*state, 0, 0, 0x1000, PAGE, fd), 0);
    assert_int_equal(program.last.prot, PROT_NONE);
    assert_non_null(program.last.vaddr);
    close(fd);
}

static void test_map_file_io_keeps_the_descriptor(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    size_t before = device_count_descriptors();

    assert_int_equal(map(device, RW | FILE_IO, 0, 0x1000, PAGE, fd), 0);
    assert_null(program.last.vaddr);
    assert_int_equal(device_count_descriptors(), before + 1);
    assert_int_equal(unmap(device, 0x1000, PAGE), 0);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

static void test_map_bad_arguments_are_einval(void **state)
{
    struct device *device = *state;
    struct vfio_user_dma_map request = request_of(RW, 0, 0x1000, PAGE);
    int fd = device_memory(PAGE);
    size_t before = device_count_descriptors();

    request.argsz = 31;
    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), NULL, 0),
                     EINVAL);
    request.argsz = 32;
    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &request, 31, NULL, 0), EINVAL);
    assert_int_equal(map(device, RW | MMAP, 0, 0x1000, PAGE, -1), EINVAL);
    assert_int_equal(map(device, RW | FILE_IO, 0, 0x1000, PAGE, -1), EINVAL);
    assert_int_equal(map(device, RW | MMAP | FILE_IO, 0, 0x1000, PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW | 0x10, 0, 0x1000, PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x1000, 0, fd), EINVAL);
    assert_int_equal(map(device, RW, 0, UINT64_MAX - PAGE + 2, PAGE, -1), EINVAL);
    assert_int_equal(program.added, 0);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

static void test_map_up_to_the_last_address_is_fine(void **state)
{
    assert_int_equal(map(*state, RW, 0, UINT64_MAX - PAGE + 1, PAGE, -1), 0);
    assert_int_equal(unmap(*state, UINT64_MAX - PAGE + 1, PAGE), 0);
}

static void test_map_too_large_is_enospc(void **state)
{
    assert_int_equal(map(*state, RW, 0, 0, 8 * TIB + 1, -1), ENOSPC);
    assert_int_equal(map(*state, RW, 0, 0, 8 * TIB, -1), 0);
}

static void test_map_beyond_end_of_file_is_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(2 * PAGE);

    assert_int_equal(map(device, RW, 0, 0x1000, 2 * PAGE + 1, fd), EINVAL);
    assert_int_equal(map(device, RW, PAGE, 0x1000, 2 * PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW, UINT64_MAX, 0x1000, 2 * PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW | FILE_IO, PAGE, 0x1000, 2 * PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x1000, 2 * PAGE, fd), 0);
    close(fd);
}

static void test_map_errors_of_mmap_are_passed_on(void **state)
{
    struct device *device = *state;
    int event = eventfd(0, EFD_CLOEXEC);
    int memory = device_memory(PAGE);
    char path[32];
    int read_only;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    assert_int_equal(map(device, RW, 0, 0x1000, PAGE, event), ENODEV);
    assert_int_equal(map(device, RW, 0, 0x1000, PAGE, read_only), EACCES);
    assert_int_equal(map(device, READ, 0, 0x1000, PAGE, read_only), 0);
    close(event);
    close(memory);
    close(read_only);
}

static void test_map_overlap_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(map(device, RW, 0, 0x10000, 4 * PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, -1), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x13000, 4 * PAGE, -1), EINVAL);
    assert_int_equal(map(device, RW, 0, 0xf000, 2 * PAGE, -1), EINVAL);
    assert_int_equal(map(device, RW, 0, 0, TIB, -1), EINVAL);
    assert_int_equal(map(device, RW, 0, 0xf000, PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x14000, PAGE, -1), 0);
    assert_int_equal(program.added, 3);
}

static void test_map_repeated_succeeds_without_another_callback(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);
    size_t before = device_count_descriptors();

    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, fd), 0);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, fd), 0);
    assert_int_equal(map(device, READ, 0, 0x20000, PAGE, -1), 0);
    assert_int_equal(map(device, READ, 0, 0x20000, PAGE, -1), 0);
    assert_int_equal(program.added, 2);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

static void test_map_repeated_with_a_difference_is_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);
    int other = device_memory(4 * PAGE);

    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, fd), 0);
    assert_int_equal(map(device, RW, PAGE, 0x10000, PAGE, fd), EINVAL);
    assert_int_equal(map(device, READ, 0, 0x10000, PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, other), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, -1), EINVAL);
    assert_int_equal(program.added, 1);
    close(fd);
    close(other);
}

static void test_map_too_many_is_einval(void **state)
{
    struct device *device = *state;

    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(map(device, RW, 0, i * PAGE, PAGE, -1), 0);
    }
    assert_int_equal(map(device, RW, 0, 4 * PAGE, PAGE, -1), EINVAL);
    assert_int_equal(unmap(device, 0, PAGE), 0);
    assert_int_equal(map(device, RW, 0, 4 * PAGE, PAGE, -1), 0);
}

static void test_map_limits_of_the_policy_are_einval(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4 * PAGE);

    device->ctx->transport->max_dma_regions = 2;
    device->ctx->transport->max_dma_bytes = 3 * PAGE;
    assert_int_equal(map(device, RW, 0, 0, 2 * PAGE, fd), 0);
    assert_int_equal(map(device, RW, 0, 0x10000, 2 * PAGE, fd), EINVAL);
    assert_int_equal(map(device, RW, 0, 0x10000, 2 * PAGE, -1), 0); /* takes no memory */
    assert_int_equal(map(device, RW, 0, 0x20000, PAGE, fd), EINVAL);
    assert_int_equal(unmap(device, 0, 2 * PAGE), 0);
    assert_int_equal(map(device, RW, 0, 0, 3 * PAGE, fd), 0);
    close(fd);
}

/* What a gate says of the next message's descriptor. */
static void vet(struct device *device, enum descriptor_kind kind, int error)
{
    struct transport *transport = device->ctx->transport;

    transport->vets = true;
    transport->vetting.count = 1;
    transport->vetting.kind[0] = (uint8_t)kind;
    transport->vetting.error = error;
}

static void test_map_of_vetted_memory(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    size_t before = device_count_descriptors();

    vet(device, DESCRIPTOR_EVENTFD, 0);
    assert_int_equal(map(device, RW, 0, 0, PAGE, fd), ENODEV);
    vet(device, DESCRIPTOR_MEMORY, EINVAL);
    assert_int_equal(map(device, RW | MMAP, 0, 0, PAGE, -1), ENODEV);
    vet(device, DESCRIPTOR_MEMORY, EINVAL);
    assert_int_equal(map(device, RW, 0, 0, 9 * TIB, -1), ENOSPC); /* comes first */
    vet(device, DESCRIPTOR_MEMORY, EMFILE);
    assert_int_equal(map(device, RW, 0, 0, PAGE, fd), EMFILE);
    assert_int_equal(program.added, 0);
    vet(device, DESCRIPTOR_MEMORY, 0);
    assert_int_equal(map(device, RW, 0, 0, PAGE, fd), 0);
    assert_int_equal(program.last.prot, PROT_READ | PROT_WRITE);
    vet(device, DESCRIPTOR_READ_ONLY, 0);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, fd), 0);
    assert_int_equal(program.last.prot, PROT_READ);
    assert_non_null(program.last.vaddr);
    vet(device, DESCRIPTOR_WITHHELD, 0);
    assert_int_equal(map(device, RW, 0, 0x20000, PAGE, fd), 0);
    assert_null(program.last.vaddr);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

static void test_map_surplus_descriptors_are_closed(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_map request = request_of(RW, 0, 0, PAGE);
    int fds[3] = { device_memory(PAGE), device_memory(PAGE), eventfd(0, EFD_CLOEXEC) };
    size_t before = device_count_descriptors();

    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), fds, 3),
                     0);
    assert_int_equal(device_count_descriptors(), before);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

static void test_unmap_must_match_exactly(void **state)
{
    struct device *device = *state;

    assert_int_equal(map(device, RW, 0, 0x10000, 2 * PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x12000, PAGE, -1), 0);
    assert_int_equal(unmap(device, 0x10000, PAGE), ENOENT);
    assert_int_equal(unmap(device, 0x11000, PAGE), ENOENT);
    assert_int_equal(unmap(device, 0x10000, 3 * PAGE), ENOENT);
    assert_int_equal(unmap(device, 0x20000, PAGE), ENOENT);
    assert_int_equal(program.removed, 0);
    assert_int_equal(unmap(device, 0x10000, 2 * PAGE), 0);
    assert_int_equal(program.removed, 1);
    assert_int_equal(unmap(device, 0x10000, 2 * PAGE), ENOENT);
}

static void test_unmap_all_removes_in_ascending_order(void **state)
{
    struct device *device = *state;
    const uint32_t all = VFIO_DMA_UNMAP_FLAG_ALL;

    assert_int_equal(map(device, RW, 0, 0x30000, PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x10000, PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x20000, PAGE, -1), 0);
    assert_int_equal(unmap_with(device, 24, all, 0x10000, 0), EINVAL);
    assert_int_equal(unmap_with(device, 24, all, 0, PAGE), EINVAL);
    assert_int_equal(unmap_with(device, 24, all, 0, 0), 0);
    assert_int_equal(program.removed, 3);
    assert_int_equal(program.order[0], 0x10000);
    assert_int_equal(program.order[1], 0x20000);
    assert_int_equal(program.order[2], 0x30000);
    assert_int_equal(unmap_with(device, 24, all, 0, 0), 0);
}

static void test_unmap_bad_arguments_are_einval(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_unmap request = { .argsz = 24, .size = PAGE };

    assert_int_equal(map(device, RW, 0, 0, PAGE, -1), 0);
    assert_int_equal(unmap_with(device, 23, 0, 0, PAGE), EINVAL);
    assert_int_equal(unmap_with(device, (1 << 20) + 1, 0, 0, PAGE), EINVAL);
    assert_int_equal(unmap_with(device, 64, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0, PAGE), EINVAL);
    assert_int_equal(unmap_with(device, 24, 3, 0, 0), EINVAL);
    assert_int_equal(unmap_with(device, 24, 4, 0, PAGE), EINVAL);
    assert_int_equal(device_request(device, VFIO_USER_DMA_UNMAP, &request, 23, NULL, 0), EINVAL);
    assert_int_equal(program.removed, 0);
    assert_int_equal(unmap_with(device, 1 << 20, 0, 0, PAGE), 0);
}

static void test_lost_client_removes_all(void **state)
{
    struct device *device = *state;

    assert_int_equal(map(device, RW, 0, 0x2000, PAGE, -1), 0);
    assert_int_equal(map(device, RW, 0, 0x1000, PAGE, -1), 0);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(program.removed, 2);
    assert_int_equal(program.order[0], 0x1000);
}

/* api.md 2.7 [C]. */
static void test_without_dma_commands_succeed_and_do_nothing(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    size_t before = device_count_descriptors();

    assert_int_equal(map(device, RW, 0, 0, PAGE, fd), 0);
    assert_int_equal(map(device, RW, 0, 0, 2 * PAGE, fd), 0);
    assert_int_equal(unmap(device, 0x5000, PAGE), 0);
    assert_int_equal(device_count_descriptors(), before);
    close(fd);
}

#define DMA(test) cmocka_unit_test_setup_teardown(test, setup_dma, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA(test_map_gives_the_program_the_memory),
        DMA(test_map_keeps_no_descriptor),
        DMA(test_map_unaligned_offset_covers_the_whole_range),
        DMA(test_map_without_descriptor_has_no_memory),
        DMA(test_map_without_access_is_fine),
        DMA(test_map_file_io_keeps_the_descriptor),
        DMA(test_map_bad_arguments_are_einval),
        DMA(test_map_up_to_the_last_address_is_fine),
        DMA(test_map_too_large_is_enospc),
        DMA(test_map_beyond_end_of_file_is_einval),
        DMA(test_map_errors_of_mmap_are_passed_on),
        DMA(test_map_overlap_is_einval),
        DMA(test_map_repeated_succeeds_without_another_callback),
        DMA(test_map_repeated_with_a_difference_is_einval),
        DMA(test_map_too_many_is_einval),
        DMA(test_map_limits_of_the_policy_are_einval),
        DMA(test_map_of_vetted_memory),
        DMA(test_map_surplus_descriptors_are_closed),
        DMA(test_unmap_must_match_exactly),
        DMA(test_unmap_all_removes_in_ascending_order),
        DMA(test_unmap_bad_arguments_are_einval),
        DMA(test_lost_client_removes_all),
        ATTACHED(test_without_dma_commands_succeed_and_do_nothing),
    };

    return cmocka_run_group_tests_name("device_dma", tests, NULL, NULL);
}
