/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What serving a register access does not do: allocate or free, take a lock, write a line of the
 * log. The linker leads the library's calls here (meson.build); that each of them is seen has a
 * control.
 */
#include "tests/unit/test_device_helper.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vfio-user/pci_defs.h>
#include <vfio-user/vfu-broker.h>

#define ROUNDS 100u
#define SIZE 0x1000u
#define INLINE_MAX 4000u /* with its headers it fits into what frames and replies keep */

static bool inside; /* the library is at work, not the test */
static unsigned allocations;
static unsigned locks;
static unsigned lines;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_reallocarray(void *memory, size_t count, size_t size);
void __real_free(void *memory);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void __wrap_free(void *memory);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t size)
{
    allocations += inside;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations += inside;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocations += inside;
    return __real_realloc(memory, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
    allocations += inside;
    return __real_reallocarray(memory, count, size);
}

void __wrap_free(void *memory)
{
    allocations += inside;
    __real_free(memory);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    locks += inside;
    return __real_pthread_mutex_lock(mutex);
}

static void on_line(vfu_ctx_t *ctx, int level, const char *line)
{
    lines += inside;
}

static ssize_t on_access(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    if (!is_write) {
        memset(buf, 0x5a, count);
    }
    return (ssize_t)count;
}

static int set_up(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_DEBUG), 0);
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(device->ctx, 0, SIZE, on_access,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    device_attach(device);
    allocations = 0;
    locks = 0;
    lines = 0;
    return 0;
}

static void run(struct device *device, int wanted)
{
    inside = true;
    int result = vfu_run_ctx(device->ctx);

    inside = false;
    assert_int_equal(result, wanted);
}

/* One access; false if the device refuses it. */
static bool access_region(struct device *device, uint16_t command, uint32_t flags, uint32_t region,
                          uint64_t offset, uint32_t count)
{
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = region,
        .count = count,
    };
    uint8_t message[sizeof(access) + SIZE] = { 0 };
    size_t size = sizeof(access) + (command == VFIO_USER_REGION_WRITE ? count : 0);

    memcpy(message, &access, sizeof(access));
    device_send_command(device, command, flags, message, size, NULL, 0);
    run(device, 1);
    if (flags & VFIO_USER_F_NO_REPLY) {
        return true;
    }
    assert_true(device_receive(device, &device_answer));
    return (device_answer.header.flags & VFIO_USER_F_ERROR) == 0;
}

static void access_all(struct device *device)
{
    static const uint32_t sizes[] = { 1, 2, 4, 8, 64, INLINE_MAX };

    for (unsigned i = 0; i < ROUNDS; i++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            assert_true(access_region(device, VFIO_USER_REGION_READ, 0, 0, 0, sizes[s]));
            assert_true(access_region(device, VFIO_USER_REGION_WRITE, 0, 0, 0, sizes[s]));
            assert_true(access_region(device, VFIO_USER_REGION_WRITE, VFIO_USER_F_NO_REPLY, 0, 0,
                                      sizes[s]));
        }
        assert_true(
            access_region(device, VFIO_USER_REGION_READ, 0, VFU_PCI_DEV_CFG_REGION_IDX, 0, 4));
        assert_true(access_region(device, VFIO_USER_REGION_WRITE, 0, VFU_PCI_DEV_CFG_REGION_IDX,
                                  PCI_CACHE_LINE_SIZE, 1));
    }
}

static void test_accesses_neither_allocate_nor_lock_nor_log(void **state)
{
    access_all(*state);
    assert_int_equal(allocations, 0);
    assert_int_equal(locks, 0);
    assert_int_equal(lines, 0);
}

/* Nor what is queued, and then served without a wait. */
static void test_queued_accesses_do_neither(void **state)
{
    const struct vfio_user_region_access access = { .region = 0, .count = 8 };
    struct device *device = *state;

    for (unsigned i = 0; i < ROUNDS; i++) {
        device_send_command(device, VFIO_USER_REGION_READ, 0, &access, sizeof(access), NULL, 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        run(device, 1);
    }
    assert_int_equal(allocations + locks + lines, 0);
}

static void test_larger_accesses_are_seen_to_allocate(void **state)
{
    assert_true(access_region(*state, VFIO_USER_REGION_READ, 0, 0, 0, SIZE));
    assert_true(allocations > 0);
}

static void test_refused_accesses_are_seen_to_log(void **state)
{
    assert_false(access_region(*state, VFIO_USER_REGION_READ, 0, 3, 0, 4));
    assert_true(lines > 0);
}

static void test_locks_are_seen(void **state)
{
    inside = true;
    assert_int_equal(vfu_resource_fd("none"), -1);
    inside = false;
    assert_true(locks > 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accesses_neither_allocate_nor_lock_nor_log),
        TEST(test_queued_accesses_do_neither),
        TEST(test_larger_accesses_are_seen_to_allocate),
        TEST(test_refused_accesses_are_seen_to_log),
        TEST(test_locks_are_seen),
    };

    return cmocka_run_group_tests_name("device_hot_path", tests, NULL, NULL);
}
