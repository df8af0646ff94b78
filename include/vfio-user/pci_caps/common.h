/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What PCI capabilities have in common, and the vendor-specific ones. Capabilities are structures
 * in config space: little-endian, packed; bits are numbered from the least significant one. They
 * are given to vfu_pci_add_capability(), and may be changed in place in the live config space.
 *
 * Source of the facts: the PCI Local Bus Specification 3.0, 6.7 and appendix H, the PCI Express
 * Base Specification, and linux/pci_regs.h.
 */
#ifndef LIB_VFIO_USER_PCI_CAPS_COMMON_H
#define LIB_VFIO_USER_PCI_CAPS_COMMON_H

#include <assert.h>
#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__cplusplus) && !defined(static_assert)
#define static_assert _Static_assert /* strict C99 */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Every standard capability starts with it. */
struct cap_hdr {
    uint8_t id;   /* PCI_CAP_ID_* */
    uint8_t next; /* offset of the next one, 0: none; the library's */
} __attribute__((packed));
static_assert(sizeof(struct cap_hdr) == 2, "layout");
static_assert(offsetof(struct cap_hdr, id) == PCI_CAP_LIST_ID, "layout");
static_assert(offsetof(struct cap_hdr, next) == PCI_CAP_LIST_NEXT, "layout");

/* Vendor-specific, PCI_CAP_ID_VNDR. */
struct vsc {
    struct cap_hdr hdr;
    uint8_t size; /* bytes, these three included */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct vsc) == 3, "layout");

/* Every extended capability starts with it. */
struct pcie_ext_cap_hdr {
    uint32_t id : 16; /* PCI_EXT_CAP_ID_* */
    uint32_t version : 4;
    uint32_t next : 12; /* offset of the next one, 0: none; the library's */
} __attribute__((packed));
static_assert(sizeof(struct pcie_ext_cap_hdr) == 4, "layout");

/* Vendor-specific extended, PCI_EXT_CAP_ID_VNDR. */
struct pcie_ext_cap_vsc_hdr {
    struct pcie_ext_cap_hdr hdr;
    uint32_t id : 16; /* the vendor's own */
    uint32_t rev : 4;
    uint32_t len : 12; /* bytes, these eight included */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct pcie_ext_cap_vsc_hdr) == 8, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_COMMON_H */
