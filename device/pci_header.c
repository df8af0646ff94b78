/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/pci_header.h"

#include "device/context.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <string.h>

/*
 * Guests write 1, 2 or 4 bytes at any offset, so every byte stands for itself: what it can change
 * is changed, what is read-only or reserved stays, as on a bus.
 */

#define COMMAND_WRITABLE                                                                           \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INVALIDATE |           \
     PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

/* Error bits, which a guest clears by writing 1. */
#define STATUS_CLEARABLE                                                                           \
    (PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |               \
     PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

#define IO_TYPE_BITS 0x3u
#define ROM_MIN_SIZE 0x800u /* the address has bits 11 to 31 (PCI 3.0, 6.2.5.2) */

uint32_t pci_header_bar_type(const struct vfu_ctx *ctx, int bar)
{
    int flags = ctx->regions[bar].flags;
    uint32_t type = PCI_BASE_ADDRESS_SPACE_MEMORY;

    if (region_is_upper_half(ctx->regions, bar)) {
        return 0;
    }
    /* Also what was never set up: programs that dump config spaces have always seen that. */
    if (!(flags & VFU_REGION_FLAG_MEM)) {
        type = PCI_BASE_ADDRESS_SPACE_IO;
    }
    if (flags & VFU_REGION_FLAG_64_BITS) {
        type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
    }
    if (flags & VFU_REGION_FLAG_PREFETCH) {
        type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
    }
    return type;
}

/* Address bits that a region of this size decodes; 0 if there is none. */
static uint64_t address_bits(uint64_t size)
{
    return size > 0 ? ~(size - 1) : 0;
}

static uint32_t bar_writable(const struct vfu_ctx *ctx, int bar)
{
    if (region_is_upper_half(ctx->regions, bar)) {
        return (uint32_t)(address_bits(ctx->regions[bar - 1].size) >> 32);
    }
    return (uint32_t)address_bits(ctx->regions[bar].size);
}

/* A ROM may have any size; its address decodes the next power of two. */
static uint32_t rom_writable(const struct vfu_ctx *ctx)
{
    uint64_t size = ctx->regions[VFU_PCI_DEV_ROM_REGION_IDX].size;
    uint64_t decoded = ROM_MIN_SIZE;

    if (size == 0) {
        return 0;
    }
    while (decoded < size && decoded < UINT32_MAX) {
        decoded <<= 1;
    }
    return (uint32_t)address_bits(decoded) | PCI_ROM_ADDRESS_ENABLE;
}

/* The bits that a guest can write in the dword at @offset. */
static uint32_t writable_bits(const struct vfu_ctx *ctx, size_t offset)
{
    switch (offset) {
    case PCI_COMMAND:
        return COMMAND_WRITABLE;
    case PCI_CACHE_LINE_SIZE: /* and latency timer */
        return 0xffff;
    case PCI_BASE_ADDRESS_0 ... PCI_BASE_ADDRESS_5:
        return bar_writable(ctx, (int)(offset - PCI_BASE_ADDRESS_0) / 4);
    case PCI_ROM_ADDRESS:
        return rom_writable(ctx);
    case PCI_INTERRUPT_LINE:
        return 0xff;
    default:
        return 0;
    }
}

static uint32_t clearable_bits(size_t offset)
{
    return offset == PCI_COMMAND ? (uint32_t)STATUS_CLEARABLE << 16 : 0;
}

/* Writes the bytes of @value that @lanes selects. */
static void write_dword(struct vfu_ctx *ctx, size_t offset, uint32_t value, uint32_t lanes)
{
    uint8_t *bytes = ctx->session.config.bytes + offset;
    uint32_t writable = writable_bits(ctx, offset) & lanes;
    uint32_t clear = clearable_bits(offset) & lanes & value;
    uint32_t now;

    memcpy(&now, bytes, sizeof(now));
    now = le32toh(now);
    now = ((now & ~writable) | (value & writable)) & ~clear;
    now = htole32(now);
    memcpy(bytes, &now, sizeof(now));
}

void pci_header_write(struct vfu_ctx *ctx, const uint8_t *data, size_t count, size_t offset)
{
    size_t end = offset + count;

    for (size_t dword = offset & ~(size_t)3; dword < end; dword += 4) {
        uint32_t value = 0;
        uint32_t lanes = 0;

        for (size_t i = 0; i < 4; i++) {
            if (dword + i >= offset && dword + i < end) {
                value |= (uint32_t)data[dword + i - offset] << (8 * i);
                lanes |= 0xffu << (8 * i);
            }
        }
        write_dword(ctx, dword, value, lanes);
    }
}
