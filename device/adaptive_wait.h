/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a wait for the next message goes on awake before it sleeps: to be woken takes longer
 * than most devices need for a request, and most clients for their next one. As hypervisors do it
 * before a virtual processor sleeps (halt polling), there is a window that opens while messages
 * come soon, and closes when they do not, so that an idle device never spins.
 *
 * How soon is seen by a wait that slept, and being woken is part of what it took: up to twice the
 * limit is soon. A window that is as wide as it may be, and is missed all the same, closes, and
 * stays closed for more and more waits, until enough are met. The same happens where messages come
 * later to a wait that spins than to one that sleeps: the client waits for the processor that it
 * shares with this process. So neither that nor a pace that is just too slow costs much, and nobody
 * needs to know how many processors there are for whom.
 */
#pragma once

#include <stdint.h>

struct vfu_ctx;

struct adaptive_wait {
    uint64_t limit;  /* nanoseconds; 0: every wait sleeps at once */
    uint64_t window; /* that the next wait spins; nanoseconds, at most @limit */
    uint64_t asleep; /* what waits take that do not spin, and */
    uint64_t awake;  /* those that are met in the window: moving averages, nanoseconds */
    unsigned closed; /* waits for which it does not open */
    unsigned hits;   /* since it has opened */
    unsigned
        penalty; /* what @closed was the last time, less one for each hit that proves it wrong */
};

/* Starts anew with this limit, in nanoseconds. */
void adaptive_wait_init(struct adaptive_wait *wait, uint64_t limit);

/* A message came within the window, @elapsed nanoseconds after the wait had begun. */
void adaptive_wait_hit(struct adaptive_wait *wait, uint64_t elapsed);

/* A message came @elapsed nanoseconds after the wait had begun, while that slept. */
void adaptive_wait_slept(struct adaptive_wait *wait, uint64_t elapsed);

/* Takes the limit that the environment has for a new context. Returns 0 or -EINVAL. */
int adaptive_wait_configure(struct vfu_ctx *ctx);

/* What is asked for and what the transport grants, for the client that is there now. */
void adaptive_wait_start(struct vfu_ctx *ctx);
