/* SPDX-License-Identifier: BSD-3-Clause */
/* The config space: who handles which part of an access to it. */
#pragma once

#include "device/pci_caps.h"

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

struct pci_config {
    /* Always the largest there is: an access that is wrongly let through stays inside. */
    uint8_t bytes[PCI_CFG_SPACE_EXP_SIZE] __attribute__((aligned(16)));
    size_t size;      /* bytes that exist, 256 or 4096; 0: it has not been made yet */
    bool is_extended; /* PCI-X 2 or PCI Express */
    struct pci_caps caps;
};

/* Completes it: config region, BAR type bits, interrupt pin. */
void pci_config_realize(struct vfu_ctx *ctx);

/* BAR @bar is another one now: it, and the one above it, which may be its upper half, start anew.
 */
void pci_config_reset_bar(struct vfu_ctx *ctx, int bar);

/* The interrupt pin of a device that has an INTx is INTA. */
void pci_config_update_pin(struct vfu_ctx *ctx);

/* The config region was set up: its size cannot be other than that of the config space. */
void pci_config_limit_region(struct vfu_ctx *ctx);

/*
 * Whether a write of @count bytes at @offset, within the bounds of the config region, reaches the
 * device control register of PCI Express and so may reset the function, whoever handles it: the
 * device must be quiet for that.
 */
bool pci_config_write_resets(const struct vfu_ctx *ctx, uint64_t offset, size_t count);

/*
 * An access of the client, within the bounds of the config region. Returns 0 or the negative errno
 * that the client gets; what came before the failing part is done then.
 */
int pci_config_access(struct vfu_ctx *ctx, char *data, size_t count, uint64_t offset,
                      bool is_write);
