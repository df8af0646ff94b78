/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

#include <stdlib.h>

void vfu_client_message_release(struct vfu_client_message *message)
{
    fd_list_close(&message->fds);
    free(message->buffer);
    message->buffer = NULL;
    message->payload = NULL;
    message->size = 0;
}

void vfu_client_message_recycle(struct vfu_client *client, struct vfu_client_message *message)
{
    if (client->spare == NULL && message->header.msg_size > FRAME_INLINE_SIZE) {
        client->spare = message->buffer;
        client->spare_size = message->header.msg_size;
        message->buffer = NULL;
    }
    vfu_client_message_release(message);
}

void vfu_client_set_tap(struct vfu_client *client, vfu_client_tap_fn *tap, void *opaque)
{
    client->tap = tap;
    client->tap_opaque = opaque;
}
