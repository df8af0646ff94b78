/* SPDX-License-Identifier: BSD-3-Clause */
/* Capabilities in config space as a client sees them: api.md 4.3.1, 4.3.2, 4.4; protocol.md 4.8. */
#include "tests/protocol/harness.h"
#include "tests/protocol/test-device-capabilities.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define CONFIG 7

static uint32_t get(struct fixture *fixture, uint64_t offset, size_t size)
{
    uint32_t value = 0;

    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, offset, &value, size), 0);
    return value;
}

static int put(struct fixture *fixture, uint64_t offset, uint32_t value, size_t size)
{
    return vfu_client_region_write(fixture->client, CONFIG, offset, &value, size);
}

static void get_all(struct fixture *fixture, uint8_t all[CAPS_CONFIG_SIZE])
{
    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, all, CAPS_CONFIG_SIZE), 0);
}

/* --- what there is --- */

static void test_region_and_status_tell_of_them(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_REGION region = { .fd = -1 };

    assert_int_equal(vfu_client_get_region_info(fixture->client, CONFIG, &region), 0);
    assert_int_equal(region.size, CAPS_CONFIG_SIZE);
    assert_int_equal(get(fixture, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
}

static void test_standard_chain_has_the_order_of_the_calls(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint8_t offset;
        uint8_t id;
    } wanted[] = {
        { CAPS_PM, PCI_CAP_ID_PM },         { CAPS_MSI, PCI_CAP_ID_MSI },
        { CAPS_MSIX, PCI_CAP_ID_MSIX },     { CAPS_PX, PCI_CAP_ID_EXP },
        { CAPS_VENDOR, PCI_CAP_ID_VNDR },   { CAPS_LOCKED, PCI_CAP_ID_VNDR },
        { CAPS_CALLBACK, PCI_CAP_ID_VNDR }, { CAPS_OPEN, PCI_CAP_ID_VNDR },
    };
    uint32_t offset = get(fixture, PCI_CAPABILITY_LIST, 1);

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_int_equal(offset, wanted[i].offset);
        assert_int_equal(get(fixture, offset, 1), wanted[i].id);
        if (offset == CAPS_CALLBACK) {
            break; /* what follows in it is the program's */
        }
        offset = get(fixture, offset + 1, 1);
    }
}

static void test_extended_chain(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(get(fixture, CAPS_DSN, 4), CAPS_VENDOR2 << 20 | 1 << 16 | 3);
    assert_int_equal(get(fixture, CAPS_VENDOR2, 4), CAPS_LOCKED2 << 20 | 1 << 16 | 0x0b);
    assert_int_equal(get(fixture, CAPS_LOCKED2, 4),
                     (uint32_t)CAPS_CALLBACK2 << 20 | 1 << 16 | 0x0b);
    assert_int_equal(get(fixture, CAPS_DSN + 4, 4), CAPS_SERIAL_LOW);
    assert_int_equal(get(fixture, CAPS_DSN + 8, 4), CAPS_SERIAL_HIGH);
    assert_int_equal(get(fixture, CAPS_VENDOR2 + 4, 4), 20 << 20 | 1 << 16 | 7);
}

/* --- who handles what: 4.3.1 --- */

static void test_callback_gets_its_capabilities_and_the_rest(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t offsets[] = { CAPS_CALLBACK,  CAPS_CALLBACK + 5,
                                 CAPS_CALLBACK2, CAPS_CALLBACK2 + 9,
                                 0xf0,           0x800 };

    for (uint32_t i = 0; i < 6; i++) {
        uint32_t calls = get(fixture, CAPS_REG_CALLS, 4);

        assert_int_equal(put(fixture, offsets[i], 0xa0b0c0d0 + i, 4), 0);
        assert_int_equal(get(fixture, CAPS_REG_CALLS, 4), calls + 1);
        assert_int_equal(get(fixture, CAPS_REG_OFFSET, 4), offsets[i]);
        assert_int_equal(get(fixture, CAPS_REG_COUNT, 4), 4);
        assert_int_equal(get(fixture, CAPS_REG_IS_WRITE, 4), 1);
        assert_int_equal(get(fixture, offsets[i], 4), 0xa0b0c0d0 + i);
        assert_int_equal(get(fixture, CAPS_REG_IS_WRITE, 4), 0);
    }
}

