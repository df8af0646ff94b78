/* SPDX-License-Identifier: BSD-3-Clause */
/* Capabilities: where they go, how they are found (api.md 2.8), what clients write (4.4). */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define EXTENDED VFU_CAP_FLAG_EXTENDED
#define READONLY VFU_CAP_FLAG_READONLY
#define CALLBACK VFU_CAP_FLAG_CALLBACK

static struct pmcap pm = { .hdr = { .id = PCI_CAP_ID_PM, .next = 0x99 } };
static struct pxcap px = { .hdr = { .id = PCI_CAP_ID_EXP }, .pxdcap = { .flrc = 1 } };
static struct msicap msi = { .hdr = { .id = PCI_CAP_ID_MSI },
                             .mc = { .mmc = 4, .c64 = 1, .pvm = 1 } };
static struct msixcap msix = { .hdr = { .id = PCI_CAP_ID_MSIX },
                               .mxc = { .ts = 7 },
                               .mtab = { .tbir = 2, .to = 0x200 },
                               .mpba = { .pbir = 2, .pbao = 0x300 } };
static struct dsncap dsn = { .hdr = { .id = PCI_EXT_CAP_ID_DSN, .version = 1, .next = 0x123 },
                             .sn_lo = 0x11223344,
                             .sn_hi = 0x55667788 };

/* Vendor capabilities: @size bytes, filled with 0xdd behind the header. */
static void *vendor(uint8_t size)
{
    static uint8_t data[256];

    memset(data, 0xdd, sizeof(data));
    data[0] = PCI_CAP_ID_VNDR;
    data[2] = size;
    return data;
}

static void *extended_vendor(unsigned size)
{
    static uint8_t data[4096];
    struct pcie_ext_cap_vsc_hdr *header = (struct pcie_ext_cap_vsc_hdr *)data;

    memset(data, 0xee, sizeof(data));
    *header = (struct pcie_ext_cap_vsc_hdr){ .hdr = { .id = PCI_EXT_CAP_ID_VNDR, .version = 2 },
                                             .id = 0x1234,
                                             .rev = 5,
                                             .len = size & 0xfff };
    return data;
}

static ssize_t add(struct device *device, size_t pos, int flags, void *data)
{
    errno = 0;
    return vfu_pci_add_capability(device->ctx, pos, flags, data);
}

static void expect_refused(struct device *device, size_t pos, int flags, void *data, int error)
{
    uint8_t before[PCI_CFG_SPACE_EXP_SIZE];

    memcpy(before, device->ctx->session.config.bytes, sizeof(before));
    assert_int_equal(add(device, pos, flags, data), -1);
    assert_int_equal(errno, error);
    assert_memory_equal(device->ctx->session.config.bytes, before, sizeof(before));
}

static const uint8_t *config(struct device *device)
{
    return device->ctx->session.config.bytes;
}

static int setup(void **state, vfu_pci_type_t type)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_pci_init(device->ctx, type, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return 0;
}

static int setup_express(void **state)
{
    return setup(state, VFU_PCI_TYPE_EXPRESS);
}

static int setup_conventional(void **state)
{
    return setup(state, VFU_PCI_TYPE_CONVENTIONAL);
}

/* --- adding: the table of 2.8.1, in its order --- */

static void test_add_unknown_flag_is_einval(void **state)
{
    expect_refused(*state, 0, 1 << 3, &pm, EINVAL);
}

static void test_add_callback_flag_without_callback_is_einval(void **state)
{
    expect_refused(*state, 0, CALLBACK, &pm, EINVAL);
}

static void test_add_extended_to_conventional_is_einval(void **state)
{
    expect_refused(*state, 0, EXTENDED, &dsn, EINVAL);
}

static void test_add_more_than_128_extended_is_enospc(void **state)
{
    struct device *device = *state;

    for (int i = 0; i < 128; i++) {
        assert_int_equal(add(device, 0, EXTENDED, extended_vendor(8)), 0x100 + 8 * i);
    }
    expect_refused(device, 0, EXTENDED, extended_vendor(8), ENOSPC);
    expect_refused(device, 0, EXTENDED, (uint8_t[4]){ 0xff }, ENOSPC); /* looked at before the id */
    assert_int_equal(add(device, 0, 0, &pm), 0x40);
}

static void test_add_unknown_id_is_enotsup(void **state)
{
    struct device *device = *state;
    struct pcie_ext_cap_hdr aer = { .id = PCI_EXT_CAP_ID_ERR };
    uint8_t ids[] = { 0, PCI_CAP_ID_AGP, PCI_CAP_ID_AF, PCI_CAP_ID_EA, 0xff };

    for (size_t i = 0; i < sizeof(ids); i++) {
        expect_refused(device, 0, 0, (uint8_t[16]){ ids[i] }, ENOTSUP);
    }
    expect_refused(device, 0, EXTENDED, &aer, ENOTSUP);
    expect_refused(device, 0x20, 0, (uint8_t[16]){ 0 }, ENOTSUP); /* looked at before the place */
}

static void test_add_beyond_config_space_is_einval(void **state)
{
    struct device *device = *state;

    expect_refused(device, 0xfc, 0, &pm, EINVAL);
    expect_refused(device, 0x1000, 0, &pm, EINVAL);
    expect_refused(device, SIZE_MAX - 3, 0, &pm, EINVAL);
    /* W34: a link has 8 bits. */
    expect_refused(device, 0x100, 0, &pm, EINVAL);
    expect_refused(device, 0xff8, EXTENDED, &dsn, EINVAL);
}

static void test_add_before_pci_init_is_einval(void **state)
{
    expect_refused(*state, 0, 0, &pm, EINVAL);
    expect_refused(*state, 0x40, 0, &pm, EINVAL);
}

