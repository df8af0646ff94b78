/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

#include <stdlib.h>

void client_message_release(struct client_message *message)
{
    fd_list_close(&message->fds);
    free(message->payload);
    message->payload = NULL;
    message->size = 0;
}

void client_set_tap(struct client *client, client_tap_fn *tap, void *opaque)
{
    client->tap = tap;
    client->tap_opaque = opaque;
}
