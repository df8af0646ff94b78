/* SPDX-License-Identifier: BSD-3-Clause */
/* From a complete message to the reply that answers it. */
#pragma once

#include "device/reply.h"
#include "ipc/fd_list.h"

#include <stdbool.h>
#include <stddef.h>

#include <vfio-user/vfio-user.h>

struct vfu_ctx;

/* Largest message of a client: 1 MiB of data, its header and a struct vfio_user_region_access. */
#define MESSAGE_MAX (VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE + 32)

struct request {
    const struct vfio_user_header *header;
    void *payload;       /* writable: callbacks get it */
    size_t size;         /* of the payload, bytes */
    struct fd_list *fds; /* a handler takes what it keeps; the rest is closed */
};

/*
 * Answers the message in ctx->connection.frame: the reply, if there is one, is complete in
 * ctx->connection.reply, and not sent. Returns 1 if the message reached a command's handler, 0 if
 * it was refused before; -EBUSY: it is parked until the device is quiet, and has no reply yet; or
 * -EPROTO: it is no message, and the connection must be closed.
 */
int dispatch_message(struct vfu_ctx *ctx);

/* The same for a message that was parked: the device is quiet now. */
void dispatch_execute(struct vfu_ctx *ctx);

/*
 * Answers a message, of which there may be no more than the header, with error @err; as if it had
 * been refused by dispatch_message().
 */
void dispatch_refuse(struct vfu_ctx *ctx, int err);

/* Whether a message with this header may carry descriptors. */
bool dispatch_carries_fds(const struct vfio_user_header *header);
