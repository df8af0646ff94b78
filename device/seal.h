/* SPDX-License-Identifier: BSD-3-Clause */
/* The seal: after it, this process can do next to nothing. */
#pragma once

#include "ipc/control.h"

struct io_fds;
struct vfu_ctx;

/*
 * Seals the process as the supervisor's SEAL message says, which is waiting in @channel or soon
 * will be, and declares to the gate what clients may get: the memory of regions, and @io_fds, which
 * is filled in with what ioeventfds have. @seal is filled in with the message. Returns 0 or a
 * negative errno as documented for vfu_attach_ctx(); the process should end then.
 */
int seal_process(struct vfu_ctx *ctx, struct control_channel *channel, struct control_seal *seal,
                 struct io_fds *io_fds);
