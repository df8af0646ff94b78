/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signs of life for the broker's watchdog: counters in memory that it may share, so that telling
 * takes a store and no system call. Without a watchdog they are nobody's.
 */
#pragma once

#include "ipc/control.h"

extern struct control_progress *progress;

/*
 * Counts in memory that the descriptor is of from now on; it stays the caller's. Before the seal.
 * Returns 0 or -errno.
 */
int progress_share(int fd);

/* Where the thread that serves requests comes to the program's code, and where it is back. */
static inline void progress_step(uint32_t *requests)
{
    __atomic_store_n(requests, __atomic_load_n(requests, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

/* While it waits for the client, for a limited time, it is not in the program's code. */
static inline bool progress_pause(uint32_t *requests)
{
    bool inside = __atomic_load_n(requests, __ATOMIC_RELAXED) & 1;

    if (inside) {
        progress_step(requests);
    }
    return inside;
}

static inline void progress_resume(uint32_t *requests, bool inside)
{
    if (inside) {
        progress_step(requests);
    }
}

/* Around a call that blocks if the client wants it to; from any thread. */
static inline void progress_enter_call(void)
{
    __atomic_fetch_add(&progress->calls_begun, 1, __ATOMIC_RELAXED);
}

static inline void progress_leave_call(void)
{
    __atomic_fetch_add(&progress->calls_ended, 1, __ATOMIC_RELAXED);
}
