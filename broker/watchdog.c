/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/watchdog.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

int watchdog_init(struct watchdog *watchdog)
{
    watchdog->memory = memfd_create("progress", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (watchdog->memory < 0 || ftruncate(watchdog->memory, sizeof(struct control_progress)) < 0 ||
        fcntl(watchdog->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return -errno;
    }
    return 0;
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