static void test_add_into_the_header_is_einval(void **state)
{
    expect_refused(*state, 0x3c, 0, &pm, EINVAL);
    expect_refused(*state, 4, 0, &pm, EINVAL);
    expect_refused(*state, 0xfc, EXTENDED, &dsn, EINVAL);
}

static void test_add_over_another_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0x50, 0, &pm), 0x50);
    expect_refused(device, 0x50, 0, &msix, EINVAL);
    expect_refused(device, 0x54, 0, &msix, EINVAL);
    expect_refused(device, 0x48, 0, &msix, EINVAL);
    expect_refused(device, 0x40, 0, &px, EINVAL);
}

static void test_first_extended_not_at_0x100_is_einval(void **state)
{
    struct device *device = *state;

    expect_refused(device, 0x200, EXTENDED, &dsn, EINVAL);
    assert_int_equal(add(device, 0x100, EXTENDED, &dsn), 0x100);
    assert_int_equal(add(device, 0x200, EXTENDED, &dsn), 0x200);
}

static void test_add_without_room_is_enospc(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0, 0, vendor(0xbc)), 0x40);
    expect_refused(device, 0, 0, &pm, ENOSPC);
    assert_int_equal(add(device, 0, 0, vendor(4)), 0xfc);
    assert_int_equal(add(device, 0, EXTENDED, extended_vendor(0xefc)), 0x100);
    expect_refused(device, 0, EXTENDED, extended_vendor(8), ENOSPC);
}

/* W34 */
static void test_add_next_to_others_and_to_the_end_works(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0x48, 0, &pm), 0x48);
    assert_int_equal(add(device, 0x40, 0, &pm), 0x40);
    assert_int_equal(add(device, 0x50, 0, &pm), 0x50);
    assert_int_equal(add(device, 0xf8, 0, &pm), 0xf8);
    assert_int_equal(add(device, 0x100, EXTENDED, &dsn), 0x100);
    assert_int_equal(add(device, 0xff4, EXTENDED, &dsn), 0xff4);
}

/* W34 */
static void test_add_unaligned_or_too_small_or_null_is_einval(void **state)
{
    struct device *device = *state;

    expect_refused(device, 0x42, 0, &pm, EINVAL);
    expect_refused(device, 0x101, EXTENDED, &dsn, EINVAL);
    expect_refused(device, 0, 0, vendor(2), EINVAL);
    expect_refused(device, 0, 0, vendor(0), EINVAL);
    expect_refused(device, 0, EXTENDED, extended_vendor(7), EINVAL);
    expect_refused(device, 0, 0, NULL, EINVAL);
    expect_refused(device, 0, EXTENDED, NULL, EINVAL);
}

/* W34: what is automatic does not overlap what was placed. */
static void test_automatic_place_steps_over_others(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0x50, 0, &pm), 0x50);
    assert_int_equal(add(device, 0x40, 0, &pm), 0x40);
    assert_int_equal(add(device, 0, 0, &pm), 0x48);
    assert_int_equal(add(device, 0, 0, &msix), 0x58);
}

static void test_automatic_places_are_rounded_up_to_4(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0, 0, &pm), 0x40);
    assert_int_equal(add(device, 0, 0, vendor(5)), 0x48);
    assert_int_equal(add(device, 0, 0, &px), 0x50);
    assert_int_equal(add(device, 0, 0, &msi), 0x8c);
    assert_int_equal(add(device, 0, 0, &msix), 0xa4);
    assert_int_equal(add(device, 0, EXTENDED, extended_vendor(9)), 0x100);
    assert_int_equal(add(device, 0, EXTENDED, &dsn), 0x10c);
    assert_int_equal(add(device, 0, EXTENDED, &dsn), 0x118);
}

static void test_links_follow_the_calls(void **state)
{
    struct device *device = *state;

    assert_int_equal(add(device, 0x80, 0, &pm), 0x80);
    assert_int_equal(add(device, 0x60, 0, &msix), 0x60);
    assert_int_equal(add(device, 0x70, 0, vendor(16)), 0x70);
    assert_int_equal(config(device)[0x34], 0x80);
    assert_int_equal(config(device)[0x81], 0x60);
    assert_int_equal(config(device)[0x61], 0x70);
    assert_int_equal(config(device)[0x71], 0);
    assert_int_equal(config(device)[0x73], 0xdd);
    assert_int_equal(config(device)[0x7f], 0xdd);
    assert_int_equal(config(device)[0x80], PCI_CAP_ID_PM);
}

static void test_extended_links_keep_id_and_version(void **state)
{
    struct device *device = *state;
    struct dsncap *first = (struct dsncap *)(device->ctx->session.config.bytes + 0x100);
    struct pcie_ext_cap_hdr *second;

    add(device, 0, EXTENDED, &dsn);
    assert_int_equal(first->hdr.next, 0);
    assert_int_equal(add(device, 0x800, EXTENDED, extended_vendor(16)), 0x800);
    second = (struct pcie_ext_cap_hdr *)(device->ctx->session.config.bytes + 0x800);
    assert_int_equal(first->hdr.id, PCI_EXT_CAP_ID_DSN);
    assert_int_equal(first->hdr.version, 1);
    assert_int_equal(first->hdr.next, 0x800);
    assert_int_equal(first->sn_lo, 0x11223344);
    assert_int_equal(first->sn_hi, 0x55667788);
    assert_int_equal(second->version, 2);
    assert_int_equal(second->next, 0);
}

/* 4.3.5 */
static void test_status_tells_of_capabilities_from_realize_on(void **state)
{
    struct device *device = *state;

    add(device, 0, EXTENDED, &dsn);
    vfu_realize_ctx(device->ctx);
    assert_int_equal(config(device)[PCI_STATUS], 0);
    add(device, 0, 0, &pm); /* W50: late, and seen */
    assert_int_equal(config(device)[PCI_STATUS], PCI_STATUS_CAP_LIST);
}

