/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/connection.h"

#include "ipc/fd.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define NANOSECONDS 1000000000ull

/* Whoever does not come to wait looks after so many messages, or attempts, at what else there is.
 */
#define LOOK_AROUND 64u

uint64_t connection_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NANOSECONDS + (uint64_t)time.tv_nsec;
}

static ssize_t take(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds)
{
    struct connection *connection = opaque;
    struct transport *transport = connection->transport;

    return transport->ops->take(transport, connection->sock, command, buffer, size, fds);
}

int connection_init(struct connection *connection, struct transport *transport,
                    bool (*carries_fds)(const struct vfio_user_header *header))
{
    int err;

    *connection = (struct connection){
        .transport = transport,
        .sock = -1,
        .watched = -1,
        .twin = -1,
    };
    connection->source = (struct frame_source){
        .sock = -1,
        .carries_fds = carries_fds,
        .take = take,
        .opaque = connection,
    };
    err = frame_init(&connection->frame, 0);
    if (err < 0) {
        return err;
    }
    err = reply_init(&connection->reply);
    if (err < 0) {
        frame_fini(&connection->frame);
    }
    return err;
}

void connection_fini(struct connection *connection)
{
    connection_close(connection);
    reply_fini(&connection->reply);
    frame_fini(&connection->incoming);
    frame_fini(&connection->frame);
}

/* The client's time starts, unless it is running already. */
static void arm_deadline(struct connection *connection, unsigned seconds)
{
    if (connection->deadline == 0 && seconds > 0) {
        connection->deadline = connection_now() + seconds * NANOSECONDS;
    }
}

static void disarm_deadline(struct connection *connection)
{
    if (!connection->negotiating) {
        connection->deadline = 0;
    }
}

/* Nanoseconds until the deadline; 0 if it is over. */
static uint64_t time_left(const struct connection *connection)
{
    uint64_t time = connection_now();

    return connection->deadline > time ? connection->deadline - time : 0;
}

/* Lets the program's descriptor follow what is awaited. Nothing to do between whole messages. */
static void tell_transport(struct connection *connection)
{
    struct transport *transport = connection->transport;
    /* What waits in the inbox makes no socket readable, but most have room at any time. */
    bool room = connection->wants_room || !inbox_is_empty(&connection->inbox);
    bool timed = connection->deadline != 0;

    if (connection->told.room == room && !connection->told.timed && !timed) {
        return;
    }
    connection->told.room = room;
    connection->told.timed = timed;
    transport->ops->expect(transport, connection->sock, room, timed);
}

void connection_open(struct connection *connection, int sock, size_t max_size)
{
    connection->sock = sock;
    connection->source.sock = sock;
    frame_forget(&connection->source);
    connection->frame.max_size = max_size;
    adaptive_wait_init(&connection->pace, 0);
    connection->streak = false;
    connection->unwatched = 0;
    connection->attach_error = 0;
    connection->broken = 0;
    connection->abandoned = 0;
    connection->next_id = 0;
    connection->deadline = 0;
    arm_deadline(connection, connection->transport->handshake_seconds);
    connection->negotiating = true;
    connection->wants_room = false;
    connection->told.room = true; /* nothing of this client yet */
    tell_transport(connection);
}

void connection_negotiated(struct connection *connection, size_t max_size)
{
    connection->frame.max_size = max_size;
    connection->negotiating = false;
    connection->deadline = 0;
    tell_transport(connection);
}

void connection_close(struct connection *connection)
{
    struct transport *transport = connection->transport;

    if (!connection_is_open(connection)) {
        return;
    }
    transport->ops->detach(transport);
    fd_close(&connection->twin);
    fd_close(&connection->sock);
    connection->source.sock = -1;
    inbox_clear(&connection->inbox);
    frame_reset(&connection->incoming);
    connection_message_done(connection);
    reply_reset(&connection->reply);
}

void connection_message_done(struct connection *connection)
{
    frame_reset(&connection->frame);
    transport_forget_vetting(connection->transport);
}

/*
 * Waits for @events of the socket, for at most @timeout (NULL: for ever). Returns 0 if there is
 * something to do, CONNECTION_WATCHED (only for input) if that is all, or the error that ends the
 * wait.
 */
