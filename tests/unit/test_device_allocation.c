/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is not there. A device's whole life, from creation to destruction with all commands
 * that take memory, is repeated with its first allocation failing, then its second, and so on: who
 * asked hears ENOMEM or loses the connection, the next try works, and nothing is left behind. The
 * linker leads the library's calls here (meson.build); what json-c allocates is not touched.
 */
#include "tests/unit/dma_index_helper.h"
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define MIB (1u << 20)
#define LARGE 100000u /* bytes: more than is kept, less than a socket holds */

/* --- the allocator --- */

static bool inside;    /* the library is at work, not the test */
static long countdown; /* allocations until one fails; < 0: none does any more */
static bool failed;    /* since the test last looked */
static size_t taken;   /* bytes that were asked for */

static bool fails(void)
{
    if (!inside || countdown < 0 || countdown-- > 0) {
        return false;
    }
    failed = true;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    taken += inside ? count * size : 0;
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(memory, count, size);
}

static bool look(void)
{
    bool did = failed;

    failed = false;
    return did;
}

/* --- the program's side --- */

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t on_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static ssize_t on_access(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    return (ssize_t)count;
}

static int memory;
static int event;

enum {
    SET_UP_REGION,
    SET_UP_CONFIG,
    SET_UP_IRQS,
    SET_UP_IOEVENTFD,
    SET_UP_MIGRATION,
    SET_UP_DMA,
    REALIZE,
    RAISE_IRQS,
    STEPS,
};

static int do_step(vfu_ctx_t *ctx, int step)
{
    const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_data,
                                                  on_data };
    struct iovec area = { NULL, PAGE };

    switch (step) {
    case SET_UP_REGION:
        return vfu_setup_region(ctx, 0, 2 * MIB, on_access,
                                VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, &area, 1, memory, 0);
    case SET_UP_CONFIG:
        return vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, 0, 0);
    case SET_UP_IRQS:
        return vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, 8);
    case SET_UP_IOEVENTFD:
        return vfu_create_ioeventfd(ctx, 0, event, 0, 4, 0, 0, -1, 0);
    case SET_UP_MIGRATION:
        return vfu_setup_device_migration_callbacks(ctx, &callbacks);
    case SET_UP_DMA:
        return vfu_setup_device_dma(ctx, 100, NULL, NULL);
    case REALIZE:
        return vfu_realize_ctx(ctx);
    default:
        return vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, 16);
    }
}

/* A step that has failed changed nothing: it can be repeated. */
static void set_up(vfu_ctx_t *ctx)
{
    for (int step = 0; step < STEPS; step++) {
        int result;

        inside = true;
        errno = 0;
        result = do_step(ctx, step);
        inside = false;
        if (look()) {
            assert_int_equal(result, -1);
            assert_int_equal(errno, ENOMEM);
            result = do_step(ctx, step);
        }
        assert_int_equal(result, 0);
    }
}

/* --- the client's side --- */

struct command {
    uint16_t command;
    uint32_t size;
    const void *payload;
    const int *fd;
};

static int run(struct device *device)
{
    int result;

    inside = true;
    do {
        result = vfu_run_ctx(device->ctx);
    } while (result == 0);
    inside = false;
    return result < 0 ? -errno : result;
}

/* Returns the errno of the reply, or -1 if the connection was closed, with that reply or without.
 */
static int request(struct device *device, const struct command *command)
{
    int result;
    bool answered;

    device_send_command(device, command->command, 0, command->payload, command->size, command->fd,
                        command->fd != NULL);
    result = run(device);
    answered = device_receive(device, &device_answer);
    assert_true(answered || result == -ENOTCONN);
    assert_true(result == 1 || result == -ENOTCONN);
    return result == 1 ? (int)device_answer.header.error_no : -1;
}

static bool attach(struct device *device)
{
    const char payload[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}";
    int result;

    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, 0, payload, sizeof(payload), NULL, 0);
    inside = true;
    result = vfu_attach_ctx(device->ctx);
    inside = false;
    device_receive(device, &device_answer);
    return result == 0;
}

static void serve(struct device *device)
{
    static uint8_t large[sizeof(struct vfio_user_region_access) + LARGE];
    struct vfio_user_region_access *write = (struct vfio_user_region_access *)large;
    const struct vfio_user_region_access read = { .count = LARGE };
    const struct vfio_region_info info = { .argsz = PAGE };
    const struct vfio_irq_info irq = { .argsz = 16 };
    const vfio_user_region_io_fds_request_t io_fds = { .argsz = PAGE };
    const uint32_t irqs[5] = { 20, 4 | 32, VFU_DEV_MSI_IRQ, 15, 1 };
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = PAGE, .size = MIB };
    const uint64_t start[] = { 64ull | 0x20006ull << 32, PAGE, 0 };
    const uint64_t report[] = { PAGE | 0x10008ull << 32, PAGE, MIB, PAGE };
    const uint64_t unmap[] = { 72 | 1ull << 32, PAGE, MIB, PAGE, 32 };
    const uint64_t state[] = { 16 | 0x20002ull << 32, VFIO_USER_DEVICE_STATE_PRE_COPY };
    const uint32_t data[] = { LARGE + 8, LARGE };
    const uint64_t multi[] = { 1, 0, 4ull << 32, 0 };
    const struct command commands[] = {
        { VFIO_USER_DEVICE_GET_REGION_INFO, sizeof(info), &info, NULL },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, sizeof(irq), &irq, NULL },
        { VFIO_USER_DEVICE_GET_REGION_IO_FDS, sizeof(io_fds), &io_fds, NULL },
        { VFIO_USER_DEVICE_SET_IRQS, sizeof(irqs), irqs, &event },
        { VFIO_USER_REGION_READ, sizeof(read), &read, NULL },
        { VFIO_USER_REGION_WRITE, sizeof(large), large, NULL },
        { VFIO_USER_REGION_WRITE_MULTI, sizeof(multi), multi, NULL },
        { VFIO_USER_DMA_MAP, sizeof(map), &map, &memory },
        { VFIO_USER_DEVICE_FEATURE, sizeof(start), start, NULL },
        { VFIO_USER_DEVICE_FEATURE, sizeof(report), report, NULL },
        { VFIO_USER_DMA_UNMAP, sizeof(unmap), unmap, NULL },
        { VFIO_USER_DMA_MAP, sizeof(map), &map, &memory }, /* now with a log */
        { VFIO_USER_DEVICE_FEATURE, sizeof(state), state, NULL },
        { VFIO_USER_MIG_DATA_READ, sizeof(data), data, NULL },
    };

    *write = (struct vfio_user_region_access){ .count = LARGE };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        int error = request(device, &commands[i]);

        if (look()) {
            if (error == -1) {
                return;
            }
            /* An allocation that was only for speed is none that anybody hears of. */
            assert_true(error == ENOMEM || error == 0);
            error = error == ENOMEM ? request(device, &commands[i]) : 0;
        }
        if (error != 0) {
            fail_msg("request %zu: error %d", i, error);
        }
    }
}

