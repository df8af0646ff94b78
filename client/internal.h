/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the client library share: the connection, which is one stream or two, and the
 * commands whose replies are awaited.
 */
#pragma once

#include "client/client.h"
#include "ipc/frame.h"

/* A message that is being sent. */
struct outgoing {
    struct outgoing *next;
    size_t size;               /* of @bytes */
    size_t sent;               /* of @bytes, and then of @data */
    const struct fd_list *fds; /* borrowed until the first byte is sent; NULL for none */
    const void *data;          /* behind @bytes, borrowed until all is sent */
    size_t data_size;
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
    struct vfu_client_message reply;
};

/* A connected socket, the message being received from it, and those waiting to be sent. */
struct stream {
    int sock; /* owned; -1: there is no such stream */
    struct frame frame;
    struct frame_source source;
    struct outgoing *queue_head;
    struct outgoing **queue_tail;
    size_t queued; /* entries */
};

struct vfu_client {
    struct stream main;
    struct stream twin; /* for the commands of the server, if it was negotiated */
    int timeout_ms;
    int error; /* 0, or the -errno that ended the connection */

    uint8_t *spare; /* for the next long message, as large as a message was; or NULL */
    size_t spare_size;

    struct pending *pending;
    uint16_t next_id;

    struct vfu_client_capabilities server;
    uint64_t max_data_xfer_size; /* what we told the server to keep to */

    vfu_client_dma_fn *dma; /* NULL: the server's commands are refused */
    void *dma_opaque;

    vfu_client_tap_fn *tap;
    void *tap_opaque;
};

/* Milliseconds since some start; deadlines are made of it. */
int64_t deadline_after(int timeout_ms);

/* Takes @sock, whatever the result, and makes it non-blocking. Returns 0 or -errno. */
int stream_open(struct stream *stream, int sock);

/* Safe on a stream that is closed already. */
void stream_close(struct stream *stream);

/*
 * Appends a message to the queue. @fds must stay valid until it is sent. Returns the entry, which
 * the queue owns, or NULL without memory.
 */
struct outgoing *stream_queue(struct stream *stream, size_t size, const struct fd_list *fds);

/*
 * Sends and receives what can be without waiting; messages that arrive go to command_dispatch().
 * Returns 0, or the error that ended the connection.
 */
int stream_progress(struct vfu_client *client);

/*
 * Waits until progress is possible. Returns 0, -ETIMEDOUT at @deadline, or -EPROTO, which ends the
 * connection: the server sent out-of-band data.
 */
int stream_wait(struct vfu_client *client, int64_t deadline);

/* Sends the queue to its end, receiving meanwhile. -ETIMEDOUT ends the connection. */
int stream_flush(struct vfu_client *client, int64_t deadline);

/* Sends the queue to its end and receives nothing. The connection stays as it is on an error. */
int stream_send_only(struct vfu_client *client, int64_t deadline);

/* Receives one message without waiting: a frame_status or the error that ended the connection. */
int stream_receive(struct vfu_client *client, struct stream *stream,
                   struct vfu_client_message *message);

/* Takes a message that has arrived on @stream: a reply to somebody, or a command of the server's.
 */
int command_dispatch(struct vfu_client *client, struct stream *stream,
                     struct vfu_client_message *message);

/* Answers a command of the server's on the stream that it came by. Returns 0 or -errno. */
int serve_command(struct vfu_client *client, struct stream *stream,
                  const struct vfu_client_message *command);

/* Frees what is outstanding. */
void command_drop_all(struct vfu_client *client);

/* --- live migration (live.c) --- */

/*
 * Pieces in which the device's data travel. A short one fits into a socket, and the last one of
 * all is filled up to its size by some servers: that is paid for while nothing runs.
 */
#define LIVE_CHUNK VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE
#define LIVE_LAST_CHUNK (128u << 10)

#define LIVE_CONFIG_SIZE 256u

/*
 * Copies what the source's device has to give until that is all, or all for now, or about @limit;
 * adds to @bytes. As of client.h.
 */
int live_copy_data(struct vfu_client *from, struct vfu_client *to, uint32_t chunk, uint64_t limit,
                   uint64_t *bytes);

/* Gives the destination the registers of config space that clients set, as they are in @config. */
int live_restore_config(struct vfu_client *to, const uint8_t *config);
