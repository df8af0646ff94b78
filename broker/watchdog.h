/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notices a device process that makes no progress, by looking now and then at counters in memory
 * that it shares with us. It can lie about them, and then is not helped: the watchdog is for
 * devices that fail, not against those that were taken over.
 */
#pragma once

#include "ipc/control.h"

enum watchdog_finding {
    WATCHDOG_FINE,
    WATCHDOG_REQUEST, /* in one and the same request since the last look */
    WATCHDOG_CALL,    /* in one and the same call that the client can make block */
};

struct watchdog {
    int memory;  /* owned; -1: no watchdog */
    int64_t due; /* CLOCK_MONOTONIC in ms, of the next look; 0: nothing to look at */
    struct control_progress last;
};

/* Makes the memory. Returns 0 or -errno. */
int watchdog_init(struct watchdog *watchdog);
void watchdog_fini(struct watchdog *watchdog);

/* Compares with the last time. Of the very first look the result means nothing. */
enum watchdog_finding watchdog_look(struct watchdog *watchdog);
