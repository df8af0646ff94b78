/* SPDX-License-Identifier: BSD-3-Clause */
/* Power management: PCI_CAP_ID_PM. */
#ifndef LIB_VFIO_USER_PCI_CAPS_PM_H
#define LIB_VFIO_USER_PCI_CAPS_PM_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Capabilities. */
struct pc {
    uint16_t vs : 3;   /* version */
    uint16_t pmec : 1; /* PME clock */
    uint16_t res : 1;
    uint16_t dsi : 1;  /* device-specific initialization */
    uint16_t auxc : 3; /* auxiliary current */
    uint16_t d1s : 1;  /* D1 supported */
    uint16_t d2s : 1;
    uint16_t psup : 5; /* states from which PME can be signalled */
} __attribute__((packed));
static_assert(sizeof(struct pc) == 2, "layout");

/* Control and status. */
struct pmcs {
    union {
        uint16_t raw;
        struct {
            uint16_t ps : 2; /* power state */
            uint16_t res1 : 1;
            uint16_t nsfrst : 1; /* no soft reset */
            uint16_t res2 : 4;
            uint16_t pmee : 1; /* PME enable */
            uint16_t dse : 4;  /* data select */
            uint16_t dsc : 2;  /* data scale */
            uint16_t pmes : 1; /* PME status */
        } __attribute__((packed));
    } __attribute__((packed));
} __attribute__((packed));
static_assert(sizeof(struct pmcs) == 2, "layout");

struct pmcap {
    struct cap_hdr hdr;
    struct pc pc;
    struct pmcs pmcs;
    uint8_t pmcsr_bse; /* bridge support extensions */
    uint8_t data;
} __attribute__((packed));
static_assert(sizeof(struct pmcap) == PCI_PM_SIZEOF, "layout");
static_assert(offsetof(struct pmcap, pc) == PCI_PM_PMC, "layout");
static_assert(offsetof(struct pmcap, pmcs) == PCI_PM_CTRL, "layout");
static_assert(offsetof(struct pmcap, pmcsr_bse) == PCI_PM_PPB_EXTENSIONS, "layout");
static_assert(offsetof(struct pmcap, data) == PCI_PM_DATA_REGISTER, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_PM_H */
