/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space as a guest reads and writes it. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COMMAND 0x04
#define STATUS 0x06
#define BAR(n) (0x10 + 4 * (n))
#define ROM 0x30

static uint32_t read32(struct device *device, uint64_t offset)
{
    uint32_t value = 0;

    assert_int_equal(device_config_read(device, offset, &value, 4), 0);
    return value;
}

static void write32(struct device *device, uint64_t offset, uint32_t value)
{
    assert_int_equal(device_config_write(device, offset, &value, 4), 0);
}

static uint16_t read16(struct device *device, uint64_t offset)
{
    uint16_t value = 0;

    assert_int_equal(device_config_read(device, offset, &value, 2), 0);
    return value;
}

static void write16(struct device *device, uint64_t offset, uint16_t value)
{
    assert_int_equal(device_config_write(device, offset, &value, 2), 0);
}

static void setup_bar(struct device *device, int bar, size_t size, int flags)
{
    assert_int_equal(
        vfu_setup_region(device->ctx, bar, size, NULL, flags | VFU_REGION_FLAG_RW, NULL, 0, -1, 0),
        0);
}

/* --- creation --- */

static void test_pci_init_unknown_type_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_pci_init(device->ctx, (vfu_pci_type_t)4, 0, 0), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_pci_init_header_type_1_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 1, 0), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_pci_init_twice_is_eexist(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), -1);
    assert_int_equal(errno, EEXIST);
}

static void test_pci_init_after_realize_is_eexist(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), -1);
    assert_int_equal(errno, EEXIST);
}

static void test_config_space_before_init_is_null(void **state)
{
    struct device *device = *state;

    assert_null(vfu_pci_get_config_space(device->ctx));
    vfu_pci_set_id(device->ctx, 1, 2, 3, 4);
    vfu_pci_set_class(device->ctx, 1, 2, 3);
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 5), 0);
    assert_int_equal(vfu_pci_get_config_space(device->ctx)->hdr.id.raw, 0);
    assert_int_equal(vfu_pci_get_config_space(device->ctx)->hdr.rid, 0);
}

static void test_config_size_follows_pci_type(void **state)
{
    struct device *device = *state;
    const struct region *region = &device->ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];

    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_PCI_X_2, 0, 0), 0);
    assert_int_equal(region->size, 4096);
    assert_int_equal(region->flags, VFU_REGION_FLAG_RW);
}

static void test_config_size_of_setup_region_does_not_matter_after_init(void **state)
{
    struct device *device = *state;
    const struct region *region = &device->ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];

    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0), 0);
    setup_bar(device, VFU_PCI_DEV_CFG_REGION_IDX, 4096, 0);
    assert_int_equal(region->size, 256);
}

static void test_config_size_without_init_is_bounded(void **state)
{
    struct device *device = *state;
    const struct region *region = &device->ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];

    setup_bar(device, VFU_PCI_DEV_CFG_REGION_IDX, 1 << 20, 0);
    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    assert_int_equal(region->size, 4096);
}

static void test_realize_without_init_makes_256_bytes(void **state)
{
    struct device *device = *state;

    device_attach(device);
    assert_non_null(vfu_pci_get_config_space(device->ctx));
    assert_int_equal(device->ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX].size, 256);
    assert_int_equal(read32(device, 252), 0);
    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
}

static void test_ids_and_class_are_visible_to_clients(void **state)
{
    struct device *device = *state;
    const uint8_t wanted[] = { 0x4f, 0x49, 0xc8, 0x0d };

    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0), 0);
    vfu_pci_set_id(device->ctx, 0x494f, 0x0dc8, 0x1234, 0x5678);
    vfu_pci_set_class(device->ctx, 0x0b, 0x0a, 0x09);
    vfu_pci_get_config_space(device->ctx)->hdr.rid = 7;
    device_attach(device);
    assert_int_equal(read32(device, 0), 0x0dc8494f);
    assert_memory_equal(device_answer.payload + 16, wanted, 4);
    assert_int_equal(read32(device, 8), 0x0b0a0907);
    assert_int_equal(read32(device, 0x2c), 0x56781234);
}

static void test_intx_sets_interrupt_pin(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    device_attach(device);
    assert_int_equal(read32(device, 0x3c), 0x100);
}

