/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X that the library keeps for a program: vfu-broker.h. */
#include "device/msix.h"
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define VECTORS 70
#define BAR 2
#define BAR_SIZE 0x4000
#define TABLE 0x1000
#define TABLE_SIZE (16 * VECTORS)
#define PBA 0x2000
#define CAPABILITY 0x40
#define ENABLE 0x8000
#define FUNCTION_MASK 0x4000

#define MASK_ACTION (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK)
#define UNMASK_ACTION (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)
#define ASSIGN_ACTION (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)

/* What the program's callback for the BAR was given. */
static struct {
    int calls;
    struct {
        off_t offset;
        size_t count;
    } call[8];
} program;

static ssize_t access_bar(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    assert_true(program.calls < 8);
    program.call[program.calls].offset = offset;
    program.call[program.calls++].count = count;
    if (!is_write) {
        memset(buf, 0x77, count);
    }
    return (ssize_t)count;
}

static void setup_bar(struct device *device, int bar, vfu_region_access_cb_t *access, int flags)
{
    assert_int_equal(vfu_setup_region(device->ctx, bar, BAR_SIZE, access, flags, NULL, 0, -1, 0),
                     0);
}

static int setup_described(void **state)
{
    struct device *device;

    memset(&program, 0, sizeof(program));
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    setup_bar(device, BAR, access_bar, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    return 0;
}

static int setup_msix(void **state)
{
    struct device *device;

    setup_described(state);
    device = *state;
    assert_int_equal(vfu_msix_setup(device->ctx, VECTORS, BAR, TABLE, BAR, PBA), 0);
    device_attach(device);
    return 0;
}

static void access_region(struct device *device, bool is_write, uint32_t region, uint64_t offset,
                          void *data, uint32_t count, int error)
{
    static uint8_t payload[sizeof(struct vfio_user_region_access) + BAR_SIZE];
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = region,
        .count = count,
    };

    memcpy(payload, &access, sizeof(access));
    memcpy(payload + sizeof(access), data, count);
    assert_int_equal(device_request(device,
                                    is_write ? VFIO_USER_REGION_WRITE : VFIO_USER_REGION_READ,
                                    payload, sizeof(access) + (is_write ? count : 0), NULL, 0),
                     error);
    if (!is_write && error == 0) {
        memcpy(data, device_answer.payload + sizeof(access), count);
    }
}

static uint32_t read32(struct device *device, uint64_t offset)
{
    uint32_t value;

    access_region(device, false, BAR, offset, &value, sizeof(value), 0);
    return value;
}

static uint64_t pending_bits(struct device *device, unsigned word)
{
    uint64_t value;

    access_region(device, false, BAR, PBA + 8 * word, &value, sizeof(value), 0);
    return value;
}

static void write32(struct device *device, uint64_t offset, uint32_t value)
{
    access_region(device, true, BAR, offset, &value, sizeof(value), 0);
}

static uint64_t control_of(unsigned vector)
{
    return TABLE + 16 * vector + 12;
}

static void set_flags(struct device *device, uint16_t flags)
{
    assert_int_equal(device_config_write(device, CAPABILITY + 2, &flags, 2), 0);
}

static void set_irqs(struct device *device, uint32_t flags, uint32_t start, uint32_t count,
                     const int *fds, size_t fd_count)
{
    const uint32_t payload[] = { 20, flags, VFIO_PCI_MSIX_IRQ_INDEX, start, count };

    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_SET_IRQS, payload, sizeof(payload), fds, fd_count),
        0);
}

/* An eventfd of the client's for this vector; the test closes it. */
static int assign(struct device *device, unsigned vector)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    set_irqs(device, ASSIGN_ACTION, vector, 1, &fd, 1);
    return fd;
}

