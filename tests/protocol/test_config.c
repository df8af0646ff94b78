/* SPDX-License-Identifier: BSD-3-Clause */
/* Region 7, config space: protocol.md sections 3.10 and 4.8, with decisions R3 to R5. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define CONFIG 7

static uint32_t config_read(struct vfu_client *client, uint64_t offset, size_t size)
{
    uint32_t value = 0;

    assert_int_equal(vfu_client_region_read(client, CONFIG, offset, &value, size), 0);
    return value;
}

static void config_write(struct vfu_client *client, uint64_t offset, uint32_t value, size_t size)
{
    assert_int_equal(vfu_client_region_write(client, CONFIG, offset, &value, size), 0);
}

/* --- what a fresh device says --- */

static void test_identity(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    assert_int_equal(config_read(client, PCI_VENDOR_ID, 2), TEST_DEVICE_VENDOR);
    assert_int_equal(config_read(client, PCI_DEVICE_ID, 2), TEST_DEVICE_DEVICE);
    assert_int_equal(config_read(client, PCI_CLASS_REVISION, 4) >> 8, TEST_DEVICE_CLASS);
    assert_int_equal(config_read(client, PCI_REVISION_ID, 1), 0);
    assert_int_equal(config_read(client, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_NORMAL);
    assert_int_equal(config_read(client, PCI_SUBSYSTEM_VENDOR_ID, 2), TEST_DEVICE_SUBVENDOR);
    assert_int_equal(config_read(client, PCI_SUBSYSTEM_ID, 2), TEST_DEVICE_SUBSYSTEM);
    assert_int_equal(config_read(client, PCI_COMMAND, 2), 0);
    assert_int_equal(config_read(client, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
    assert_int_equal(config_read(client, PCI_CAPABILITY_LIST, 1), 0);
    assert_int_equal(config_read(client, PCI_INTERRUPT_PIN, 1), 1);
}

static void test_bars_tell_their_types(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t types[] = {
        PCI_BASE_ADDRESS_SPACE_MEMORY,
        PCI_BASE_ADDRESS_SPACE_MEMORY,
        PCI_BASE_ADDRESS_SPACE_MEMORY,
        PCI_BASE_ADDRESS_SPACE_IO,
        PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
        0, /* the upper half of the one before */
    };

    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(config_read(fixture->client, PCI_BASE_ADDRESS_0 + 4 * i, 4), types[i]);
    }
}

static void test_whole_space_in_one_read(void **state)
{
    struct fixture *fixture = *state;
    uint8_t all[TEST_DEVICE_CONFIG_SIZE];

    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, all, sizeof(all)), 0);
    for (uint32_t i = 0; i < sizeof(all); i++) {
        assert_int_equal(all[i], config_read(fixture->client, i, 1));
    }
}

static void test_reads_of_any_size_and_alignment(void **state)
{
    struct fixture *fixture = *state;
    uint8_t all[TEST_DEVICE_CONFIG_SIZE], part[TEST_DEVICE_CONFIG_SIZE];

    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, all, sizeof(all)), 0);
    for (uint64_t offset = 0; offset < sizeof(all); offset += 5) {
        for (size_t size = 1; size <= sizeof(all) - offset; size += 9) {
            assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, offset, part, size),
                             0);
            assert_memory_equal(part, all + offset, size);
        }
    }
}

static void test_beyond_config_space_is_einval(void **state)
{
    struct fixture *fixture = *state;
    uint32_t value = 0;

    assert_int_equal(
        vfu_client_region_read(fixture->client, CONFIG, TEST_DEVICE_CONFIG_SIZE, &value, 1),
        EINVAL);
    assert_int_equal(
        vfu_client_region_read(fixture->client, CONFIG, TEST_DEVICE_CONFIG_SIZE - 2, &value, 4),
        EINVAL);
    assert_int_equal(
        vfu_client_region_write(fixture->client, CONFIG, TEST_DEVICE_CONFIG_SIZE, &value, 4),
        EINVAL);
}

/* --- BARs --- */

