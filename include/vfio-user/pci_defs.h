/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The standard PCI configuration header (type 0) as structures, for reading and writing the live
 * config space that vfu_pci_get_config_space() returns. Bits are numbered from the least
 * significant one; everything is packed and little-endian, as on the bus.
 *
 * Source of the facts: the PCI Local Bus Specification 3.0, chapter 6, and linux/pci_regs.h.
 */
#ifndef LIBVFIO_USER_PCI_DEFS_H
#define LIBVFIO_USER_PCI_DEFS_H

#include <assert.h>
#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__cplusplus) && !defined(static_assert)
#define static_assert _Static_assert /* strict C99 */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 0x00: vendor and device */
typedef union {
    uint32_t raw;
    struct {
        uint16_t vid;
        uint16_t did;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_id_t;
static_assert(sizeof(vfu_pci_hdr_id_t) == 4, "layout");

/* 0x04: command */
typedef union {
    uint16_t raw;
    struct {
        uint8_t iose : 1; /* I/O space enable */
        uint8_t mse : 1;  /* memory space enable */
        uint8_t bme : 1;  /* bus master enable */
        uint8_t sce : 1;  /* special cycle enable */
        uint8_t mwie : 1; /* memory write and invalidate enable */
        uint8_t vga : 1;  /* VGA palette snooping */
        uint8_t pee : 1;  /* parity error response */
        uint8_t zero : 1;
        uint8_t see : 1; /* SERR# enable */
        uint8_t fbe : 1; /* fast back-to-back enable */
        uint8_t id : 1;  /* INTx disable */
        uint8_t res1 : 5;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_cmd_t;
static_assert(sizeof(vfu_pci_hdr_cmd_t) == 2, "layout");

/* 0x06: status */
typedef union {
    uint16_t raw;
    struct {
        unsigned int res1 : 3;
        unsigned int is : 1;  /* interrupt status */
        unsigned int cl : 1;  /* capability list */
        unsigned int c66 : 1; /* 66 MHz capable */
        unsigned int res2 : 1;
        unsigned int fbc : 1;  /* fast back-to-back capable */
        unsigned int dpd : 1;  /* master data parity error */
        unsigned int devt : 2; /* DEVSEL timing */
        unsigned int sta : 1;  /* signalled target abort */
        unsigned int rta : 1;  /* received target abort */
        unsigned int rma : 1;  /* received master abort */
        unsigned int sse : 1;  /* signalled system error */
        unsigned int dpe : 1;  /* detected parity error */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_sts_t;
static_assert(sizeof(vfu_pci_hdr_sts_t) == 2, "layout");

/* 0x09: class code */
typedef union {
    uint8_t raw[3];
    struct {
        uint8_t pi;  /* programming interface */
        uint8_t scc; /* sub-class */
        uint8_t bcc; /* base class */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_cc_t;
static_assert(sizeof(vfu_pci_hdr_cc_t) == 3, "layout");

/* 0x0e: header type */
typedef union {
    uint8_t raw;
} __attribute__((packed)) vfu_pci_hdr_htype_t;
static_assert(sizeof(vfu_pci_hdr_htype_t) == 1, "layout");

/* 0x0f: built-in self test */
typedef union {
    uint8_t raw;
} __attribute__((packed)) vfu_pci_hdr_bist_t;
static_assert(sizeof(vfu_pci_hdr_bist_t) == 1, "layout");

#define PCI_BARS_NR 6

/* The values of mem.locatable: the kernel's constants include bit 0, the field does not. */
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_32 (PCI_BASE_ADDRESS_MEM_TYPE_32 >> 1)
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_1M (PCI_BASE_ADDRESS_MEM_TYPE_1M >> 1)
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_64 (PCI_BASE_ADDRESS_MEM_TYPE_64 >> 1)

/* 0x10-0x27: base addresses */
typedef union {
    uint32_t raw;
    union {
        struct {
            unsigned int region_type : 1; /* 0: memory */
            unsigned int locatable : 2;   /* PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_* */
            unsigned int prefetchable : 1;
            unsigned int base_address : 28;
        } __attribute__((packed)) mem;
        struct {
            unsigned int region_type : 1; /* 1: I/O ports */
            unsigned int reserved : 1;
            unsigned int base_address : 30;
        } __attribute__((packed)) io;
    } __attribute__((packed));
} __attribute__((packed)) vfu_bar_t;
static_assert(sizeof(vfu_bar_t) == 4, "layout");

/* 0x2c: subsystem */
typedef union {
    uint32_t raw;
    struct {
        uint16_t vid;
        uint16_t sid;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_ss_t;
static_assert(sizeof(vfu_pci_hdr_ss_t) == 4, "layout");

/* 0x3c: interrupt */
typedef union {
    uint16_t raw;
    struct {
        uint8_t iline;
        uint8_t ipin; /* 0: none, 1: INTA */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_intr_t;
static_assert(sizeof(vfu_pci_hdr_intr_t) == 2, "layout");

typedef union {
    uint8_t raw[PCI_STD_HEADER_SIZEOF];
    struct {
        vfu_pci_hdr_id_t id;         /* 0x00 */
        vfu_pci_hdr_cmd_t cmd;       /* 0x04 */
        vfu_pci_hdr_sts_t sts;       /* 0x06 */
        uint8_t rid;                 /* 0x08 revision */
        vfu_pci_hdr_cc_t cc;         /* 0x09 */
        uint8_t cls;                 /* 0x0c cache line size */
        uint8_t mlt;                 /* 0x0d master latency timer */
        vfu_pci_hdr_htype_t htype;   /* 0x0e */
        vfu_pci_hdr_bist_t bist;     /* 0x0f */
        vfu_bar_t bars[PCI_BARS_NR]; /* 0x10 */
        uint32_t ccptr;              /* 0x28 CardBus CIS pointer */
        vfu_pci_hdr_ss_t ss;         /* 0x2c */
        uint32_t erom;               /* 0x30 expansion ROM address */
        uint8_t cap;                 /* 0x34 first capability */
        uint8_t res1[7];             /* 0x35 */
        vfu_pci_hdr_intr_t intr;     /* 0x3c */
        uint8_t mgnt;                /* 0x3e */
        uint8_t mlat;                /* 0x3f */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_t;
static_assert(sizeof(vfu_pci_hdr_t) == 64, "layout");
static_assert(offsetof(vfu_pci_hdr_t, bars) == PCI_BASE_ADDRESS_0, "layout");
static_assert(offsetof(vfu_pci_hdr_t, erom) == PCI_ROM_ADDRESS, "layout");
static_assert(offsetof(vfu_pci_hdr_t, intr) == PCI_INTERRUPT_LINE, "layout");

/* The buffer behind it has 256 bytes (conventional PCI, PCI-X 1) or 4096 (PCI-X 2, Express). */
typedef struct {
    union {
        uint8_t raw[PCI_CFG_SPACE_SIZE];
        vfu_pci_hdr_t hdr;
    } __attribute__((packed));
    uint8_t extended[];
} __attribute__((packed)) vfu_pci_config_space_t;
static_assert(sizeof(vfu_pci_config_space_t) == 256, "layout");

#ifdef __cplusplus
}
#endif

#endif /* LIBVFIO_USER_PCI_DEFS_H */
