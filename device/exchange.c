/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/exchange.h"

#include "device/context.h"
#include "device/progress.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Answers that a client may owe for ever: it has stopped to answer at all. */
#define MAX_ABANDONED 256u

struct exchange {
    struct vfu_ctx *ctx;
    struct connection *connection;
    struct frame_source *source;
    const struct vfio_user_header *command;
    uint64_t deadline;
    bool twin;
    bool moved;             /* connection->incoming began with what connection->frame had */
    struct vetting vetting; /* of the message in hand, meanwhile */
};

/* The stream cannot be followed from here on. Returns @result. */
static int break_off(struct exchange *x, int cause, int result)
{
    connection_break(x->connection, cause);
    return result;
}

static int lose(struct exchange *x, int err)
{
    return err == -ENOMEM ? break_off(x, -ENOBUFS, err) : break_off(x, err, -ENOTCONN);
}

/* The command has been sent, and its answer will be dropped. Returns @result. */
static int abandon(struct exchange *x, int result)
{
    if (++x->connection->abandoned > MAX_ABANDONED) {
        return break_off(x, -ETIMEDOUT, result);
    }
    return result;
}

/* --- the streams --- */

/* Descriptors have no place on the twin socket: a plain read leaves them to the kernel. */
static ssize_t take_from_twin(void *opaque, uint16_t command, void *buffer, size_t size,
                              struct fd_list *fds)
{
    const struct connection *connection = opaque;
    ssize_t n = read(connection->twin, buffer, size);

    return n < 0 ? -errno : n;
}

static bool never_carries_fds(const struct vfio_user_header *header)
{
    return false;
}

/* The commands go to the twin socket, if there is one; @twin becomes the source of its stream. */
static void choose_stream(struct exchange *x, struct frame_source *twin)
{
    x->twin = x->connection->twin >= 0;
    x->source = x->twin ? twin : &x->connection->source;
    if (x->twin) {
        twin->sock = x->connection->twin;
        twin->carries_fds = never_carries_fds;
        twin->take = take_from_twin;
        twin->opaque = x->connection;
        frame_forget(twin);
    }
}

/*
 * Half a message may be there already, if the caller is in no callback: it goes on in
 * connection->incoming. A whole one is in the hands of the caller's caller, and stays.
 */
static void put_message_aside(struct exchange *x)
{
    struct connection *connection = x->connection;
    struct frame *frame = &connection->frame;

    x->moved = !x->twin && frame_started(frame) && !frame_is_complete(frame);
    x->vetting = connection->transport->vetting;
    if (x->moved) {
        struct frame empty = connection->incoming;

        connection->incoming = *frame;
        *frame = empty;
    } else {
        transport_forget_vetting(connection->transport);
    }
    connection->incoming.max_size = MESSAGE_MAX;
    frame->max_size = MESSAGE_MAX;
}

static void take_message_up(struct exchange *x)
{
    transport_forget_vetting(x->connection->transport);
    if (!x->moved) {
        x->connection->transport->vetting = x->vetting;
    }
}

/* --- what arrives --- */

/* Returns 1 if it is the answer, 0 if something else has been dealt with, or a negative errno. */
static int handle_reply(struct exchange *x, bool sent)
{
    struct connection *connection = x->connection;
    const struct vfio_user_header *header = frame_header(&connection->incoming);

    if (sent && header->msg_id == x->command->msg_id) {
        return 1;
    }
    log_client(x->ctx, LOG_WARNING, "dropping a reply to nothing (command %u)", header->cmd);
    frame_reset(&connection->incoming);
    if (connection->abandoned > 0) {
        connection->abandoned--;
        return 0;
    }
    return sent ? abandon(x, -EPROTO) : break_off(x, -EPROTO, -EPROTO);
}

static int handle_command(struct exchange *x)
{
    struct connection *connection = x->connection;
    struct transport *transport = connection->transport;
    int err;

    if (x->twin) {
        log_client(x->ctx, LOG_WARNING, "dropping a command on the twin socket");
        frame_reset(&connection->incoming);
        return 0;
    }
    err = inbox_put(&connection->inbox, &connection->incoming, &transport->vetting);
    if (err < 0) {
        return lose(x, err);
    }
    transport_forget_vetting(transport);
    return 0;
}

static int handle_message(struct exchange *x, bool sent)
{
    switch (frame_header(&x->connection->incoming)->flags & VFIO_USER_F_TYPE_MASK) {
    case VFIO_USER_F_TYPE_COMMAND:
        return handle_command(x);
    case VFIO_USER_F_TYPE_REPLY:
        return handle_reply(x, sent);
    default:
        return break_off(x, -EPROTO, -EINVAL);
    }
}

