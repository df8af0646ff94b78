/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own commands to the client, one at a time, and its answers.
 *
 * With a twin socket they have a stream of their own. Without one, the client's commands come in
 * between: they go to the connection's inbox, from which connection_receive() serves them later.
 * What can still be read is bounded by the inbox, and time by the caller, so that no client can
 * hold up the device for longer. An answer that was given up is dropped when it comes.
 *
 * A connection of which the stream cannot be followed any more is marked as broken, and stays as it
 * is: its end belongs to vfu_run_ctx(), because the caller is in the middle of something.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vfu_ctx;

/*
 * Sends @message, whose header is completed here but for the command, and waits for the reply
 * until @deadline (CLOCK_MONOTONIC, nanoseconds). Returns 0 with the reply in
 * ctx->connection.incoming, which the caller resets; or:
 *   -ETIMEDOUT  no answer in time
 *   -ENOBUFS    the client sent too many commands of its own first
 *   -EPROTO     it answered something else
 *   -EINVAL     it sent what is no message; the connection is broken
 *   -ENOTCONN   it is gone, or the connection is broken
 *   -ENOMEM
 */
int exchange(struct vfu_ctx *ctx, void *message, size_t size, uint64_t deadline);