static int wait_for(struct connection *connection, short events, const struct timespec *timeout)
{
    struct pollfd fds[] = {
        /*
         * Out-of-band data has no place in this protocol. A receive does not return it, but poll
         * reports its socket as readable for ever: a client that sends it is not served.
         */
        { .fd = connection->sock, .events = (short)(events | POLLPRI) },
        { .fd = connection->transport->watch_fd, .events = POLLIN },
        { .fd = events & POLLIN ? connection->watched : -1, .events = POLLIN },
    };
    int n = ppoll(fds, 3, timeout, NULL);

    if (n < 0) {
        return -errno;
    }
    if (fds[1].revents != 0) {
        return -ESHUTDOWN;
    }
    if (fds[0].revents & POLLPRI) {
        return -EPROTO;
    }
    if (n == 0) {
        return -ETIMEDOUT;
    }
    return fds[0].revents != 0 ? 0 : CONNECTION_WATCHED;
}

int connection_wait(struct connection *connection, int sock, short events, uint64_t deadline)
{
    uint64_t now = connection_now();
    uint64_t left = deadline > now ? deadline - now : 0;
    const struct timespec timeout = {
        .tv_sec = (time_t)(left / NANOSECONDS),
        .tv_nsec = (long)(left % NANOSECONDS),
    };
    /* A client that has gone leaves its twin socket to nobody. */
    struct pollfd fds[] = {
        { .fd = sock, .events = events },
        { .fd = connection->sock, .events = POLLRDHUP | POLLPRI },
        { .fd = connection->transport->watch_fd, .events = POLLIN },
    };
    int n = left > 0 ? ppoll(fds, 3, &timeout, NULL) : 0; /* however much there is to do */

    if (n < 0) {
        return -errno;
    }
    if (fds[2].revents != 0) {
        return -ESHUTDOWN;
    }
    if (fds[1].revents & POLLPRI) {
        return -EPROTO;
    }
    if (fds[0].revents != 0) {
        return 0;
    }
    return n > 0 ? -ENOTCONN : -ETIMEDOUT;
}

void connection_break(struct connection *connection, int cause)
{
    connection->broken = cause;
    connection->deadline = 1; /* long ago */
    tell_transport(connection);
}

int connection_prepare_exchange(struct connection *connection)
{
    if (connection->broken < 0) {
        return -ENOTCONN;
    }
    return connection->incoming.data != NULL ? 0 : frame_init(&connection->incoming, 0);
}

void connection_finish_exchange(struct connection *connection)
{
    tell_transport(connection);
}

static int wait_patiently(struct connection *connection, short events)
{
    struct timespec timeout;
    uint64_t left;
    int result;

    if (connection->deadline == 0) {
        return wait_for(connection, events, NULL);
    }
    left = time_left(connection);
    timeout.tv_sec = (time_t)(left / NANOSECONDS);
    timeout.tv_nsec = (long)(left % NANOSECONDS);
    result = wait_for(connection, events, &timeout);
    return result == CONNECTION_WATCHED && left == 0 ? -ETIMEDOUT : result;
}

/*
 * Looks for out-of-band data, and at watch_fd, without waiting: before every look at the rest of a
 * message, and now and then. A message that comes in one piece costs no extra call.
 */
static int look_for_urgent(struct connection *connection)
{
    static const struct timespec no_time;
    int err = 0;

    if (frame_started(&connection->frame) || connection->unwatched >= LOOK_AROUND) {
        connection->unwatched = 0;
        err = wait_for(connection, 0, &no_time);
    }
    return err == -ETIMEDOUT || err == -EINTR ? 0 : err;
}

void connection_watch(struct connection *connection, int fd)
{
    struct transport *transport = connection->transport;

    if (connection->watched >= 0) {
        transport->ops->watch(transport, connection->watched, false);
    }
    connection->watched = fd;
    if (fd >= 0) {
        transport->ops->watch(transport, fd, true);
    }
}

/* For somebody who does not wait. */
static bool watched_is_ready(const struct connection *connection)
{
    static const struct timespec no_time;
    struct pollfd fd = { .fd = connection->watched, .events = POLLIN };

    return connection->watched >= 0 && ppoll(&fd, 1, &no_time, NULL) == 1;
}

/* What to tell a caller who does not wait, when nothing can be done. */
static int not_now(struct connection *connection)
{
    connection->unwatched++;
    return connection->deadline != 0 && time_left(connection) == 0 ? -ETIMEDOUT : -EAGAIN;
}

/* Without memory for it the stream cannot go on. */
static int receive_from_inbox(struct connection *connection)
{
    int err = inbox_get(&connection->inbox, &connection->frame, &connection->transport->vetting);

    return err < 0 ? -ENOBUFS : FRAME_COMPLETE;
}

/* Whether there is something to receive, or will be before a wait had better sleep. */
static bool is_there(struct connection *connection, uint64_t start)
{
    uint64_t window = connection->pace.window;

    if (frame_is_ahead(&connection->source)) {
        connection->streak = true;
        return true;
    }
    /* A client that sends several at once may have sent more: the peek that it takes comes first.
     */
    if (!connection->streak && window == 0) {
        return false;
    }
    do {
        if (frame_look_ahead(&connection->source)) {
            return true;
        }
    } while (window > 0 && connection_now() - start < window);
    connection->streak = false;
    return false;
}

