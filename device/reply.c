/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/reply.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_SIZE sizeof(struct vfio_user_header)

static struct vfio_user_header *reply_header(struct reply *reply)
{
    return (struct vfio_user_header *)reply->data;
}

int reply_init(struct reply *reply)
{
    *reply = (struct reply){ .capacity = REPLY_INLINE_SIZE };
    reply->data = malloc(reply->capacity);
    return reply->data != NULL ? 0 : -ENOMEM;
}

void reply_fini(struct reply *reply)
{
    free(reply->data);
    reply->data = NULL;
}

void reply_begin(struct reply *reply, const struct vfio_user_header *request)
{
    *reply_header(reply) = (struct vfio_user_header){
        .msg_id = request->msg_id,
        .cmd = request->cmd,
        .flags = VFIO_USER_F_TYPE_REPLY,
    };
    reply->size = HEADER_SIZE;
    reply->sent = 0;
    reply->finished = false;
    attachment_reset(&reply->attachment);
}

static int reserve(struct reply *reply, size_t size)
{
    struct vfio_user_header header;
    uint8_t *larger;

    if (size <= reply->capacity) {
        return 0;
    }
    larger = malloc(size);
    if (larger == NULL) {
        return -ENOMEM;
    }
    header = *reply_header(reply);
    free(reply->data);
    reply->data = larger;
    reply->capacity = size;
    *reply_header(reply) = header;
    return 0;
}

void *reply_payload(struct reply *reply, size_t size)
{
    if (size > UINT32_MAX - HEADER_SIZE || reserve(reply, HEADER_SIZE + size) < 0) {
        return NULL;
    }
    reply->size = HEADER_SIZE + size;
    return reply->data + HEADER_SIZE;
}

void reply_fail(struct reply *reply, int err)
{
    struct vfio_user_header *header = reply_header(reply);

    header->flags = VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR;
    header->error_no = (uint32_t)-err;
    reply->size = HEADER_SIZE;
    attachment_reset(&reply->attachment);
}

void reply_finish(struct reply *reply)
{
    reply_header(reply)->msg_size = (uint32_t)reply->size;
    reply->finished = true;
}

void reply_reset(struct reply *reply)
{
    bool is_short = reply->size > 0 && reply->size <= REPLY_INLINE_SIZE;

    reply->size = 0;
    reply->sent = 0;
    attachment_reset(&reply->attachment);
    if (reply->capacity > REPLY_INLINE_SIZE && is_short) {
        uint8_t *small = realloc(reply->data, REPLY_INLINE_SIZE);

        if (small != NULL) {
            reply->data = small;
            reply->capacity = REPLY_INLINE_SIZE;
        }
    }
}