static void test_status_is_set_by_realize(void **state)
{
    struct device *device = *state;

    add(device, 0, 0, &pm);
    vfu_pci_get_config_space(device->ctx)->hdr.sts.raw = 0;
    vfu_realize_ctx(device->ctx);
    assert_int_equal(config(device)[PCI_STATUS], PCI_STATUS_CAP_LIST);
}

/* --- finding: 2.8.2 --- */

static size_t find(struct device *device, bool extended, size_t pos, int id)
{
    errno = 0;
    return vfu_pci_find_next_capability(device->ctx, extended, pos, id);
}

static void expect_not_found(struct device *device, bool extended, size_t pos, int id, int error)
{
    assert_int_equal(find(device, extended, pos, id), 0);
    assert_int_equal(errno, error);
}

static void test_find_follows_the_chain(void **state)
{
    struct device *device = *state;

    add(device, 0x80, 0, vendor(4));
    add(device, 0x40, 0, &pm);
    add(device, 0x60, 0, vendor(4));
    assert_int_equal(vfu_pci_find_capability(device->ctx, false, PCI_CAP_ID_VNDR), 0x80);
    assert_int_equal(find(device, false, 0, PCI_CAP_ID_VNDR), 0x80);
    assert_int_equal(find(device, false, 0x80, PCI_CAP_ID_VNDR), 0x60);
    assert_int_equal(find(device, false, 0x40, PCI_CAP_ID_VNDR), 0x60);
    expect_not_found(device, false, 0x60, PCI_CAP_ID_VNDR, ENOENT);
    expect_not_found(device, false, 0x40, PCI_CAP_ID_PM, ENOENT); /* not itself */
    expect_not_found(device, false, 0, PCI_CAP_ID_MSI, ENOENT);
    expect_not_found(device, false, 0, PCI_CAP_ID_PM + 0x100, ENOENT);
    expect_not_found(device, false, 0, -1, ENOENT);
}

static void test_find_extended_follows_the_chain(void **state)
{
    struct device *device = *state;

    expect_not_found(device, true, 0, PCI_EXT_CAP_ID_DSN, ENOENT);
    expect_not_found(device, true, 0, 0, ENOENT);
    add(device, 0, EXTENDED, &dsn);
    add(device, 0x400, EXTENDED, extended_vendor(8));
    add(device, 0x200, EXTENDED, &dsn);
    assert_int_equal(vfu_pci_find_capability(device->ctx, true, PCI_EXT_CAP_ID_VNDR), 0x400);
    assert_int_equal(find(device, true, 0, PCI_EXT_CAP_ID_DSN), 0x100);
    assert_int_equal(find(device, true, 0x100, PCI_EXT_CAP_ID_DSN), 0x200);
    /* W35: nothing behind the last one, not the ids at offset 0. */
    expect_not_found(device, true, 0x200, PCI_EXT_CAP_ID_DSN, ENOENT);
    vfu_pci_set_id(device->ctx, PCI_EXT_CAP_ID_DSN, 0x1000, 0, 0);
    expect_not_found(device, true, 0x200, PCI_EXT_CAP_ID_DSN, ENOENT);
}

/* 5: 128 of a kind, and as many standard ones as there is room for. */
static void test_find_the_last_of_the_longest_chains(void **state)
{
    struct device *device = *state;
    ssize_t last = 0;
    size_t pos = 0;

    for (int i = 0; i < 128; i++) {
        last = add(device, 0, EXTENDED, i < 127 ? extended_vendor(8) : (void *)&dsn);
    }
    assert_int_equal(find(device, true, 0, PCI_EXT_CAP_ID_DSN), last);
    for (int i = 0; i < 48; i++) {
        last = add(device, 0, 0, vendor(4));
    }
    assert_int_equal(last, 0xfc);
    for (int i = 0; i < 48; i++) {
        pos = find(device, false, pos, PCI_CAP_ID_VNDR);
    }
    assert_int_equal(pos, 0xfc);
    expect_not_found(device, false, pos, PCI_CAP_ID_VNDR, ENOENT);
    expect_not_found(device, false, 0, PCI_CAP_ID_PM, ENOENT);
}

static void test_find_out_of_range_is_einval(void **state)
{
    struct device *device = *state;

    expect_not_found(device, false, 0xfff, PCI_CAP_ID_PM, EINVAL);
    expect_not_found(device, false, 0x1000, PCI_CAP_ID_PM, EINVAL);
    expect_not_found(device, false, SIZE_MAX, PCI_CAP_ID_PM, EINVAL);
    expect_not_found(device, true, 0xffc, PCI_EXT_CAP_ID_DSN, EINVAL);
    expect_not_found(device, true, 0x1000, PCI_EXT_CAP_ID_DSN, EINVAL);
    expect_not_found(device, true, SIZE_MAX - 1, PCI_EXT_CAP_ID_DSN, EINVAL);
    expect_not_found(device, true, 0xfc, PCI_EXT_CAP_ID_DSN, EINVAL);
    expect_not_found(device, false, 0x3c, PCI_CAP_ID_PM, EINVAL);
}

static void test_find_in_256_bytes(void **state)
{
    struct device *device = *state;

    /* W35 */
    expect_not_found(device, true, 0, PCI_EXT_CAP_ID_DSN, ENOENT);
    expect_not_found(device, true, 0x100, PCI_EXT_CAP_ID_DSN, EINVAL);
    expect_not_found(device, false, 0xff, PCI_CAP_ID_PM, EINVAL);
    vfu_pci_get_config_space(device->ctx)->hdr.cap = 0xff;
    expect_not_found(device, false, 0, PCI_CAP_ID_PM, EINVAL);
}

