/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/frame.h"

#include "ipc/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_SIZE sizeof(struct vfio_user_header)

int frame_init(struct frame *frame, size_t max_size)
{
    *frame = (struct frame){ .capacity = FRAME_INLINE_SIZE, .max_size = max_size };
    frame->data = malloc(frame->capacity);
    return frame->data != NULL ? 0 : -ENOMEM;
}

void frame_fini(struct frame *frame)
{
    fd_list_close(&frame->fds);
    free(frame->data);
    frame->data = NULL;
}

void frame_reset(struct frame *frame)
{
    bool is_short = frame->have <= FRAME_INLINE_SIZE;

    fd_list_close(&frame->fds);
    frame->have = 0;
    if (frame->capacity > FRAME_INLINE_SIZE && is_short) {
        uint8_t *small = realloc(frame->data, FRAME_INLINE_SIZE);

        if (small != NULL) {
            frame->data = small;
            frame->capacity = FRAME_INLINE_SIZE;
        }
    }
}

uint8_t *frame_exchange_buffer(struct frame *frame, uint8_t *buffer, size_t capacity)
{
    uint8_t *taken = frame->data;

    fd_list_close(&frame->fds);
    frame->have = 0;
    frame->data = buffer;
    frame->capacity = capacity;
    return taken;
}

static int reserve(struct frame *frame, size_t size)
{
    uint8_t *larger;

    if (size <= frame->capacity) {
        return 0;
    }
    larger = realloc(frame->data, size);
    if (larger == NULL) {
        return -ENOMEM;
    }
    frame->data = larger;
    frame->capacity = size;
    return 0;
}

static int check_size(const struct frame *frame)
{
    size_t size = frame_header(frame)->msg_size;

    return size < HEADER_SIZE || size > frame->max_size ? -EBADMSG : 0;
}

/* @n bytes have been received. */
static void advance(struct lookahead *ahead, size_t n)
{
    size_t known = ahead->end - ahead->start;

    ahead->start += n < known ? n : known;
}

/* Turns the result of one receiving call into progress, "nothing there", or an error. */
static int account(struct frame *frame, struct frame_source *source, ssize_t n)
{
    if (n > 0) {
        frame->have += (size_t)n;
        advance(&source->ahead, (size_t)n);
        return 1;
    }
    if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
        return -ENOTCONN;
    }
    return n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR ? 0 : (int)n;
}

static int read_plain(struct frame *frame, struct frame_source *source, size_t until)
{
    ssize_t n = read(source->sock, frame->data + frame->have, until - frame->have);

    return account(frame, source, n < 0 ? -errno : n);
}

static int take(struct frame *frame, struct frame_source *source, uint16_t command, size_t size)
{
    if (size > FRAME_TAKE_MAX) {
        size = FRAME_TAKE_MAX;
    }
    return account(frame, source,
                   source->take(source->opaque, command, frame->data, size, &frame->fds));
}

static ssize_t look(struct frame_source *source)
{
    struct lookahead *ahead = &source->ahead;
    ssize_t n = socket_peek(source->sock, ahead->bytes, sizeof(ahead->bytes));

    ahead->start = 0;
    ahead->end = n > 0 ? (size_t)n : 0;
    return n;
}

bool frame_look_ahead(struct frame_source *source)
{
    ssize_t n = look(source);

    return n != -EAGAIN && n != -EWOULDBLOCK;
}

/* The message whose header is known. */
static int receive_known(struct frame *frame, struct frame_source *source)
{
    struct vfio_user_header header;
    size_t have;
    int result;

    memcpy(&header, source->ahead.bytes + source->ahead.start, HEADER_SIZE);
    memcpy(frame->data, &header, HEADER_SIZE);
    result = check_size(frame);
    if (result == 0) {
        result = reserve(frame, header.msg_size);
    }
    if (result < 0) {
        return result;
    }
    result = source->carries_fds(&header) ? take(frame, source, header.cmd, header.msg_size)
                                          : read_plain(frame, source, header.msg_size);
    have = frame->have < HEADER_SIZE ? frame->have : HEADER_SIZE;
    return memcmp(frame->data, &header, have) == 0 ? result : -EPROTO;
}

/* The first bytes of a message: the only ones that descriptors can come with. */
static int receive_first(struct frame *frame, struct frame_source *source)
{
    ssize_t n;

    if (frame_is_ahead(source)) {
        return receive_known(frame, source);
    }
    n = look(source);
    if (n <= 0) {
        return account(frame, source, n);
    }
    return (size_t)n < HEADER_SIZE ? take(frame, source, 0, HEADER_SIZE)
                                   : receive_known(frame, source);
}

static int receive_rest(struct frame *frame, struct frame_source *source)
{
    int err;

    if (frame->have < HEADER_SIZE) {
        return read_plain(frame, source, HEADER_SIZE);
    }
    err = check_size(frame);
    if (err == 0) {
        err = reserve(frame, frame_header(frame)->msg_size);
    }
    return err < 0 ? err : read_plain(frame, source, frame_header(frame)->msg_size);
}

int frame_receive(struct frame *frame, struct frame_source *source)
{
    while (frame->have < HEADER_SIZE || frame->have < frame_header(frame)->msg_size) {
        int progress =
            frame->have == 0 ? receive_first(frame, source) : receive_rest(frame, source);

        if (progress <= 0) {
            return progress == 0 ? FRAME_PARTIAL : progress;
        }
        if (frame->have >= HEADER_SIZE) {
            int err = check_size(frame);

            if (err < 0) {
                return err;
            }
        }
    }
    return FRAME_COMPLETE;
}

int frame_load(struct frame *frame, const void *message, size_t size)
{
    int err = reserve(frame, size);

    if (err < 0) {
        return err;
    }
    memcpy(frame->data, message, size);
    frame->have = size;
    return 0;
}
