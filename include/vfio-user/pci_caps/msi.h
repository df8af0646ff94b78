/* SPDX-License-Identifier: BSD-3-Clause */
/* Message-signalled interrupts: PCI_CAP_ID_MSI, in the form with 64-bit addresses and masks. */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSI_H
#define LIB_VFIO_USER_PCI_CAPS_MSI_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Message control. */
struct mc {
    unsigned int msie : 1; /* enable */
    unsigned int mmc : 3;  /* multiple message capable: log2 of the vectors */
    unsigned int mme : 3;  /* multiple message enable: the same, as the guest wants it */
    unsigned int c64 : 1;  /* 64-bit address capable */
    unsigned int pvm : 1;  /* per-vector masking capable */
    unsigned int res1 : 7;
} __attribute__((packed));
static_assert(sizeof(struct mc) == 2, "layout");

/* Message address. */
struct ma {
    unsigned int res1 : 2;
    unsigned int addr : 30;
} __attribute__((packed));
static_assert(sizeof(struct ma) == 4, "layout");

struct msicap {
    struct cap_hdr hdr;
    struct mc mc;
    struct ma ma;
    uint32_t mua; /* message upper address */
    uint16_t md;  /* message data */
    uint16_t padding;
    uint32_t mmask; /* a bit for each vector */
    uint32_t mpend;
} __attribute__((packed));
static_assert(sizeof(struct msicap) == 0x18, "layout");
static_assert(offsetof(struct msicap, mc) == PCI_MSI_FLAGS, "layout");
static_assert(offsetof(struct msicap, ma) == PCI_MSI_ADDRESS_LO, "layout");
static_assert(offsetof(struct msicap, mua) == PCI_MSI_ADDRESS_HI, "layout");
static_assert(offsetof(struct msicap, md) == PCI_MSI_DATA_64, "layout");
static_assert(offsetof(struct msicap, mmask) == PCI_MSI_MASK_64, "layout");
static_assert(offsetof(struct msicap, mpend) == PCI_MSI_PENDING_64, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_MSI_H */