/* The live bytes count; W35: they may be a circle. */
static void test_find_follows_live_bytes_and_ends(void **state)
{
    struct device *device = *state;
    vfu_pci_config_space_t *space = vfu_pci_get_config_space(device->ctx);

    space->hdr.cap = 0x60;
    space->raw[0x60] = PCI_CAP_ID_AF;
    space->raw[0x61] = 0x70;
    space->raw[0x70] = PCI_CAP_ID_EA;
    space->raw[0x71] = 0x60;
    assert_int_equal(find(device, false, 0, PCI_CAP_ID_EA), 0x70);
    expect_not_found(device, false, 0, PCI_CAP_ID_PM, ENOENT);
    space->raw[0x71] = 0x20;
    expect_not_found(device, false, 0, PCI_CAP_ID_PM, EINVAL);
    *(struct pcie_ext_cap_hdr *)(space->raw + 0x100) =
        (struct pcie_ext_cap_hdr){ .id = 7, .next = 0x100 };
    assert_int_equal(find(device, true, 0, 7), 0x100);
    expect_not_found(device, true, 0, 8, ENOENT);
    *(struct pcie_ext_cap_hdr *)(space->raw + 0x100) =
        (struct pcie_ext_cap_hdr){ .id = 7, .next = 0xffc };
    expect_not_found(device, true, 0, 8, EINVAL);
}

static void test_find_before_pci_init(void **state)
{
    struct device *device = *state;

    expect_not_found(device, false, 0, PCI_CAP_ID_PM, ENOENT);
    expect_not_found(device, true, 0, PCI_EXT_CAP_ID_DSN, ENOENT);
    expect_not_found(device, false, 0x40, PCI_CAP_ID_PM, EINVAL);
}

/* --- writes of clients: 4.4 --- */

static struct {
    int resets;
    vfu_reset_type_t type;
    int result;
    int err;
} reset;

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    if (type != VFU_RESET_LOST_CONN) {
        reset.resets++;
        reset.type = type;
        errno = reset.err;
        return reset.result;
    }
    return 0;
}

/* Where setup_attached() puts them. */
#define PM 0x40
#define MSI 0x48
#define MSIX 0x60
#define PX 0x6c
#define VENDOR 0xa8 /* 9 bytes */
#define LOCKED 0xb4 /* read-only, next to it but for the rounding */
#define LAST 0xc0   /* writable, ends where LOCKED2 begins */
#define LOCKED2 0xd0
#define DSN 0x100
#define VENDOR2 0x10c

static int setup_attached(void **state)
{
    struct device *device;

    memset(&reset, 0, sizeof(reset));
    setup_express(state);
    device = *state;
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    assert_int_equal(add(device, 0, 0, &pm), PM);
    assert_int_equal(add(device, 0, 0, &msi), MSI);
    assert_int_equal(add(device, 0, 0, &msix), MSIX);
    assert_int_equal(add(device, 0, 0, &px), PX);
    assert_int_equal(add(device, 0, 0, vendor(9)), VENDOR);
    assert_int_equal(add(device, 0, READONLY, vendor(12)), LOCKED);
    assert_int_equal(add(device, 0, 0, vendor(16)), LAST);
    assert_int_equal(add(device, 0, READONLY, &pm), LOCKED2);
    assert_int_equal(add(device, 0, EXTENDED, &dsn), DSN);
    assert_int_equal(add(device, 0, EXTENDED, extended_vendor(20)), VENDOR2);
    device_attach(device);
    return 0;
}

static int put(struct device *device, uint64_t offset, uint32_t value, uint32_t count)
{
    return device_config_write(device, offset, &value, count);
}

static uint32_t get(struct device *device, uint64_t offset, uint32_t count)
{
    uint32_t value = 0;

    assert_int_equal(device_config_read(device, offset, &value, count), 0);
    return value;
}

/* 4.4, step 4: only where a write starts matters. */
static void test_write_to_headers_is_eperm(void **state)
{
    struct device *device = *state;
    const struct {
        uint64_t offset;
        size_t header;
    } caps[] = { { PM, 2 },     { MSI, 2 }, { MSIX, 2 },   { PX, 2 },
                 { VENDOR, 3 }, { DSN, 4 }, { VENDOR2, 8 } };
    uint8_t before[PCI_CFG_SPACE_EXP_SIZE];

    memcpy(before, config(device), sizeof(before));
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        for (size_t at = 0; at < caps[i].header; at++) {
            for (uint32_t count = 1; count <= 4; count++) {
                assert_int_equal(put(device, caps[i].offset + at, UINT32_MAX, count), EPERM);
            }
        }
    }
    assert_memory_equal(config(device), before, sizeof(before));
}

static void test_write_to_read_only_capability_is_eperm(void **state)
{
    struct device *device = *state;

    for (uint64_t at = 0; at < 12; at++) {
        assert_int_equal(put(device, LOCKED + at, 0, 1), EPERM);
    }
    assert_int_equal(put(device, LOCKED2 + PCI_PM_PMC, 0, 2), EPERM); /* not ENOTSUP */
    assert_int_equal(get(device, LOCKED + 4, 4), 0xdddddddd);
}

static void test_serial_number_is_eperm(void **state)
{
    struct device *device = *state;

    for (uint64_t at = 0; at < 12; at++) {
        assert_int_equal(put(device, DSN + at, 0, 1), EPERM);
    }
    assert_int_equal(get(device, DSN + 4, 4), 0x11223344);
}