static void test_intx_after_realize_sets_interrupt_pin(void **state)
{
    struct device *device = *state;

    device_attach(device);
    assert_int_equal(read32(device, 0x3c), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(read32(device, 0x3c), 0x100);
}

/* --- header registers --- */

static void test_command_keeps_writable_bits_only(void **state)
{
    struct device *device = *state;

    write16(device, COMMAND, 0xffff);
    assert_int_equal(read16(device, COMMAND), 0x0557);
    write16(device, COMMAND, 0);
    assert_int_equal(read16(device, COMMAND), 0);
}

static void test_command_upper_byte_alone_leaves_lower_byte(void **state)
{
    struct device *device = *state;
    const uint8_t byte = 0x04;

    write16(device, COMMAND, 0x0007);
    assert_int_equal(device_config_write(device, COMMAND + 1, &byte, 1), 0);
    assert_int_equal(read16(device, COMMAND), 0x0407);
}

static void test_status_bits_clear_by_writing_one(void **state)
{
    struct device *device = *state;
    vfu_pci_config_space_t *config = vfu_pci_get_config_space(device->ctx);

    config->hdr.sts.raw = 0xf910;
    write16(device, STATUS, 0x8010);
    assert_int_equal(read16(device, STATUS), 0x7910);
    write32(device, COMMAND, 0xffff0000);
    assert_int_equal(read16(device, STATUS), 0x0010);
}

static void test_read_only_registers_ignore_writes(void **state)
{
    struct device *device = *state;
    vfu_pci_config_space_t *config = vfu_pci_get_config_space(device->ctx);
    uint8_t all_ones[64];
    uint8_t before[64];
    uint8_t after[64];

    memset(all_ones, 0xff, sizeof(all_ones));
    config->hdr.id.raw = 0x11223344;
    config->hdr.cap = 0x40;
    config->hdr.ss.raw = 0x55667788;
    assert_int_equal(device_config_read(device, 0, before, 64), 0);
    assert_int_equal(device_config_write(device, 0, all_ones, 64), 0);
    assert_int_equal(device_config_read(device, 0, after, 64), 0);
    for (size_t i = 0; i < 64; i++) {
        if ((i >= 4 && i < 8) || i == 0x0c || i == 0x0d || i == 0x3c) {
            continue; /* command, status, cache line size, latency timer, interrupt line */
        }
        assert_int_equal(after[i], before[i]);
    }
    assert_int_equal(after[0x0c], 0xff);
    assert_int_equal(after[0x0d], 0xff);
    assert_int_equal(after[0x3c], 0xff);
}

static void test_access_may_start_and_end_anywhere(void **state)
{
    struct device *device = *state;
    const uint8_t bytes[] = { 0xaa, 0xbb, 0xcc };

    /* interrupt line in the middle: pin before it would be read-only */
    assert_int_equal(device_config_write(device, 0x3b, bytes, 3), 0);
    assert_int_equal(read32(device, 0x38), 0);
    assert_int_equal(read32(device, 0x3c), 0xbb);
}

static void test_access_beyond_the_end_is_einval(void **state)
{
    struct device *device = *state;
    uint32_t value = 0;

    assert_int_equal(device_config_read(device, 254, &value, 4), EINVAL);
    assert_int_equal(device_config_read(device, UINT64_MAX - 1, &value, 4), EINVAL);
    assert_int_equal(device_config_write(device, 256, &value, 1), EINVAL);
}

/* --- BARs --- */

static int setup_bars(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0), 0);
    setup_bar(device, 0, 0x1000, VFU_REGION_FLAG_MEM);
    setup_bar(device, 1, 0x100, 0);
    setup_bar(device, 2, 0x10000, VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS);
    setup_bar(device, 4, 4ull << 30,
              VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH);
    device_attach(device);
    return 0;
}

static void test_bars_show_their_types(void **state)
{
    struct device *device = *state;

    assert_int_equal(read32(device, BAR(0)), 0);
    assert_int_equal(read32(device, BAR(1)), 1);
    assert_int_equal(read32(device, BAR(2)), 4);
    assert_int_equal(read32(device, BAR(3)), 0);
    assert_int_equal(read32(device, BAR(4)), 0xc);
    assert_int_equal(read32(device, BAR(5)), 0);
}

/* api.md 4.3.4 [C]: all ones, read back, restored. */
static void test_bars_tell_their_sizes(void **state)
{
    struct device *device = *state;

    for (int i = 0; i < 6; i++) {
        write32(device, BAR(i), 0xffffffff);
    }
    assert_int_equal(read32(device, BAR(0)), 0xfffff000);
    assert_int_equal(read32(device, BAR(1)), 0xffffff01);
    assert_int_equal(read32(device, BAR(2)), 0xffff0004);
    assert_int_equal(read32(device, BAR(3)), 0xffffffff);
    assert_int_equal(read32(device, BAR(4)), 0x0000000c);
    assert_int_equal(read32(device, BAR(5)), 0xffffffff);
}

