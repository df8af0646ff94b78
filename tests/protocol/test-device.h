/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device that the protocol tests talk to: what its regions are, and the registers through
 * which a test makes it do things and asks what happened to it. Registers are 8 bytes wide and are
 * written as a whole; they may be read in any pieces.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TEST_DEVICE_VENDOR 0x1b36
#define TEST_DEVICE_DEVICE 0x00fd
#define TEST_DEVICE_SUBVENDOR 0x1af4
#define TEST_DEVICE_SUBSYSTEM 0x1100
#define TEST_DEVICE_CLASS 0xff0102 /* base, sub, programming interface */

#define TEST_DEVICE_MSI_COUNT 4
#define TEST_DEVICE_MSIX_COUNT 8

#define TEST_DEVICE_MAX_MAPS 64

/* BAR0: memory, then registers. */
#define TEST_DEVICE_BAR0_SIZE 0x1000
#define TEST_DEVICE_SCRATCH_SIZE 0x800
/* BAR1: read-only, larger than one message can carry; test_device_bar1_byte() says what is in it.
 */
#define TEST_DEVICE_BAR1_SIZE 0x200000
/* BAR2: write-only, as large; TEST_REG_WRITTEN tells what was written. */
#define TEST_DEVICE_BAR2_SIZE 0x200000
/* BAR3: I/O ports, plain memory. */
#define TEST_DEVICE_BAR3_SIZE 0x100
/* BAR4: 64-bit, prefetchable, two areas that can be mapped; the region starts inside its file. */
#define TEST_DEVICE_BAR4_SIZE 0x10000
#define TEST_DEVICE_BAR4_OFFSET 0x2000
#define TEST_DEVICE_AREA0_OFFSET 0x1000
#define TEST_DEVICE_AREA0_SIZE 0x1000
#define TEST_DEVICE_AREA1_OFFSET 0x4000
#define TEST_DEVICE_AREA1_SIZE 0x2000
/* VGA region: there, but the device handles no access to it. */
#define TEST_DEVICE_VGA_SIZE 0x1000
#define TEST_DEVICE_CONFIG_SIZE 0x100

static inline uint8_t test_device_bar1_byte(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 12) + 1);
}

/* FNV-1a, by which the device tells what was written to BAR2. */
static inline uint64_t test_device_hash(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return hash;
}

enum test_register {
    /* Writes: what the device shall do. */
    TEST_REG_TRIGGER = 0x800,     /* raise this vector; TEST_REG_RESULT says how it went */
    TEST_REG_CRASH = 0x808,       /* enum test_crash */
    TEST_REG_GUEST_READ = 0x810,  /* guest memory to scratch memory at this offset */
    TEST_REG_GUEST_WRITE = 0x818, /* and back */

    /* Reads and writes: parameters. */
    TEST_REG_GUEST_ADDRESS = 0x820,
    TEST_REG_GUEST_COUNT = 0x828,
    TEST_REG_RESET_ERRNO = 0x830, /* the next resets fail with it, if it is not 0 */

    /* Reads: what happened. */
    TEST_REG_RESULT = 0x838,   /* 0, or the errno of the last trigger or guest access */
    TEST_REG_ACCESSES = 0x840, /* accesses to BAR0, this one included */
    TEST_REG_WRITTEN = 0x848,  /* the last 8 bytes that were written to BAR2 */
    TEST_REG_RESETS = 0x850,   /* calls of the reset callback with DEVICE */
    TEST_REG_LOST = 0x858,     /* with LOST_CONN */
    TEST_REG_MAPS = 0x860,     /* calls of the DMA register callback */
    TEST_REG_MAP_IOVA = 0x868, /* what the last one said */
    TEST_REG_MAP_SIZE = 0x870,
    TEST_REG_MAP_MAPPED = 0x878, /* 1 if there was a virtual address */
    TEST_REG_MAP_PROT = 0x880,
    TEST_REG_MAP_PAGE = 0x888,
    TEST_REG_UNMAPS = 0x890, /* calls of the DMA unregister callback */
    TEST_REG_UNMAP_IOVA = 0x898,
    TEST_REG_UNMAP_SIZE = 0x8a0,
    TEST_REG_IRQ_CALLS = 0x8a8, /* calls of the irq state callbacks */
    TEST_REG_IRQ_TYPE = 0x8b0,  /* what the last one said */
    TEST_REG_IRQ_START = 0x8b8,
    TEST_REG_IRQ_COUNT = 0x8c0,
    TEST_REG_IRQ_MASK = 0x8c8,
    TEST_REG_WRITES = 0x8d0, /* writes to BAR2 */
    TEST_REG_END = 0x8d8,

