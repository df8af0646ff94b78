/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X that the library keeps (vfu-broker.h), with the two kinds of client that there are. */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"
#include "tests/protocol/test-device-capabilities.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONFIG 7
#define VECTOR 5
#define CONTROL (CAPS_MSIX_TABLE + 16 * VECTOR + PCI_MSIX_ENTRY_VECTOR_CTRL)

static void config_put(struct fixture *fixture, uint64_t offset, uint32_t value, size_t size)
{
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, offset, &value, size), 0);
}

static void set_flags(struct fixture *fixture, uint16_t flags)
{
    config_put(fixture, CAPS_MSIX + PCI_MSIX_FLAGS, flags, 2);
}

static void trigger(struct fixture *fixture)
{
    config_put(fixture, CAPS_REG_TRIGGER, VECTOR, 4);
}

static uint32_t bar_get(struct fixture *fixture, uint64_t offset)
{
    uint32_t value = 0;

    assert_int_equal(vfu_client_region_read(fixture->client, CAPS_MSIX_BAR, offset, &value, 4), 0);
    return value;
}

static void bar_put(struct fixture *fixture, uint64_t offset, uint32_t value)
{
    assert_int_equal(vfu_client_region_write(fixture->client, CAPS_MSIX_BAR, offset, &value, 4), 0);
}

/* An eventfd for the vector. */
static int assign(struct fixture *fixture)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(
        vfu_client_irq_assign(fixture->client, VFIO_PCI_MSIX_IRQ_INDEX, VECTOR, &fd, 1), 0);
    return fd;
}

static uint64_t signalled(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* As a guest whose accesses all come here: mask all, fill in, enable, unmask. */
static void test_guest_with_the_device_s_table(void **state)
{
    struct fixture *fixture = *state;
    AUTO_FD fd = assign(fixture);

    for (unsigned i = 0; i < TEST_DEVICE_MSIX_COUNT; i++) {
        assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE + 16 * i + 12), 1);
        bar_put(fixture, CAPS_MSIX_TABLE + 16 * i, 0xfee00000 + (i << 12));
        bar_put(fixture, CAPS_MSIX_TABLE + 16 * i + 8, 0x4000 + i);
        bar_put(fixture, CAPS_MSIX_TABLE + 16 * i + 12, 1);
    }
    set_flags(fixture, PCI_MSIX_FLAGS_ENABLE);
    trigger(fixture);
    trigger(fixture);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_PBA), 1 << VECTOR);
    bar_put(fixture, CONTROL, 0);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_PBA), 0);
    trigger(fixture);
    assert_int_equal(signalled(fd), 1);
    set_flags(fixture, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    trigger(fixture);
    assert_int_equal(signalled(fd), 0);
    set_flags(fixture, PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE + 16 * VECTOR), 0xfee05000);
}

/* Protocol.md 5.4: QEMU keeps the table itself, and tells by SET_IRQS. */
static void test_start_up_of_qemu(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t none = VFIO_IRQ_SET_DATA_NONE;
    AUTO_FD fd = -1;

    set_flags(fixture, PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(vfu_client_irq_disable(fixture->client, VFIO_PCI_INTX_IRQ_INDEX), 0);
    assert_int_equal(vfu_client_irq_deassign(fixture->client, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1), 0);
    trigger(fixture); /* a little early */
    fd = assign(fixture);
    assert_int_equal(signalled(fd), 1);
    trigger(fixture);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(vfu_client_set_irqs(fixture->client, none | VFIO_IRQ_SET_ACTION_MASK,
                                         VFIO_PCI_MSIX_IRQ_INDEX, VECTOR, 1, NULL, NULL, 0),
                     0);
    trigger(fixture);
    assert_int_equal(signalled(fd), 0);
    assert_int_equal(vfu_client_set_irqs(fixture->client, none | VFIO_IRQ_SET_ACTION_UNMASK,
                                         VFIO_PCI_MSIX_IRQ_INDEX, VECTOR, 1, NULL, NULL, 0),
                     0);
    assert_int_equal(signalled(fd), 1);
}

static void test_table_and_device_share_a_bar(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[64];

    memset(bytes, 0xa5, sizeof(bytes));
    /* 16 bytes of the device's memory, then an entry of the table and a half. */
    assert_int_equal(
        vfu_client_region_write(fixture->client, CAPS_MSIX_BAR, CAPS_MSIX_TABLE - 16, bytes, 40),
        0);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE - 4), 0xa5a5a5a5);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE), 0xa5a5a5a4);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE + 12), 1);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_TABLE + 20), 0xa5a5a5a5);
    assert_int_equal(
        vfu_client_region_read(fixture->client, CAPS_MSIX_BAR, CAPS_MSIX_PBA - 8, bytes, 24), 0);
}

static void test_reset_takes_the_table_back(void **state)
{
    struct fixture *fixture = *state;
    AUTO_FD fd = assign(fixture);

    set_flags(fixture, PCI_MSIX_FLAGS_ENABLE);
    bar_put(fixture, CONTROL, 1);
    trigger(fixture);
    config_put(fixture, CAPS_PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2);
    assert_int_equal(bar_get(fixture, CAPS_MSIX_PBA), 0);
    bar_put(fixture, CONTROL, 0);
    assert_int_equal(signalled(fd), 0);
    trigger(fixture);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(vfu_client_reset_device(fixture->client), 0);
    assert_int_equal(bar_get(fixture, CONTROL), 1);
}

static void test_no_such_vector_is_einval(void **state)
{
    struct fixture *fixture = *state;
    uint32_t vector = TEST_DEVICE_MSIX_COUNT;

    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, CAPS_REG_TRIGGER, &vector, 4),
                     EINVAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_guest_with_the_device_s_table),
        PROTOCOL_TEST(test_start_up_of_qemu),
        PROTOCOL_TEST(test_table_and_device_share_a_bar),
        PROTOCOL_TEST(test_reset_takes_the_table_back),
        PROTOCOL_TEST(test_no_such_vector_is_einval),
    };

    return harness_run(argc, argv, tests);
}