static void test_bar_keeps_its_address(void **state)
{
    struct device *device = *state;

    write32(device, BAR(0), 0xfebd1234);
    assert_int_equal(read32(device, BAR(0)), 0xfebd1000);
    write32(device, BAR(2), 0x80000000);
    write32(device, BAR(3), 0x00000001);
    assert_int_equal(read32(device, BAR(2)), 0x80000004);
    assert_int_equal(read32(device, BAR(3)), 1);
}

static void test_bar_takes_single_bytes(void **state)
{
    struct device *device = *state;
    const uint8_t byte = 0xfe;

    write32(device, BAR(0), 0x12345000);
    assert_int_equal(device_config_write(device, BAR(0) + 3, &byte, 1), 0);
    assert_int_equal(read32(device, BAR(0)), 0xfe345000);
}

/* api.md 4.3.3 [C] */
static void test_all_bars_take_one_write(void **state)
{
    struct device *device = *state;
    uint8_t bars[24];

    memset(bars, 0xff, sizeof(bars));
    assert_int_equal(device_config_write(device, BAR(0), bars, sizeof(bars)), 0);
    assert_int_equal(read32(device, BAR(0)), 0xfffff000);
    assert_int_equal(read32(device, BAR(5)), 0xffffffff);
}

static void test_unset_bar_reads_one(void **state)
{
    struct device *device = *state;

    assert_int_equal(read32(device, BAR(0)), 1);
    write32(device, BAR(0), 0xffffffff);
    assert_int_equal(read32(device, BAR(0)), 1);
}

/* api.md 2.1 [C]: set-up calls are accepted late. */
static void test_bar_set_up_late_shows_its_type(void **state)
{
    struct device *device = *state;

    setup_bar(device, 0, 0x1000, VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS);
    assert_int_equal(read32(device, BAR(0)), 4);
    assert_int_equal(read32(device, BAR(1)), 0);
    assert_int_equal(read32(device, BAR(2)), 1);
    setup_bar(device, 5, 0x1000, VFU_REGION_FLAG_MEM);
    assert_int_equal(read32(device, BAR(5)), 0);
}

static void test_large_upper_half_tells_its_size(void **state)
{
    struct device *device = *state;

    setup_bar(device, 0, 8ull << 30, VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS);
    write32(device, BAR(0), 0xffffffff);
    write32(device, BAR(1), 0xffffffff);
    assert_int_equal(read32(device, BAR(0)), 4);
    assert_int_equal(read32(device, BAR(1)), 0xfffffffe);
}

/* --- ROM --- */

static void test_absent_rom_reads_zero(void **state)
{
    struct device *device = *state;

    write32(device, ROM, 0xfffff800);
    assert_int_equal(read32(device, ROM), 0);
    write32(device, ROM, 0x12345678);
    assert_int_equal(read32(device, ROM), 0);
}

static void test_rom_tells_its_size(void **state)
{
    struct device *device = *state;

    setup_bar(device, VFU_PCI_DEV_ROM_REGION_IDX, 0x11000, VFU_REGION_FLAG_MEM);
    write32(device, ROM, 0xfffff800);
    assert_int_equal(read32(device, ROM), 0xfffe0000);
    write32(device, ROM, 0xfee20001);
    assert_int_equal(read32(device, ROM), 0xfee20001);
    write32(device, ROM, 0);
    assert_int_equal(read32(device, ROM), 0);
}

static void test_small_rom_decodes_2_kib(void **state)
{
    struct device *device = *state;

    setup_bar(device, VFU_PCI_DEV_ROM_REGION_IDX, 1, VFU_REGION_FLAG_MEM);
    write32(device, ROM, 0xffffffff);
    assert_int_equal(read32(device, ROM), 0xfffff801);
}

/* No mask can be made for it in 32 bits: at 2 GiB there is one address bit. */
static void test_huge_rom_has_one_address_bit(void **state)
{
    struct device *device = *state;

    setup_bar(device, VFU_PCI_DEV_ROM_REGION_IDX, 3ul << 29, VFU_REGION_FLAG_MEM);
    write32(device, ROM, 0xffffffff);
    assert_int_equal(read32(device, ROM), 0x80000001);
    write32(device, ROM, 0);
    setup_bar(device, VFU_PCI_DEV_ROM_REGION_IDX, 1ul << 40, VFU_REGION_FLAG_MEM);
    write32(device, ROM, 0xffffffff);
    assert_int_equal(read32(device, ROM), 1);
}