/* How often it was signalled since the last look. */
static uint64_t signalled(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void trigger(struct device *device, unsigned vector)
{
    assert_int_equal(vfu_msix_trigger(device->ctx, vector), 0);
}

/* --- set-up --- */

static void expect_refused(struct device *device, uint32_t vectors, int table_bar, uint64_t table,
                           int pba_bar, uint64_t pba)
{
    assert_int_equal(vfu_msix_setup(device->ctx, vectors, table_bar, table, pba_bar, pba), -1);
    assert_int_equal(errno, EINVAL);
    assert_null(device->ctx->msix);
    assert_int_equal(vfu_pci_find_capability(device->ctx, false, PCI_CAP_ID_MSIX), 0);
}

static void test_setup_checks_its_arguments(void **state)
{
    struct device *device = *state;
    struct iovec area = { (void *)0x1000, 0x1000 };
    int fd = device_memory(BAR_SIZE);

    expect_refused(device, 0, BAR, TABLE, BAR, PBA);
    expect_refused(device, 2049, BAR, 0, BAR, PBA);
    expect_refused(device, UINT32_MAX, BAR, 0, BAR, PBA);
    expect_refused(device, 8, 6, TABLE, BAR, PBA);
    expect_refused(device, 8, -1, TABLE, BAR, PBA);
    expect_refused(device, 8, BAR, TABLE, VFU_PCI_DEV_CFG_REGION_IDX, PBA);
    expect_refused(device, 8, BAR, TABLE + 4, BAR, PBA);
    expect_refused(device, 8, BAR, TABLE, BAR, PBA + 1);
    expect_refused(device, 8, BAR, BAR_SIZE - 64, BAR, PBA);
    expect_refused(device, 8, BAR, TABLE, BAR, BAR_SIZE);
    expect_refused(device, 8, BAR, TABLE, BAR, UINT64_MAX - 7);
    expect_refused(device, 8, BAR, TABLE, BAR, TABLE + 120);
    expect_refused(device, 8, 0, TABLE, BAR, PBA); /* there is no BAR 0 */
    setup_bar(device, 0, NULL, VFU_REGION_FLAG_RW);
    expect_refused(device, 8, 0, TABLE, BAR, PBA); /* it is not memory */
    setup_bar(device, 0, NULL, VFU_REGION_FLAG_READ | VFU_REGION_FLAG_MEM);
    expect_refused(device, 8, 0, TABLE, BAR, PBA); /* it cannot be written */
    assert_int_equal(vfu_setup_region(device->ctx, 0, BAR_SIZE, NULL,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, &area, 1, fd, 0),
                     0);
    expect_refused(device, 8, 0, 0x1ff8, BAR, PBA); /* its first bytes can be mapped */
    expect_refused(device, 8, 0, 0x0f88, BAR, PBA); /* its last ones */
    assert_int_equal(vfu_msix_setup(device->ctx, 8, 0, 0x0f80, 0, 0x2000), 0);
    close(fd);
}

static void test_setup_twice_is_eexist(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_msix_setup(device->ctx, 8, BAR, 0, BAR, 0x800), -1);
    assert_int_equal(errno, EEXIST);
}

