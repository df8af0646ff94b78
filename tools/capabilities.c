/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lists of capabilities. The device may be hostile or broken: positions are checked, and a list
 * has no more entries than fit.
 */
#include "tools/vfu.h"

#include <linux/pci_regs.h>
#include <stdio.h>

struct space {
    const uint8_t *bytes;
    size_t size;
};

/* 0 where there is nothing. */
static uint32_t get(const struct space *space, size_t at, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size && at + i < space->size; i++) {
        value |= (uint32_t)space->bytes[at + i] << (8 * i);
    }
    return value;
}

static char flag(uint32_t value, uint32_t bit)
{
    return value & bit ? '+' : '-';
}

static void print_power(const struct space *space, size_t at)
{
    uint32_t pmc = get(space, at + PCI_PM_PMC, 2);
    uint32_t control = get(space, at + PCI_PM_CTRL, 2);

    printf("Power Management version %u: D%u, NoSoftRst%c PME-Enable%c PME%c\n",
           pmc & PCI_PM_CAP_VER_MASK, control & PCI_PM_CTRL_STATE_MASK,
           flag(control, PCI_PM_CTRL_NO_SOFT_RESET), flag(control, PCI_PM_CTRL_PME_ENABLE),
           flag(control, PCI_PM_CTRL_PME_STATUS));
}

static void print_msi(const struct space *space, size_t at)
{
    uint32_t flags = get(space, at + PCI_MSI_FLAGS, 2);

    printf("MSI: Enable%c Count=%u/%u Maskable%c 64bit%c, address %08x%08x\n",
           flag(flags, PCI_MSI_FLAGS_ENABLE), 1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4),
           1u << ((flags & PCI_MSI_FLAGS_QMASK) >> 1), flag(flags, PCI_MSI_FLAGS_MASKBIT),
           flag(flags, PCI_MSI_FLAGS_64BIT),
           flags & PCI_MSI_FLAGS_64BIT ? get(space, at + PCI_MSI_ADDRESS_HI, 4) : 0,
           get(space, at + PCI_MSI_ADDRESS_LO, 4));
}

static void print_msix(const struct space *space, size_t at)
{
    uint32_t flags = get(space, at + PCI_MSIX_FLAGS, 2);
    uint32_t table = get(space, at + PCI_MSIX_TABLE, 4);
    uint32_t pending = get(space, at + PCI_MSIX_PBA, 4);

    printf("MSI-X: Enable%c Count=%u Masked%c, table bar%u+%#x, pending bits bar%u+%#x\n",
           flag(flags, PCI_MSIX_FLAGS_ENABLE), (flags & PCI_MSIX_FLAGS_QSIZE) + 1,
           flag(flags, PCI_MSIX_FLAGS_MASKALL), table & PCI_MSIX_TABLE_BIR,
           table & (uint32_t)PCI_MSIX_TABLE_OFFSET, pending & PCI_MSIX_PBA_BIR,
           pending & (uint32_t)PCI_MSIX_PBA_OFFSET);
}

static void print_express(const struct space *space, size_t at)
{
    uint32_t flags = get(space, at + PCI_EXP_FLAGS, 2);
    uint32_t device = get(space, at + PCI_EXP_DEVCAP, 4);
    uint32_t control = get(space, at + PCI_EXP_DEVCTL, 2);

    printf("Express (v%u) type %u, MaxPayload %u/%u, ExtTag%c RBE%c FLReset%c\n",
           flags & PCI_EXP_FLAGS_VERS, (flags & PCI_EXP_FLAGS_TYPE) >> 4,
           128u << ((control & PCI_EXP_DEVCTL_PAYLOAD) >> 5), 128u << (device & 7),
           flag(device, PCI_EXP_DEVCAP_EXT_TAG), flag(device, PCI_EXP_DEVCAP_RBER),
           flag(device, PCI_EXP_DEVCAP_FLR));
}

static void print_standard(const struct space *space, size_t at)
{
    uint32_t id = get(space, at, 1);

    printf("  [%02zx] ", at);
    switch (id) {
    case PCI_CAP_ID_PM:
        print_power(space, at);
        break;
    case PCI_CAP_ID_MSI:
        print_msi(space, at);
        break;
    case PCI_CAP_ID_MSIX:
        print_msix(space, at);
        break;
    case PCI_CAP_ID_EXP:
        print_express(space, at);
        break;
    case PCI_CAP_ID_VNDR:
        printf("Vendor Specific: %u bytes\n", get(space, at + 2, 1));
        break;
    default:
        printf("capability %#x\n", id);
    }
}

static void print_extended(const struct space *space, size_t at)
{
    uint32_t header = get(space, at, 4);
    uint32_t vendor = get(space, at + 4, 4);

    printf("  [%03zx v%u] ", at, PCI_EXT_CAP_VER(header));
    switch (PCI_EXT_CAP_ID(header)) {
    case PCI_EXT_CAP_ID_DSN:
        printf("Device Serial Number %08x-%08x\n", get(space, at + 8, 4), get(space, at + 4, 4));
        break;
    case PCI_EXT_CAP_ID_VNDR:
        printf("Vendor Specific: ID=%04x Rev=%u, %u bytes\n", vendor & 0xffff, vendor >> 16 & 0xf,
               vendor >> 20);
        break;
    default:
        printf("capability %#x\n", PCI_EXT_CAP_ID(header));
    }
}

void vfu_print_capabilities(const uint8_t *config, size_t size)
{
    const struct space space = { config, size };
    size_t at = get(&space, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST ? config[PCI_CAPABILITY_LIST] : 0;

    for (unsigned i = 0; i < 48 && at >= PCI_STD_HEADER_SIZEOF; i++) {
        print_standard(&space, at);
        at = get(&space, at + PCI_CAP_LIST_NEXT, 1);
    }
    at = PCI_CFG_SPACE_SIZE;
    for (unsigned i = 0; i < 960 && at >= PCI_CFG_SPACE_SIZE && get(&space, at, 4) != 0; i++) {
        print_extended(&space, at);
        at = PCI_EXT_CAP_NEXT(get(&space, at, 4));
    }
}
