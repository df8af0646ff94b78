/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client's connection: messages in, replies out, on a socket that never blocks. Half a message
 * and half a reply are kept until the rest can go on, so that neither a slow client nor a silent
 * one can hold up anything but itself.
 *
 * Where the caller wants to wait, the wait is one ppoll(2) on the socket and the transport's
 * watch_fd; adaptive_wait.h says what may come before it. It has no end while the client owes
 * nothing. As soon as it owes the rest of a message, or has a reply to read, it has the transport's
 * stall_seconds.
 */
#pragma once

#include "device/adaptive_wait.h"
#include "device/inbox.h"
#include "device/reply.h"
#include "device/transport.h"
#include "ipc/frame.h"

#include <stdbool.h>
#include <stdint.h>

struct connection {
    struct transport *transport;
    int sock; /* owned; -1: no client */
    struct frame frame;
    struct frame_source source;
    struct reply reply;
    int watched;           /* borrowed: input that is waited for too; -1: none */
    struct inbox inbox;    /* messages that wait for their turn */
    struct frame incoming; /* what comes while we wait for an answer; see exchange.c */
    int broken;            /* negative errno: the stream cannot be used any more; or 0 */
    unsigned abandoned;    /* answers that the client still owes, and that nobody waits for */
    uint16_t next_id;      /* of our commands */
    int twin;              /* where our own commands go; owned; -1: to @sock */
    int attach_error;      /* why the last descriptors could not be sent: negative errno, or 0 */
    bool negotiating;      /* the deadline is that of the handshake */
    uint64_t deadline;     /* CLOCK_MONOTONIC, nanoseconds; 0: the client owes nothing */
    bool wants_room;       /* there is a reply for which the socket has no room */
    struct {
        bool room;
        bool timed;
    } told; /* what the transport was told to expect */
    struct adaptive_wait pace;
    bool streak;        /* more than one message has been there at once */
    unsigned unwatched; /* times in a row that only the stream was looked at */
};

/* Allocates all that the connections of a context will need. Returns 0 or -ENOMEM. */
int connection_init(struct connection *connection, struct transport *transport,
                    bool (*carries_fds)(const struct vfio_user_header *header));
void connection_fini(struct connection *connection);

/* Starts with a new client; owns @sock from now on. @max_size bounds the client's messages. */
void connection_open(struct connection *connection, int sock, size_t max_size);

/* The version exchange is done: only the stall limit counts now. */
void connection_negotiated(struct connection *connection, size_t max_size);

/* Forgets the client and whatever was in flight. Safe without one. */
void connection_close(struct connection *connection);

static inline bool connection_is_open(const struct connection *connection)
{
    return connection->sock >= 0;
}

/* Waits for input from @fd too from now on, instead of the one before; -1 for none. */
void connection_watch(struct connection *connection, int fd);

/* What connection_receive() returns besides FRAME_COMPLETE: there is input from what is watched. */
#define CONNECTION_WATCHED 2

/*
 * Receives one message into connection->frame. Returns FRAME_COMPLETE, CONNECTION_WATCHED, or:
 *   -EAGAIN     not @wait, and there is none, or only a part
 *   -EINTR      a signal interrupted the wait
 *   -EBADMSG, -ENOMEM  as frame_receive(): the header can be answered, then it is over
 *   -ETIMEDOUT  the client owes something for too long
 *   -ENOTCONN   the client is gone
 *   -ESHUTDOWN  watch_fd: the session is over
 *   -errno      anything else; the connection cannot be used any more
 */
int connection_receive(struct connection *connection, bool wait);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t connection_now(void);

/*
 * Waits until @deadline for @events of @sock, which is the client's socket or the twin. Returns 0
 * if there is something to do, or as connection_receive().
 */
int connection_wait(struct connection *connection, int sock, short events, uint64_t deadline);

/*
 * Nothing more can be sent or received: connection_receive() and connection_flush() return @cause,
 * a negative errno, from now on, and the program's descriptor calls for them.
 */
void connection_break(struct connection *connection, int cause);

/* Around one exchange with the client. Returns 0, -ENOTCONN for a broken connection, -ENOMEM. */
int connection_prepare_exchange(struct connection *connection);
void connection_finish_exchange(struct connection *connection);

/* The message in hand is dealt with: closes what is left of its descriptors. */
void connection_message_done(struct connection *connection);

/*
 * Sends connection->reply, or the rest of it. Returns 0 when all of it is sent; else as
 * connection_receive(), with -EAGAIN while there is something left.
 */
int connection_flush(struct connection *connection, bool wait);