static void test_setup_without_room_for_a_capability_changes_nothing(void **state)
{
    struct device *device = *state;
    uint8_t filler[256] = { PCI_CAP_ID_VNDR, 0, 0xc0 };

    assert_int_equal(vfu_pci_add_capability(device->ctx, 0, 0, filler), 0x40);
    assert_int_equal(vfu_msix_setup(device->ctx, 8, BAR, TABLE, BAR, PBA), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(device->ctx->session.irqs.tables[VFU_DEV_MSIX_IRQ].count, 0);
    assert_int_equal(vfu_msix_trigger(device->ctx, 0), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_setup_describes_the_capability(void **state)
{
    struct device *device = *state;
    struct msixcap capability;

    assert_int_equal(vfu_pci_find_capability(device->ctx, false, PCI_CAP_ID_MSIX), CAPABILITY);
    assert_int_equal(device_config_read(device, CAPABILITY, &capability, sizeof(capability)), 0);
    assert_int_equal(capability.mxc.ts, VECTORS - 1);
    assert_int_equal(capability.mtab.tbir, BAR);
    assert_int_equal(capability.mtab.to, TABLE / 8);
    assert_int_equal(capability.mpba.pbir, BAR);
    assert_int_equal(capability.mpba.pbao, PBA / 8);
    assert_int_equal(device->ctx->session.irqs.tables[VFU_DEV_MSIX_IRQ].count, VECTORS);
}

static void test_trigger_of_no_vector_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_msix_trigger(device->ctx, VECTORS), -1);
    assert_int_equal(errno, EINVAL);
}

/* --- table and pending bits as a guest sees them --- */

static void test_table_starts_masked(void **state)
{
    struct device *device = *state;

    for (unsigned i = 0; i < VECTORS; i++) {
        assert_int_equal(read32(device, TABLE + 16 * i), 0);
        assert_int_equal(read32(device, TABLE + 16 * i + 4), 0);
        assert_int_equal(read32(device, TABLE + 16 * i + 8), 0);
        assert_int_equal(read32(device, control_of(i)), 1);
    }
    assert_int_equal(program.calls, 0);
}

static void test_table_stores_what_is_writable(void **state)
{
    struct device *device = *state;
    uint8_t ones[16], entry[16];
    const uint8_t wanted[16] = { 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                 0xff, 0xff, 0xff, 0xff, 0x01, 0,    0,    0 };

    memset(ones, 0xff, sizeof(ones));
    access_region(device, true, BAR, TABLE + 16 * 69, ones, 16, 0);
    access_region(device, false, BAR, TABLE + 16 * 69, entry, 16, 0);
    assert_memory_equal(entry, wanted, 16);
    access_region(device, true, BAR, TABLE + 16 * 69 + 5, (uint8_t[1]){ 0x12 }, 1, 0);
    assert_int_equal(read32(device, TABLE + 16 * 69 + 4), 0xffff12ff);
    assert_int_equal(read32(device, TABLE + 16 * 68 + 12), 1);
}

static void test_pending_bits_are_read_only(void **state)
{
    struct device *device = *state;

    trigger(device, 3);
    trigger(device, 69);
    assert_int_equal(pending_bits(device, 0), 1 << 3);
    assert_int_equal(pending_bits(device, 1), 1 << 5);
    assert_int_equal(read32(device, PBA + 8), 1 << 5);
    write32(device, PBA, 0xffffffff);
    write32(device, PBA + 8, 0);
    assert_int_equal(pending_bits(device, 0), 1 << 3);
    assert_int_equal(pending_bits(device, 1), 1 << 5);
}

static void test_rest_of_the_bar_is_the_programs(void **state)
{
    struct device *device = *state;
    static uint8_t all[BAR_SIZE];

    assert_int_equal(read32(device, TABLE - 4), 0x77777777);
    assert_int_equal(read32(device, TABLE + TABLE_SIZE), 0x77777777);
    assert_int_equal(read32(device, PBA + 16), 0x77777777);
    assert_int_equal(program.calls, 3);
    memset(&program, 0, sizeof(program));
    access_region(device, false, BAR, 0, all, sizeof(all), 0);
    assert_int_equal(program.calls, 3);
    assert_int_equal(program.call[0].count, TABLE);
    assert_int_equal(program.call[1].offset, TABLE + TABLE_SIZE);
    assert_int_equal(program.call[1].count, PBA - TABLE - TABLE_SIZE);
    assert_int_equal(program.call[2].offset, PBA + 16);
    assert_int_equal(program.call[2].count, BAR_SIZE - PBA - 16);
    assert_int_equal(all[TABLE - 1], 0x77);
    assert_int_equal(all[TABLE + 12], 1);
    assert_int_equal(all[PBA], 0);
}

static void test_bar_without_callback_has_the_table_alone(void **state)
{
    struct device *device = *state;
    uint32_t value = 0;

    setup_bar(device, 0, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    assert_int_equal(vfu_msix_setup(device->ctx, 8, 0, 0, 0, 0x800), 0);
    device_attach(device);
    access_region(device, false, 0, 12, &value, 4, 0);
    assert_int_equal(value, 1);
    access_region(device, false, 0, 0x7fc, &value, 4, EINVAL);
    access_region(device, true, 0, 0x7fc, (uint8_t[8]){ 0 }, 8, EINVAL);
}

/* --- delivery --- */

static void test_unmasked_vector_is_signalled_at_once(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 5);

    set_flags(device, ENABLE);
    write32(device, control_of(5), 0);
    trigger(device, 5);
    trigger(device, 5);
    assert_int_equal(signalled(fd), 2);
    assert_int_equal(pending_bits(device, 0), 0);
    close(fd);
}

static void test_masked_vector_is_signalled_once_on_unmask(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 66), other = assign(device, 0);

    set_flags(device, ENABLE);
    write32(device, control_of(0), 0); /* the table counts from now on */
    trigger(device, 66);
    trigger(device, 66);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(pending_bits(device, 1), 1 << 2);
    write32(device, TABLE + 16 * 66, 0xfee00000); /* an address is no unmask */
    assert_int_equal(signalled(fd), 0);
    write32(device, control_of(66), 0);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(pending_bits(device, 1), 0);
    write32(device, control_of(66), 1);
    write32(device, control_of(66), 0);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(signalled(other), 0);
    close(fd);
    close(other);
}

