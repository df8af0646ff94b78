/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/pci_config.h"

#include "device/context.h"
#include "device/errors.h"
#include "device/msix.h"
#include "device/pci_header.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static vfu_pci_hdr_t *header_of(struct vfu_ctx *ctx)
{
    return &((vfu_pci_config_space_t *)ctx->session.config.bytes)->hdr;
}

static struct region *region_of(struct vfu_ctx *ctx)
{
    return &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];
}

static bool type_is_extended(vfu_pci_type_t type)
{
    return type == VFU_PCI_TYPE_PCI_X_2 || type == VFU_PCI_TYPE_EXPRESS;
}

int vfu_pci_init(vfu_ctx_t *ctx, vfu_pci_type_t pci_type, int hdr_type, int revision)
{
    struct pci_config *config = &ctx->session.config;

    if ((unsigned)pci_type > VFU_PCI_TYPE_EXPRESS || hdr_type != PCI_HEADER_TYPE_NORMAL) {
        return api_result(-EINVAL);
    }
    if (config->size != 0) {
        return api_result(-EEXIST);
    }
    config->is_extended = type_is_extended(pci_type);
    config->size = config->is_extended ? PCI_CFG_SPACE_EXP_SIZE : PCI_CFG_SPACE_SIZE;
    region_of(ctx)->size = config->size;
    region_of(ctx)->flags = VFU_REGION_FLAG_RW;
    return 0;
}

static bool config_exists(struct vfu_ctx *ctx)
{
    if (ctx->session.config.size == 0) {
        vfu_log(ctx, LOG_ERR, "there is no config space before vfu_pci_init()");
        return false;
    }
    return true;
}

void vfu_pci_set_id(vfu_ctx_t *ctx, uint16_t vid, uint16_t did, uint16_t ssvid, uint16_t ssid)
{
    vfu_pci_hdr_t *header = header_of(ctx);

    if (config_exists(ctx)) {
        header->id.vid = htole16(vid);
        header->id.did = htole16(did);
        header->ss.vid = htole16(ssvid);
        header->ss.sid = htole16(ssid);
    }
}

void vfu_pci_set_class(vfu_ctx_t *ctx, uint8_t base, uint8_t sub, uint8_t pi)
{
    vfu_pci_hdr_t *header = header_of(ctx);

    if (config_exists(ctx)) {
        header->cc.bcc = base;
        header->cc.scc = sub;
        header->cc.pi = pi;
    }
}

vfu_pci_config_space_t *vfu_pci_get_config_space(vfu_ctx_t *ctx)
{
    struct pci_config *config = &ctx->session.config;

    return config->size != 0 ? (vfu_pci_config_space_t *)config->bytes : NULL;
}

void pci_config_reset_bar(struct vfu_ctx *ctx, int bar)
{
    vfu_bar_t *bars = header_of(ctx)->bars;

    bars[bar].raw = htole32(pci_header_bar_type(ctx, bar));
    if (bar + 1 < PCI_BARS_NR) {
        bars[bar + 1].raw = htole32(pci_header_bar_type(ctx, bar + 1));
    }
}

void pci_config_update_pin(struct vfu_ctx *ctx)
{
    if (ctx->session.irqs.tables[VFU_DEV_INTX_IRQ].count != 0) {
        header_of(ctx)->intr.ipin = 1;
    }
}

void pci_config_limit_region(struct vfu_ctx *ctx)
{
    struct region *region = region_of(ctx);
    size_t size = ctx->session.config.size;

    if (size != 0) {
        region->size = size;
    } else if (region->size > PCI_CFG_SPACE_EXP_SIZE) {
        region->size = PCI_CFG_SPACE_EXP_SIZE;
    }
}

