/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that costs as little as that of the baseline: frames that are made in advance, one
 * blocking send and one blocking receive. The library of client/ allocates for each message.
 *
 * A connection that breaks ends the program.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vfio-user/vfio-user.h>

/* A command, ready to be sent, and how long its reply is. */
struct wire_frame {
    struct vfio_user_header header;
    uint8_t payload[112];
    size_t reply_size;
};

void wire_frame_set(struct wire_frame *frame, uint16_t command, const void *payload, size_t size,
                    size_t reply_size);

/* An access of @count bytes, at most 64, to a region; @data only for a write. */
void wire_frame_read(struct wire_frame *frame, uint32_t region, uint64_t offset, uint32_t count);
void wire_frame_write(struct wire_frame *frame, uint32_t region, uint64_t offset, const void *data,
                      uint32_t count);

/* Connects: the socket, or -1 and errno if nobody is there (yet). */
int wire_open(const char *path);

/* Says VERSION and reads the answer. Returns the size of that. */
size_t wire_negotiate(int sock);

void wire_send(int sock, const void *bytes, size_t size);
void wire_send_fd(int sock, const void *bytes, size_t size, int fd);
void wire_receive(int sock, void *bytes, size_t size);

/* There and back, with a descriptor (-1: none). Of the reply it is seen only that it is no error.
 */
void wire_exchange_fd(int sock, const struct wire_frame *frame, int fd);
void wire_exchange(int sock, const struct wire_frame *frame);

/*
 * The same with a descriptor (-1: none). @payload: of the reply; NULL: not wanted. Returns 0, or
 * the errno that the reply says.
 */
int wire_command(int sock, const struct wire_frame *frame, int fd, void *payload);

/* The reply alone. */
int wire_reply(int sock, void *payload);