    /* What concerns ioeventfds and messages to the client. */
    TEST_REG_IO_READ = 0xe00,   /* write: read this ioeventfd; TEST_REG_IO_VALUE has what it held */
    TEST_REG_IO_VALUE = 0xe08,  /* read */
    TEST_REG_IO_CREATE = 0xe10, /* write: another ioeventfd, enum test_io_create; TEST_REG_RESULT */
    /* Writes: copy TEST_REG_GUEST_COUNT bytes at TEST_REG_GUEST_ADDRESS by messages to the client,
     * to or from scratch memory at this offset, or TEST_DMA_BULK. TEST_REG_RESULT; DMA_HASH. */
    TEST_REG_DMA_READ = 0xe18,
    TEST_REG_DMA_WRITE = 0xe20,
    TEST_REG_DMA_HASH = 0xe28,   /* read: test_device_hash() of what was read into TEST_DMA_BULK */
    TEST_REG_DMA_LATER = 0xe30,  /* not 0: outside of the callback, if the program can */
    TEST_REG_INTX_LEVEL = 0xe38, /* not 0: INTx is raised again whenever it is unmasked */
    TEST_REG_MORE_END = 0xe40,

    /* Accesses that the device refuses. */
    TEST_REG_FAILS = 0xf00,   /* with EIO */
    TEST_REG_SHORT = 0xf08,   /* by handling one byte less */
    TEST_REG_NO_ERRNO = 0xf10 /* with -1 and errno 0 */
};

/* Memory of the device that no client can see: before each write it is filled anew. */
#define TEST_DMA_BULK 0x10000u
#define TEST_DMA_BULK_SIZE (3u << 20)

static inline uint8_t test_device_bulk_byte(uint64_t offset)
{
    return (uint8_t)(offset * 11 + (offset >> 10) + 3);
}

/* Ioeventfds of BAR0, in the order in which the device creates them. */
#define TEST_DEVICE_IO_COUNT 5
#define TEST_DEVICE_IO_FDS 4 /* three eventfds and the shadow memory, different ones */
#define TEST_DEVICE_IO_MATCH 0x1122334455667788
#define TEST_DEVICE_SHADOW_SIZE 0x1000
#define TEST_DEVICE_SHADOW_OFFSET 0x100

/* Which of the eventfds; the last two values are not one. */
enum test_io {
    TEST_IO_FIRST,  /* writes of 4 bytes to 0, and of 2 bytes to the port 0x10 */
    TEST_IO_MATCH,  /* writes of TEST_DEVICE_IO_MATCH to 8 */
    TEST_IO_SHADOW, /* writes of 4 bytes to 0x28, with the value in the shadow memory */
    TEST_IO_EVENTS,
    TEST_IO_MEMORY = TEST_IO_EVENTS, /* for TEST_REG_IO_READ: the value in the shadow memory */
};

/* Ioeventfds that are created on BAR3 while a client is there. */
enum test_io_create {
    TEST_IO_CREATE_KNOWN,   /* with an eventfd that another one has */
    TEST_IO_CREATE_UNKNOWN, /* with one that none has had so far */
};

enum test_crash {
    TEST_CRASH_SEGV = 1,
    TEST_CRASH_ABORT,
    TEST_CRASH_EXIT,      /* with status TEST_DEVICE_EXIT_STATUS */
    TEST_CRASH_FORBIDDEN, /* socket(2), which no device needs; RESULT says how it went */
    TEST_CRASH_SPIN,      /* for ever */
};

#define TEST_DEVICE_EXIT_STATUS 3