static void test_vendor_bytes_are_stored(void **state)
{
    struct device *device = *state;

    assert_int_equal(put(device, VENDOR + 3, 0x01, 1), 0);
    assert_int_equal(put(device, VENDOR + 5, 0x05040302, 4), 0);
    assert_int_equal(get(device, VENDOR + 3, 4), 0x0302dd01);
    assert_int_equal(get(device, VENDOR + 7, 2), 0x0504);
    assert_int_equal(put(device, VENDOR2 + 8, 0xa1a2a3a4, 4), 0);
    assert_int_equal(put(device, VENDOR2 + 19, 0xff, 1), 0);
    assert_int_equal(get(device, VENDOR2 + 8, 4), 0xa1a2a3a4);
    assert_int_equal(get(device, VENDOR2 + 16, 4), 0xffeeeeee);
}

/* W2: a write cannot run out of its capability into the next one, or past its rights. */
static void test_write_out_of_a_capability_is_clamped(void **state)
{
    struct device *device = *state;
    uint8_t ones[32], before[PCI_CFG_SPACE_EXP_SIZE];

    memset(ones, 0xff, sizeof(ones));
    memcpy(before, config(device), sizeof(before));
    assert_int_equal(device_config_write(device, LAST + 14, ones, 6), EPERM);
    assert_memory_equal(config(device) + LOCKED2, before + LOCKED2, 8);
    assert_int_equal(get(device, LAST + 14, 2), 0xffff); /* 4.3.2: what came before is done */
    /* The rounding behind the vendor capability is nobody's. */
    assert_int_equal(device_config_write(device, VENDOR + 8, ones, 4), EINVAL);
    assert_int_equal(get(device, VENDOR + 8, 4), 0xff);
}

/* W1 */
static void test_long_writes_into_msi_and_msix_are_clamped(void **state)
{
    struct device *device = *state;
    uint8_t ones[64], before[PCI_CFG_SPACE_EXP_SIZE];

    memset(ones, 0xff, sizeof(ones));
    memcpy(before, config(device), sizeof(before));
    assert_int_equal(device_config_write(device, MSI + 0x16, ones, 24), EPERM);
    assert_int_equal(device_config_write(device, MSIX + 11, ones, 12), EPERM);
    assert_memory_equal(config(device), before, sizeof(before));
}

static void test_one_access_goes_through_several_capabilities(void **state)
{
    struct device *device = *state;
    uint8_t all[PCI_CFG_SPACE_EXP_SIZE];

    assert_int_equal(device_config_read(device, 0, all, sizeof(all)), 0);
    assert_memory_equal(all, config(device), sizeof(all));
    assert_int_equal(device_config_read(device, PM + 3, all, 0x80), 0);
    assert_memory_equal(all, config(device) + PM + 3, 0x80);
    memset(all, 0xff, 12);
    /* The mask is stored before the header of the next capability refuses (4.3.2). */
    assert_int_equal(device_config_write(device, MSI + PCI_MSI_MASK_64, all, 12), EPERM);
    assert_int_equal(get(device, MSI + PCI_MSI_MASK_64, 4), 0xffffffff);
}

static void test_pm_registers(void **state)
{
    struct device *device = *state;
    const uint32_t counts[] = { 1, 3, 4 };

    assert_int_equal(put(device, PM + PCI_PM_PMC, 0, 2), ENOTSUP);
    assert_int_equal(put(device, PM + PCI_PM_PPB_EXTENSIONS, 0, 1), ENOTSUP);
    assert_int_equal(put(device, PM + PCI_PM_DATA_REGISTER, 0, 1), ENOTSUP);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(put(device, PM + PCI_PM_PMC, 0, counts[i]), EINVAL);
        assert_int_equal(put(device, PM + PCI_PM_CTRL, 0, counts[i]), EINVAL);
    }
    assert_int_equal(put(device, PM + PCI_PM_PPB_EXTENSIONS, 0, 2), EINVAL);
    assert_int_equal(put(device, PM + 3, 0, 1), EINVAL);
    assert_int_equal(put(device, PM + 5, 0, 1), EINVAL);
    assert_int_equal(put(device, PM + PCI_PM_CTRL, PCI_PM_CTRL_PME_ENABLE | 3, 2), 0);
    assert_int_equal(get(device, PM + PCI_PM_CTRL, 2), PCI_PM_CTRL_PME_ENABLE | 3);
}

/* W33: masked by register. */
static void test_pm_control_keeps_read_only_bits(void **state)
{
    struct device *device = *state;
    struct pmcap *live = (struct pmcap *)(device->ctx->session.config.bytes + PM);

    live->pmcs.raw = PCI_PM_CTRL_PME_STATUS | PCI_PM_CTRL_NO_SOFT_RESET;
    assert_int_equal(put(device, PM + PCI_PM_CTRL, 0x7fff, 2), 0);
    assert_int_equal(get(device, PM + PCI_PM_CTRL, 2), 0x9f0b);
    assert_int_equal(put(device, PM + PCI_PM_CTRL, PCI_PM_CTRL_PME_STATUS, 2), 0);
    assert_int_equal(get(device, PM + PCI_PM_CTRL, 2), 0x0008);
}