/* --- the program's side --- */

/* api.md 2.8 [C]: it may read and write any byte at any time. */
static void test_config_space_is_live(void **state)
{
    struct device *device = *state;
    vfu_pci_config_space_t *config = vfu_pci_get_config_space(device->ctx);

    config->hdr.rid = 0x42;
    config->hdr.intr.ipin = 3;
    config->raw[0xf0] = 0x77;
    assert_int_equal(read32(device, 8) & 0xff, 0x42);
    assert_int_equal(read32(device, 0x3c) >> 8, 3);
    assert_int_equal(read32(device, 0xf0), 0x77);
    write16(device, COMMAND, 7);
    assert_int_equal(config->hdr.cmd.raw, 7);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_ptr_equal(vfu_pci_get_config_space(device->ctx), config);
    assert_int_equal(config->raw[0xf0], 0x77);
}

static int lines;

static void on_line(vfu_ctx_t *ctx, int level, const char *message)
{
    lines += level == LOG_WARNING;
}

/* api.md 2.2: the bit is there all the same. */
static void test_prefetchable_bar_of_32_bits_is_warned_of(void **state)
{
    struct device *device = *state;

    lines = 0;
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_WARNING), 0);
    setup_bar(device, 0, 0x1000, VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_PREFETCH);
    device_attach(device);
    assert_int_equal(lines, 1);
    assert_int_equal(read32(device, BAR(0)), 8);
}

/* --- who handles what --- */

static struct {
    int calls;
    size_t count;
    off_t offset;
    bool is_write;
    char first;
    ssize_t limit; /* bytes taken at most; 0: all; negative: returned as it is */
    int err;
} program;

static ssize_t handle_config(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    program.calls++;
    program.count = count;
    program.offset = offset;
    program.is_write = is_write;
    program.first = buf[0];
    if (program.limit < 0) {
        errno = program.err;
        return program.limit;
    }
    if (program.limit > 0 && (size_t)program.limit < count) {
        count = (size_t)program.limit;
    }
    if (!is_write) {
        memset(buf, 0x77, count);
    }
    return (ssize_t)count;
}

static int setup_handler(void **state, int flags)
{
    struct device *device;

    memset(&program, 0, sizeof(program));
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0), 0);
    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_CFG_REGION_IDX, 256, handle_config,
                                      VFU_REGION_FLAG_RW | flags, NULL, 0, -1, 0),
                     0);
    device_attach(device);
    return 0;
}

static int setup_program(void **state)
{
    return setup_handler(state, 0);
}

static int setup_always(void **state)
{
    return setup_handler(state, VFU_REGION_FLAG_ALWAYS_CB);
}

static void test_header_is_the_librarys(void **state)
{
    struct device *device = *state;

    write16(device, COMMAND, 1);
    assert_int_equal(read16(device, COMMAND), 1);
    assert_int_equal(program.calls, 0);
}

static void test_rest_is_the_programs(void **state)
{
    struct device *device = *state;
    uint32_t value = 0x99;

    assert_int_equal(read32(device, 0x40), 0x77777777);
    assert_int_equal(program.offset, 0x40);
    assert_int_equal(program.count, 4);
    assert_false(program.is_write);
    assert_int_equal(device_config_write(device, 0x80, &value, 2), 0);
    assert_int_equal(program.offset, 0x80);
    assert_int_equal(program.count, 2);
    assert_true(program.is_write);
    assert_int_equal(program.first, (char)0x99);
}

static void test_access_across_the_header_is_split(void **state)
{
    struct device *device = *state;
    uint8_t bytes[8];

    vfu_pci_get_config_space(device->ctx)->hdr.mlat = 0x55;
    assert_int_equal(device_config_read(device, 0x3c, bytes, 8), 0);
    assert_int_equal(program.calls, 1);
    assert_int_equal(program.offset, 0x40);
    assert_int_equal(program.count, 4);
    assert_int_equal(bytes[3], 0x55);
    assert_int_equal(bytes[4], 0x77);
}

static void test_program_that_takes_less_is_called_again(void **state)
{
    struct device *device = *state;

    program.limit = 3;
    assert_int_equal(read32(device, 0x40), 0x77777777);
    assert_int_equal(program.calls, 2);
    assert_int_equal(program.offset, 0x43);
    assert_int_equal(program.count, 1);
}