static void test_callback_gets_nothing_of_the_others(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t offsets[] = { 0,           CAPS_PM,     CAPS_MSI + 4, CAPS_MSIX, CAPS_PX,
                                 CAPS_VENDOR, CAPS_LOCKED, CAPS_OPEN,    CAPS_DSN,  CAPS_VENDOR2 };

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        get(fixture, offsets[i], 4);
        put(fixture, offsets[i], get(fixture, offsets[i], 4), 4);
    }
    assert_int_equal(get(fixture, CAPS_REG_CALLS, 4), 0);
}

/* 4.4: READONLY is looked at before CALLBACK. */
static void test_read_only_and_callback(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, CAPS_LAST + 4, 0, 4), EPERM);
    assert_int_equal(get(fixture, CAPS_REG_CALLS, 4), 0);
    assert_int_equal(get(fixture, CAPS_LAST + 4, 4), 0xdddddddd);
    assert_int_equal(get(fixture, CAPS_REG_CALLS, 4), 1);
}

/* --- splitting: 4.3.2, W1, W2 --- */

static void test_read_of_everything_equals_reads_of_parts(void **state)
{
    struct fixture *fixture = *state;
    uint8_t all[CAPS_CONFIG_SIZE], part[CAPS_CONFIG_SIZE];

    get_all(fixture, all);
    for (size_t size = 1; size < 0x200; size += 37) {
        for (uint64_t offset = 0; offset < 0x230; offset += 11) {
            assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, offset, part, size),
                             0);
            assert_memory_equal(part, all + offset, size);
        }
    }
}

static void test_what_comes_before_a_failing_segment_stays_done(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[32];

    memset(bytes, 0x5a, sizeof(bytes));
    /* The open one, then a header. */
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, CAPS_OPEN + 4, bytes, 16),
                     EPERM);
    assert_int_equal(get(fixture, CAPS_OPEN + 12, 4), 0x5a5a5a5a);
    assert_int_equal(get(fixture, CAPS_LAST + 4, 4), 0xdddddddd);
    /* One byte of the vendor's, the callback's rounding, then a read-only one. */
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, CAPS_VENDOR + 8, bytes, 8),
                     EPERM);
    assert_int_equal(get(fixture, CAPS_VENDOR + 8, 1), 0x5a);
    assert_int_equal(get(fixture, CAPS_VENDOR + 9, 1), 0x5a);
    assert_int_equal(get(fixture, CAPS_LOCKED + 3, 1), CAPS_VENDOR_FILL);
}

/* The header's lines, then the first capability's. */
static void test_write_across_the_header(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t bytes[8] = { 0x0b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, PCI_INTERRUPT_LINE, bytes, 8),
                     EPERM);
    assert_int_equal(get(fixture, PCI_INTERRUPT_LINE, 4), 0x10b);
    assert_int_equal(get(fixture, CAPS_PM, 1), PCI_CAP_ID_PM);
}

static void test_overlong_writes_stay_in_their_capability(void **state)
{
    struct fixture *fixture = *state;
    uint8_t ones[64], before[CAPS_CONFIG_SIZE], after[CAPS_CONFIG_SIZE];
    const uint64_t starts[] = { CAPS_MSI + 0x16, CAPS_MSIX + 11, CAPS_LOCKED2 + 8 };

    memset(ones, 0xff, sizeof(ones));
    get_all(fixture, before);
    for (size_t i = 0; i < 3; i++) {
        for (size_t size = 3; size <= sizeof(ones); size++) {
            assert_int_equal(
                vfu_client_region_write(fixture->client, CONFIG, starts[i], ones, size), EPERM);
        }
    }
    get_all(fixture, after);
    assert_memory_equal(after, before, CAPS_REG_TRIGGER);
}

/* --- rules of each capability: 4.4 --- */