static void test_msi_stores_what_is_writable(void **state)
{
    struct device *device = *state;
    uint8_t ones[22];
    struct msicap *live = (struct msicap *)(device->ctx->session.config.bytes + MSI);

    assert_int_equal(put(device, MSI + PCI_MSI_FLAGS, 0x0041, 2), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_FLAGS, 2), 0x01c9);
    memset(ones, 0xff, sizeof(ones));
    ones[0] = 0x8f; /* mme 0 */
    assert_int_equal(device_config_write(device, MSI + 2, ones, sizeof(ones)), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_FLAGS, 2), 0x0189);
    assert_int_equal(get(device, MSI + PCI_MSI_ADDRESS_LO, 4), 0xfffffffc);
    assert_int_equal(get(device, MSI + PCI_MSI_ADDRESS_HI, 4), 0xffffffff);
    assert_int_equal(get(device, MSI + PCI_MSI_DATA_64, 4), 0x0000ffff);
    assert_int_equal(get(device, MSI + PCI_MSI_MASK_64, 4), 0xffffffff);
    assert_int_equal(get(device, MSI + PCI_MSI_PENDING_64, 4), 0);
    /* In any pieces. */
    assert_int_equal(put(device, MSI + PCI_MSI_ADDRESS_LO + 1, 0x00, 1), 0);
    assert_int_equal(put(device, MSI + PCI_MSI_ADDRESS_LO + 3, 0x3412, 2), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_ADDRESS_LO, 4), 0x12ff00fc);
    assert_int_equal(get(device, MSI + PCI_MSI_ADDRESS_HI, 4), 0xffffff34);
    live->mpend = 0x5;
    assert_int_equal(put(device, MSI + PCI_MSI_PENDING_64, 0, 4), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_PENDING_64, 4), 5);
}

static void test_msi_with_too_many_vectors_is_einval_but_enables(void **state)
{
    struct device *device = *state;
    struct msicap *live = (struct msicap *)(device->ctx->session.config.bytes + MSI);

    assert_int_equal(put(device, MSI + PCI_MSI_FLAGS, 5 << 4 | 1, 2), EINVAL); /* more than mmc */
    assert_int_equal(live->mc.msie, 1);
    assert_int_equal(live->mc.mme, 0);
    assert_int_equal(put(device, MSI + PCI_MSI_FLAGS, 4 << 4, 1), 0);
    live->mc.mmc = 7;
    assert_int_equal(put(device, MSI + PCI_MSI_FLAGS, 6 << 4 | 1, 1), EINVAL); /* more than 32 */
    assert_int_equal(live->mc.msie, 1);
    assert_int_equal(live->mc.mme, 4);
    assert_int_equal(put(device, MSI + PCI_MSI_FLAGS, 5 << 4, 1), 0);
    assert_int_equal(live->mc.mme, 5);
    assert_int_equal(live->mc.msie, 0);
}

/* A 32-bit capability with masks has them where the library's structure has data and padding. */
static void test_msi_of_32_bits_has_its_mask_at_0x0c(void **state)
{
    struct device *device = *state;
    struct msicap *live = (struct msicap *)(device->ctx->session.config.bytes + MSI);

    live->mc.c64 = 0;
    assert_int_equal(put(device, MSI + PCI_MSI_MASK_32, 0xa5a5a5a5, 4), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_MASK_32, 4), 0xa5a5a5a5);
    assert_int_equal(put(device, MSI + PCI_MSI_PENDING_32, 0xa5a5a5a5, 4), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_PENDING_32, 4), 0);
    live->mc.pvm = 0;
    assert_int_equal(put(device, MSI + PCI_MSI_DATA_32, 0x1234, 2), 0);
    assert_int_equal(get(device, MSI + PCI_MSI_DATA_32, 2), 0x1234);
}

static void test_msix_stores_enable_and_function_mask_alone(void **state)
{
    struct device *device = *state;
    uint8_t ones[10], before[PCI_CFG_SPACE_EXP_SIZE];

    memset(ones, 0xff, sizeof(ones));
    memcpy(before, config(device), sizeof(before));
    assert_int_equal(device_config_write(device, MSIX + 2, ones, sizeof(ones)), 0);
    assert_int_equal(get(device, MSIX + PCI_MSIX_FLAGS, 2), 0xc007);
    assert_memory_equal(config(device) + MSIX + 4, before + MSIX + 4, 8);
    assert_int_equal(put(device, MSIX + 3, 0x80, 1), 0);
    assert_int_equal(get(device, MSIX + PCI_MSIX_FLAGS, 2), 0x8007);
    assert_int_equal(put(device, MSIX + 2, 0x00, 1), 0);
    assert_int_equal(put(device, MSIX + 4, 0x00, 4), 0);
    assert_int_equal(get(device, MSIX + PCI_MSIX_FLAGS, 2), 0x8007);
    assert_int_equal(put(device, MSIX + 2, 0x4000, 2), 0);
    assert_int_equal(get(device, MSIX + PCI_MSIX_FLAGS, 2), 0x4007);
}

static void test_express_takes_control_registers_of_2_bytes(void **state)
{
    struct device *device = *state;
    const uint64_t ignored[] = { PCI_EXP_LNKCTL, PCI_EXP_SLTCTL, PCI_EXP_RTCTL, PCI_EXP_SLTCTL2 };
    const uint64_t stored[] = { PCI_EXP_DEVCTL2, PCI_EXP_LNKCTL2 };

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(put(device, PX + ignored[i], 0xffff, 2), 0);
        assert_int_equal(get(device, PX + ignored[i], 2), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(put(device, PX + stored[i], 0xa5f0, 2), 0);
        assert_int_equal(get(device, PX + stored[i], 2), 0xa5f0);
    }
    for (uint64_t at = 2; at < sizeof(px); at++) {
        assert_int_equal(put(device, PX + at, 0, 1), EINVAL);
    }
    for (uint64_t at = 2; at < sizeof(px) - 3; at++) {
        assert_int_equal(put(device, PX + at, 0, 4), EINVAL);
        assert_int_equal(put(device, PX + at, 0, 3), EINVAL);
        if (at % 2 == 1) {
            assert_int_equal(put(device, PX + at, 0, 2), EINVAL);
        }
    }
    assert_int_equal(put(device, PX + PCI_EXP_DEVSTA, 0, 2), EINVAL);
    assert_int_equal(put(device, PX + PCI_EXP_DEVCAP, 0, 2), EINVAL);
}