static void test_sizing(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t expected[] = {
        ~(TEST_DEVICE_BAR0_SIZE - 1u),
        ~(TEST_DEVICE_BAR1_SIZE - 1u),
        ~(TEST_DEVICE_BAR2_SIZE - 1u),
        ~(TEST_DEVICE_BAR3_SIZE - 1u) | PCI_BASE_ADDRESS_SPACE_IO,
        ~(TEST_DEVICE_BAR4_SIZE - 1u) | PCI_BASE_ADDRESS_MEM_TYPE_64 |
            PCI_BASE_ADDRESS_MEM_PREFETCH,
        UINT32_MAX, /* W31: a small 64-bit BAR can be placed anywhere */
    };

    for (uint32_t i = 0; i < 6; i++) {
        uint64_t offset = PCI_BASE_ADDRESS_0 + 4 * i;
        uint32_t before = config_read(fixture->client, offset, 4);

        config_write(fixture->client, offset, UINT32_MAX, 4);
        assert_int_equal(config_read(fixture->client, offset, 4), expected[i]);
        config_write(fixture->client, offset, before, 4);
        assert_int_equal(config_read(fixture->client, offset, 4), before);
    }
}

static void test_addresses_are_stored(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    config_write(client, PCI_BASE_ADDRESS_0, 0xfebf1234, 4);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_0, 4), 0xfebf1000);
    config_write(client, PCI_BASE_ADDRESS_3, 0xc0ffffff, 4);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_3, 4), 0xc0ffff01);
    config_write(client, PCI_BASE_ADDRESS_4, 0xe0000000, 4);
    config_write(client, PCI_BASE_ADDRESS_5, 0x38, 4);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_4, 4), 0xe000000c);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_5, 4), 0x38);
}

static void test_bars_are_written_by_byte_lanes(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    config_write(client, PCI_BASE_ADDRESS_1, 0xfe, 1); /* below the size, and type bits */
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_1, 4), 0);
    config_write(client, PCI_BASE_ADDRESS_1 + 3, 0xfe, 1);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_1, 4), 0xfe000000);
    config_write(client, PCI_BASE_ADDRESS_1 + 2, 0xfdff, 2);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_1, 4), 0xfde00000);
    config_write(client, PCI_BASE_ADDRESS_1 + 1, 0xffffff, 3);
    assert_int_equal(config_read(client, PCI_BASE_ADDRESS_1, 4), 0xffe00000);
}

static void test_all_bars_in_one_write(void **state)
{
    struct fixture *fixture = *state;
    uint32_t bars[6] = { 0xf0001000, 0xf1200000, 0xf2200000, 0xd000, 0xf4010000, 1 };
    uint32_t got[6];

    assert_int_equal(
        vfu_client_region_write(fixture->client, CONFIG, PCI_BASE_ADDRESS_0, bars, sizeof(bars)),
        0);
    assert_int_equal(
        vfu_client_region_read(fixture->client, CONFIG, PCI_BASE_ADDRESS_0, got, sizeof(got)), 0);
    bars[3] |= PCI_BASE_ADDRESS_SPACE_IO;
    bars[4] |= PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
    assert_memory_equal(got, bars, sizeof(bars));
}

/* As QEMU probes for a ROM, and restores what it found (R5). */
static void test_rom_bar_of_a_device_without_rom(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t values[] = { 0xfffff800, 0, 0xfffffffe, UINT32_MAX, 0xfebc0001, 0x1234 };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        config_write(fixture->client, PCI_ROM_ADDRESS, values[i], 4);
        assert_int_equal(config_read(fixture->client, PCI_ROM_ADDRESS, 4), 0);
    }
}

/* --- command and others --- */

#define STORED                                                                                     \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INVALIDATE |           \
     PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

/* Special cycles, parity and fast back-to-back: "store or ignore" (R4). */
#define EITHER (PCI_COMMAND_SPECIAL | PCI_COMMAND_PARITY | PCI_COMMAND_FAST_BACK)

static void test_command_stores_its_bits_and_ignores_others(void **state)
{
    struct fixture *fixture = *state;

    config_write(fixture->client, PCI_COMMAND, 0xffff, 2);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2) & ~(unsigned)EITHER, STORED);
    config_write(fixture->client, PCI_COMMAND, 0, 2);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2), 0);
    config_write(fixture->client, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2), 6);
}

