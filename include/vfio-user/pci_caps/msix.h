/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X: PCI_CAP_ID_MSIX. Table and pending bits are in a BAR; vfu-broker.h can keep them. */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSIX_H
#define LIB_VFIO_USER_PCI_CAPS_MSIX_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Message control. */
struct mxc {
    uint16_t ts : 11; /* vectors in the table, less 1 */
    uint16_t reserved : 3;
    uint16_t fm : 1;  /* function mask */
    uint16_t mxe : 1; /* enable */
} __attribute__((packed));
static_assert(sizeof(struct mxc) == 2, "layout");

/* Where the table is. */
struct mtab {
    uint32_t tbir : 3; /* the BAR */
    uint32_t to : 29;  /* offset in it, in units of 8 bytes */
} __attribute__((packed));
static_assert(sizeof(struct mtab) == 4, "layout");

/* Where the pending-bit array is. */
struct mpba {
    uint32_t pbir : 3;
    uint32_t pbao : 29;
} __attribute__((packed));
static_assert(sizeof(struct mpba) == 4, "layout");

struct msixcap {
    struct cap_hdr hdr;
    struct mxc mxc;
    struct mtab mtab;
    struct mpba mpba;
} __attribute__((packed, aligned(4)));
static_assert(sizeof(struct msixcap) == PCI_CAP_MSIX_SIZEOF, "layout");
static_assert(offsetof(struct msixcap, mxc) == PCI_MSIX_FLAGS, "layout");
static_assert(offsetof(struct msixcap, mtab) == PCI_MSIX_TABLE, "layout");
static_assert(offsetof(struct msixcap, mpba) == PCI_MSIX_PBA, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_MSIX_H */
