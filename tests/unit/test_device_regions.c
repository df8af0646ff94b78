/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions: how a program describes them, what clients are told, and how they are accessed. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define MIB (1u << 20)

/* --- description --- */

static int setup(struct device *device, int index, size_t size, int flags)
{
    errno = 0;
    return vfu_setup_region(device->ctx, index, size, NULL, flags, NULL, 0, -1, 0) == 0 ? 0 : errno;
}

static void test_flags_unknown_are_einval(void **state)
{
    assert_int_equal(setup(*state, 0, 0x1000, RW | 0x40), EINVAL);
}

static void test_flags_without_direction_are_einval(void **state)
{
    assert_int_equal(setup(*state, 0, 0x1000, MEM), EINVAL);
    assert_int_equal(setup(*state, 0, 0, 0), EINVAL);
}

static void test_always_cb_without_callback_is_einval(void **state)
{
    assert_int_equal(setup(*state, 7, 256, RW | VFU_REGION_FLAG_ALWAYS_CB), EINVAL);
}

static void test_index_out_of_range_is_einval(void **state)
{
    assert_int_equal(setup(*state, -1, 0x1000, RW), EINVAL);
    assert_int_equal(setup(*state, 9, 0x1000, RW), EINVAL);
    assert_int_equal(setup(*state, 8, 0x1000, RW), 0);
}

static void test_bar_size_not_power_of_two_is_einval(void **state)
{
    assert_int_equal(setup(*state, 0, 0x3000, RW | MEM), EINVAL);
    assert_int_equal(setup(*state, 6, 0x3000, RW | MEM), 0);
}

static void test_bar_size_below_minimum_is_einval(void **state)
{
    assert_int_equal(setup(*state, 0, 8, RW | MEM), EINVAL);
    assert_int_equal(setup(*state, 0, 16, RW | MEM), 0);
    assert_int_equal(setup(*state, 0, 2, RW), EINVAL);
    assert_int_equal(setup(*state, 0, 4, RW), 0);
    assert_int_equal(setup(*state, 0, 0, RW), 0);
}

static void test_odd_64_bit_bar_is_einval(void **state)
{
    assert_int_equal(setup(*state, 1, 0x1000, RW | MEM | VFU_REGION_FLAG_64_BITS), EINVAL);
}

static void test_upper_half_of_64_bit_bar_is_einval(void **state)
{
    assert_int_equal(setup(*state, 2, 0x1000, RW | MEM | VFU_REGION_FLAG_64_BITS), 0);
    assert_int_equal(setup(*state, 3, 0x1000, RW | MEM), EINVAL);
    assert_int_equal(setup(*state, 3, 0, RW), EINVAL);
    assert_int_equal(setup(*state, 2, 0, RW), 0);
    assert_int_equal(setup(*state, 3, 0x1000, RW | MEM), 0);
    assert_int_equal(setup(*state, 2, 0x1000, RW | MEM | VFU_REGION_FLAG_64_BITS), EINVAL);
}

static void test_config_region_must_be_read_write_and_not_memory(void **state)
{
    assert_int_equal(setup(*state, 7, 256, VFU_REGION_FLAG_READ), EINVAL);
    assert_int_equal(setup(*state, 7, 256, RW | MEM), EINVAL);
    assert_int_equal(setup(*state, 7, 256, RW), 0);
}

static int setup_areas(struct device *device, struct iovec *areas, uint32_t count, int fd)
{
    errno = 0;
    return vfu_setup_region(device->ctx, 0, 0x4000, NULL, RW | MEM, areas, count, fd, 0) == 0
               ? 0
               : errno;
}

static void test_areas_need_count_and_descriptor(void **state)
{
    struct iovec area = { .iov_base = NULL, .iov_len = 0x1000 };
    int fd = device_memory(0x4000);

    assert_int_equal(setup_areas(*state, &area, 0, fd), EINVAL);
    assert_int_equal(setup_areas(*state, NULL, 1, fd), EINVAL);
    assert_int_equal(setup_areas(*state, &area, 1, -1), EINVAL);
    assert_int_equal(setup_areas(*state, NULL, 0, -2), EINVAL);
    assert_int_equal(setup_areas(*state, &area, 1, fd), 0);
    close(fd);
}

