/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the client library share: the connection with its queue of bytes to send, the
 * message being received, and the commands whose replies are awaited.
 */
#pragma once

#include "client/client.h"
#include "ipc/frame.h"

/* A message that is being sent. */
struct outgoing {
    struct outgoing *next;
    size_t size;
    size_t sent;
    const struct fd_list *fds; /* borrowed until the first byte is sent; NULL for none */
    uint8_t bytes[];
};

enum pending_state {
    PENDING_AWAITED,   /* no reply yet */
    PENDING_ANSWERED,  /* the reply is here */
    PENDING_ABANDONED, /* nobody waits any more; the reply will be dropped */
};

/* A command that has been sent and wants a reply. */
struct pending {
    struct pending *next;
    uint16_t id;
    uint16_t command;
    enum pending_state state;
    struct client_message reply;
};

struct client {
    int sock;
    int timeout_ms;
    int error; /* 0, or the -errno that ended the connection */

    struct frame frame; /* being received */
    struct outgoing *queue_head;
    struct outgoing **queue_tail;
    size_t queued; /* entries */

    struct pending *pending;
    uint16_t next_id;

    struct client_capabilities server;

    client_tap_fn *tap;
    void *tap_opaque;
};

/* Milliseconds since some start; deadlines are made of it. */
int64_t deadline_after(int timeout_ms);

/*
 * Appends a message to the queue. @fds must stay valid until it is sent. Returns the entry, which
 * the queue owns, or NULL without memory.
 */
struct outgoing *stream_queue(struct client *client, size_t size, const struct fd_list *fds);

/* True once everything queued has been sent. */
bool stream_is_flushed(const struct client *client);

/* Forgets what is queued. */
void stream_drop_queue(struct client *client);

/*
 * Sends and receives what can be without waiting; messages that arrive go to command_dispatch().
 * Returns 0, or the error that ended the connection.
 */
int stream_progress(struct client *client);

/* Waits until progress is possible. Returns 0, or -ETIMEDOUT at @deadline. */
int stream_wait(struct client *client, int64_t deadline);

/* Sends the queue to its end, receiving meanwhile. -ETIMEDOUT ends the connection. */
int stream_flush(struct client *client, int64_t deadline);

/* Sends the queue to its end and receives nothing. The connection stays as it is on an error. */
int stream_send_only(struct client *client, int64_t deadline);

/* Receives one message without waiting: a frame_status or the error that ended the connection. */
int stream_receive(struct client *client, struct client_message *message);

/* Takes a message that has arrived: a reply to somebody, or a command of the server's. */
int command_dispatch(struct client *client, struct client_message *message);

/* Frees what is outstanding. */
void command_drop_all(struct client *client);
