/* SPDX-License-Identifier: BSD-3-Clause */
/* The seal: after it, this process can do next to nothing. */
#pragma once

#include "ipc/control.h"

struct io_fds;
struct vfu_ctx;

/* A context, and the channel that it has for itself. */
struct seal_party {
    struct vfu_ctx *ctx;
    struct control_channel *channel;
    struct io_fds *io_fds; /* filled in with what its ioeventfds have */
};

/*
 * Seals the process with all its contexts as the supervisor's SEAL message says, which is waiting
 * in the first one's channel or soon will be, and declares to the gate of each what its client may
 * get: the memory of regions, and what ioeventfds have. @seal is filled in with the message.
 * Returns 0 or a negative errno as documented for vfu_attach_ctx(); the process should end then.
 */
int seal_process(const struct seal_party *parties, size_t count, struct control_seal *seal);