static void test_headers_are_eperm(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint64_t offset;
        size_t size;
    } headers[] = {
        { CAPS_PM, 2 },     { CAPS_MSI, 2 },     { CAPS_MSIX, 2 },     { CAPS_PX, 2 },
        { CAPS_VENDOR, 3 }, { CAPS_LOCKED, 12 }, { CAPS_DSN, 12 },     { CAPS_VENDOR2, 8 },
        { CAPS_OPEN, 3 },   { CAPS_LAST, 16 },   { CAPS_LOCKED2, 12 },
    };
    uint8_t before[CAPS_CONFIG_SIZE], after[CAPS_CONFIG_SIZE];

    get_all(fixture, before);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        for (size_t at = 0; at < headers[i].size; at++) {
            assert_int_equal(put(fixture, headers[i].offset + at, 0, 1), EPERM);
        }
    }
    get_all(fixture, after);
    assert_memory_equal(after, before, CAPS_REG_TRIGGER);
}

static void test_power_management(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_CTRL, 0xffff, 2), 0);
    assert_int_equal(get(fixture, CAPS_PM + PCI_PM_CTRL, 2), 0x1f0b);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_CTRL, 0, 2), 0);
    assert_int_equal(get(fixture, CAPS_PM + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_CTRL, 3, 1), EINVAL);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_CTRL, 3, 3), EINVAL);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_CTRL, 3, 4), EINVAL);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_PMC, 0, 2), ENOTSUP);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_PMC, 0, 1), EINVAL);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_PPB_EXTENSIONS, 0, 1), ENOTSUP);
    assert_int_equal(put(fixture, CAPS_PM + PCI_PM_DATA_REGISTER, 0, 1), ENOTSUP);
    assert_int_equal(get(fixture, CAPS_PM + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
}

/* As Linux sets it up: address, data, mask, then flags. */
static void test_msi(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_ADDRESS_LO, 0xfee01003, 4), 0);
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_ADDRESS_HI, 1, 4), 0);
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_DATA_64, 0x4021, 2), 0);
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_MASK_64, 0xe, 4), 0);
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_FLAGS, 2 << 4 | 1, 2), 0);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_ADDRESS_LO, 4), 0xfee01000);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_ADDRESS_HI, 4), 1);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_DATA_64, 4), 0x4021);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_MASK_64, 4), 0xe);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_FLAGS, 2), 0x1a5);
    /* More vectors than there are, more than there can be; enable is stored all the same. */
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_FLAGS, 3 << 4, 2), EINVAL);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_FLAGS, 2), 0x1a4);
    assert_int_equal(put(fixture, CAPS_MSI + PCI_MSI_FLAGS, 6 << 4 | 1, 1), EINVAL);
    assert_int_equal(get(fixture, CAPS_MSI + PCI_MSI_FLAGS, 2), 0x1a5);
}

static void test_msix(void **state)
{
    struct fixture *fixture = *state;
    uint32_t table = get(fixture, CAPS_MSIX + PCI_MSIX_TABLE, 4);

    assert_int_equal(table, CAPS_MSIX_TABLE | CAPS_MSIX_BAR);
    assert_int_equal(get(fixture, CAPS_MSIX + PCI_MSIX_PBA, 4), CAPS_MSIX_PBA | CAPS_MSIX_BAR);
    assert_int_equal(put(fixture, CAPS_MSIX + PCI_MSIX_FLAGS, 0xffff, 2), 0);
    assert_int_equal(get(fixture, CAPS_MSIX + PCI_MSIX_FLAGS, 2),
                     0xc000 | (TEST_DEVICE_MSIX_COUNT - 1));
    assert_int_equal(put(fixture, CAPS_MSIX + PCI_MSIX_FLAGS + 1, 0x80, 1), 0);
    assert_int_equal(put(fixture, CAPS_MSIX + PCI_MSIX_TABLE, 0, 4), 0);
    assert_int_equal(get(fixture, CAPS_MSIX + PCI_MSIX_FLAGS, 2),
                     0x8000 | (TEST_DEVICE_MSIX_COUNT - 1));
    assert_int_equal(get(fixture, CAPS_MSIX + PCI_MSIX_TABLE, 4), table);
}

static void test_express(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, 0x281f, 2), 0);
    assert_int_equal(get(fixture, CAPS_PX + PCI_EXP_DEVCTL, 2), 0x281f);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, 0, 1), EINVAL);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, 0, 3), EINVAL);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, 0, 4), EINVAL);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL + 1, 0, 2), EINVAL);
    assert_int_equal(get(fixture, CAPS_PX + PCI_EXP_DEVCTL, 2), 0x281f);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_LNKCTL, 0xffff, 2), 0);
    assert_int_equal(get(fixture, CAPS_PX + PCI_EXP_LNKCTL, 2), 0);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL2, 0x40f, 2), 0);
    assert_int_equal(get(fixture, CAPS_PX + PCI_EXP_DEVCTL2, 2), 0x40f);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_FLAGS, 0, 2), EINVAL);
}

