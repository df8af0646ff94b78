/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The byte streams: a queue of messages to send and one message being received. Both directions
 * of both streams move whenever any is waited for, because a server that waits for room for its
 * replies, or for an answer to a command of its own, does not read commands.
 */
#include "client/internal.h"

#include "ipc/fd.h"
#include "ipc/socket.h"

#include <errno.h>
#include <fcntl.h>
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

/* The largest payload of a fixed structure and data that a server has reason to send. */
#define MAX_MESSAGE (sizeof(struct vfio_user_header) + 4096 + VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE)

/* A server may attach descriptors to anything; a plain read would lose them. */
static bool may_carry_fds(const struct vfio_user_header *header)
{
    return true;
}

static ssize_t take(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds)
{
    const struct stream *stream = opaque;

    return socket_receive(stream->sock, buffer, size, MSG_DONTWAIT, fds);
}

int stream_open(struct stream *stream, int sock)
{
    AUTO_FD owned = sock;
    int flags = fcntl(owned, F_GETFL);
    int err;

    if (flags < 0 || fcntl(owned, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    err = frame_init(&stream->frame, MAX_MESSAGE);
    if (err < 0) {
        return err;
    }
    stream->sock = fd_take(&owned);
    stream->source = (struct frame_source){
        .sock = stream->sock,
        .carries_fds = may_carry_fds,
        .take = take,
        .opaque = stream,
    };
    stream->queue_head = NULL;
    stream->queue_tail = &stream->queue_head;
    stream->queued = 0;
    return 0;
}

static void drop_first(struct stream *stream)
{
    struct outgoing *out = stream->queue_head;

    stream->queue_head = out->next;
    if (stream->queue_head == NULL) {
        stream->queue_tail = &stream->queue_head;
    }
    stream->queued--;
    free(out);
}

static void drop_queue(struct stream *stream)
{
    while (stream->queue_head != NULL) {
        drop_first(stream);
    }
}

void stream_close(struct stream *stream)
{
    if (stream->sock < 0) {
        return;
    }
    drop_queue(stream);
    frame_fini(&stream->frame);
    fd_close(&stream->sock);
}

struct outgoing *stream_queue(struct stream *stream, size_t size, const struct fd_list *fds)
{
    struct outgoing *out = malloc(sizeof(*out) + size);

    if (out == NULL) {
        return NULL;
    }
    out->next = NULL;
    out->size = size;
    out->sent = 0;
    out->data = NULL;
    out->data_size = 0;
    out->fds = fds != NULL && fds->count > 0 ? fds : NULL;
    *stream->queue_tail = out;
    stream->queue_tail = &out->next;
    stream->queued++;
    return out;
}

static bool has_input(const struct stream *stream)
{
    return stream->sock >= 0;
}

static bool has_output(const struct stream *stream)
{
    return stream->sock >= 0 && stream->queue_head != NULL;
}

/* Descriptors go with the first byte and never again. */
static ssize_t send_rest(const struct stream *stream, const struct outgoing *out)
{
    struct iovec pieces[2];
    size_t count = 0;

    if (out->sent < out->size) {
        pieces[count++] = (struct iovec){ .iov_base = (void *)(out->bytes + out->sent),
                                          .iov_len = out->size - out->sent };
    }
    if (out->data_size > 0) {
        size_t sent = out->sent > out->size ? out->sent - out->size : 0;

        pieces[count++] = (struct iovec){ .iov_base = (uint8_t *)out->data + sent,
                                          .iov_len = out->data_size - sent };
    }
    return socket_send_pieces(stream->sock, pieces, count, MSG_DONTWAIT,
                              out->sent == 0 ? out->fds : NULL);
}

static int send_some(struct stream *stream)
{
    while (has_output(stream)) {
        struct outgoing *out = stream->queue_head;
        ssize_t n = send_rest(stream, out);

        if (n < 0) {
            return n == -EAGAIN ? 0 : (int)n;
        }
        out->sent += (size_t)n;
        if (out->sent == out->size + out->data_size) {
            drop_first(stream);
        }
    }
    return 0;
}

static int copy_payload(const struct frame *frame, struct vfu_client_message *message)
{
    if (message->size == 0) {
        return 0;
    }
    message->buffer = malloc(message->size);
    if (message->buffer == NULL) {
        return -ENOMEM;
    }
    message->payload = memcpy(message->buffer, frame_payload(frame), message->size);
    return 0;
}

/* A long message keeps the memory that it was received in. */
static int take_payload(struct vfu_client *client, struct frame *frame,
                        struct vfu_client_message *message)
{
    size_t capacity = client->spare != NULL ? client->spare_size : FRAME_INLINE_SIZE;
    uint8_t *next = client->spare != NULL ? client->spare : malloc(capacity);

    if (next == NULL) {
        return -ENOMEM;
    }
    client->spare = NULL;
    message->buffer = frame_exchange_buffer(frame, next, capacity);
    message->payload = message->buffer + sizeof(message->header);
    return 0;
}

static int take_message(struct vfu_client *client, struct frame *frame,
                        struct vfu_client_message *message)
{
    int err;

    *message = (struct vfu_client_message){
        .header = *frame_header(frame),
        .size = frame_payload_size(frame),
        .fds = frame->fds,
    };
    frame->fds.count = 0;
    if (message->header.msg_size <= FRAME_INLINE_SIZE) {
        err = copy_payload(frame, message);
        frame_reset(frame);
    } else {
        err = take_payload(client, frame, message);
    }
    if (err < 0) {
        vfu_client_message_release(message);
        return err;
    }
    return FRAME_COMPLETE;
}

int stream_receive(struct vfu_client *client, struct stream *stream,
                   struct vfu_client_message *message)
{
    int status;

    if (client->error < 0) {
        return client->error;
    }
    status = frame_receive(&stream->frame, &stream->source);
    if (status == FRAME_COMPLETE) {
        status = take_message(client, &stream->frame, message);
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

/* Messages in a row, before the clock is looked at again: a server may send without end. */
#define MAX_IN_A_ROW 256

static int receive_some(struct vfu_client *client, struct stream *stream)
{
    struct vfu_client_message message;
    int status = FRAME_PARTIAL;

    for (int i = 0; i < MAX_IN_A_ROW && has_input(stream); i++) {
        status = stream_receive(client, stream, &message);
        if (status != FRAME_COMPLETE) {
            break;
        }
        status = command_dispatch(client, stream, &message);
        if (status < 0) {
            client->error = status;
            break;
        }
    }
    return status;
}

int stream_progress(struct vfu_client *client)
{
    int sent = client->error == 0 ? send_some(&client->main) : 0;
    int received = receive_some(client, &client->main); /* also what a closed one still holds */

    if (received >= 0) {
        received = receive_some(client, &client->twin);
    }
    if (received < 0) {
        return received;
    }
    if (sent == 0) {
        sent = send_some(&client->twin);
    }
    if (sent < 0) {
        client->error = sent == -EPIPE || sent == -ECONNRESET ? -ENOTCONN : sent;
    }
    return client->error;
}

static struct pollfd events_of(const struct stream *stream)
{
    return (struct pollfd){
        .fd = stream->sock,
        .events = (short)(has_output(stream) ? POLLIN | POLLPRI | POLLOUT : POLLIN | POLLPRI),
    };
}

int stream_wait(struct vfu_client *client, int64_t deadline)
{
    struct pollfd fds[] = { events_of(&client->main), events_of(&client->twin) };
    int64_t left = deadline - now_ms();
    int ready = poll(fds, 2, left > 0 ? (int)left : 0);

    if (ready < 0 && errno != EINTR) {
        return -errno;
    }
    /* Out-of-band data cannot be received, but the socket is readable as long as it is there. */
    if (ready > 0 && ((fds[0].revents | fds[1].revents) & POLLPRI)) {
        client->error = -EPROTO;
        return client->error;
    }
    /* Also when there is something: what keeps arriving is not what is waited for. */
    return ready == 0 || left < 0 ? -ETIMEDOUT : 0;
}

int stream_flush(struct vfu_client *client, int64_t deadline)
{
    for (;;) {
        int err = stream_progress(client);

        /* What has been sent has been sent, even if the connection ended right after. */
        if (!has_output(&client->main)) {
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
            drop_queue(&client->main);
            return err;
        }
    }
}

int stream_send_only(struct vfu_client *client, int64_t deadline)
{
    struct stream *stream = &client->main;

    for (;;) {
        struct pollfd poll_fd = { .fd = stream->sock, .events = POLLOUT };
        int64_t left = deadline - now_ms();
        int err = send_some(stream);

        if (err == 0 && !has_output(stream)) {
            return 0;
        }
        if (err == 0 && poll(&poll_fd, 1, left > 0 ? (int)left : 0) == 0) {
            err = -ETIMEDOUT;
        }
        if (err < 0) {
            drop_queue(stream);
            return err;
        }
    }
}