static void test_area_beyond_region_is_einval(void **state)
{
    struct iovec area = { .iov_base = (void *)0x3000, .iov_len = 0x1001 };
    int fd = device_memory(0x4000);

    assert_int_equal(setup_areas(*state, &area, 1, fd), EINVAL);
    area = (struct iovec){ .iov_base = (void *)0x3000, .iov_len = SIZE_MAX };
    assert_int_equal(setup_areas(*state, &area, 1, fd), EINVAL);
    area = (struct iovec){ .iov_base = (void *)0x3000, .iov_len = 0x1000 };
    assert_int_equal(setup_areas(*state, &area, 1, fd), 0);
    assert_int_equal(setup_areas(*state, &area, 70000, fd), EINVAL);
    close(fd);
}

static void test_failed_setup_changes_nothing(void **state)
{
    struct device *device = *state;

    assert_int_equal(setup(device, 0, 0x1000, RW | MEM), 0);
    assert_int_equal(setup(device, 0, 0x1001, RW | MEM), EINVAL);
    assert_int_equal(device->ctx->regions[0].size, 0x1000);
}

/* --- information --- */

struct region_reply {
    struct vfio_region_info info;
    struct { /* struct vfio_region_info_cap_sparse_mmap */
        struct vfio_info_cap_header header;
        uint32_t nr_areas;
        uint32_t reserved;
    } sparse;
    struct vfio_region_sparse_mmap_area areas[2];
};

static const struct region_reply *get_info(struct device *device, uint32_t index, uint32_t argsz)
{
    const struct vfio_region_info request = { .argsz = argsz, .index = index };

    assert_int_equal(device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &request,
                                    sizeof(request), NULL, 0),
                     0);
    return (const struct region_reply *)device_answer.payload;
}

static void setup_shared(struct device *device, int *fd)
{
    struct iovec areas[] = {
        { .iov_base = (void *)0x1000, .iov_len = 0x1000 },
        { .iov_base = (void *)0x3000, .iov_len = 0x1000 },
    };

    *fd = device_memory(0x8000);
    assert_int_equal(
        vfu_setup_region(device->ctx, 0, 0x4000, NULL, RW | MEM, areas, 2, *fd, 0x2000), 0);
}

static void test_info_of_absent_region_is_empty(void **state)
{
    const struct region_reply *reply = get_info(*state, 1, 32);

    assert_int_equal(device_answer.size, 32);
    assert_int_equal(reply->info.argsz, 32);
    assert_int_equal(reply->info.flags, 0);
    assert_int_equal(reply->info.index, 1);
    assert_int_equal(reply->info.size, 0);
}

