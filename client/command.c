/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands and their replies, matched by id alone. The server's own commands may come at any time.
 */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct pending **find_pending(struct vfu_client *client, uint16_t id)
{
    struct pending **link = &client->pending;

    while (*link != NULL && (*link)->id != id) {
        link = &(*link)->next;
    }
    return link;
}

static void unlink_pending(struct pending **link)
{
    struct pending *pending = *link;

    *link = pending->next;
    vfu_client_message_release(&pending->reply);
    free(pending);
}

void command_drop_all(struct vfu_client *client)
{
    while (client->pending != NULL) {
        unlink_pending(&client->pending);
    }
}

/* An id that no outstanding command has. */
static int choose_id(struct vfu_client *client, uint16_t *id)
{
    for (uint32_t tries = 0; tries <= UINT16_MAX; tries++) {
        *id = client->next_id++;
        if (*find_pending(client, *id) == NULL) {
            return 0;
        }
    }
    return -EBUSY;
}

static int queue_request(struct vfu_client *client, const struct vfu_client_request *request,
                         uint16_t id, uint32_t flags, struct fd_list *fds)
{
    struct vfio_user_header header = { .msg_id = id, .cmd = request->command, .flags = flags };
    size_t size = sizeof(header) + request->head_size;
    struct outgoing *out;
    uint8_t *at;

    if (request->fd_count > FD_LIST_MAX || size > UINT32_MAX ||
        request->data_size > UINT32_MAX - size) {
        return -E2BIG;
    }
    fds->count = 0;
    for (size_t i = 0; i < request->fd_count; i++) {
        fd_list_add(fds, request->fds[i]);
    }
    out = stream_queue(&client->main, size, fds);
    if (out == NULL) {
        return -ENOMEM;
    }
    header.msg_size = (uint32_t)(size + request->data_size);
    at = mempcpy(out->bytes, &header, sizeof(header));
    if (request->head_size > 0) {
        memcpy(at, request->head, request->head_size);
    }
    out->data = request->data;
    out->data_size = request->data_size;
    return 0;
}

static int send_request(struct vfu_client *client, const struct vfu_client_request *request,
                        uint16_t id, uint32_t flags)
{
    struct fd_list borrowed;
    int err;

    if (client->error < 0) {
        return client->error;
    }
    err = queue_request(client, request, id, flags, &borrowed);
    if (err < 0) {
        return err;
    }
    return stream_flush(client, deadline_after(client->timeout_ms));
}

int vfu_client_submit(struct vfu_client *client, const struct vfu_client_request *request,
                      uint16_t *id)
{
    struct pending *pending;
    int err = choose_id(client, id);

    if (err < 0) {
        return err;
    }
    pending = calloc(1, sizeof(*pending));
    if (pending == NULL) {
        return -ENOMEM;
    }
    pending->id = *id;
    pending->command = request->command;
    pending->next = client->pending;
    client->pending = pending;

    err = send_request(client, request, *id, VFIO_USER_F_TYPE_COMMAND);
    if (err < 0) {
        struct pending **link = find_pending(client, *id);

        /* The server may have answered and closed while the rest was being sent. */
        if ((*link)->state == PENDING_ANSWERED) {
            return 0;
        }
        unlink_pending(link);
    }
    return err;
}

int vfu_client_post(struct vfu_client *client, const struct vfu_client_request *request)
{
    uint16_t id;
    int err = choose_id(client, &id);

    if (err < 0) {
        return err;
    }
    return send_request(client, request, id, VFIO_USER_F_TYPE_COMMAND | VFIO_USER_F_NO_REPLY);
}

/* An errno of 0, and what no errno can be, comes from servers that leave the field alone. */
static int reply_error(const struct vfio_user_header *header)
{
    if (!(header->flags & VFIO_USER_F_ERROR)) {
        return 0;
    }
    return header->error_no == 0 || header->error_no > 4095 ? EINVAL : (int)header->error_no;
}

int vfu_client_collect(struct vfu_client *client, uint16_t id, struct vfu_client_message *reply)
{
    int64_t deadline = deadline_after(client->timeout_ms);
    int err = 0;

    for (;;) {
        struct pending **link = find_pending(client, id);

        if (*link == NULL || (*link)->state == PENDING_ABANDONED) {
            return -ENOENT;
        }
        if ((*link)->state == PENDING_ANSWERED) {
            int result = reply_error(&(*link)->reply.header);

            if (reply != NULL) {
                *reply = (*link)->reply;
                (*link)->reply = (struct vfu_client_message){ .size = 0 };
            }
            unlink_pending(link);
            return result;
        }
        if (err == -ETIMEDOUT) {
            (*link)->state = PENDING_ABANDONED;
            return err;
        }
        if (err < 0) {
            unlink_pending(link);
            return err;
        }
        err = stream_progress(client);
        link = find_pending(client, id);
        if (err == 0 && (*link)->state == PENDING_AWAITED) {
            err = stream_wait(client, deadline);
        }
    }
}

void vfu_client_forget(struct vfu_client *client, uint16_t id)
{
    struct pending **link = find_pending(client, id);

    if (*link == NULL) {
        return;
    }
    if ((*link)->state == PENDING_ANSWERED || client->error < 0) {
        unlink_pending(link);
    } else {
        (*link)->state = PENDING_ABANDONED;
    }
}

int vfu_client_command(struct vfu_client *client, const struct vfu_client_request *request,
                       struct vfu_client_message *reply)
{
    uint16_t id;
    int err = vfu_client_submit(client, request, &id);

    return err < 0 ? err : vfu_client_collect(client, id, reply);
}

int vfu_client_command_fixed(struct vfu_client *client, const struct vfu_client_request *request,
                             void *payload, size_t size)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int result = vfu_client_command(client, request, &reply);

    if (result != 0) {
        return result;
    }
    if (reply.size != size || reply.fds.count != 0) {
        return -EPROTO;
    }
    if (size > 0) {
        memcpy(payload, reply.payload, size);
    }
    return 0;
}

static int take_reply(struct vfu_client *client, struct vfu_client_message *message)
{
    struct pending **link = find_pending(client, message->header.msg_id);
    struct pending *pending = *link;

    if (pending == NULL || pending->state == PENDING_ANSWERED ||
        pending->command != message->header.cmd) {
        vfu_client_message_release(message);
        return -EPROTO;
    }
    if (pending->state == PENDING_ABANDONED) {
        vfu_client_message_release(message);
        unlink_pending(link);
        return 0;
    }
    pending->reply = *message;
    pending->state = PENDING_ANSWERED;
    return 0;
}

int command_dispatch(struct vfu_client *client, struct stream *stream,
                     struct vfu_client_message *message)
{
    int err;

    switch (message->header.flags & VFIO_USER_F_TYPE_MASK) {
    case VFIO_USER_F_TYPE_REPLY:
        if (stream == &client->main) {
            return take_reply(client, message);
        }
        err = -EPROTO; /* our commands do not go there */
        break;
    case VFIO_USER_F_TYPE_COMMAND:
        err = serve_command(client, stream, message);
        break;
    default:
        err = -EPROTO;
    }
    vfu_client_message_release(message);
    return err;
}
