/* SPDX-License-Identifier: BSD-3-Clause */
/* Adding capabilities: their place in config space, and the links between them. */
#include "device/pci_caps.h"

#include "device/context.h"
#include "device/errors.h"
#include "device/pci_cap_kinds.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ALIGNMENT 4
#define KNOWN_FLAGS (VFU_CAP_FLAG_EXTENDED | VFU_CAP_FLAG_CALLBACK | VFU_CAP_FLAG_READONLY)

static size_t total(const struct pci_caps *caps)
{
    return caps->standard.count + caps->extended.count;
}

const struct pci_cap *pci_caps_next(const struct pci_caps *caps, size_t offset)
{
    for (size_t i = 0; i < total(caps); i++) {
        const struct pci_cap *cap = &caps->by_address[i];

        if (offset < (size_t)cap->offset + cap->size) {
            return cap;
        }
    }
    return NULL;
}

/* Where capabilities of a kind may be: from @first up to @end, exclusive. */
struct room {
    size_t first;
    size_t end;
};

static struct room room_for(const struct pci_config *config, bool extended)
{
    size_t end = config->size;

    if (!extended && end > PCI_CFG_SPACE_SIZE) {
        end = PCI_CFG_SPACE_SIZE; /* links have 8 bits */
    }
    return (struct room){ extended ? PCI_CFG_SPACE_SIZE : PCI_STD_HEADER_SIZEOF, end };
}

/* The first place at or behind @offset that is free; it may reach beyond the end. */
static size_t next_free(const struct pci_caps *caps, size_t offset, size_t size)
{
    const struct pci_cap *cap;

    while ((cap = pci_caps_next(caps, offset)) != NULL && cap->offset < offset + size) {
        offset = ((size_t)cap->offset + cap->size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    }
    return offset;
}

/* Behind the capability that was added last. Returns the offset or a negative errno. */
static ssize_t place_next(const struct pci_caps *caps, const struct pci_cap_chain *chain,
                          struct room room, size_t size)
{
    size_t offset = room.first;

    if (chain->count > 0) {
        offset = (chain->end + ALIGNMENT - 1u) & ~(size_t)(ALIGNMENT - 1);
    }
    offset = next_free(caps, offset, size);
    return offset + size <= room.end ? (ssize_t)offset : -ENOSPC;
}

/* Where the program wants it. Extended ones are found only if the first is at the beginning. */
static ssize_t place_at(const struct pci_caps *caps, const struct pci_cap_chain *chain,
                        const struct pci_cap_kind *kind, struct room room, size_t size, size_t pos)
{
    if (pos < room.first || pos % ALIGNMENT != 0 || next_free(caps, pos, size) != pos ||
        (kind->extended && chain->count == 0 && pos != room.first)) {
        return -EINVAL;
    }
    return (ssize_t)pos;
}

static ssize_t place(const struct pci_config *config, const struct pci_cap_chain *chain,
                     const struct pci_cap_kind *kind, size_t size, size_t pos)
{
    struct room room = room_for(config, kind->extended);

    if (size < kind->header || pos > room.end || size > room.end - pos) {
        return -EINVAL;
    }
    return pos == 0 ? place_next(&config->caps, chain, room, size)
                    : place_at(&config->caps, chain, kind, room, size, pos);
}

/* Makes the link at @header, 0: the beginning of the chain, lead to @next. */
static void set_link(uint8_t *config, bool extended, uint16_t header, uint16_t next)
{
    uint32_t dword;

    if (!extended) {
        config[header == 0 ? PCI_CAPABILITY_LIST : header + PCI_CAP_LIST_NEXT] = (uint8_t)next;
    } else if (header != 0) {
        memcpy(&dword, config + header, sizeof(dword));
        dword = htole32((le32toh(dword) & 0xfffff) | (uint32_t)next << 20);
        memcpy(config + header, &dword, sizeof(dword));
    }
}

static void insert(struct pci_caps *caps, const struct pci_cap *cap)
{
    size_t i = total(caps);

    for (; i > 0 && caps->by_address[i - 1].offset > cap->offset; i--) {
        caps->by_address[i] = caps->by_address[i - 1];
    }
    caps->by_address[i] = *cap;
}

/* Links in the order of the calls, not of the addresses, as programs know it. */
static void append(struct pci_config *config, struct pci_cap_chain *chain,
                   const struct pci_cap *cap, const void *data)
{
    bool extended = cap->kind->extended;

    memcpy(config->bytes + cap->offset, data, cap->size);
    set_link(config->bytes, extended, cap->offset, 0);
    set_link(config->bytes, extended, chain->last, cap->offset);
    insert(&config->caps, cap);
    chain->count++;
    chain->last = cap->offset;
    chain->end = (uint16_t)(cap->offset + cap->size);
    if (!extended && cap->kind->id == PCI_CAP_ID_EXP) {
        config->caps.express = cap->offset;
    }
}

static const struct pci_cap_kind *find_kind(bool extended, const void *data)
{
    uint32_t header;

    if (!extended) {
        return pci_cap_kind_find(false, *(const uint8_t *)data);
    }
    memcpy(&header, data, sizeof(header));
    return pci_cap_kind_find(true, le32toh(header) & 0xffff);
}

static size_t find_size(const struct pci_cap_kind *kind, const void *data)
{
    uint32_t vendor;

    if (kind->size != 0) {
        return kind->size;
    }
    if (!kind->extended) {
        return ((const struct vsc *)data)->size;
    }
    memcpy(&vendor, (const uint8_t *)data + PCI_VNDR_HEADER, sizeof(vendor));
    return PCI_VNDR_HEADER_LEN(le32toh(vendor));
}

static int check_flags(const struct vfu_ctx *ctx, int flags)
{
    if ((flags & ~KNOWN_FLAGS) ||
        ((flags & VFU_CAP_FLAG_CALLBACK) &&
         ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX].access == NULL) ||
        ((flags & VFU_CAP_FLAG_EXTENDED) && !ctx->session.config.is_extended)) {
        return -EINVAL;
    }
    return 0;
}