/* Returns whether an allocation failed. */
static bool live(struct device *device, long fail_at)
{
    countdown = fail_at;
    failed = false;
    inside = true;
    device->ctx = vfu_create_ctx(VFU_TRANS_SOCK, device->path, LIBVFIO_USER_FLAG_ATTACH_NB, device,
                                 VFU_DEV_TYPE_PCI);
    inside = false;
    if (device->ctx == NULL) {
        assert_int_equal(errno, ENOMEM);
        assert_true(look());
        return true;
    }
    set_up(device->ctx);
    if (!attach(device)) {
        assert_int_equal(errno, ENOMEM);
        assert_true(look());
        assert_true(attach(device));
    }
    serve(device);
    vfu_destroy_ctx(device->ctx);
    return countdown < 0;
}

static void leave(struct device *device)
{
    if (device->client >= 0) {
        close(device->client);
        device->client = -1;
    }
    if (device_answer.fd >= 0) {
        close(device_answer.fd);
        device_answer.fd = -1;
    }
}

static void test_every_allocation_may_fail(void **state)
{
    struct device device = { .client = -1, .dir = "/tmp/device-XXXXXX" };
    size_t before;
    long n = 0;

    assert_non_null(mkdtemp(device.dir));
    snprintf(device.path, sizeof(device.path), "%s/s", device.dir);
    memory = device_memory(2 * MIB);
    event = eventfd(0, EFD_CLOEXEC);
    assert_true(live(&device, -1)); /* the process keeps a descriptor for lost memory */
    leave(&device);
    before = device_count_descriptors();
    while (live(&device, n)) {
        leave(&device);
        assert_int_equal(device_count_descriptors(), before);
        n++;
    }
    leave(&device);
    assert_true(n > 20);
    close(memory);
    close(event);
    assert_int_equal(rmdir(device.dir), 0);
}

#define REGIONS 2000u /* several leaves, directories and hash tables */

/* Fills an index. Returns whether an allocation failed. */
static bool fill_index(long fail_at)
{
    struct dma_index index = { 0 };
    struct dma_range range;
    uint64_t handle;

    failed = false;
    countdown = fail_at;
    inside = true;
    for (uint64_t i = 0; i < REGIONS; i++) {
        if (index_add(&index, i * PAGE, PAGE) == NULL) {
            assert_true(look());
            assert_false(dma_index_look_up(&index, i * PAGE, &range, &handle));
            assert_non_null(index_add(&index, i * PAGE, PAGE));
        }
    }
    inside = false;
    for (uint64_t i = 0; i < REGIONS; i++) {
        assert_true(dma_index_look_up(&index, i * PAGE, &range, &handle));
        assert_int_equal(range.first, i * PAGE);
    }
    dma_index_fini(&index);
    return countdown < 0;
}

/*
 * What dma_index.h says, where most of it is not used: there is one region more than slots that
 * have been made room for, and all regions lie across blocks.
 */
static void test_index_memory_is_bounded(void **state)
{
    enum { COUNT = 64 * 1023 + 1 };
    static struct dma_region *regions[COUNT];
    struct dma_index index = { 0 };

    taken = 0;
    countdown = -1;
    inside = true;
    for (uint64_t i = 0; i < COUNT; i++) {
        regions[i] = index_add(&index, i * 3 * PAGE + PAGE / 2, 2 * PAGE);
        assert_non_null(regions[i]);
    }
    /* Any number of changes, too. */
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t j = i * 7919 % COUNT;

        index_drop(&index, regions[j]);
        regions[j] = index_add(&index, j * 3 * PAGE + PAGE / 2, 2 * PAGE);
        assert_non_null(regions[j]);
    }
    inside = false;
    print_message("%zu bytes for each of %d regions\n", taken / COUNT, COUNT);
    assert_in_range(taken / COUNT, 200, 512);
    dma_index_fini(&index);
}

static void test_index_without_memory(void **state)
{
    long n = 0;

    while (fill_index(n)) {
        n++;
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_index_without_memory),
        cmocka_unit_test(test_index_memory_is_bounded),
    };

    return cmocka_run_group_tests_name("device_allocation", tests, NULL, NULL);
}
