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
    fd_list_close(&frame->fds);
    frame->have = 0;
    if (frame->capacity > FRAME_INLINE_SIZE) {
        uint8_t *small = realloc(frame->data, FRAME_INLINE_SIZE);

        if (small != NULL) {
            frame->data = small;
            frame->capacity = FRAME_INLINE_SIZE;
        }
    }
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

/* Turns the result of one receiving call into progress, "nothing there", or an error. */
static int account(struct frame *frame, ssize_t n)
{
    if (n > 0) {
        frame->have += (size_t)n;
        return 1;
    }
    if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
        return -ENOTCONN;
    }
    return n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR ? 0 : (int)n;
}

static ssize_t read_plain(struct frame *frame, int sock, size_t until)
{
    ssize_t n = read(sock, frame->data + frame->have, until - frame->have);

    return n < 0 ? -errno : n;
}

static int take(struct frame *frame, const struct frame_source *source, uint16_t command,
                size_t size)
{
    if (size > FRAME_TAKE_MAX) {
        size = FRAME_TAKE_MAX;
    }
    return account(frame, source->take(source->opaque, command, frame->data, size, &frame->fds));
}

/* The first bytes of a message: the only ones that descriptors can come with. */
static int receive_first(struct frame *frame, const struct frame_source *source)
{
    ssize_t n = socket_peek(source->sock, frame->data, HEADER_SIZE);
    const struct vfio_user_header *header = frame_header(frame);
    int err;

    if (n <= 0) {
        return account(frame, n);
    }
    if ((size_t)n < HEADER_SIZE) {
        return take(frame, source, 0, HEADER_SIZE);
    }
    err = check_size(frame);
    if (err < 0) {
        return err;
    }
    err = reserve(frame, header->msg_size);
    if (err < 0) {
        return err;
    }
    header = frame_header(frame);
    if (source->carries_fds(header)) {
        return take(frame, source, header->cmd, header->msg_size);
    }
    return account(frame, read_plain(frame, source->sock, header->msg_size));
}

static int receive_rest(struct frame *frame, const struct frame_source *source)
{
    int err;

    if (frame->have < HEADER_SIZE) {
        return account(frame, read_plain(frame, source->sock, HEADER_SIZE));
    }
    err = check_size(frame);
    if (err == 0) {
        err = reserve(frame, frame_header(frame)->msg_size);
    }
    if (err < 0) {
        return err;
    }
    return account(frame, read_plain(frame, source->sock, frame_header(frame)->msg_size));
}

int frame_receive(struct frame *frame, const struct frame_source *source)
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
