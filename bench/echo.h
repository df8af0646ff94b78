/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The baseline: a process that does nothing but receive and send, blocking, messages of given
 * sizes.
 */
#pragma once

#include "bench/processors.h"

#include <stddef.h>
#include <sys/types.h>

/* After @every messages of @in bytes there is one of @out bytes. */
struct echo_step {
    size_t in, out;
    unsigned every;
};

struct echo {
    pid_t pid;
    int sock;
};

/* Does the @count steps in turn until the socket is closed. @takes_fds: and closes what comes. */
void echo_start(struct echo *echo, enum placement placement, const struct echo_step *steps,
                size_t count, bool takes_fds);
void echo_stop(struct echo *echo);
