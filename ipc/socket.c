/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union control_buffer {
    char bytes[CMSG_SPACE(FD_LIST_MAX * sizeof(int))];
    struct cmsghdr align;
};

ssize_t socket_peek(int sock, void *buffer, size_t size)
{
    ssize_t n = recv(sock, buffer, size, MSG_PEEK | MSG_DONTWAIT);

    return n < 0 ? -errno : n;
}

/* Everything goes into the list first, so that an error closes it all. */
static int collect_descriptors(struct msghdr *msg, struct fd_list *fds)
{
    int err = (msg->msg_flags & MSG_CTRUNC) ? -EPROTO : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            err = -EPROTO;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            fd_list_add(fds, fd);
        }
    }
    return err;
}

ssize_t socket_receive(int sock, void *buffer, size_t size, int flags, struct fd_list *fds)
{
    union control_buffer control;
    struct iovec iov = { .iov_base = buffer, .iov_len = size };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    AUTO_FD_LIST received = { .count = 0 };
    ssize_t n;
    int err;

    do {
        n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    err = collect_descriptors(&msg, &received);
    if (err == 0 && (msg.msg_flags & MSG_TRUNC)) {
        err = -EMSGSIZE;
    }
    if (err == 0 && fds == NULL && received.count > 0) {
        err = -EPROTO;
    }
    if (err < 0) {
        return err;
    }
    if (fds != NULL) {
        fds->count = received.count;
        memcpy(fds->fds, received.fds, received.count * sizeof(int));
        received.count = 0;
    }
    return n;
}

ssize_t socket_send(int sock, const void *buffer, size_t size, int flags, const struct fd_list *fds)
{
    const struct iovec piece = { .iov_base = (void *)buffer, .iov_len = size };

    return socket_send_pieces(sock, &piece, 1, flags, fds);
}

ssize_t socket_send_pieces(int sock, const struct iovec *pieces, size_t count, int flags,
                           const struct fd_list *fds)
{
    union control_buffer control;
    struct msghdr msg = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = count };
    ssize_t n;

    if (fds != NULL && fds->count > 0) {
        size_t bytes = fds->count * sizeof(int);

        memset(&control, 0, CMSG_SPACE(bytes));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), fds->fds, bytes);
    }
    do {
        n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
