/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Framing of the vfio-user stream: one message at a time, in whatever pieces it comes, never a
 * byte beyond its end, so that the descriptors of the next message stay with it.
 *
 * A frame never blocks. It peeks at the header; a message that may carry descriptors is then taken
 * with them through @take, any other one with a plain read. What a peek shows in less than a
 * header goes through @take too: its first byte may carry descriptors, and poll would report it
 * readable for ever.
 *
 * A peek shows as much as there is, up to LOOKAHEAD_SIZE, so that the next messages need none of
 * their own. That is knowledge; nothing is received early: what is known of a message stays in the
 * socket, which stays readable, and its descriptors stay with it. It remains true, because bytes
 * that are queued in a socket do not change and nothing gets in front of them (Linux,
 * unix_stream_read_generic()), and because whoever receives them does so here: a gate only when
 * @take asks it to. The one exception is out-of-band data, which a peek may show where a read skips
 * it, or the reverse: a header that is received has to be the one that was seen. To forget what is
 * known costs no more than another peek.
 */
#pragma once

#include "ipc/fd_list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-user/vfio-user.h>

/*
 * Room that a frame keeps. A longer message gets a larger buffer, which stays until a short one has
 * been received: memory that is given back and taken again for each of a row of long ones costs as
 * much as their transfer.
 */
#define FRAME_INLINE_SIZE 4096u

/* @take need not deliver more than this in one call. */
#define FRAME_TAKE_MAX 4096u

/* As many requests to read a register as clients have in flight: 64 of 32 bytes. */
#define LOOKAHEAD_SIZE 2048u

/* What a peek has shown of the stream, beyond what has been received. */
struct lookahead {
    size_t start; /* of that, in @bytes */
    size_t end;
    uint8_t bytes[LOOKAHEAD_SIZE];
};

struct frame_source {
    int sock;
    /* Whether a message with this header may carry descriptors. */
    bool (*carries_fds)(const struct vfio_user_header *header);
    /*
     * Receives 1 to @size bytes without blocking, with what descriptors come with them.
     * @command is 0 where the header is not complete. As socket_receive().
     */
    ssize_t (*take)(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds);
    void *opaque;
    struct lookahead ahead; /* forgotten with frame_forget(), where @sock becomes another one */
};

struct frame {
    uint8_t *data;      /* the message, header first; 16-byte aligned */
    size_t have;        /* bytes of it received */
    size_t capacity;    /* bytes allocated at @data */
    size_t max_size;    /* largest message accepted, header included */
    struct fd_list fds; /* what came with it, owned */
};

enum frame_status {
    FRAME_PARTIAL = 0,  /* nothing more to receive now: wait for input */
    FRAME_COMPLETE = 1, /* frame_header() says what; frame_reset() when done with it */
};

/* Returns 0 or -ENOMEM. @max_size bounds what a message can make us allocate. */
int frame_init(struct frame *frame, size_t max_size);
void frame_fini(struct frame *frame);

/*
 * Receives what is there of the current message. Returns a frame_status, or:
 *   -ENOTCONN the stream ended or was reset, between messages or inside one
 *   -EBADMSG  msg_size is less than a header or more than max_size: the header can be answered,
 *             but the framing is lost, and the connection must be closed
 *   -ENOMEM   no memory for the body
 *   -EPROTO   out-of-band data has changed the stream
 *   -errno    what @take or read(2) returned
 */
int frame_receive(struct frame *frame, struct frame_source *source);

/*
 * Peeks, between two messages. Returns whether frame_receive() would have something to do: at least
 * a part of a message, the end of the stream, or an error.
 */
bool frame_look_ahead(struct frame_source *source);

/* Whether the next header is known without another peek. */
static inline bool frame_is_ahead(const struct frame_source *source)
{
    return source->ahead.end - source->ahead.start >= sizeof(struct vfio_user_header);
}

static inline void frame_forget(struct frame_source *source)
{
    source->ahead.start = 0;
    source->ahead.end = 0;
}

/* True if part of a message is here, so that its sender owes the rest. */
static inline bool frame_started(const struct frame *frame)
{
    return frame->have > 0;
}

/* Valid once a whole header is here. */
static inline struct vfio_user_header *frame_header(const struct frame *frame)
{
    return (struct vfio_user_header *)frame->data;
}

static inline void *frame_payload(const struct frame *frame)
{
    return frame->data + sizeof(struct vfio_user_header);
}

static inline size_t frame_payload_size(const struct frame *frame)
{
    return frame_header(frame)->msg_size - sizeof(struct vfio_user_header);
}

/* True if all of a message is here. */
static inline bool frame_is_complete(const struct frame *frame)
{
    return frame->have >= sizeof(struct vfio_user_header) &&
           frame->have == frame_header(frame)->msg_size;
}

/* Puts the @size bytes of a whole message into an empty frame. Returns 0 or -ENOMEM. */
int frame_load(struct frame *frame, const void *message, size_t size);

/* Closes the descriptors that nobody took, and makes ready for the next message. */
void frame_reset(struct frame *frame);

/*
 * Gives the message's buffer, header first, to the caller for another one of @capacity bytes, at
 * least FRAME_INLINE_SIZE, and makes ready for the next message. Who has a buffer frees it.
 */
uint8_t *frame_exchange_buffer(struct frame *frame, uint8_t *buffer, size_t capacity);
