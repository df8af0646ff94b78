/* SPDX-License-Identifier: BSD-3-Clause */
/* vfu_create_ioeventfd(): api.md section 2.4, and the limits of W17, W22 and W28. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 0x1000u

static void setup(struct device *device)
{
    assert_int_equal(vfu_setup_region(device->ctx, 0, SIZE, NULL,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
}

/* Returns 0 or the errno. */
static int create(struct device *device, uint32_t region, int fd, size_t offset, uint32_t size,
                  int shadow_fd)
{
    errno = 0;
    return vfu_create_ioeventfd(device->ctx, region, fd, offset, size, 0, 0, shadow_fd, 0) == 0
               ? 0
               : errno;
}

static int ask(struct device *device, uint32_t argsz, uint32_t region)
{
    const vfio_user_region_io_fds_request_t request = { .argsz = argsz, .index = region };

    return device_request(device, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &request, sizeof(request),
                          NULL, 0);
}

static uint32_t count_of_answer(void)
{
    vfio_user_region_io_fds_reply_t head;

    memcpy(&head, device_answer.payload, sizeof(head));
    assert_int_equal(head.argsz, 16 + 48 * head.count);
    return head.count;
}

static void test_outside_the_region_is_einval(void **state)
{
    struct device *device = *state;

    setup(device);
    assert_int_equal(create(device, 9, -1, 0, 4, -1), EINVAL);
    assert_int_equal(create(device, UINT32_MAX, -1, 0, 4, -1), EINVAL);
    assert_int_equal(create(device, 1, -1, 0, 4, -1), EINVAL); /* of no size */
    assert_int_equal(create(device, 0, -1, SIZE - 3, 4, -1), EINVAL);
    assert_int_equal(create(device, 0, -1, 0, SIZE + 1, -1), EINVAL);
    /* W28: the sum wraps. */
    assert_int_equal(create(device, 0, -1, SIZE_MAX, 1, -1), EINVAL);
    assert_int_equal(create(device, 0, -1, SIZE_MAX - 3, 8, -1), EINVAL);
    assert_int_equal(create(device, 0, -1, SIZE - 4, 4, -1), 0);
    assert_int_equal(create(device, 0, -1, SIZE, 0, -1), 0);
    assert_int_equal(create(device, 0, -1, 0, SIZE, -1), 0);
}

/* W22 */
static void test_descriptors_below_minus_1_are_einval(void **state)
{
    struct device *device = *state;

    setup(device);
    assert_int_equal(create(device, 0, -2, 0, 4, -1), EINVAL);
    assert_int_equal(create(device, 0, INT32_MIN, 0, 4, -1), EINVAL);
    assert_int_equal(create(device, 0, -1, 0, 4, -2), EINVAL);
}

/* api.md 4.12: works for any region that is set up, config space too. */
static void test_config_space_can_have_them(void **state)
{
    struct device *device = *state;

    assert_int_equal(
        vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(create(device, VFU_PCI_DEV_CFG_REGION_IDX, -1, 0x40, 4, -1), 0);
    device_attach(device);
    assert_int_equal(ask(device, 64, VFU_PCI_DEV_CFG_REGION_IDX), 0);
    assert_int_equal(count_of_answer(), 1);
}

/* A shadow without an eventfd, and both the same descriptor: nobody minds. */
static void test_strange_ones_are_described_as_they_are(void **state)
{
    struct device *device = *state;
    int memory = device_memory(4096);
    vfio_user_sub_region_ioeventfd_t entry;

    setup(device);
    assert_int_equal(create(device, 0, -1, 0, 4, memory), 0);
    device_attach(device);
    assert_int_equal(ask(device, 64, 0), 0);
    assert_int_equal(count_of_answer(), 1);
    memcpy(&entry, device_answer.payload + 16, sizeof(entry));
    assert_int_equal(entry.fd_index, UINT32_MAX);
    assert_int_equal(entry.type, VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW);
    assert_int_equal(entry.shadow_mem_fd_index, 0);
    assert_true(device_answer.fd >= 0);
    close(memory);
}

/* W17: 253 descriptors are what one message can carry. */
static void test_254th_descriptor_is_enospc(void **state)
{
    struct device *device = *state;
    int fds[254];

    setup(device);
    for (size_t i = 0; i < 254; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
        assert_true(fds[i] >= 0);
        assert_int_equal(create(device, 0, fds[i], 0, 4, -1), i < 253 ? 0 : ENOSPC);
    }
    /* Those that are known already cost nothing. */
    assert_int_equal(create(device, 0, fds[0], 8, 4, fds[1]), 0);
    assert_int_equal(create(device, 0, fds[0], 8, 4, fds[253]), ENOSPC);
    for (size_t i = 0; i < 254; i++) {
        close(fds[i]);
    }
}

/* As many as a client can ask for. */
static void test_21846th_is_enospc(void **state)
{
    struct device *device = *state;

    setup(device);
    for (uint32_t i = 0; i < 21845; i++) {
        assert_int_equal(create(device, 0, -1, i % SIZE, 1, -1), 0);
    }
    assert_int_equal(create(device, 0, -1, 0, 1, -1), ENOSPC);
    device_attach(device);
    assert_int_equal(ask(device, 1 << 20, 0), 0);
    assert_int_equal(count_of_answer(), 21845);
    assert_int_equal(device_answer.size, 16 + 48 * 21845);
}

/* W45: what cannot be sent is an error to the client, not to the program. */
static void test_descriptor_that_was_closed_is_an_error_to_the_client(void **state)
{
    struct device *device = *state;
    int event = eventfd(0, EFD_CLOEXEC);

    setup(device);
    assert_int_equal(create(device, 0, event, 0, 4, -1), 0);
    device_attach(device);
    close(event);
    assert_int_equal(ask(device, 64, 0), EBADF);
    assert_int_equal(ask(device, 16, 0), 0);
}

/* api.md 2.4: borrowed, never closed. */
static void test_descriptors_stay_open(void **state)
{
    struct device device;
    int event = eventfd(0, EFD_CLOEXEC);
    int memory = device_memory(4096);
    size_t before = device_count_descriptors();

    device_create(&device);
    setup(&device);
    assert_int_equal(create(&device, 0, event, 0, 4, memory), 0);
    device_attach(&device);
    device_destroy(&device);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(eventfd_write(event, 1), 0);
    assert_int_equal(ftruncate(memory, 8192), 0);
    close(event);
    close(memory);
}

/* api.md 4.12: a region that was taken away is one never set up. */
static void test_region_without_flags_is_einval(void **state)
{
    struct device *device = *state;

    device_attach(device);
    assert_int_equal(ask(device, 64, 0), EINVAL);
    setup(device);
    assert_int_equal(ask(device, 64, 0), 0);
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_outside_the_region_is_einval),
        CREATED(test_descriptors_below_minus_1_are_einval),
        CREATED(test_config_space_can_have_them),
        CREATED(test_strange_ones_are_described_as_they_are),
        CREATED(test_254th_descriptor_is_enospc),
        CREATED(test_21846th_is_enospc),
        CREATED(test_descriptor_that_was_closed_is_an_error_to_the_client),
        cmocka_unit_test(test_descriptors_stay_open),
        CREATED(test_region_without_flags_is_einval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