static void test_info_of_config_region(void **state)
{
    const struct region_reply *reply = get_info(*state, 7, 4064);

    assert_int_equal(device_answer.size, 32);
    assert_int_equal(reply->info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
    assert_int_equal(reply->info.size, 256);
}

static void test_info_with_room_brings_areas_and_descriptor(void **state)
{
    struct device *device = *state;
    const struct region_reply *reply;
    struct stat sent;
    struct stat received;
    int fd;

    setup_shared(device, &fd);
    reply = get_info(device, 0, 80);
    assert_int_equal(device_answer.size, 80);
    assert_int_equal(reply->info.argsz, 80);
    assert_int_equal(reply->info.flags, 0xf);
    assert_int_equal(reply->info.cap_offset, 32);
    assert_int_equal(reply->info.size, 0x4000);
    assert_int_equal(reply->info.offset, 0x2000);
    assert_int_equal(reply->sparse.header.id, 1);
    assert_int_equal(reply->sparse.header.version, 1);
    assert_int_equal(reply->sparse.header.next, 0);
    assert_int_equal(reply->sparse.nr_areas, 2);
    assert_int_equal(reply->sparse.reserved, 0);
    assert_int_equal(reply->areas[0].offset, 0x1000);
    assert_int_equal(reply->areas[1].offset, 0x3000);
    assert_int_equal(reply->areas[1].size, 0x1000);
    assert_int_equal(fstat(fd, &sent), 0);
    assert_int_equal(fstat(device_answer.fd, &received), 0);
    assert_int_equal(sent.st_ino, received.st_ino);
    close(fd);
}

/* api.md 4.5 [C] */
static void test_info_without_room_brings_neither(void **state)
{
    struct device *device = *state;
    const struct region_reply *reply;
    int fd;

    setup_shared(device, &fd);
    reply = get_info(device, 0, 32);
    assert_int_equal(device_answer.size, 32);
    assert_int_equal(reply->info.argsz, 80);
    assert_int_equal(reply->info.flags, 0x7);
    assert_int_equal(reply->info.cap_offset, 0);
    assert_int_equal(device_answer.fd, -1);
    reply = get_info(device, 0, 79);
    assert_int_equal(device_answer.size, 79);
    assert_int_equal(reply->info.flags, 0x7);
    assert_int_equal(reply->sparse.nr_areas, 0);
    assert_int_equal(device_answer.fd, -1);
    close(fd);
}

static void test_info_without_areas_describes_all_of_the_region(void **state)
{
    struct device *device = *state;
    const struct region_reply *reply;
    int fd = device_memory(0x4000);

    assert_int_equal(vfu_setup_region(device->ctx, 0, 0x4000, NULL, RW | MEM, NULL, 0, fd, 0), 0);
    reply = get_info(device, 0, 1000);
    assert_int_equal(device_answer.size, 64);
    assert_int_equal(reply->sparse.nr_areas, 1);
    assert_int_equal(reply->areas[0].offset, 0);
    assert_int_equal(reply->areas[0].size, 0x4000);
    /* taken away again */
    assert_int_equal(setup(device, 0, 0x4000, RW | MEM), 0);
    reply = get_info(device, 0, 1000);
    assert_int_equal(device_answer.size, 32);
    assert_int_equal(reply->info.flags, 3);
    close(fd);
}

static void test_info_for_client_without_descriptors_is_not_mappable(void **state)
{
    struct device *device = *state;
    const struct region_reply *reply;
    int fd;

    setup_shared(device, &fd);
    device->ctx->session.client.max_msg_fds = 0;
    reply = get_info(device, 0, 80);
    assert_int_equal(device_answer.size, 32);
    assert_int_equal(reply->info.flags, 3);
    assert_int_equal(device_answer.fd, -1);
    close(fd);
}

static void test_info_with_closed_descriptor_is_an_error_reply(void **state)
{
    struct device *device = *state;
    struct vfio_region_info request = { .argsz = 80 };
    int fd;

    setup_shared(device, &fd);
    close(fd);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &request,
                                    sizeof(request), NULL, 0),
                     EBADF);
    get_info(device, 7, 32); /* and the connection goes on */
}

static void test_info_bad_arguments_are_einval(void **state)
{
    struct device *device = *state;
    struct vfio_region_info request = { .argsz = 31 };

    assert_int_equal(device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &request,
                                    sizeof(request), NULL, 0),
                     EINVAL);
    request = (struct vfio_region_info){ .argsz = 32, .index = 9 };
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &request,
                                    sizeof(request), NULL, 0),
                     EINVAL);
    request.index = 0;
    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &request, 31, NULL, 0), EINVAL);
}

/* --- access --- */

static struct {
    int calls;
    size_t count;
    off_t offset;
    uintptr_t buffer;
    bool was_zero;
    ssize_t result; /* 0: count */
    int err;
    char *memory; /* MIB bytes */
} bar;

static ssize_t handle_bar(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    bar.calls++;
    bar.count = count;
    bar.offset = offset;
    bar.buffer = (uintptr_t)buf;
    bar.was_zero = buf[0] == 0 && memcmp(buf, buf + 1, count - 1) == 0;
    if (bar.result != 0) {
        errno = bar.err;
        return bar.result;
    }
    if (is_write) {
        memcpy(bar.memory + offset, buf, count);
    } else {
        memcpy(buf, bar.memory + offset, count);
    }
    return (ssize_t)count;
}

static int setup_bar(void **state)
{
    struct device *device;

    memset(&bar, 0, sizeof(bar));
    bar.memory = test_calloc(1, MIB);
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_region(device->ctx, 2, MIB, handle_bar, RW | MEM, NULL, 0, -1, 0),
                     0);
    device_attach(device);
    return 0;
}

static int teardown_bar(void **state)
{
    test_free(bar.memory);
    return device_teardown(state);
}

static int access_region(struct device *device, uint16_t command, uint64_t offset, uint32_t region,
                         uint32_t count, const void *data, size_t size)
{
    static uint8_t payload[sizeof(struct vfio_user_region_access) + MIB + 16];
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = region,
        .count = count,
    };

    memcpy(payload, &access, sizeof(access));
    if (size > 0) {
        memcpy(payload + sizeof(access), data, size);
    }
    return device_request(device, command, payload, sizeof(access) + size, NULL, 0);
}

static int read_bar(struct device *device, uint64_t offset, uint32_t count)
{
    return access_region(device, VFIO_USER_REGION_READ, offset, 2, count, NULL, 0);
}

