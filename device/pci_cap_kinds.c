/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client can write into capabilities. The errors are those that clients and programs know
 * from the reference library; in what they leave, reserved and read-only bits stay as they are.
 */
#include "device/pci_cap_kinds.h"

#include "device/context.h"
#include "device/reset.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

/* The largest mme: 32 vectors. */
#define MSI_MAX_VECTORS_LOG2 5

static uint8_t *bytes_of(struct vfu_ctx *ctx, const struct pci_cap *cap)
{
    return ctx->session.config.bytes + cap->offset;
}

static uint16_t load16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return le16toh(value);
}

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

/* Changes the bits of @writable to those of @value, and clears those of @clear that it sets. */
static void store16(uint8_t *bytes, uint16_t value, uint16_t writable, uint16_t clear)
{
    uint16_t now = load16(bytes);

    now = (uint16_t)(((now & ~writable) | (value & writable)) & ~(value & clear));
    now = htole16(now);
    memcpy(bytes, &now, sizeof(now));
}

static void store8(uint8_t *byte, uint8_t value, uint8_t writable)
{
    *byte = (uint8_t)((*byte & ~writable) | (value & writable));
}

/* --- power management --- */

#define PMCSR_WRITABLE (PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_DATA_SEL_MASK)

static ssize_t write_pm(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                        size_t count, size_t at)
{
    bool is_register = at == PCI_PM_PMC || at == PCI_PM_CTRL;

    if (!is_register && at != PCI_PM_PPB_EXTENSIONS && at != PCI_PM_DATA_REGISTER) {
        return -EINVAL;
    }
    if (count != (is_register ? 2 : 1)) {
        return -EINVAL;
    }
    if (at != PCI_PM_CTRL) {
        return -ENOTSUP;
    }
    store16(bytes_of(ctx, cap) + at, load16(data), PMCSR_WRITABLE, PCI_PM_CTRL_PME_STATUS);
    return (ssize_t)count;
}

/* --- message-signalled interrupts --- */

/*
 * The library's structure is the form with 64-bit addresses and masks, whatever its flags say. In
 * the one that has masks but 32-bit addresses, mask and pending bits are a dword further down.
 */
static uint8_t msi_writable(uint16_t flags, size_t at)
{
    bool is_short =
        (flags & (PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT)) == PCI_MSI_FLAGS_MASKBIT;

    switch (at) {
    case PCI_MSI_ADDRESS_LO:
        return 0xfc;
    case PCI_MSI_ADDRESS_LO + 1 ... PCI_MSI_DATA_64 + 1:
        return 0xff;
    case PCI_MSI_DATA_64 + 2 ... PCI_MSI_DATA_64 + 3:
        return is_short ? 0xff : 0;
    case PCI_MSI_MASK_64 ... PCI_MSI_MASK_64 + 3:
        return is_short ? 0 : 0xff;
    default:
        return 0; /* flags are written apart, pending bits are read-only */
    }
}

/* The enable bit is stored even if the number of vectors is refused. */
static int write_msi_flags(uint8_t *flags, uint8_t value)
{
    unsigned wanted = (value & PCI_MSI_FLAGS_QSIZE) >> 4;
    unsigned available = (*flags & PCI_MSI_FLAGS_QMASK) >> 1;

    store8(flags, value, PCI_MSI_FLAGS_ENABLE);
    if (wanted > MSI_MAX_VECTORS_LOG2 || wanted > available) {
        return -EINVAL;
    }
    store8(flags, value, PCI_MSI_FLAGS_QSIZE);
    return 0;
}

static ssize_t write_msi(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                         size_t count, size_t at)
{
    uint8_t *bytes = bytes_of(ctx, cap);
    uint16_t flags = load16(bytes + PCI_MSI_FLAGS);

    if (at == PCI_MSI_FLAGS) {
        int err = write_msi_flags(bytes + at, data[0]);

        if (err < 0) {
            return err;
        }
    }
    for (size_t i = 0; i < count; i++) {
        store8(bytes + at + i, data[i], msi_writable(flags, at + i));
    }
    return (ssize_t)count;
}