static void test_program_that_fails_gives_its_errno(void **state)
{
    struct device *device = *state;
    uint32_t value;

    program.limit = -1;
    program.err = EIO;
    assert_int_equal(device_config_read(device, 0x40, &value, 4), EIO);
    program.err = 0;
    assert_int_equal(device_config_read(device, 0x40, &value, 4), EINVAL);
    program.err = -7;
    assert_int_equal(device_config_read(device, 0x40, &value, 4), EINVAL);
    program.limit = -2;
    assert_int_equal(device_config_read(device, 0x40, &value, 4), EINVAL);
}

static ssize_t take_too_much(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    return is_write ? 0 : (ssize_t)count + 1;
}

static void test_program_that_takes_nothing_or_too_much_is_einval(void **state)
{
    struct device *device = *state;
    uint32_t value = 0;

    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_CFG_REGION_IDX, 256, take_too_much,
                                      VFU_REGION_FLAG_RW, NULL, 0, -1, 0),
                     0);
    assert_int_equal(device_config_read(device, 0x40, &value, 4), EINVAL);
    assert_int_equal(device_config_write(device, 0x40, &value, 4), EINVAL);
}

static void test_always_cb_gets_everything_unsplit(void **state)
{
    struct device *device = *state;
    uint8_t bytes[256];

    assert_int_equal(device_config_read(device, 0, bytes, 256), 0);
    assert_int_equal(program.calls, 1);
    assert_int_equal(program.count, 256);
    write16(device, COMMAND, 1);
    assert_int_equal(program.calls, 2);
    assert_int_equal(program.offset, COMMAND);
    assert_int_equal(vfu_pci_get_config_space(device->ctx)->hdr.cmd.raw, 0);
}

static void test_rest_without_program_reads_contents(void **state)
{
    struct device *device = *state;
    uint32_t value = 1;

    vfu_pci_get_config_space(device->ctx)->raw[0x41] = 0x42;
    assert_int_equal(read32(device, 0x40), 0x4200);
    assert_int_equal(device_config_write(device, 0x40, &value, 4), EINVAL);
    assert_int_equal(read32(device, 0x40), 0x4200);
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)
#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_pci_init_unknown_type_is_einval),
        CREATED(test_pci_init_header_type_1_is_einval),
        CREATED(test_pci_init_twice_is_eexist),
        CREATED(test_pci_init_after_realize_is_eexist),
        CREATED(test_config_space_before_init_is_null),
        CREATED(test_config_size_follows_pci_type),
        CREATED(test_config_size_of_setup_region_does_not_matter_after_init),
        CREATED(test_config_size_without_init_is_bounded),
        CREATED(test_realize_without_init_makes_256_bytes),
        CREATED(test_ids_and_class_are_visible_to_clients),
        CREATED(test_intx_sets_interrupt_pin),
        CREATED(test_intx_after_realize_sets_interrupt_pin),
        ATTACHED(test_command_keeps_writable_bits_only),
        ATTACHED(test_command_upper_byte_alone_leaves_lower_byte),
        ATTACHED(test_status_bits_clear_by_writing_one),
        ATTACHED(test_read_only_registers_ignore_writes),
        ATTACHED(test_access_may_start_and_end_anywhere),
        ATTACHED(test_access_beyond_the_end_is_einval),
        WITH(test_bars_show_their_types, setup_bars),
        WITH(test_bars_tell_their_sizes, setup_bars),
        WITH(test_bar_keeps_its_address, setup_bars),
        WITH(test_bar_takes_single_bytes, setup_bars),
        WITH(test_all_bars_take_one_write, setup_bars),
        ATTACHED(test_unset_bar_reads_one),
        ATTACHED(test_bar_set_up_late_shows_its_type),
        ATTACHED(test_large_upper_half_tells_its_size),
        ATTACHED(test_absent_rom_reads_zero),
        ATTACHED(test_rom_tells_its_size),
        ATTACHED(test_small_rom_decodes_2_kib),
        ATTACHED(test_huge_rom_has_one_address_bit),
        ATTACHED(test_config_space_is_live),
        CREATED(test_prefetchable_bar_of_32_bits_is_warned_of),
        WITH(test_header_is_the_librarys, setup_program),
        WITH(test_rest_is_the_programs, setup_program),
        WITH(test_access_across_the_header_is_split, setup_program),
        WITH(test_program_that_takes_less_is_called_again, setup_program),
        WITH(test_program_that_fails_gives_its_errno, setup_program),
        WITH(test_program_that_takes_nothing_or_too_much_is_einval, setup_program),
        WITH(test_always_cb_gets_everything_unsplit, setup_always),
        ATTACHED(test_rest_without_program_reads_contents),
    };

    return cmocka_run_group_tests_name("device_config", tests, NULL, NULL);
}
