/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI Express: PCI_CAP_ID_EXP, version 2, all registers. Those that an endpoint has little use for
 * have no fields: "stuff" is the whole register.
 */
#ifndef LIB_VFIO_USER_PCI_CAPS_PX_H
#define LIB_VFIO_USER_PCI_CAPS_PX_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Capabilities. */
struct pxcaps {
    uint16_t ver : 4; /* version of this structure */
    uint16_t dpt : 4; /* device or port type */
    uint16_t si : 1;  /* slot implemented */
    uint16_t imn : 5; /* interrupt message number */
    uint16_t res1 : 2;
} __attribute__((packed));
static_assert(sizeof(struct pxcaps) == 2, "layout");

/* Device capabilities. */
struct pxdcap {
    uint32_t mps : 3;  /* largest payload */
    uint32_t pfs : 2;  /* phantom functions */
    uint32_t etfs : 1; /* extended tags */
    uint32_t l0sl : 3; /* acceptable L0s latency */
    uint32_t l1l : 3;  /* acceptable L1 latency */
    uint32_t res1 : 3;
    uint32_t rer : 1; /* role-based error reporting */
    uint32_t res2 : 2;
    uint32_t csplv : 8; /* slot power limit, value */
    uint32_t cspls : 2; /* and scale */
    uint32_t flrc : 1;  /* function level reset capable */
    uint32_t res3 : 3;
} __attribute__((packed));
static_assert(sizeof(struct pxdcap) == 4, "layout");

/* Device control. */
union pxdc {
    uint16_t raw;
    struct {
        uint16_t cere : 1;  /* correctable error reporting enable */
        uint16_t nfere : 1; /* non-fatal */
        uint16_t fere : 1;  /* fatal */
        uint16_t urre : 1;  /* unsupported request */
        uint16_t ero : 1;   /* relaxed ordering */
        uint16_t mps : 3;   /* payload size */
        uint16_t ete : 1;   /* extended tags */
        uint16_t pfe : 1;   /* phantom functions */
        uint16_t appme : 1; /* auxiliary power */
        uint16_t ens : 1;   /* no snoop */
        uint16_t mrrs : 3;  /* read request size */
        uint16_t iflr : 1;  /* initiate function level reset */
    } __attribute__((packed));
} __attribute__((packed));
static_assert(sizeof(union pxdc) == 2, "layout");

/* Device status. */
struct pxds {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxds) == 2, "layout");

/* Link capabilities. */
struct pxlcap {
    uint32_t stuff : 32;
} __attribute__((packed));
static_assert(sizeof(struct pxlcap) == 4, "layout");

/* Link control. */
union pxlc {
    uint16_t raw;
    struct {
        uint16_t aspmc : 2; /* ASPM control */
        uint16_t rsvdp1 : 1;
        uint16_t rcb : 1;       /* read completion boundary */
        uint16_t ld : 1;        /* link disable */
        uint16_t rl : 1;        /* retrain link */
        uint16_t ccc : 1;       /* common clock configuration */
        uint16_t es : 1;        /* extended synch */
        uint16_t clkreq_en : 1; /* clock power management */
        uint16_t hawd : 1;      /* hardware autonomous width disable */
        uint16_t lbmie : 1;     /* link bandwidth management interrupt */
        uint16_t labie : 1;     /* link autonomous bandwidth interrupt */
        uint16_t rsvdp2 : 4;
    } __attribute__((packed));
} __attribute__((packed));
static_assert(sizeof(union pxlc) == 2, "layout");

/* Link status. */
struct pxls {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxls) == 2, "layout");

/* Slot capabilities. */
struct pxscap {
    uint32_t stuff : 32;
} __attribute__((packed));
static_assert(sizeof(struct pxscap) == 4, "layout");

/* Slot control. */
struct pxsc {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxsc) == 2, "layout");

/* Slot status. */
struct pxss {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxss) == 2, "layout");

/* Root control. */
struct pxrc {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxrc) == 2, "layout");

/* Root capabilities. */
struct pxrcap {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxrcap) == 2, "layout");

/* Root status. */
struct pxrs {
    uint32_t stuff : 32;
} __attribute__((packed));
static_assert(sizeof(struct pxrs) == 4, "layout");

/* Device capabilities 2. */
struct pxdcap2 {
    uint32_t ctrs : 4;   /* completion timeout ranges */
    uint32_t ctds : 1;   /* completion timeout disable */
    uint32_t arifs : 1;  /* ARI forwarding */
    uint32_t aors : 1;   /* AtomicOp routing */
    uint32_t aocs32 : 1; /* AtomicOp completer, 32 bits */
    uint32_t aocs64 : 1; /* 64 bits */
    uint32_t ccs128 : 1; /* compare and swap, 128 bits */
    uint32_t nprpr : 1;  /* no relaxed-ordering passing */
    uint32_t ltrs : 1;   /* latency tolerance reporting */
    uint32_t tphcs : 2;  /* TPH completer */
    uint32_t ln : 2;     /* lightweight notification */
    uint32_t tcs : 1;    /* 10-bit tag completer */
    uint32_t trs : 1;    /* 10-bit tag requester */
    uint32_t obffs : 2;  /* OBFF */
    uint32_t effs : 1;   /* extended format field */
    uint32_t eetps : 1;  /* end-end TLP prefix */
    uint32_t meetp : 2;  /* how many of them */
    uint32_t eprs : 2;   /* emergency power reduction */
    uint32_t eprir : 1;  /* and its initialization */
    uint32_t res1 : 1;
    uint32_t dmwcs : 1; /* deferrable memory write completer */
    uint32_t dmwls : 2; /* and its length */
    uint32_t frss : 1;  /* function readiness status */
} __attribute__((packed));
static_assert(sizeof(struct pxdcap2) == 4, "layout");