static int write_bar(struct device *device, uint64_t offset, const void *data, uint32_t count)
{
    return access_region(device, VFIO_USER_REGION_WRITE, offset, 2, count, data, count);
}

static void test_write_then_read_gives_the_same(void **state)
{
    struct device *device = *state;
    struct vfio_user_region_access *reply = (void *)device_answer.payload;

    assert_int_equal(write_bar(device, 0x103, "abcdefg", 7), 0);
    assert_int_equal(device_answer.size, 16);
    assert_int_equal(reply->offset, 0x103);
    assert_int_equal(reply->region, 2);
    assert_int_equal(reply->count, 7);
    assert_int_equal(bar.offset, 0x103);
    assert_int_equal(bar.count, 7);
    assert_int_equal(read_bar(device, 0x103, 7), 0);
    assert_int_equal(device_answer.size, 16 + 7);
    assert_int_equal(reply->offset, 0x103);
    assert_int_equal(reply->count, 7);
    assert_memory_equal(reply->data, "abcdefg", 7);
}

static void test_buffers_are_aligned_and_zeroed(void **state)
{
    struct device *device = *state;

    assert_int_equal(write_bar(device, 0, "12345678", 8), 0);
    assert_int_equal(bar.buffer % 16, 0);
    assert_int_equal(read_bar(device, 0, 8), 0);
    assert_int_equal(bar.buffer % 16, 0);
    assert_true(bar.was_zero);
}

static void test_largest_read_is_1_mib(void **state)
{
    struct device *device = *state;
    uint8_t last;

    bar.memory[MIB - 1] = 0x33;
    assert_int_equal(read_bar(device, 0, MIB), 0);
    assert_int_equal(device_answer.size, 16 + MIB);
    last = device_answer.payload[16 + MIB - 1];
    assert_int_equal(last, 0x33);
    assert_int_equal(read_bar(device, 0, MIB + 1), EINVAL);
    assert_int_equal(bar.calls, 1);
}

static void test_count_zero_is_a_reply_without_payload(void **state)
{
    struct device *device = *state;

    assert_int_equal(read_bar(device, 4, 0), 0);
    assert_int_equal(device_answer.size, 0);
    assert_int_equal(write_bar(device, 4, "", 0), 0);
    assert_int_equal(device_answer.size, 0);
    assert_int_equal(bar.calls, 0);
}

static void test_access_outside_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(read_bar(device, MIB - 3, 4), EINVAL);
    assert_int_equal(read_bar(device, UINT64_MAX, 4), EINVAL);
    assert_int_equal(access_region(device, VFIO_USER_REGION_READ, 0, 9, 4, NULL, 0), EINVAL);
    assert_int_equal(access_region(device, VFIO_USER_REGION_READ, 0, 0, 4, NULL, 0), EINVAL);
    assert_int_equal(bar.calls, 0);
}

static void test_write_with_other_size_than_count_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(access_region(device, VFIO_USER_REGION_WRITE, 0, 2, 4, "abcde", 5), EINVAL);
    assert_int_equal(access_region(device, VFIO_USER_REGION_WRITE, 0, 2, 4, "abc", 3), EINVAL);
    assert_int_equal(bar.calls, 0);
}

static void test_read_with_surplus_payload_is_fine(void **state)
{
    assert_int_equal(access_region(*state, VFIO_USER_REGION_READ, 0, 2, 4, "abcde", 5), 0);
    assert_int_equal(device_answer.size, 20);
}

static void test_callback_failure_is_its_errno(void **state)
{
    struct device *device = *state;

    bar.result = -1;
    bar.err = ENXIO;
    assert_int_equal(read_bar(device, 0, 4), ENXIO);
    bar.err = 0;
    assert_int_equal(read_bar(device, 0, 4), EINVAL);
    bar.err = 100000;
    assert_int_equal(read_bar(device, 0, 4), EINVAL);
    bar.err = 0;
    bar.result = 3;
    assert_int_equal(read_bar(device, 0, 4), EINVAL);
    bar.result = 0xffffffff; /* -1 of a program that returns int */
    assert_int_equal(write_bar(device, 0, "abcd", 4), EINVAL);
}