static void test_device_control_stores_all_but_the_reset(void **state)
{
    struct device *device = *state;
    struct pxcap *live = (struct pxcap *)(device->ctx->session.config.bytes + PX);

    live->pxdcap.etfs = 1;
    live->pxdcap.pfs = 2;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, 0x7fff, 2), 0);
    assert_int_equal(get(device, PX + PCI_EXP_DEVCTL, 2), 0x7fff);
    assert_int_equal(reset.resets, 0);
    /* W33: what the device does not have stays off. */
    live->pxdcap.etfs = 0;
    live->pxdcap.pfs = 0;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, 0, 2), 0);
    live->pxdc.raw = 0;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, 0x7fff, 2), 0);
    assert_int_equal(get(device, PX + PCI_EXP_DEVCTL, 2), 0x7cff);
}

/* 3.2, 4.4 */
static void test_flr_calls_the_reset_callback(void **state)
{
    struct device *device = *state;

    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR | 1, 2), 0);
    assert_int_equal(reset.resets, 1);
    assert_int_equal(reset.type, VFU_RESET_PCI_FLR);
    assert_int_equal(get(device, PX + PCI_EXP_DEVCTL, 2), 1);
    reset.result = 1; /* W42 */
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2), 0);
    reset.result = -1;
    reset.err = EBUSY;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2), EBUSY);
    reset.err = 0;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2), EINVAL);
    assert_int_equal(reset.resets, 4);
}

static void test_flr_without_capability_is_einval_but_stores_the_rest(void **state)
{
    struct device *device = *state;
    struct pxcap *live = (struct pxcap *)(device->ctx->session.config.bytes + PX);

    live->pxdcap.flrc = 0;
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR | 6, 2), EINVAL);
    assert_int_equal(reset.resets, 0);
    assert_int_equal(get(device, PX + PCI_EXP_DEVCTL, 2), 6);
}

static void test_flr_without_callback_succeeds(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, NULL), 0);
    assert_int_equal(put(device, PX + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2), 0);
    assert_int_equal(get(device, PX + PCI_EXP_DEVCTL, 2), 0);
}

/* 4.8: which writes the device has to be quiet for. */
static void test_writes_that_may_reset(void **state)
{
    struct device *device = *state;
    const uint64_t control = PX + PCI_EXP_DEVCTL;

    for (size_t count = 1; count < 8; count++) {
        assert_true(pci_config_write_resets(device->ctx, control, count));
    }
    assert_true(pci_config_write_resets(device->ctx, control + 1, 1));
    assert_true(pci_config_write_resets(device->ctx, 0, 4096));
    assert_false(pci_config_write_resets(device->ctx, control - 1, 1));
    assert_false(pci_config_write_resets(device->ctx, control + 2, 2));
    assert_false(pci_config_write_resets(device->ctx, 7, 2));
}

static void test_no_write_resets_without_express_capability(void **state)
{
    struct device *device = *state;

    /* W39 */
    for (uint64_t offset = 0; offset < 4096; offset++) {
        assert_false(pci_config_write_resets(device->ctx, offset, 4));
    }
    add(device, 0, 0, &px);
    assert_true(pci_config_write_resets(device->ctx, 0x48, 2));
    add(device, 0x90, 0, &px); /* the last one counts */
    assert_true(pci_config_write_resets(device->ctx, 0x98, 2));
    assert_false(pci_config_write_resets(device->ctx, 0x48, 2));
}

/* --- capabilities of the program: 4.3.1, 4.4 --- */

static struct {
    int calls;
    size_t count;
    off_t offset;
    bool is_write;
} program;

static ssize_t handle_config(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    program.calls++;
    program.count = count;
    program.offset = offset;
    program.is_write = is_write;
    if (!is_write) {
        memset(buf, 0x77, count);
    }
    return (ssize_t)count;
}

static int setup_with_callback(void **state)
{
    struct device *device;

    memset(&program, 0, sizeof(program));
    setup_express(state);
    device = *state;
    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_CFG_REGION_IDX, 4096, handle_config,
                                      VFU_REGION_FLAG_RW, NULL, 0, -1, 0),
                     0);
    /* Added in the wrong order: the lowest address is what counts. */
    assert_int_equal(add(device, 0x80, 0, vendor(8)), 0x80);
    assert_int_equal(add(device, 0x60, CALLBACK, vendor(8)), 0x60);
    assert_int_equal(add(device, 0x70, CALLBACK | READONLY, vendor(8)), 0x70);
    assert_int_equal(add(device, 0, EXTENDED | CALLBACK, &dsn), 0x100);
    device_attach(device);
    return 0;
}

static void test_callback_capability_is_the_programs(void **state)
{
    struct device *device = *state;

    assert_int_equal(get(device, 0x60, 4), 0x77777777); /* header included */
    assert_int_equal(program.offset, 0x60);
    assert_int_equal(program.count, 4);
    assert_int_equal(put(device, 0x61, 0, 2), 0);
    assert_int_equal(program.offset, 0x61);
    assert_int_equal(program.count, 2);
    assert_true(program.is_write);
    assert_int_equal(put(device, 0x104, 0, 4), 0);
    assert_int_equal(program.offset, 0x104);
    assert_int_equal(config(device)[0x62], 8); /* the library stores nothing */
}

static void test_callback_and_read_only_is_eperm(void **state)
{
    struct device *device = *state;

    assert_int_equal(put(device, 0x74, 0, 4), EPERM);
    assert_int_equal(program.calls, 0);
    assert_int_equal(get(device, 0x74, 4), 0x77777777);
}

