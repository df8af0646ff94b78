/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/protocol/test-device-capabilities.h"

#include "tests/protocol/test-device.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <vfio-user/vfu-broker.h>

#define REGISTER(which) ((which - CAPS_REG_TRIGGER) / 4)

static uint8_t memory[CAPS_CONFIG_SIZE];
static uint32_t registers[REGISTER(CAPS_REG_END)];

static void note_call(size_t count, loff_t offset, bool is_write)
{
    registers[REGISTER(CAPS_REG_CALLS)]++;
    registers[REGISTER(CAPS_REG_OFFSET)] = (uint32_t)offset;
    registers[REGISTER(CAPS_REG_COUNT)] = (uint32_t)count;
    registers[REGISTER(CAPS_REG_IS_WRITE)] = is_write;
}

static int write_register(vfu_ctx_t *ctx, loff_t offset, uint32_t value)
{
    if (offset == CAPS_REG_TRIGGER) {
        return vfu_msix_trigger(ctx, value);
    }
    registers[REGISTER(offset)] = value;
    return 0;
}

static ssize_t access_config(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    bool is_register = offset >= CAPS_REG_TRIGGER && offset < CAPS_REG_END;
    uint32_t value;

    if (is_register && count == sizeof(value) && offset % 4 == 0) {
        memcpy(&value, is_write ? (void *)buf : (void *)&registers[REGISTER(offset)],
               sizeof(value));
        if (is_write) {
            return write_register(ctx, offset, value) < 0 ? -1 : (ssize_t)count;
        }
        memcpy(buf, &value, sizeof(value));
        return (ssize_t)count;
    }
    note_call(count, offset, is_write);
    memcpy(is_write ? (void *)(memory + offset) : (void *)buf,
           is_write ? (void *)buf : (void *)(memory + offset), count);
    return (ssize_t)count;
}

static ssize_t access_rom(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    for (size_t i = 0; i < count && !is_write; i++) {
        buf[i] = (char)test_device_bar1_byte((uint64_t)offset + i);
    }
    return (ssize_t)count;
}

int capabilities_reset(void)
{
    registers[REGISTER(CAPS_REG_FLRS)]++;
    errno = (int)registers[REGISTER(CAPS_REG_FLR_FAILS)];
    return errno != 0 ? -1 : 0;
}

static int add(vfu_ctx_t *ctx, size_t pos, size_t wanted, int flags, void *data)
{
    ssize_t offset = vfu_pci_add_capability(ctx, pos, flags, data);

    if (offset >= 0 && (size_t)offset != wanted) {
        errno = EPROTO; /* the header of this file says where it is */
        return -1;
    }
    return offset < 0 ? -1 : 0;
}

static int add_vendor(vfu_ctx_t *ctx, size_t wanted, int flags, uint8_t size)
{
    uint8_t data[256];

    memset(data, CAPS_VENDOR_FILL, sizeof(data));
    memcpy(data, (uint8_t[3]){ PCI_CAP_ID_VNDR, 0, size }, 3);
    memcpy(memory + wanted, data, size); /* what the callback has of its own */
    return add(ctx, 0, wanted, flags, data);
}

static int add_extended_vendor(vfu_ctx_t *ctx, size_t pos, size_t wanted, int flags, unsigned size)
{
    uint8_t data[64];
    const struct pcie_ext_cap_vsc_hdr header = {
        .hdr = { .id = PCI_EXT_CAP_ID_VNDR, .version = 1 },
        .id = 7,
        .rev = 1,
        .len = size & 0xfff,
    };

    memset(data, CAPS_VENDOR_FILL, sizeof(data));
    memcpy(data, &header, sizeof(header));
    return add(ctx, pos, wanted, flags | VFU_CAP_FLAG_EXTENDED, data);
}

static int describe_standard(vfu_ctx_t *ctx)
{
    struct pmcap pm = {
        .hdr = { .id = PCI_CAP_ID_PM },
        .pc = { .vs = 3, .psup = 0x1f },
        .pmcs = { { .nsfrst = 1 } },
    };
    struct msicap msi = {
        .hdr = { .id = PCI_CAP_ID_MSI },
        .mc = { .mmc = 2, .c64 = 1, .pvm = 1 }, /* TEST_DEVICE_MSI_COUNT */
    };
    struct pxcap px = {
        .hdr = { .id = PCI_CAP_ID_EXP },
        .pxcaps = { .ver = 2 },
        .pxdcap = { .rer = 1, .flrc = 1 },
    };

    if (add(ctx, 0, CAPS_PM, 0, &pm) < 0 || add(ctx, 0, CAPS_MSI, 0, &msi) < 0 ||
        vfu_msix_setup(ctx, TEST_DEVICE_MSIX_COUNT, CAPS_MSIX_BAR, CAPS_MSIX_TABLE, CAPS_MSIX_BAR,
                       CAPS_MSIX_PBA) < 0) {
        return -1;
    }
    return add(ctx, 0, CAPS_PX, 0, &px) < 0 || add_vendor(ctx, CAPS_VENDOR, 0, 9) < 0 ||
                   add_vendor(ctx, CAPS_LOCKED, VFU_CAP_FLAG_READONLY, 12) < 0 ||
                   add_vendor(ctx, CAPS_CALLBACK, VFU_CAP_FLAG_CALLBACK, 16) < 0 ||
                   add_vendor(ctx, CAPS_OPEN, 0, 16) < 0 ||
                   add_vendor(ctx, CAPS_LAST, VFU_CAP_FLAG_READONLY | VFU_CAP_FLAG_CALLBACK, 16) < 0
               ? -1
               : 0;
}

static int describe_extended(vfu_ctx_t *ctx)
{
    struct dsncap serial = {
        .hdr = { .id = PCI_EXT_CAP_ID_DSN, .version = 1 },
        .sn_lo = CAPS_SERIAL_LOW,
        .sn_hi = CAPS_SERIAL_HIGH,
    };

    return add(ctx, 0, CAPS_DSN, VFU_CAP_FLAG_EXTENDED, &serial) < 0 ||
                   add_extended_vendor(ctx, 0, CAPS_VENDOR2, 0, 20) < 0 ||
                   add_extended_vendor(ctx, 0, CAPS_LOCKED2, VFU_CAP_FLAG_READONLY, 12) < 0 ||
                   add_extended_vendor(ctx, CAPS_CALLBACK2, CAPS_CALLBACK2, VFU_CAP_FLAG_CALLBACK,
                                       16) < 0
               ? -1
               : 0;
}

int capabilities_describe(vfu_ctx_t *ctx)
{
    if (vfu_setup_region(ctx, VFU_PCI_DEV_CFG_REGION_IDX, CAPS_CONFIG_SIZE, access_config,
                         VFU_REGION_FLAG_RW, NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_ROM_REGION_IDX, CAPS_ROM_SIZE, access_rom,
                         VFU_REGION_FLAG_READ | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        describe_standard(ctx) < 0) {
        return -1;
    }
    return describe_extended(ctx);
}
