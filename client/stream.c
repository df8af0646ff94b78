/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The byte stream: a queue of messages to send and one message being received. Both directions
 * move whenever either is waited for, because a server that waits for room for its replies does
 * not read commands.
 */
#include "client/internal.h"

#include "ipc/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t deadline_after(int timeout_ms)
{
    return now_ms() + timeout_ms;
}

struct outgoing *stream_queue(struct client *client, size_t size, const struct fd_list *fds)
{
    struct outgoing *out = malloc(sizeof(*out) + size);

    if (out == NULL) {
        return NULL;
    }
    out->next = NULL;
    out->size = size;
    out->sent = 0;
    out->fds = fds != NULL && fds->count > 0 ? fds : NULL;
    *client->queue_tail = out;
    client->queue_tail = &out->next;
    client->queued++;
    return out;
}

bool stream_is_flushed(const struct client *client)
{
    return client->queue_head == NULL;
}

static void drop_first(struct client *client)
{
    struct outgoing *out = client->queue_head;

    client->queue_head = out->next;
    if (client->queue_head == NULL) {
        client->queue_tail = &client->queue_head;
    }
    client->queued--;
    free(out);
}

void stream_drop_queue(struct client *client)
{
    while (client->queue_head != NULL) {
        drop_first(client);
    }
}

/* Descriptors go with the first byte and never again. */
static int send_some(struct client *client)
{
    while (client->queue_head != NULL) {
        struct outgoing *out = client->queue_head;
        ssize_t n = socket_send(client->sock, out->bytes + out->sent, out->size - out->sent,
                                MSG_DONTWAIT, out->sent == 0 ? out->fds : NULL);

        if (n < 0) {
            return n == -EAGAIN ? 0 : (int)n;
        }
        out->sent += (size_t)n;
        if (out->sent == out->size) {
            drop_first(client);
        }
    }
    return 0;
}

/* A server may attach descriptors to anything; a plain read would lose them. */
static bool may_carry_fds(const struct vfio_user_header *header)
{
    return true;
}

static ssize_t take(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds)
{
    struct client *client = opaque;

    return socket_receive(client->sock, buffer, size, MSG_DONTWAIT, fds);
}

static int copy_message(struct frame *frame, struct client_message *message)
{
    size_t size = frame_payload_size(frame);

    *message = (struct client_message){ .header = *frame_header(frame), .size = size };
    if (size > 0) {
        message->payload = malloc(size);
        if (message->payload == NULL) {
            return -ENOMEM;
        }
        memcpy(message->payload, frame_payload(frame), size);
    }
    message->fds = frame->fds;
    frame->fds.count = 0;
    return FRAME_COMPLETE;
}

int stream_receive(struct client *client, struct client_message *message)
{
    const struct frame_source source = {
        .sock = client->sock,
        .carries_fds = may_carry_fds,
        .take = take,
        .opaque = client,
    };
    int status;

    if (client->error < 0) {
        return client->error;
    }
    status = frame_receive(&client->frame, &source);
    if (status == FRAME_COMPLETE) {
        status = copy_message(&client->frame, message);
        frame_reset(&client->frame);
    }
    if (status == FRAME_COMPLETE && client->tap != NULL) {
        client->tap(client->tap_opaque, message);
    }
    if (status < 0) {
        client->error = status == -EBADMSG ? -EPROTO : status;
        return client->error;
    }
    return status;
}

static int receive_some(struct client *client)
{
    struct client_message message;
    int status;

    while ((status = stream_receive(client, &message)) == FRAME_COMPLETE) {
        status = command_dispatch(client, &message);
        if (status < 0) {
            client->error = status;
            return status;
        }
    }
    return status;
}

int stream_progress(struct client *client)
{
    int sent = client->error == 0 ? send_some(client) : 0;
    int received = receive_some(client); /* also what a closed connection still holds */

    if (received < 0) {
        return received;
    }
    if (sent < 0) {
        client->error = sent == -EPIPE || sent == -ECONNRESET ? -ENOTCONN : sent;
    }
    return client->error;
}

int stream_wait(struct client *client, int64_t deadline)
{
    struct pollfd poll_fd = { .fd = client->sock, .events = POLLIN };
    int64_t left = deadline - now_ms();
    int ready;

    if (!stream_is_flushed(client)) {
        poll_fd.events |= POLLOUT;
    }
    ready = poll(&poll_fd, 1, left > 0 ? (int)left : 0);
    if (ready < 0 && errno != EINTR) {
        return -errno;
    }
    return ready == 0 ? -ETIMEDOUT : 0;
}

int stream_flush(struct client *client, int64_t deadline)
{
    for (;;) {
        int err = stream_progress(client);

        /* What has been sent has been sent, even if the connection ended right after. */
        if (stream_is_flushed(client)) {
            return 0;
        }
        if (err == 0) {
            err = stream_wait(client, deadline);
        }
        if (err < 0) {
            /* A message may be sent in part: nothing can follow it. */
            if (client->error == 0) {
                client->error = err;
            }
            stream_drop_queue(client);
            return err;
        }
    }
}

int stream_send_only(struct client *client, int64_t deadline)
{
    for (;;) {
        struct pollfd poll_fd = { .fd = client->sock, .events = POLLOUT };
        int64_t left = deadline - now_ms();
        int err = send_some(client);

        if (err == 0 && stream_is_flushed(client)) {
            return 0;
        }
        if (err == 0 && poll(&poll_fd, 1, left > 0 ? (int)left : 0) == 0) {
            err = -ETIMEDOUT;
        }
        if (err < 0) {
            stream_drop_queue(client);
            return err;
        }
    }
}
