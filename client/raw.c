/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

int vfu_client_raw_send(struct vfu_client *client, const void *bytes, size_t size, const int *fds,
                        size_t fd_count)
{
    struct fd_list borrowed = { .count = 0 };
    struct outgoing *out;
    int64_t deadline = deadline_after(client->timeout_ms);

    if (fd_count > FD_LIST_MAX) {
        return -E2BIG;
    }
    for (size_t i = 0; i < fd_count; i++) {
        fd_list_add(&borrowed, fds[i]);
    }
    out = stream_queue(&client->main, size, &borrowed);
    if (out == NULL) {
        return -ENOMEM;
    }
    memcpy(out->bytes, bytes, size);
    return stream_send_only(client, deadline);
}

int vfu_client_raw_receive(struct vfu_client *client, struct vfu_client_message *message)
{
    int64_t deadline = deadline_after(client->timeout_ms);

    for (;;) {
        int status = stream_receive(client, &client->main, message);

        if (status == FRAME_COMPLETE) {
            return 1;
        }
        if (status < 0) {
            return status == -ENOTCONN ? 0 : status;
        }
        status = stream_wait(client, deadline);
        if (status < 0) {
            return status;
        }
    }
}