static void test_function_mask_and_enable_hold_back(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 1);

    write32(device, control_of(1), 0);
    trigger(device, 1); /* not enabled */
    assert_int_equal(signalled(fd), 0);
    set_flags(device, ENABLE | FUNCTION_MASK);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(pending_bits(device, 0), 2);
    set_flags(device, ENABLE);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(pending_bits(device, 0), 0);
    set_flags(device, ENABLE | FUNCTION_MASK);
    trigger(device, 1);
    assert_int_equal(signalled(fd), 0);
    /* By one byte, as a guest may. */
    assert_int_equal(device_config_write(device, CAPABILITY + 3, (uint8_t[1]){ 0x80 }, 1), 0);
    assert_int_equal(signalled(fd), 1);
    close(fd);
}

/* A client like QEMU keeps the table itself: it never writes to ours, and masks by SET_IRQS. */
static void test_client_that_keeps_the_table_itself(void **state)
{
    struct device *device = *state;
    int fd;

    set_flags(device, ENABLE);
    trigger(device, 2);
    assert_int_equal(pending_bits(device, 0), 4);
    fd = assign(device, 2); /* it was late */
    assert_int_equal(signalled(fd), 1);
    set_irqs(device, MASK_ACTION, 2, 1, NULL, 0);
    trigger(device, 2);
    assert_int_equal(signalled(fd), 0);
    set_irqs(device, UNMASK_ACTION, 0, VECTORS, NULL, 0);
    assert_int_equal(signalled(fd), 1);
    close(fd);
}

static void test_both_masks_have_to_go(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 2);

    set_flags(device, ENABLE);
    set_irqs(device, MASK_ACTION, 0, 3, NULL, 0);
    write32(device, control_of(2), 1);
    trigger(device, 2);
    set_irqs(device, UNMASK_ACTION, 0, 3, NULL, 0);
    assert_int_equal(signalled(fd), 0);
    set_irqs(device, MASK_ACTION, 2, 1, NULL, 0);
    write32(device, control_of(2), 0);
    assert_int_equal(signalled(fd), 0);
    set_irqs(device, UNMASK_ACTION, 2, 1, NULL, 0);
    assert_int_equal(signalled(fd), 1);
    close(fd);
}

static void test_full_eventfd_is_eagain(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 0);
    const uint64_t full = UINT64_MAX - 1;

    set_flags(device, ENABLE);
    assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
    assert_int_equal(vfu_msix_trigger(device->ctx, 0), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
}

