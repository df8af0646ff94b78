/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-device --migration: a device that can migrate, that has to become quiet first, and that
 * copies from and to guest memory by scatter-gather lists. Its registers are further ones of BAR0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-user/libvfio-user.h>

enum migration_register {
    MIG_REG_BEGIN = 0xd00,
    MIG_REG_STATE = 0xd00,   /* read: vfu_migr_state_t that it was moved to last */
    MIG_REG_ARCS = 0xd08,    /* read: how often it was moved */
    MIG_REG_FAIL = 0xd10,    /* the next callback fails with this errno, if it is not 0 */
    MIG_REG_LEFT = 0xd18,    /* bytes of its state that are still to be read */
    MIG_REG_TAKEN = 0xd20,   /* bytes that were written as its state */
    MIG_REG_SUM = 0xd28,     /* sum of them */
    MIG_REG_QUIESCE = 0xd30, /* enum migration_quiesce, or an errno: it says EBUSY, then fails */
    MIG_REG_REFUSE = 0xd38,  /* errno with which it refuses to be quiet; 0: it does not */
    MIG_REG_ASKED = 0xd40,   /* read: how often it was asked to be quiet */
    /*
     * Writes: MIG_REG_COUNT bytes at MIG_REG_ADDRESS, which may be in several regions, from or to
     * the beginning of scratch memory; in place, or by vfu_sgl_read() and vfu_sgl_write().
     * MIG_REG_RESULT: 0, or the errno of what failed.
     */
    MIG_REG_MAPPED_READ = 0xd48,
    MIG_REG_MAPPED_WRITE = 0xd50,
    MIG_REG_COPY_READ = 0xd58,
    MIG_REG_COPY_WRITE = 0xd60,
    MIG_REG_ADDRESS = 0xd68,
    MIG_REG_COUNT = 0xd70,
    MIG_REG_RESULT = 0xd78,
    MIG_REG_ENTRIES = 0xd80, /* read: how many entries the last of these took */
    MIG_REG_SPARE = 0xd88,   /* so many callbacks before that do not fail */
    MIG_REG_AGAIN = 0xd90,   /* and so many behind it do */
    MIG_REG_END = 0xd98,
};

enum migration_quiesce {
    MIG_QUIET_AT_ONCE,
    MIG_QUIET_LATER, /* it says EBUSY first */
};

/* With this errno it may refuse even at the end of a session, where it is asked again. */
#define TEST_REFUSED_AT_THE_END EILSEQ

/* The byte at @offset of its state. */
static inline uint8_t migration_byte(uint64_t offset)
{
    return (uint8_t)(offset * 13 + (offset >> 9) + 5);
}

/* Returns 0, or -1 and errno. */
int migration_describe(vfu_ctx_t *ctx);

/* As a region's callback, for the registers above. @scratch is the device's scratch memory. */
ssize_t migration_access(vfu_ctx_t *ctx, char *buffer, size_t count, uint64_t offset, bool is_write,
                         uint8_t *scratch, size_t scratch_size);

/* vfu_run_ctx() said EBUSY. */
int migration_become_quiet(vfu_ctx_t *ctx);