/* Device control 2. */
union pxdc2 {
    uint16_t raw;
    struct {
        uint32_t comp_timeout : 4;
        uint32_t comp_timout_dis : 1; /* spelt as programs spell it */
        uint32_t ari : 1;
        uint32_t atomic_req : 1;
        uint32_t atomic_egress_block : 1;
        uint32_t ido_req_en : 1;
        uint32_t ido_cmp_en : 1;
        uint32_t ltr_en : 1;
        uint32_t obff_en : 2;
        uint32_t end_end_tlp_prefix_block : 1;
    } __attribute__((packed));
} __attribute__((packed));
static_assert(sizeof(union pxdc2) == 2, "layout");

/* Device status 2. */
struct pxds2 {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxds2) == 2, "layout");

/* Link capabilities 2. */
struct pxlcap2 {
    uint32_t stuff : 32;
} __attribute__((packed));
static_assert(sizeof(struct pxlcap2) == 4, "layout");

/* Link control 2. */
struct pxlc2 {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxlc2) == 2, "layout");

/* Link status 2. */
struct pxls2 {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxls2) == 2, "layout");

/* Slot capabilities 2. */
struct pxscap2 {
    uint32_t stuff : 32;
} __attribute__((packed));
static_assert(sizeof(struct pxscap2) == 4, "layout");

/* Slot control 2. */
struct pxsc2 {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxsc2) == 2, "layout");

/* Slot status 2. */
struct pxss2 {
    uint16_t stuff : 16;
} __attribute__((packed));
static_assert(sizeof(struct pxss2) == 2, "layout");

struct pxcap {
    struct cap_hdr hdr;     /* 0x00 */
    struct pxcaps pxcaps;   /* 0x02 */
    struct pxdcap pxdcap;   /* 0x04 */
    union pxdc pxdc;        /* 0x08 */
    struct pxds pxds;       /* 0x0a */
    struct pxlcap pxlcap;   /* 0x0c */
    union pxlc pxlc;        /* 0x10 */
    struct pxls pxls;       /* 0x12 */
    struct pxscap pxscap;   /* 0x14 */
    struct pxsc pxsc;       /* 0x18 */
    struct pxss pxss;       /* 0x1a */
    struct pxrc pxrc;       /* 0x1c */
    struct pxrcap pxrcap;   /* 0x1e */
    struct pxrs pxrs;       /* 0x20 */
    struct pxdcap2 pxdcap2; /* 0x24 */
    union pxdc2 pxdc2;      /* 0x28 */
    struct pxds2 pxds2;     /* 0x2a */
    struct pxlcap2 pxlcap2; /* 0x2c */
    struct pxlc2 pxlc2;     /* 0x30 */
    struct pxls2 pxls2;     /* 0x32 */
    struct pxscap2 pxscap2; /* 0x34 */
    struct pxsc2 pxsc2;     /* 0x38 */
    struct pxss2 pxss2;     /* 0x3a */
} __attribute__((packed));
static_assert(sizeof(struct pxcap) == 0x3c, "layout");
static_assert(offsetof(struct pxcap, pxcaps) == PCI_EXP_FLAGS, "layout");
static_assert(offsetof(struct pxcap, pxdcap) == PCI_EXP_DEVCAP, "layout");
static_assert(offsetof(struct pxcap, pxdc) == PCI_EXP_DEVCTL, "layout");
static_assert(offsetof(struct pxcap, pxds) == PCI_EXP_DEVSTA, "layout");
static_assert(offsetof(struct pxcap, pxlcap) == PCI_EXP_LNKCAP, "layout");
static_assert(offsetof(struct pxcap, pxlc) == PCI_EXP_LNKCTL, "layout");
static_assert(offsetof(struct pxcap, pxls) == PCI_EXP_LNKSTA, "layout");
static_assert(offsetof(struct pxcap, pxscap) == PCI_EXP_SLTCAP, "layout");
static_assert(offsetof(struct pxcap, pxsc) == PCI_EXP_SLTCTL, "layout");
static_assert(offsetof(struct pxcap, pxss) == PCI_EXP_SLTSTA, "layout");
static_assert(offsetof(struct pxcap, pxrc) == PCI_EXP_RTCTL, "layout");
static_assert(offsetof(struct pxcap, pxrcap) == PCI_EXP_RTCAP, "layout");
static_assert(offsetof(struct pxcap, pxrs) == PCI_EXP_RTSTA, "layout");
static_assert(offsetof(struct pxcap, pxdcap2) == PCI_EXP_DEVCAP2, "layout");
static_assert(offsetof(struct pxcap, pxdc2) == PCI_EXP_DEVCTL2, "layout");
static_assert(offsetof(struct pxcap, pxds2) == PCI_EXP_DEVSTA2, "layout");
static_assert(offsetof(struct pxcap, pxlcap2) == PCI_EXP_LNKCAP2, "layout");
static_assert(offsetof(struct pxcap, pxlc2) == PCI_EXP_LNKCTL2, "layout");
static_assert(offsetof(struct pxcap, pxls2) == PCI_EXP_LNKSTA2, "layout");
static_assert(offsetof(struct pxcap, pxscap2) == PCI_EXP_SLTCAP2, "layout");
static_assert(offsetof(struct pxcap, pxsc2) == PCI_EXP_SLTCTL2, "layout");
static_assert(offsetof(struct pxcap, pxss2) == PCI_EXP_SLTSTA2, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_PX_H */