static ssize_t add(struct vfu_ctx *ctx, size_t pos, int flags, const void *data)
{
    struct pci_config *config = &ctx->session.config;
    bool extended = flags & VFU_CAP_FLAG_EXTENDED;
    struct pci_cap_chain *chain = extended ? &config->caps.extended : &config->caps.standard;
    struct pci_cap cap = { .flags = flags };
    int err = data != NULL ? check_flags(ctx, flags) : -EINVAL;
    ssize_t offset;

    if (err < 0) {
        return err;
    }
    if (chain->count == PCI_CAPS_MAX) {
        return -ENOSPC;
    }
    cap.kind = find_kind(extended, data);
    if (cap.kind == NULL) {
        return -ENOTSUP;
    }
    cap.size = (uint16_t)find_size(cap.kind, data);
    offset = place(config, chain, cap.kind, cap.size, pos);
    if (offset < 0) {
        return offset;
    }
    cap.offset = (uint16_t)offset;
    append(config, chain, &cap, data);
    if (ctx->realized) {
        pci_caps_update_status(ctx);
    }
    return offset;
}

ssize_t vfu_pci_add_capability(vfu_ctx_t *ctx, size_t pos, int flags, void *data)
{
    ssize_t offset = add(ctx, pos, flags, data);

    if (offset < 0) {
        vfu_log(ctx, LOG_ERR, "capability at %#zx cannot be added: error %d", pos, (int)-offset);
        errno = (int)-offset;
        return -1;
    }
    return offset;
}

void pci_caps_update_status(struct vfu_ctx *ctx)
{
    struct pci_config *config = &ctx->session.config;

    if (config->caps.standard.count > 0) {
        config->bytes[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    }
}