/* 4.3.2: segments in ascending order, each with its own rule. */
static void test_access_is_cut_at_capabilities(void **state)
{
    struct device *device = *state;
    uint8_t bytes[0x60];

    /* 0x38-0x3f header, -0x5f program, -0x67 its capability, -0x6f, -0x77, -0x7f, 0x80 ours. */
    assert_int_equal(device_config_read(device, 0x38, bytes, sizeof(bytes)), 0);
    assert_int_equal(program.calls, 6);
    assert_int_equal(program.offset, 0x88);
    assert_int_equal(program.count, 0x10);
    assert_int_equal(bytes[0x07], 0);
    assert_int_equal(bytes[0x08], 0x77);
    assert_int_equal(bytes[0x47], 0x77);
    assert_int_equal(bytes[0x48], PCI_CAP_ID_VNDR);
    assert_int_equal(bytes[0x4f], 0xdd);
    assert_int_equal(bytes[0x50], 0x77);
}

static void test_always_cb_gets_capabilities_too(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_CFG_REGION_IDX, 4096, handle_config,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1,
                                      0),
                     0);
    assert_int_equal(put(device, 0x70, 0, 4), 0);
    assert_int_equal(program.offset, 0x70);
    assert_int_equal(program.count, 4);
}

static void test_callback_that_was_taken_away_is_einval(void **state)
{
    struct device *device = *state;
    uint32_t value = 0;

    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_CFG_REGION_IDX, 4096, NULL,
                                      VFU_REGION_FLAG_RW, NULL, 0, -1, 0),
                     0);
    assert_int_equal(device_config_read(device, 0x60, &value, 4), EINVAL);
    assert_int_equal(put(device, 0x60, 0, 4), EINVAL);
}

/* Api.md 2.1 [C]: also while a client is attached. */
static void test_capability_added_late_is_seen(void **state)
{
    struct device *device = *state;

    assert_int_equal(put(device, 0xe0, 0, 4), EINVAL);
    assert_int_equal(add(device, 0xe0, 0, vendor(8)), 0xe0);
    assert_int_equal(put(device, 0xe4, 0x01020304, 4), 0);
    assert_int_equal(get(device, 0xe4, 4), 0x01020304);
}

#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, device_teardown)
#define CREATED(test) WITH(test, device_setup_created)
#define EXPRESS(test) WITH(test, setup_express)
#define ATTACHED(test) WITH(test, setup_attached)
#define CALLED_BACK(test) WITH(test, setup_with_callback)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXPRESS(test_add_unknown_flag_is_einval),
        EXPRESS(test_add_callback_flag_without_callback_is_einval),
        WITH(test_add_extended_to_conventional_is_einval, setup_conventional),
        EXPRESS(test_add_more_than_128_extended_is_enospc),
        EXPRESS(test_add_unknown_id_is_enotsup),
        EXPRESS(test_add_beyond_config_space_is_einval),
        CREATED(test_add_before_pci_init_is_einval),
        EXPRESS(test_add_into_the_header_is_einval),
        EXPRESS(test_add_over_another_is_einval),
        EXPRESS(test_first_extended_not_at_0x100_is_einval),
        EXPRESS(test_add_without_room_is_enospc),
        EXPRESS(test_add_next_to_others_and_to_the_end_works),
        EXPRESS(test_add_unaligned_or_too_small_or_null_is_einval),
        EXPRESS(test_automatic_place_steps_over_others),
        EXPRESS(test_automatic_places_are_rounded_up_to_4),
        EXPRESS(test_links_follow_the_calls),
        EXPRESS(test_extended_links_keep_id_and_version),
        EXPRESS(test_status_tells_of_capabilities_from_realize_on),
        EXPRESS(test_status_is_set_by_realize),
        EXPRESS(test_find_follows_the_chain),
        EXPRESS(test_find_extended_follows_the_chain),
        EXPRESS(test_find_the_last_of_the_longest_chains),
        EXPRESS(test_find_out_of_range_is_einval),
        WITH(test_find_in_256_bytes, setup_conventional),
        EXPRESS(test_find_follows_live_bytes_and_ends),
        CREATED(test_find_before_pci_init),
        ATTACHED(test_write_to_headers_is_eperm),
        ATTACHED(test_write_to_read_only_capability_is_eperm),
        ATTACHED(test_serial_number_is_eperm),
        ATTACHED(test_vendor_bytes_are_stored),
        ATTACHED(test_write_out_of_a_capability_is_clamped),
        ATTACHED(test_long_writes_into_msi_and_msix_are_clamped),
        ATTACHED(test_one_access_goes_through_several_capabilities),
        ATTACHED(test_pm_registers),
        ATTACHED(test_pm_control_keeps_read_only_bits),
        ATTACHED(test_msi_stores_what_is_writable),
        ATTACHED(test_msi_with_too_many_vectors_is_einval_but_enables),
        ATTACHED(test_msi_of_32_bits_has_its_mask_at_0x0c),
        ATTACHED(test_msix_stores_enable_and_function_mask_alone),
        ATTACHED(test_express_takes_control_registers_of_2_bytes),
        ATTACHED(test_device_control_stores_all_but_the_reset),
        ATTACHED(test_flr_calls_the_reset_callback),
        ATTACHED(test_flr_without_capability_is_einval_but_stores_the_rest),
        ATTACHED(test_flr_without_callback_succeeds),
        ATTACHED(test_writes_that_may_reset),
        EXPRESS(test_no_write_resets_without_express_capability),
        CALLED_BACK(test_callback_capability_is_the_programs),
        CALLED_BACK(test_callback_and_read_only_is_eperm),
        CALLED_BACK(test_access_is_cut_at_capabilities),
        CALLED_BACK(test_always_cb_gets_capabilities_too),
        CALLED_BACK(test_callback_that_was_taken_away_is_einval),
        ATTACHED(test_capability_added_late_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