static void test_function_level_reset(void **state)
{
    struct fixture *fixture = *state;
    const uint16_t flr = PCI_EXP_DEVCTL_BCR_FLR;

    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, flr | 0x10, 2), 0);
    assert_int_equal(get(fixture, CAPS_PX + PCI_EXP_DEVCTL, 2), 0x10);
    assert_int_equal(get(fixture, CAPS_REG_FLRS, 4), 1);
    /* 3.2 [C]: the library itself resets nothing. */
    assert_int_equal(put(fixture, PCI_COMMAND, PCI_COMMAND_MASTER, 2), 0);
    assert_int_equal(put(fixture, CAPS_REG_FLR_FAILS, EBUSY, 4), 0);
    assert_int_equal(put(fixture, CAPS_PX + PCI_EXP_DEVCTL, flr, 2), EBUSY);
    assert_int_equal(get(fixture, CAPS_REG_FLRS, 4), 2);
    assert_int_equal(get(fixture, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESETS), 0); /* that is another reset */
}

static void test_vendor_bytes(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, CAPS_VENDOR + 3, 0x03020100, 4), 0);
    assert_int_equal(get(fixture, CAPS_VENDOR + 3, 4), 0x03020100);
    assert_int_equal(put(fixture, CAPS_VENDOR2 + 8, 0x13121110, 4), 0);
    assert_int_equal(get(fixture, CAPS_VENDOR2 + 8, 4), 0x13121110);
}

/* --- ROM (protocol.md R5) --- */

static void test_rom_tells_its_size_and_keeps_its_address(void **state)
{
    struct fixture *fixture = *state;
    uint8_t byte = 0;

    assert_int_equal(get(fixture, PCI_ROM_ADDRESS, 4), 0);
    assert_int_equal(put(fixture, PCI_ROM_ADDRESS, 0xfffff800, 4), 0);
    assert_int_equal(get(fixture, PCI_ROM_ADDRESS, 4), 0xffffc000);
    assert_int_equal(put(fixture, PCI_ROM_ADDRESS, 0xfeb01235, 4), 0);
    assert_int_equal(get(fixture, PCI_ROM_ADDRESS, 4), 0xfeb00001);
    assert_int_equal(put(fixture, PCI_ROM_ADDRESS + 2, 0xc1, 1), 0);
    assert_int_equal(get(fixture, PCI_ROM_ADDRESS, 4), 0xfec10001 & 0xffffc001);
    assert_int_equal(vfu_client_region_read(fixture->client, 6, 0x123, &byte, 1), 0);
    assert_int_equal(byte, test_device_bar1_byte(0x123));
    assert_int_equal(vfu_client_region_write(fixture->client, 6, 0x123, &byte, 1), EINVAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_region_and_status_tell_of_them),
        PROTOCOL_TEST(test_standard_chain_has_the_order_of_the_calls),
        PROTOCOL_TEST(test_extended_chain),
        PROTOCOL_TEST(test_callback_gets_its_capabilities_and_the_rest),
        PROTOCOL_TEST(test_callback_gets_nothing_of_the_others),
        PROTOCOL_TEST(test_read_only_and_callback),
        PROTOCOL_TEST(test_read_of_everything_equals_reads_of_parts),
        PROTOCOL_TEST(test_what_comes_before_a_failing_segment_stays_done),
        PROTOCOL_TEST(test_write_across_the_header),
        PROTOCOL_TEST(test_overlong_writes_stay_in_their_capability),
        PROTOCOL_TEST(test_headers_are_eperm),
        PROTOCOL_TEST(test_power_management),
        PROTOCOL_TEST(test_msi),
        PROTOCOL_TEST(test_msix),
        PROTOCOL_TEST(test_express),
        PROTOCOL_TEST(test_function_level_reset),
        PROTOCOL_TEST(test_vendor_bytes),
        PROTOCOL_TEST(test_rom_tells_its_size_and_keeps_its_address),
    };

    return harness_run(argc, argv, tests);
}