static void test_command_is_written_by_byte_lanes(void **state)
{
    struct fixture *fixture = *state;

    config_write(fixture->client, PCI_COMMAND, PCI_COMMAND_MEMORY, 1);
    config_write(fixture->client, PCI_COMMAND + 1, PCI_COMMAND_INTX_DISABLE >> 8, 1);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2),
                     PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
    config_write(fixture->client, PCI_COMMAND, 0, 1);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
}

/* api.md 4.3.3 [C]: 4 bytes at 0x04, and at 0x3c; and all BARs at once. */
static void test_command_and_status_in_one_write(void **state)
{
    struct fixture *fixture = *state;
    uint32_t status = config_read(fixture->client, PCI_STATUS, 2);

    config_write(fixture->client, PCI_COMMAND, 0xffff0000 | PCI_COMMAND_IO, 4);
    assert_int_equal(config_read(fixture->client, PCI_COMMAND, 2), PCI_COMMAND_IO);
    assert_int_equal(config_read(fixture->client, PCI_STATUS, 2), status);
}

static void test_stored_registers(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t offsets[] = { PCI_CACHE_LINE_SIZE, PCI_LATENCY_TIMER, PCI_INTERRUPT_LINE };

    for (size_t i = 0; i < 3; i++) {
        config_write(fixture->client, offsets[i], 0xa0 + (uint32_t)i, 1);
        assert_int_equal(config_read(fixture->client, offsets[i], 1), 0xa0 + i);
    }
    /* Two of them are neighbours of read-only ones. */
    config_write(fixture->client, PCI_CACHE_LINE_SIZE, 0xffff2010, 4);
    assert_int_equal(config_read(fixture->client, PCI_CACHE_LINE_SIZE, 4), 0x2010);
    config_write(fixture->client, PCI_INTERRUPT_LINE, 0xffffff0b, 4);
    assert_int_equal(config_read(fixture->client, PCI_INTERRUPT_LINE, 4), 0x10b);
}

static void test_read_only_registers_ignore_writes(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint64_t offset;
        size_t size;
    } registers[] = {
        { PCI_VENDOR_ID, 4 },
        { PCI_DEVICE_ID, 2 },
        { PCI_STATUS, 2 },
        { PCI_STATUS + 1, 1 },
        { PCI_REVISION_ID, 1 },
        { PCI_CLASS_PROG, 3 },
        { PCI_CLASS_REVISION, 4 },
        { PCI_HEADER_TYPE, 1 },
        { PCI_BIST, 1 },
        { PCI_CARDBUS_CIS, 4 },
        { PCI_SUBSYSTEM_VENDOR_ID, 4 },
        { PCI_SUBSYSTEM_ID, 2 },
        { PCI_CAPABILITY_LIST, 1 },
        { PCI_CAPABILITY_LIST, 4 },
        { 0x35, 3 },
        { 0x38, 4 },
        { PCI_INTERRUPT_PIN, 1 },
        { PCI_MIN_GNT, 1 },
        { PCI_MAX_LAT, 1 },
    };
    uint8_t before[64], after[64];

    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, before, sizeof(before)), 0);
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        config_write(fixture->client, registers[i].offset, 0, registers[i].size);
        config_write(fixture->client, registers[i].offset, UINT32_MAX, registers[i].size);
    }
    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, after, sizeof(after)), 0);
    assert_memory_equal(after, before, sizeof(before));
}

static void test_whole_header_in_one_write(void **state)
{
    struct fixture *fixture = *state;
    uint8_t ones[64], before[64], after[64];

    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, before, sizeof(before)), 0);
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, 0, ones, sizeof(ones)), 0);
    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0, after, sizeof(after)), 0);
    assert_memory_equal(after, before, 4);
    assert_memory_equal(after + PCI_STATUS, before + PCI_STATUS, 6);
    assert_memory_equal(after + PCI_SUBSYSTEM_VENDOR_ID, before + PCI_SUBSYSTEM_VENDOR_ID, 16);
    assert_int_equal(after[PCI_INTERRUPT_LINE], 0xff);
    assert_int_equal(after[PCI_INTERRUPT_PIN], 1);
}