static bool has_room(const struct exchange *x)
{
    return x->twin || frame_started(&x->connection->incoming) ||
           !inbox_is_full(&x->connection->inbox);
}

/*
 * Receives what is there. Returns 1 with the answer, 0 if there is nothing more now, or a negative
 * errno; -ENOBUFS: there is no room for more.
 */
static int receive(struct exchange *x, bool sent)
{
    while (has_room(x)) {
        int status = frame_receive(&x->connection->incoming, x->source);

        if (status == FRAME_PARTIAL) {
            return 0;
        }
        if (status == -EBADMSG) {
            return break_off(x, -EPROTO, -EINVAL);
        }
        if (status == FRAME_COMPLETE) {
            status = handle_message(x, sent);
        } else {
            return lose(x, status);
        }
        if (status != 0) {
            return status;
        }
        if (connection_now() >= x->deadline) {
            return 0;
        }
    }
    return -ENOBUFS;
}

/* --- the exchange --- */

/* Waits for @events. Returns 0, -ETIMEDOUT, or what a broken connection has for a result. */
static int wait(struct exchange *x, short events)
{
    int err = connection_wait(x->connection, x->source->sock, events, x->deadline);

    return err == 0 || err == -EINTR || err == -ETIMEDOUT ? err : lose(x, err);
}

/* A reply to an earlier command that the client has not read yet goes first. */
static int finish_replies(struct exchange *x)
{
    struct connection *connection = x->connection;
    int err = 0;

    while (!x->twin && reply_is_ready(&connection->reply) &&
           (err = connection_flush(connection, true)) == -EINTR) {
    }
    return err < 0 ? lose(x, err) : 0;
}

/* A client that has no room for more may itself be waiting for us to read. */
static int make_room(struct exchange *x)
{
    int received = x->twin ? 0 : receive(x, false);
    short events = received == -ENOBUFS || x->twin ? POLLOUT : POLLIN | POLLOUT;
    int err;

    if (received < 0 && received != -ENOBUFS) {
        return received;
    }
    err = wait(x, events);
    return err == -EINTR ? 0 : err;
}

static int send_command(struct exchange *x, const uint8_t *message, size_t size)
{
    struct transport *transport = x->connection->transport;
    size_t sent = 0;

    while (sent < size) {
        ssize_t n = transport->ops->send(transport, x->source->sock, message + sent, size - sent);
        int err = 0;

        if (n > 0) {
            sent += (size_t)n;
        } else if (n == 0 || n == -EAGAIN || n == -EWOULDBLOCK) {
            err = make_room(x);
        } else if (n != -EINTR) {
            err = lose(x, -ENOTCONN);
        }
        if (err == -ETIMEDOUT) {
            return break_off(x, err, err); /* half a message may be there */
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

static int await_reply(struct exchange *x)
{
    for (;;) {
        int result = receive(x, true);

        if (result == 0) {
            result = wait(x, POLLIN);
        }
        if (result == -ETIMEDOUT) {
            return frame_started(&x->connection->incoming) ? break_off(x, result, result)
                                                           : abandon(x, result);
        }
        if (result == -ENOBUFS) {
            return abandon(x, result);
        }
        if (result != 0 && result != -EINTR) {
            return result < 0 ? result : 0;
        }
    }
}

static int run(struct vfu_ctx *ctx, void *message, size_t size, uint64_t deadline)
{
    struct connection *connection = &ctx->connection;
    struct vfio_user_header *header = message;
    struct exchange x = {
        .ctx = ctx,
        .connection = connection,
        .command = header,
        .deadline = deadline,
    };
    struct frame_source twin;
    int err = connection_prepare_exchange(connection);

    if (err < 0) {
        return err;
    }
    header->msg_id = connection->next_id++;
    header->msg_size = (uint32_t)size;
    header->flags = VFIO_USER_F_TYPE_COMMAND;
    header->error_no = 0;
    choose_stream(&x, &twin);
    err = finish_replies(&x);
    if (err < 0) {
        return err;
    }
    put_message_aside(&x);
    err = send_command(&x, message, size);
    if (err == 0) {
        err = await_reply(&x);
    }
    take_message_up(&x);
    connection_finish_exchange(connection);
    return err;
}

int exchange(struct vfu_ctx *ctx, void *message, size_t size, uint64_t deadline)
{
    bool inside = progress_pause(ctx->requests);
    int err = run(ctx, message, size, deadline);

    progress_resume(ctx->requests, inside);
    return err;
}