void pci_config_realize(struct vfu_ctx *ctx)
{
    struct pci_config *config = &ctx->session.config;
    struct region *region = region_of(ctx);

    if (region->size == 0) {
        region->size = PCI_CFG_SPACE_SIZE;
        region->flags |= VFU_REGION_FLAG_RW;
    }
    if (config->size == 0) {
        config->size = region->size;
    }
    for (int i = 0; i < PCI_BARS_NR; i++) {
        int flags = ctx->regions[i].flags;

        if ((flags & VFU_REGION_FLAG_PREFETCH) && !(flags & VFU_REGION_FLAG_64_BITS)) {
            vfu_log(ctx, LOG_WARNING, "BAR %d is prefetchable, but not 64 bits wide", i);
        }
        header_of(ctx)->bars[i].raw |= htole32(pci_header_bar_type(ctx, i));
    }
    pci_config_update_pin(ctx);
    pci_caps_update_status(ctx);
}

bool pci_config_write_resets(const struct vfu_ctx *ctx, uint64_t offset, size_t count)
{
    uint64_t control = ctx->session.config.caps.express + PCI_EXP_DEVCTL;

    return control != PCI_EXP_DEVCTL && offset < control + 2 && offset + count > control;
}

/* Returns how many bytes the program's handler took, or a negative errno. */
static ssize_t call_program(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset,
                            bool is_write)
{
    vfu_region_access_cb_t *access = region_of(ctx)->access;
    ssize_t n;

    if (access == NULL) {
        return -EINVAL; /* it was taken away after a capability was left to it */
    }
    errno = 0;
    n = access(ctx, data, count, (off_t)offset, is_write);
    if (n == -1) {
        return callback_error();
    }
    return n >= 1 && (size_t)n <= count ? n : -EINVAL;
}

static ssize_t access_header(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset,
                             bool is_write)
{
    if (is_write) {
        pci_header_write(ctx, (const uint8_t *)data, count, offset);
    } else {
        memcpy(data, ctx->session.config.bytes + offset, count);
    }
    return (ssize_t)count;
}

static ssize_t access_capability(struct vfu_ctx *ctx, const struct pci_cap *cap, char *data,
                                 size_t count, uint64_t offset, bool is_write)
{
    size_t at = (size_t)offset - cap->offset;
    size_t left = cap->size - at;

    count = count < left ? count : left;
    if (is_write && (cap->flags & VFU_CAP_FLAG_READONLY)) {
        return -EPERM;
    }
    if (cap->flags & VFU_CAP_FLAG_CALLBACK) {
        return call_program(ctx, data, count, offset, is_write);
    }
    if (is_write) {
        return pci_cap_write(ctx, cap, (const uint8_t *)data, count, at);
    }
    memcpy(data, ctx->session.config.bytes + offset, count);
    return (ssize_t)count;
}

/* Neither header nor capability: the program's, or the plain contents. */
static ssize_t access_rest(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset,
                           bool is_write)
{
    if (region_of(ctx)->access != NULL) {
        return call_program(ctx, data, count, offset, is_write);
    }
    if (is_write) {
        return -EINVAL;
    }
    memcpy(data, ctx->session.config.bytes + offset, count);
    return (ssize_t)count;
}

/* Handles the beginning of an access. Returns how much of it that was, or a negative errno. */
static ssize_t access_segment(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset,
                              bool is_write)
{
    const struct pci_cap *cap;
    uint64_t left; /* up to where another rule begins */

    if (region_of(ctx)->flags & VFU_REGION_FLAG_ALWAYS_CB) {
        return call_program(ctx, data, count, offset, is_write);
    }
    if (offset < PCI_STD_HEADER_SIZEOF) {
        left = PCI_STD_HEADER_SIZEOF - offset;
        return access_header(ctx, data, count < left ? count : left, offset, is_write);
    }
    cap = pci_caps_next(&ctx->session.config.caps, offset);
    if (cap != NULL && offset >= cap->offset) {
        return access_capability(ctx, cap, data, count, offset, is_write);
    }
    left = cap != NULL ? cap->offset - offset : count;
    return access_rest(ctx, data, count < left ? count : left, offset, is_write);
}

int pci_config_access(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset, bool is_write)
{
    size_t done = 0;
    ssize_t n = 0;

    while (done < count && n >= 0) {
        n = access_segment(ctx, data + done, count - done, offset + done, is_write);
        done += n > 0 ? (size_t)n : 0;
    }
    if (is_write) {
        msix_update(ctx); /* also after a failure: earlier segments count */
    }
    return n < 0 ? (int)n : 0;
}
