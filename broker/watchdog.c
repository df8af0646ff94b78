/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/watchdog.h"

#include "ipc/fd.h"
#include "ipc/fixed_memory.h"

#include <unistd.h>

int watchdog_init(struct watchdog *watchdog)
{
    watchdog->memory = fixed_memory_create("progress", sizeof(struct control_progress));
    return watchdog->memory < 0 ? watchdog->memory : 0;
}

void watchdog_fini(struct watchdog *watchdog)
{
    fd_close(&watchdog->memory);
}

enum watchdog_finding watchdog_look(struct watchdog *watchdog)
{
    const struct control_progress last = watchdog->last;
    struct control_progress *now = &watchdog->last;

    /* Read, not mapped: nothing that the process does to the file can be a fault of ours. */
    if (pread(watchdog->memory, now, sizeof(*now), 0) != sizeof(*now)) {
        return WATCHDOG_FINE;
    }
    if (now->calls_begun != now->calls_ended && now->calls_begun == last.calls_begun &&
        now->calls_ended == last.calls_ended) {
        return WATCHDOG_CALL;
    }
    for (size_t i = 0; i < CONTROL_MAX_CHANNELS; i++) {
        if (now->contexts[i].requests % 2 == 1 &&
            now->contexts[i].requests == last.contexts[i].requests) {
            return WATCHDOG_REQUEST;
        }
    }
    return WATCHDOG_FINE;
}
