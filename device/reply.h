/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reply to the message in hand: built in place behind its header, then sent in as many pieces
 * as the client's socket takes. The buffer is kept from message to message.
 */
#pragma once

#include "device/attachment.h"

#include <vfio-user/vfio-user.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room that is kept; a longer reply gets more, which stays until a short one has been sent. */
#define REPLY_INLINE_SIZE 4096u

struct reply {
    uint8_t *data; /* header first; 16-byte aligned */
    size_t capacity;
    size_t size; /* header included; 0: there is no reply */
    size_t sent;
    bool finished;                /* else it is being built */
    struct attachment attachment; /* goes with the first byte */
};

/* Returns 0 or -ENOMEM. */
int reply_init(struct reply *reply);
void reply_fini(struct reply *reply);

/* Starts an answer to @request without payload. */
void reply_begin(struct reply *reply, const struct vfio_user_header *request);

/*
 * Makes the payload @size bytes, of undefined content. Returns it, 16-byte aligned, or NULL.
 * The reply's earlier payload is lost.
 */
void *reply_payload(struct reply *reply, size_t size);

/* Makes it an error reply: header only. @err is a negative errno. */
void reply_fail(struct reply *reply, int err);

/* Completes the header. */
void reply_finish(struct reply *reply);

/* Forgets the reply, sent or not. */
void reply_reset(struct reply *reply);

/* Whether there is something to send, outside of the handler that builds it. */
static inline bool reply_is_ready(const struct reply *reply)
{
    return reply->finished && reply->sent < reply->size;
}

static inline bool reply_is_pending(const struct reply *reply)
{
    return reply->sent < reply->size;
}