/* Enable and function mask are in the upper byte of the flags; all else is ignored. */
static ssize_t write_msix(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                          size_t count, size_t at)
{
    const size_t upper = PCI_MSIX_FLAGS + 1;

    if (at <= upper && upper < at + count) {
        store8(bytes_of(ctx, cap) + upper, data[upper - at],
               (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8);
    }
    return (ssize_t)count;
}

/* --- PCI Express --- */

/* What a device does not have cannot be turned on. */
static uint16_t device_control_writable(uint32_t capabilities)
{
    unsigned writable = 0xffff & ~PCI_EXP_DEVCTL_BCR_FLR; /* which always reads 0 */

    if (!(capabilities & PCI_EXP_DEVCAP_EXT_TAG)) {
        writable &= ~(unsigned)PCI_EXP_DEVCTL_EXT_TAG;
    }
    if (!(capabilities & PCI_EXP_DEVCAP_PHANTOM)) {
        writable &= ~(unsigned)PCI_EXP_DEVCTL_PHANTOM;
    }
    return (uint16_t)writable;
}

static ssize_t write_device_control(struct vfu_ctx *ctx, uint8_t *bytes, uint16_t value)
{
    uint32_t capabilities = load32(bytes + PCI_EXP_DEVCAP);
    int err;

    store16(bytes + PCI_EXP_DEVCTL, value, device_control_writable(capabilities), 0);
    if (!(value & PCI_EXP_DEVCTL_BCR_FLR)) {
        return sizeof(value);
    }
    err = capabilities & PCI_EXP_DEVCAP_FLR ? reset_function(ctx) : -EINVAL;
    return err < 0 ? err : (ssize_t)sizeof(value);
}

/* One register at a time, and only the control registers, all of which have 2 bytes. */
static ssize_t write_express(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                             size_t count, size_t at)
{
    uint8_t *bytes = bytes_of(ctx, cap);

    if (count != 2) {
        return -EINVAL;
    }
    switch (at) {
    case PCI_EXP_DEVCTL:
        return write_device_control(ctx, bytes, load16(data));
    case PCI_EXP_LNKCTL: /* there is no link, no slot and no root here */
    case PCI_EXP_SLTCTL:
    case PCI_EXP_RTCTL:
    case PCI_EXP_SLTCTL2:
        return (ssize_t)count;
    case PCI_EXP_DEVCTL2:
    case PCI_EXP_LNKCTL2:
        store16(bytes + at, load16(data), 0xffff, 0);
        return (ssize_t)count;
    default:
        return -EINVAL;
    }
}

/* --- others --- */

static ssize_t write_verbatim(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                              size_t count, size_t at)
{
    memcpy(bytes_of(ctx, cap) + at, data, count);
    return (ssize_t)count;
}

static ssize_t write_nothing(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                             size_t count, size_t at)
{
    return -EPERM;
}

static const struct pci_cap_kind kinds[] = {
    { false, PCI_CAP_ID_PM, 2, PCI_PM_SIZEOF, write_pm },
    { false, PCI_CAP_ID_MSI, 2, VFIO_USER_PCI_CAP_MSI_SIZEOF, write_msi },
    { false, PCI_CAP_ID_VNDR, sizeof(struct vsc), 0, write_verbatim },
    { false, PCI_CAP_ID_EXP, 2, VFIO_USER_PCI_CAP_EXP_SIZEOF, write_express },
    { false, PCI_CAP_ID_MSIX, 2, PCI_CAP_MSIX_SIZEOF, write_msix },
    { true, PCI_EXT_CAP_ID_DSN, 4, PCI_EXT_CAP_DSN_SIZEOF, write_nothing },
    { true, PCI_EXT_CAP_ID_VNDR, sizeof(struct pcie_ext_cap_vsc_hdr), 0, write_verbatim },
};

const struct pci_cap_kind *pci_cap_kind_find(bool extended, unsigned id)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].extended == extended && kinds[i].id == id) {
            return &kinds[i];
        }
    }
    return NULL;
}

ssize_t pci_cap_write(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                      size_t count, size_t at)
{
    return at < cap->kind->header ? -EPERM : cap->kind->write(ctx, cap, data, count, at);
}