static void test_reset_masks_all_and_forgets_what_is_pending(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 1);

    set_flags(device, ENABLE);
    write32(device, TABLE + 16, 0xfee00000);
    write32(device, control_of(1), 0);
    write32(device, control_of(9), 1);
    trigger(device, 9);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
    assert_int_equal(read32(device, TABLE + 16), 0);
    assert_int_equal(read32(device, control_of(1)), 1);
    assert_int_equal(pending_bits(device, 0), 0);
    assert_int_equal(signalled(fd), 0);
    close(fd);
}

static void test_lost_client_takes_its_masks_along(void **state)
{
    struct device *device = *state;
    int fd;

    set_flags(device, ENABLE);
    set_irqs(device, MASK_ACTION, 0, VECTORS, NULL, 0);
    trigger(device, 4);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    device_attach(device);
    assert_int_equal(pending_bits(device, 0), 0);
    fd = assign(device, 4);
    trigger(device, 4);
    assert_int_equal(signalled(fd), 1);
    close(fd);
}

/* --- threads --- */

#define ROUNDS 20000

static void *trigger_often(void *opaque)
{
    struct device *device = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        if (vfu_msix_trigger(device->ctx, 7) < 0) {
            return device;
        }
    }
    return NULL;
}

/* What is triggered last is delivered, however the mask changes meanwhile; nothing comes twice. */
static void test_nothing_is_lost_between_trigger_and_unmask(void **state)
{
    struct device *device = *state;
    int fd = assign(device, 7);
    const uint32_t masked[] = { 1, 0 };
    void *failed = NULL;
    pthread_t thread;
    uint64_t count;

    set_flags(device, ENABLE);
    assert_int_equal(pthread_create(&thread, NULL, trigger_often, device), 0);
    for (int i = 0; i < ROUNDS; i++) {
        char value[4];

        memcpy(value, &masked[i % 2], 4);
        msix_access(device->ctx, BAR, value, 4, control_of(7), true);
    }
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    count = signalled(fd);
    assert_in_range(count, 1, ROUNDS);
    assert_int_equal(pending_bits(device, 0), 0); /* the last write of the loop unmasked */
    close(fd);
}

/* The same for a client that takes the eventfd away now and then, and gives another. */
static void test_nothing_is_lost_between_trigger_and_assignment(void **state)
{
    struct device *device = *state;
    struct irqs *irqs = &device->ctx->session.irqs;
    int fd = assign(device, 7);
    void *failed = NULL;
    pthread_t thread;

    set_flags(device, ENABLE);
    assert_int_equal(pthread_create(&thread, NULL, trigger_often, device), 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(irqs_assign(irqs, VFU_DEV_MSIX_IRQ, 7, i % 2 == 0 ? -1 : dup(fd)), 0);
        msix_update(device->ctx);
    }
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_in_range(signalled(fd), 1, ROUNDS);
    assert_int_equal(pending_bits(device, 0), 0);
    close(fd);
}

/* --- migration --- */

static void test_saved_table_and_pending_bits_come_back(void **state)
{
    struct device *device = *state;
    ssize_t size = vfu_msix_save(device->ctx, NULL, 0);
    uint8_t saved[2048];
    int fd = assign(device, 66);

    assert_int_equal(size, 8 + 16 * VECTORS + 16);
    set_flags(device, ENABLE);
    write32(device, TABLE + 16 * 3, 0xfee01234);
    trigger(device, 66); /* masked since the table is used */
    assert_int_equal(vfu_msix_save(device->ctx, saved, (size_t)size - 1), size);
    assert_int_equal(vfu_msix_save(device->ctx, saved, sizeof(saved)), size);
    write32(device, TABLE + 16 * 3, 0);
    write32(device, control_of(66), 0);
    assert_int_equal(signalled(fd), 1);

    assert_int_equal(vfu_msix_restore(device->ctx, saved, (size_t)size), 0);
    assert_int_equal(read32(device, TABLE + 16 * 3), 0xfee01234);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(pending_bits(device, 1), 1 << 2);
    write32(device, control_of(66), 0);
    assert_int_equal(signalled(fd), 1);
    close(fd);
}

