/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/wire.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_MAX (2u << 20)

static const char capabilities[] =
    "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
    "\"max_dma_maps\":1000000,\"pgsizes\":4096,\"migration\":{\"pgsize\":4096}}}";

int wire_open(const char *path)
{
    static const struct timeval patience = { .tv_sec = 120 };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (sock < 0) {
        err(EXIT_FAILURE, "socket");
    }
    /* An error reply that is shorter than what is awaited shall be seen too. */
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;

        close(sock);
        errno = error;
        return -1;
    }
    return sock;
}

size_t wire_negotiate(int sock)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_version version;
        char text[sizeof(capabilities)];
    } __attribute__((packed)) hello = {
        .header = { .cmd = VFIO_USER_VERSION, .msg_size = sizeof(hello) },
        .version = { .major = LIB_VFIO_USER_MAJOR, .minor = LIB_VFIO_USER_MINOR },
    };
    struct vfio_user_header header;
    char text[1024];

    memcpy(hello.text, capabilities, sizeof(capabilities));
    wire_send(sock, &hello, sizeof(hello));
    wire_receive(sock, &header, sizeof(header));
    if (header.flags & VFIO_USER_F_ERROR || header.msg_size > sizeof(text)) {
        errx(EXIT_FAILURE, "VERSION: errno %u", header.error_no);
    }
    wire_receive(sock, text, header.msg_size - sizeof(header));
    return header.msg_size;
}

void wire_frame_set(struct wire_frame *frame, uint16_t command, const void *payload, size_t size,
                    size_t reply_size)
{
    static uint16_t id;

    *frame = (struct wire_frame){
        .header = {
            .msg_id = id++,
            .cmd = command,
            .msg_size = (uint32_t)(sizeof(frame->header) + size),
        },
        .reply_size = reply_size,
    };
    memcpy(frame->payload, payload, size);
}

static void set_access(struct wire_frame *frame, uint16_t command,
                       const struct vfio_user_region_access *access, const void *data, size_t size,
                       size_t reply_size)
{
    uint8_t payload[sizeof(frame->payload)];

    memcpy(payload, access, sizeof(*access));
    if (size > 0) {
        memcpy(payload + sizeof(*access), data, size);
    }
    wire_frame_set(frame, command, payload, sizeof(*access) + size,
                   sizeof(frame->header) + sizeof(*access) + reply_size);
}

void wire_frame_read(struct wire_frame *frame, uint32_t region, uint64_t offset, uint32_t count)
{
    const struct vfio_user_region_access access = { offset, region, count };

    set_access(frame, VFIO_USER_REGION_READ, &access, NULL, 0, count);
}

void wire_frame_write(struct wire_frame *frame, uint32_t region, uint64_t offset, const void *data,
                      uint32_t count)
{
    const struct vfio_user_region_access access = { offset, region, count };

    set_access(frame, VFIO_USER_REGION_WRITE, &access, data, count, 0);
}

void wire_send(int sock, const void *bytes, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(sock, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);

        if (n < 0) {
            err(EXIT_FAILURE, "send");
        }
        sent += (size_t)n;
    }
}

void wire_send_fd(int sock, const void *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
                              .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS } };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    if (sendmsg(sock, &message, MSG_NOSIGNAL) != (ssize_t)size) {
        err(EXIT_FAILURE, "sendmsg");
    }
}

void wire_receive(int sock, void *bytes, size_t size)
{
    ssize_t n = recv(sock, bytes, size, MSG_WAITALL);

    if (n < 0) {
        err(EXIT_FAILURE, "recv");
    }
    if ((size_t)n != size) {
        errx(EXIT_FAILURE, "%zu bytes were awaited, %zd came", size, n);
    }
}

static void send_frame(int sock, const struct wire_frame *frame, int fd)
{
    if (fd >= 0) {
        wire_send_fd(sock, &frame->header, frame->header.msg_size, fd);
    } else {
        wire_send(sock, &frame->header, frame->header.msg_size);
    }
}

void wire_exchange_fd(int sock, const struct wire_frame *frame, int fd)
{
    static union {
        struct vfio_user_header header;
        char bytes[REPLY_MAX];
    } reply;

    send_frame(sock, frame, fd);
    wire_receive(sock, &reply, frame->reply_size);
    if (reply.header.flags & VFIO_USER_F_ERROR) {
        errno = (int)reply.header.error_no;
        err(EXIT_FAILURE, "command %u", frame->header.cmd);
    }
}

void wire_exchange(int sock, const struct wire_frame *frame)
{
    wire_exchange_fd(sock, frame, -1);
}

int wire_reply(int sock, void *payload)
{
    struct vfio_user_header header;

    wire_receive(sock, &header, sizeof(header));
    if (header.msg_size > sizeof(header)) {
        static char ignored[REPLY_MAX];

        wire_receive(sock, payload != NULL ? payload : ignored, header.msg_size - sizeof(header));
    }
    return header.flags & VFIO_USER_F_ERROR ? (int)header.error_no : 0;
}

int wire_command(int sock, const struct wire_frame *frame, int fd, void *payload)
{
    send_frame(sock, frame, fd);
    return wire_reply(sock, payload);
}
