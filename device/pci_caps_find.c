/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding capabilities as a guest does: along the links in config space, which the program may have
 * made itself. Each link is checked, and there are no more of them than there is room.
 */
#include "device/context.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

struct walk {
    const struct pci_config *config;
    bool extended;
};

static uint32_t header_at(const struct walk *walk, size_t pos)
{
    uint32_t header = 0;

    memcpy(&header, walk->config->bytes + pos, walk->extended ? 4 : 2);
    return le32toh(header);
}

static size_t id_at(const struct walk *walk, size_t pos)
{
    return header_at(walk, pos) & (walk->extended ? 0xffff : 0xff);
}

/* A place for a capability, as far as one can tell. */
static bool is_in_range(const struct walk *walk, size_t pos)
{
    size_t size = walk->config->size;

    if (pos >= size) {
        return false;
    }
    return walk->extended ? pos >= PCI_CFG_SPACE_SIZE && pos + 4 < size
                          : pos >= PCI_STD_HEADER_SIZEOF && pos + 1 < size;
}

/* Where the chain begins; 0: there is none. */
static size_t first(const struct walk *walk)
{
    if (!walk->extended) {
        return walk->config->bytes[PCI_CAPABILITY_LIST];
    }
    return walk->config->size > PCI_CFG_SPACE_SIZE && header_at(walk, PCI_CFG_SPACE_SIZE) != 0
               ? PCI_CFG_SPACE_SIZE
               : 0;
}

static size_t following(const struct walk *walk, size_t pos)
{
    return header_at(walk, pos) >> (walk->extended ? 20 : 8);
}

/* Returns the offset; 0: there is none; or a negative errno. */
static ssize_t find_next(const struct walk *walk, size_t pos, size_t id)
{
    size_t links = walk->config->size / 4;

    if (pos != 0 && !is_in_range(walk, pos)) {
        return -EINVAL;
    }
    pos = pos == 0 ? first(walk) : following(walk, pos);
    for (; pos != 0 && links > 0; links--) {
        if (!is_in_range(walk, pos)) {
            return -EINVAL;
        }
        if (id_at(walk, pos) == id) {
            return (ssize_t)pos;
        }
        pos = following(walk, pos);
    }
    return 0;
}

size_t vfu_pci_find_next_capability(vfu_ctx_t *ctx, bool extended, size_t pos, int cap_id)
{
    const struct walk walk = { &ctx->session.config, extended };
    ssize_t found = find_next(&walk, pos, (size_t)cap_id);

    if (found <= 0) {
        errno = found < 0 ? (int)-found : ENOENT;
        return 0;
    }
    return (size_t)found;
}

size_t vfu_pci_find_capability(vfu_ctx_t *ctx, bool extended, int cap_id)
{
    return vfu_pci_find_next_capability(ctx, extended, 0, cap_id);
}