static void test_direction_of_region_is_enforced(void **state)
{
    struct device *device = *state;

    assert_int_equal(
        vfu_setup_region(device->ctx, 2, MIB, handle_bar, VFU_REGION_FLAG_READ, NULL, 0, -1, 0), 0);
    assert_int_equal(write_bar(device, 0, "abcd", 4), EINVAL);
    assert_int_equal(read_bar(device, 0, 4), 0);
    assert_int_equal(
        vfu_setup_region(device->ctx, 2, MIB, handle_bar, VFU_REGION_FLAG_WRITE, NULL, 0, -1, 0),
        0);
    assert_int_equal(read_bar(device, 0, 4), EINVAL);
    assert_int_equal(bar.calls, 1);
}

static void test_region_without_callback_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(setup(device, 2, MIB, RW), 0);
    assert_int_equal(read_bar(device, 0, 4), EINVAL);
}

static void test_posted_write_has_no_reply(void **state)
{
    struct device *device = *state;
    const struct {
        uint64_t offset;
        uint32_t region;
        uint32_t count;
        uint8_t data[4];
    } __attribute__((packed)) write = { .region = 2, .count = 4, .data = "wxyz" };

    device_send_command(device, VFIO_USER_REGION_WRITE, VFIO_USER_F_NO_REPLY, &write, sizeof(write),
                        NULL, 0);
    assert_int_equal(vfu_run_ctx(device->ctx), 1);
    bar.result = -1;
    device_send_command(device, VFIO_USER_REGION_WRITE, VFIO_USER_F_NO_REPLY, &write, sizeof(write),
                        NULL, 0);
    assert_int_equal(vfu_run_ctx(device->ctx), 1);
    assert_int_equal(bar.calls, 2);
    assert_false(device_receive(device, &device_answer));
    assert_memory_equal(bar.memory, "wxyz", 4);
}

/* api.md 2.1 [C]: also while a client is attached, and as often as the program likes. */
static void test_region_set_up_late_is_served(void **state)
{
    struct device *device = *state;
    const struct region_reply *reply;

    assert_int_equal(get_info(device, 3, 32)->info.size, 0);
    assert_int_equal(vfu_setup_region(device->ctx, 3, 0x1000, handle_bar, RW | MEM, NULL, 0, -1, 0),
                     0);
    reply = get_info(device, 3, 32);
    assert_int_equal(reply->info.size, 0x1000);
    assert_int_equal(reply->info.flags, 3);
    memcpy(bar.memory, "late", 4);
    bar.calls = 0;
    assert_int_equal(access_region(device, VFIO_USER_REGION_READ, 0, 3, 4, NULL, 0), 0);
    assert_int_equal(bar.calls, 1);
    assert_memory_equal(device_answer.payload + 16, "late", 4);
    assert_int_equal(vfu_setup_region(device->ctx, 3, 0, NULL, RW, NULL, 0, -1, 0), 0);
    assert_int_equal(get_info(device, 3, 32)->info.size, 0);
    assert_int_equal(access_region(device, VFIO_USER_REGION_READ, 0, 3, 4, NULL, 0), EINVAL);
}

static ssize_t remove_itself(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    bar.calls++;
    assert_int_equal(vfu_setup_region(ctx, 2, 0, NULL, RW, NULL, 0, -1, 0), 0);
    return (ssize_t)count;
}

static void test_region_removed_by_the_first_of_several_writes(void **state)
{
    struct device *device = *state;
    struct {
        uint64_t count;
        struct vfio_user_region_write writes[3];
    } __attribute__((packed)) multi = { .count = 3 };
    uint64_t done;

    for (int i = 0; i < 3; i++) {
        multi.writes[i] = (struct vfio_user_region_write){ .region = 2, .count = 4 };
    }
    device->ctx->session.client.write_multiple = true;
    assert_int_equal(vfu_setup_region(device->ctx, 2, MIB, remove_itself, RW | MEM, NULL, 0, -1, 0),
                     0);
    assert_int_equal(
        device_request(device, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi), NULL, 0), 0);
    memcpy(&done, device_answer.payload, sizeof(done));
    assert_int_equal(done, 1);
    assert_int_equal(bar.calls, 1);
}

/* --- memory that clients get --- */

static bool cannot_shrink(int fd)
{
    return fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK;
}

static int share(struct device *device, int index, int fd)
{
    return vfu_setup_region(device->ctx, index, 4096, NULL, RW | MEM, NULL, 0, fd, 0);
}

