/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities: where each one is, and what a client may write into it. What decides about an
 * access is kept here and not in config space, where a vendor's capability, or a program, can put
 * any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vfu_ctx;
struct pci_cap;

/* Of each kind: standard, extended. */
#define PCI_CAPS_MAX 128

struct pci_cap_kind {
    bool extended;
    uint8_t id;     /* PCI_CAP_ID_* or PCI_EXT_CAP_ID_* */
    uint8_t header; /* bytes at the start that no client can write; the least size */
    uint8_t size;   /* bytes; 0: it tells itself */
    /*
     * Writes @count bytes at offset @at of the capability, all within it and behind the header.
     * Returns how many were taken, or a negative errno.
     */
    ssize_t (*write)(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                     size_t count, size_t at);
};

struct pci_cap {
    const struct pci_cap_kind *kind;
    uint16_t offset;
    uint16_t size;
    int flags; /* VFU_CAP_FLAG_* */
};

/* Standard or extended capabilities, as they are linked. */
struct pci_cap_chain {
    size_t count;
    uint16_t last; /* offset of the one that was added last */
    uint16_t end;  /* of that, exclusive */
};

struct pci_caps {
    struct pci_cap by_address[2 * PCI_CAPS_MAX];
    struct pci_cap_chain standard;
    struct pci_cap_chain extended;
    uint16_t express; /* offset of the PCI Express capability that was added last; 0: none */
};

/* The first capability that ends behind @offset, which may be inside or before it; or NULL. */
const struct pci_cap *pci_caps_next(const struct pci_caps *caps, size_t offset);

/*
 * A client's write into @cap: @count bytes at @at, all within it. Returns how many were taken, or
 * a negative errno: -EPERM for the header and for what is read-only, else as documented with
 * vfu_pci_add_capability().
 */
ssize_t pci_cap_write(struct vfu_ctx *ctx, const struct pci_cap *cap, const uint8_t *data,
                      size_t count, size_t at);

/* The status register says whether there are capabilities. */
void pci_caps_update_status(struct vfu_ctx *ctx);
