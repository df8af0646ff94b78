/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate: the only process that receives descriptors from a client, one for each session,
 * because a hostile descriptor can hang whoever closes it. It reads no byte of a client's messages
 * for their meaning. gate.c opens with how it works.
 */
#pragma once

#include "broker/filter.h"
#include "broker/jail.h"

struct gate_process {
    pid_t pid;
    int pidfd;
    int control; /* the supervisor's end of the gate channel, for what it sends */
    int reports; /* a pipe, for what it receives */
};

/*
 * Starts a gate. The descriptors are close-on-exec and the caller's. Returns 0 or -errno. One that
 * cannot give up its rights ends before it says anything, the reason (an errno) as its status.
 */
int gate_spawn(const struct jail_plan *plan, const struct filter *filter,
               struct gate_process *process);