static void test_straddling_writes(void **state)
{
    struct fixture *fixture = *state;

    /* The last reserved bytes, the interrupt line and the pin. */
    config_write(fixture->client, 0x3a, 0xff0cffff, 4);
    assert_int_equal(config_read(fixture->client, 0x3a, 2), 0);
    assert_int_equal(config_read(fixture->client, PCI_INTERRUPT_LINE, 2), 0x10c);
}

/* No capability, and no callback of the device: nobody takes the write. */
static void test_write_outside_the_header_is_einval(void **state)
{
    struct fixture *fixture = *state;
    uint32_t value = UINT32_MAX;

    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, 0x40, &value, 4), EINVAL);
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, 0xfc, &value, 4), EINVAL);
    assert_int_equal(vfu_client_region_write(fixture->client, CONFIG, 0xff, &value, 1), EINVAL);
    assert_int_equal(config_read(fixture->client, 0x40, 4), 0);
    assert_int_equal(config_read(fixture->client, 0xfc, 4), 0);
}

static void test_posted_config_write(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t line = 9;

    assert_int_equal(
        vfu_client_region_post(fixture->client, CONFIG, PCI_INTERRUPT_LINE, &line, sizeof(line)),
        0);
    assert_int_equal(config_read(fixture->client, PCI_INTERRUPT_LINE, 1), 9);
}

/* 5.1 of protocol.md, steps 8 to 15. */
static void test_start_up_of_qemu(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    uint8_t all[TEST_DEVICE_CONFIG_SIZE];
    uint32_t rom;

    assert_int_equal(vfu_client_region_read(client, CONFIG, 0, all, sizeof(all)), 0);
    rom = config_read(client, PCI_ROM_ADDRESS, 4);
    config_write(client, PCI_ROM_ADDRESS, 0xfffff800, 4);
    assert_int_equal(config_read(client, PCI_ROM_ADDRESS, 4), 0);
    config_write(client, PCI_ROM_ADDRESS, rom, 4);
    for (uint32_t i = 0; i < 5; i++) {
        config_read(client, PCI_BASE_ADDRESS_0 + 4 * i, 4);
    }
    assert_int_equal(config_read(client, PCI_INTERRUPT_PIN, 1), 1);
    /* 5.2, steps 3 and 6. */
    config_write(client, PCI_COMMAND, config_read(client, PCI_COMMAND, 2) & ~0x407u, 2);
    for (uint32_t i = 0; i < 6; i++) {
        config_write(client, PCI_BASE_ADDRESS_0 + 4 * i, 0, 4);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_identity),
        PROTOCOL_TEST(test_bars_tell_their_types),
        PROTOCOL_TEST(test_whole_space_in_one_read),
        PROTOCOL_TEST(test_reads_of_any_size_and_alignment),
        PROTOCOL_TEST(test_beyond_config_space_is_einval),
        PROTOCOL_TEST(test_sizing),
        PROTOCOL_TEST(test_addresses_are_stored),
        PROTOCOL_TEST(test_bars_are_written_by_byte_lanes),
        PROTOCOL_TEST(test_all_bars_in_one_write),
        PROTOCOL_TEST(test_rom_bar_of_a_device_without_rom),
        PROTOCOL_TEST(test_command_stores_its_bits_and_ignores_others),
        PROTOCOL_TEST(test_command_is_written_by_byte_lanes),
        PROTOCOL_TEST(test_command_and_status_in_one_write),
        PROTOCOL_TEST(test_stored_registers),
        PROTOCOL_TEST(test_read_only_registers_ignore_writes),
        PROTOCOL_TEST(test_whole_header_in_one_write),
        PROTOCOL_TEST(test_straddling_writes),
        PROTOCOL_TEST(test_write_outside_the_header_is_einval),
        PROTOCOL_TEST(test_posted_config_write),
        PROTOCOL_TEST(test_start_up_of_qemu),
    };

    return harness_run(argc, argv, tests);
}