static void test_shared_memory_is_sealed_from_the_first_attach_on(void **state)
{
    struct device *device = *state;
    int region = device_memory(4096);
    int shadow = device_memory(4096);

    assert_int_equal(share(device, 0, region), 0);
    assert_int_equal(vfu_create_ioeventfd(device->ctx, 0, -1, 0, 4, 0, 0, shadow, 0), 0);
    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    assert_false(cannot_shrink(region) || cannot_shrink(shadow));
    assert_int_equal(vfu_attach_ctx(device->ctx), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(cannot_shrink(region) && cannot_shrink(shadow));
    assert_int_equal(ftruncate(region, 0), -1);
    assert_int_equal(ftruncate(region, 8192), 0);
    device_attach(device);
    close(region);
    close(shadow);
}

static void test_memory_that_is_shared_late_is_sealed(void **state)
{
    struct device *device = *state;
    int region = device_memory(4096);
    int shadow = device_memory(4096);

    assert_int_equal(share(device, 0, region), 0);
    assert_int_equal(vfu_create_ioeventfd(device->ctx, 0, -1, 0, 4, 0, 0, shadow, 0), 0);
    assert_true(cannot_shrink(region) && cannot_shrink(shadow));
    close(region);
    close(shadow);
}

/* Programs in the field have files, and memory of which they said that it takes no seals. */
static void test_memory_that_takes_no_seals_is_shared_all_the_same(void **state)
{
    struct device *device = *state;
    struct vfio_region_info wanted = { .argsz = 4096 };
    char path[64];
    int fds[2];

    snprintf(path, sizeof(path), "%s/file", device->dir);
    fds[0] = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    fds[1] = memfd_create("unsealable", MFD_CLOEXEC);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(ftruncate(fds[i], 4096), 0);
        assert_int_equal(share(device, (int)i, fds[i]), 0);
    }
    device_attach(device);
    for (uint32_t i = 0; i < 2; i++) {
        wanted.index = i;
        assert_int_equal(device_request(device, VFIO_USER_DEVICE_GET_REGION_INFO, &wanted,
                                        sizeof(wanted), NULL, 0),
                         0);
        assert_true(device_answer.fd >= 0);
        close(device_answer.fd);
        close(fds[i]);
    }
    unlink(path);
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)
#define BAR(test) cmocka_unit_test_setup_teardown(test, setup_bar, teardown_bar)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_flags_unknown_are_einval),
        CREATED(test_flags_without_direction_are_einval),
        CREATED(test_always_cb_without_callback_is_einval),
        CREATED(test_index_out_of_range_is_einval),
        CREATED(test_bar_size_not_power_of_two_is_einval),
        CREATED(test_bar_size_below_minimum_is_einval),
        CREATED(test_odd_64_bit_bar_is_einval),
        CREATED(test_upper_half_of_64_bit_bar_is_einval),
        CREATED(test_config_region_must_be_read_write_and_not_memory),
        CREATED(test_areas_need_count_and_descriptor),
        CREATED(test_area_beyond_region_is_einval),
        CREATED(test_failed_setup_changes_nothing),
        ATTACHED(test_info_of_absent_region_is_empty),
        ATTACHED(test_info_of_config_region),
        ATTACHED(test_info_with_room_brings_areas_and_descriptor),
        ATTACHED(test_info_without_room_brings_neither),
        ATTACHED(test_info_without_areas_describes_all_of_the_region),
        ATTACHED(test_info_for_client_without_descriptors_is_not_mappable),
        ATTACHED(test_info_with_closed_descriptor_is_an_error_reply),
        ATTACHED(test_info_bad_arguments_are_einval),
        BAR(test_write_then_read_gives_the_same),
        BAR(test_buffers_are_aligned_and_zeroed),
        BAR(test_largest_read_is_1_mib),
        BAR(test_count_zero_is_a_reply_without_payload),
        BAR(test_access_outside_is_einval),
        BAR(test_write_with_other_size_than_count_is_einval),
        BAR(test_read_with_surplus_payload_is_fine),
        BAR(test_callback_failure_is_its_errno),
        BAR(test_direction_of_region_is_enforced),
        BAR(test_region_without_callback_is_einval),
        BAR(test_posted_write_has_no_reply),
        BAR(test_region_set_up_late_is_served),
        BAR(test_region_removed_by_the_first_of_several_writes),
        CREATED(test_shared_memory_is_sealed_from_the_first_attach_on),
        ATTACHED(test_memory_that_is_shared_late_is_sealed),
        CREATED(test_memory_that_takes_no_seals_is_shared_all_the_same),
    };

    return cmocka_run_group_tests_name("device_regions", tests, NULL, NULL);
}