static void test_restore_signals_what_nothing_holds_back(void **state)
{
    struct device *device = *state;
    uint8_t saved[2048];
    ssize_t size;
    int fd;

    trigger(device, 5); /* without eventfd */
    size = vfu_msix_save(device->ctx, saved, sizeof(saved));
    fd = assign(device, 5);
    set_flags(device, ENABLE);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(vfu_msix_restore(device->ctx, saved, (size_t)size), 0);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(pending_bits(device, 0), 0);
    close(fd);
}

static void expect_restore_is_einval(struct device *device, const uint8_t *saved, size_t size)
{
    errno = 0;
    assert_int_equal(vfu_msix_restore(device->ctx, saved, size), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(read32(device, TABLE + 16 * 3), 0x1230);
    assert_int_equal(pending_bits(device, 1), 0);
}

static void test_restore_of_what_no_device_saved_is_einval(void **state)
{
    struct device *device = *state;
    uint8_t saved[2048];
    ssize_t n = vfu_msix_save(device->ctx, saved, sizeof(saved));
    size_t size = (size_t)n, last = size - 8;

    write32(device, TABLE + 16 * 3, 0x1230);
    expect_restore_is_einval(device, NULL, size);
    expect_restore_is_einval(device, saved, 0);
    expect_restore_is_einval(device, saved, size - 1);
    expect_restore_is_einval(device, saved, size + 1);
    saved[0]++; /* vectors */
    expect_restore_is_einval(device, saved, size);
    saved[0]--;
    saved[4] = 2; /* used or not */
    expect_restore_is_einval(device, saved, size);
    saved[4] = 0;
    saved[8] = 1; /* reserved in an address */
    expect_restore_is_einval(device, saved, size);
    saved[8] = 0;
    saved[last] = 1 << (VECTORS % 64); /* a vector that there is not */
    expect_restore_is_einval(device, saved, size);
    saved[last] = 0;
    assert_int_equal(vfu_msix_restore(device->ctx, saved, size), 0);
}

static void test_save_without_msix_is_einval(void **state)
{
    struct device *device = *state;
    uint8_t saved[64] = { 0 };

    assert_int_equal(vfu_msix_save(device->ctx, saved, sizeof(saved)), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_msix_restore(device->ctx, saved, sizeof(saved)), -1);
    assert_int_equal(errno, EINVAL);
}

#define DESCRIBED(test) cmocka_unit_test_setup_teardown(test, setup_described, device_teardown)
#define MSIX(test) cmocka_unit_test_setup_teardown(test, setup_msix, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DESCRIBED(test_setup_checks_its_arguments),
        MSIX(test_setup_twice_is_eexist),
        DESCRIBED(test_setup_without_room_for_a_capability_changes_nothing),
        MSIX(test_setup_describes_the_capability),
        MSIX(test_trigger_of_no_vector_is_einval),
        MSIX(test_table_starts_masked),
        MSIX(test_table_stores_what_is_writable),
        MSIX(test_pending_bits_are_read_only),
        MSIX(test_rest_of_the_bar_is_the_programs),
        DESCRIBED(test_bar_without_callback_has_the_table_alone),
        MSIX(test_unmasked_vector_is_signalled_at_once),
        MSIX(test_masked_vector_is_signalled_once_on_unmask),
        MSIX(test_function_mask_and_enable_hold_back),
        MSIX(test_client_that_keeps_the_table_itself),
        MSIX(test_both_masks_have_to_go),
        MSIX(test_full_eventfd_is_eagain),
        MSIX(test_reset_masks_all_and_forgets_what_is_pending),
        MSIX(test_lost_client_takes_its_masks_along),
        MSIX(test_nothing_is_lost_between_trigger_and_unmask),
        MSIX(test_nothing_is_lost_between_trigger_and_assignment),
        MSIX(test_saved_table_and_pending_bits_come_back),
        MSIX(test_restore_signals_what_nothing_holds_back),
        MSIX(test_restore_of_what_no_device_saved_is_einval),
        DESCRIBED(test_save_without_msix_is_einval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