/* Waits for the client's next message. Returns as wait_for(). */
static int await_message(struct connection *connection)
{
    bool adapts = connection->pace.limit > 0;
    bool spins = connection->pace.window > 0 && !frame_is_ahead(&connection->source);
    uint64_t start = adapts ? connection_now() : 0;
    int result;

    if (is_there(connection, start)) {
        if (spins) {
            adaptive_wait_hit(&connection->pace, connection_now() - start);
        }
        if (++connection->unwatched < LOOK_AROUND) {
            return 0;
        }
        result = look_for_urgent(connection);
        return result == 0 && watched_is_ready(connection) ? CONNECTION_WATCHED : result;
    }
    connection->unwatched = 0;
    result = wait_patiently(connection, POLLIN);
    if (adapts && result == 0) {
        adaptive_wait_slept(&connection->pace, connection_now() - start);
    }
    return result;
}

/* Waits for the rest of a message, or for the next one. */
static int await_input(struct connection *connection)
{
    return frame_started(&connection->frame) ? wait_patiently(connection, POLLIN)
                                             : await_message(connection);
}

static int receive(struct connection *connection, bool wait)
{
    if (connection->broken < 0) {
        return connection->broken;
    }
    if (!inbox_is_empty(&connection->inbox)) {
        return receive_from_inbox(connection);
    }
    for (;;) {
        int result = wait ? await_input(connection) : look_for_urgent(connection);

        if (result != 0) {
            return result;
        }
        result = frame_receive(&connection->frame, &connection->source);
        if (result != FRAME_PARTIAL) {
            disarm_deadline(connection);
            return result;
        }
        if (frame_started(&connection->frame)) {
            arm_deadline(connection, connection->transport->stall_seconds);
        }
        if (!wait) {
            result = not_now(connection);
            return result == -EAGAIN && watched_is_ready(connection) ? CONNECTION_WATCHED : result;
        }
    }
}

int connection_receive(struct connection *connection, bool wait)
{
    int result = receive(connection, wait);

    tell_transport(connection);
    return result;
}

static bool peer_is_gone(ssize_t err)
{
    return err == -EPIPE || err == -ECONNRESET || err == -ENOTCONN;
}

static ssize_t send_some(struct connection *connection)
{
    struct transport *transport = connection->transport;
    struct reply *reply = &connection->reply;
    const uint8_t *rest = reply->data + reply->sent;
    size_t size = reply->size - reply->sent;

    if (reply->attachment.kind == ATTACHMENT_NONE) {
        return transport->ops->send(transport, connection->sock, rest, size);
    }
    return transport->ops->send_attached(transport, connection->sock, rest, size,
                                         &reply->attachment);
}

/* Sends until all is sent (0), the socket is full (-EAGAIN), or the connection is broken. */
static int send_all(struct connection *connection)
{
    struct reply *reply = &connection->reply;

    while (reply_is_pending(reply)) {
        ssize_t n = send_some(connection);

        if (n > 0) {
            reply->sent += (size_t)n;
            attachment_reset(&reply->attachment);
            if (connection->transport->twin >= 0) {
                connection->twin = fd_take(&connection->transport->twin);
            }
        } else if (n == 0 || n == -EAGAIN || n == -EWOULDBLOCK) {
            return -EAGAIN;
        } else if (peer_is_gone(n)) {
            return -ENOTCONN;
        } else if (reply->attachment.kind != ATTACHMENT_NONE) {
            /* The descriptors cannot be sent: the client shall at least know. */
            connection->attach_error = (int)n;
            reply_fail(reply, (int)n);
            reply_finish(reply);
        } else if (n != -EINTR) {
            return (int)n;
        }
    }
    return 0;
}

static int flush(struct connection *connection, bool wait)
{
    int err;

    if (connection->broken < 0) {
        return connection->broken;
    }
    while ((err = send_all(connection)) == -EAGAIN) {
        connection->wants_room = true;
        arm_deadline(connection, connection->transport->stall_seconds);
        err = wait ? wait_patiently(connection, POLLOUT) : not_now(connection);
        if (err < 0) {
            return err;
        }
    }
    if (err == 0) {
        connection->wants_room = false;
        reply_reset(&connection->reply);
        disarm_deadline(connection);
    }
    return err;
}

int connection_flush(struct connection *connection, bool wait)
{
    int err = flush(connection, wait);

    tell_transport(connection);
    return err;
}
