/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The config space of "test-device --capabilities": PCI Express, with every capability that the
 * library knows in every form, MSI-X kept by the library, and a callback for the rest.
 */
#pragma once

#include <stdint.h>

#include <vfio-user/libvfio-user.h>

#define CAPS_CONFIG_SIZE 0x1000

/* Standard capabilities, in the order in which they are linked. */
#define CAPS_PM 0x40
#define CAPS_MSI 0x48
#define CAPS_MSIX 0x60
#define CAPS_PX 0x6c
#define CAPS_VENDOR 0xa8   /* 9 bytes; the rounding behind it is the callback's */
#define CAPS_LOCKED 0xb4   /* vendor, 12 bytes, read-only, directly behind that */
#define CAPS_CALLBACK 0xc0 /* vendor, 16 bytes, the callback's */
#define CAPS_OPEN 0xd0     /* vendor, 16 bytes */
#define CAPS_LAST 0xe0     /* vendor, 16 bytes, read-only, the callback's */

/* Extended ones. */
#define CAPS_DSN 0x100
#define CAPS_VENDOR2 0x10c   /* 20 bytes */
#define CAPS_LOCKED2 0x120   /* 12 bytes, read-only */
#define CAPS_CALLBACK2 0x200 /* 16 bytes, the callback's */

#define CAPS_VENDOR_FILL 0xdd
#define CAPS_SERIAL_LOW 0x11223344
#define CAPS_SERIAL_HIGH 0x55667788

/* Where MSI-X is; no client can map it. */
#define CAPS_MSIX_BAR 4
#define CAPS_MSIX_TABLE 0x8000
#define CAPS_MSIX_PBA 0x9000

/* A ROM, which decodes the next power of two. */
#define CAPS_ROM_SIZE 0x3000

/* Behind these dwords of config space is the test; all else that is the callback's is memory. */
enum caps_register {
    CAPS_REG_TRIGGER = 0xc00,   /* write: this vector of MSI-X */
    CAPS_REG_FLR_FAILS = 0xc04, /* write: the next function level resets fail with this errno */
    CAPS_REG_FLRS = 0xc08,      /* read: function level resets */
    CAPS_REG_CALLS = 0xc0c,     /* read: calls of the callback, not counting these registers */
    CAPS_REG_OFFSET = 0xc10,    /* read: what the last call was for */
    CAPS_REG_COUNT = 0xc14,
    CAPS_REG_IS_WRITE = 0xc18,
    CAPS_REG_END = 0xc1c
};

/* After the BARs, before vfu_realize_ctx(). Returns 0, or -1 and errno. */
int capabilities_describe(vfu_ctx_t *ctx);

/* A function level reset. Returns 0, or -1 and errno. */
int capabilities_reset(void);
