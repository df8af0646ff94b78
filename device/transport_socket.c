/* SPDX-License-Identifier: BSD-3-Clause */
/* Standalone: the device listens on a UNIX socket of its own. */
#include "device/transport.h"

#include "device/context.h"
#include "device/memory_guard.h"
#include "device/poller.h"
#include "device/shared_memory.h"
#include "ipc/fd.h"
#include "ipc/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vfio-user/vfu-broker.h>

#define HANDSHAKE_SECONDS 10
#define STALL_SECONDS 30

struct socket_transport {
    struct transport base;
    bool nonblocking;
    int listener;
    struct poller poller;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* empty: an abstract address */
    dev_t device; /* of the socket file, to remove no other one */
    ino_t inode;
};

static struct socket_transport *self(const struct transport *transport)
{
    return (struct socket_transport *)transport;
}

static int socket_attach(struct transport *transport, struct vfu_ctx *ctx, bool wait)
{
    AUTO_FD sock = -1;
    int err = 0;

    shared_memory_begin(ctx);
    sock = accept4(self(transport)->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (sock < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    if (ctx->session.dma.enabled) {
        err = memory_guard_begin(&ctx->session.dma);
    }
    if (err < 0) {
        return err;
    }
    poller_watch(&self(transport)->poller, self(transport)->listener, 0); /* one at a time */
    return fd_take(&sock);
}

static ssize_t socket_take(struct transport *transport, int sock, uint16_t command, void *buffer,
                           size_t size, struct fd_list *fds)
{
    return socket_receive(sock, buffer, size, MSG_DONTWAIT, fds);
}

static ssize_t socket_send_plain(struct transport *transport, int sock, const void *buffer,
                                 size_t size)
{
    ssize_t n = send(sock, buffer, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 ? -errno : n;
}

/* The client's end is left as clients make their sockets themselves. */
static int make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    if (fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        int err = -errno;

        fd_close(&pair[0]);
        fd_close(&pair[1]);
        return err;
    }
    return 0;
}

static ssize_t send_with_twin(struct transport *transport, int sock, const void *buffer,
                              size_t size)
{
    AUTO_FD_LIST client_end = { .count = 0 };
    int pair[2];
    ssize_t n = make_pair(pair);

    if (n < 0) {
        return n;
    }
    fd_list_add(&client_end, pair[1]);
    n = socket_send(sock, buffer, size, MSG_DONTWAIT, &client_end);
    if (n > 0) {
        transport->twin = fd_take(&pair[0]);
    }
    fd_close(&pair[0]);
    return n;
}

static ssize_t socket_send_attached(struct transport *transport, int sock, const void *buffer,
                                    size_t size, const struct attachment *attachment)
{
    if (attachment->kind == ATTACHMENT_TWIN) {
        return send_with_twin(transport, sock, buffer, size);
    }
    return socket_send(sock, buffer, size, MSG_DONTWAIT, &attachment->fds);
}

static bool socket_can_share(const struct transport *transport, int fd, enum descriptor_kind kind)
{
    return true;
}

static void socket_expect(struct transport *transport, int sock, bool room, bool timed)
{
    poller_expect(&self(transport)->poller, sock, room, timed);
}

static void socket_watch(struct transport *transport, int fd, bool on)
{
    if (on) {
        poller_watch(&self(transport)->poller, fd, EPOLLIN);
    } else {
        poller_ignore(&self(transport)->poller, fd);
    }
}

static void socket_negotiated(struct transport *transport)
{
}

static void socket_detach(struct transport *transport)
{
    poller_watch(&self(transport)->poller, self(transport)->listener, EPOLLIN);
    poller_forget_client(&self(transport)->poller);
}

static int socket_poll_fd(const struct transport *transport)
{
    return self(transport)->poller.epoll;
}

static void remove_socket_file(const struct socket_transport *transport)
{
    struct stat status;

    if (transport->path[0] != '\0' && lstat(transport->path, &status) == 0 &&
        status.st_dev == transport->device && status.st_ino == transport->inode) {
        unlink(transport->path);
    }
}

static void socket_destroy(struct transport *transport)
{
    remove_socket_file(self(transport));
    fd_close(&self(transport)->listener);
    poller_fini(&self(transport)->poller);
    free(transport);
}

static const struct transport_ops socket_ops = {
    .attach = socket_attach,
    .take = socket_take,
    .send = socket_send_plain,
    .send_attached = socket_send_attached,
    .can_share = socket_can_share,
    .expect = socket_expect,
    .watch = socket_watch,
    .negotiated = socket_negotiated,
    .detach = socket_detach,
    .poll_fd = socket_poll_fd,
    .destroy = socket_destroy,
};

/* Binds and listens. An empty path gives an address of zeros only, which is an abstract one. */
static int start_listening(struct socket_transport *transport, const char *path)
{
    int flags = transport->nonblocking ? SOCK_NONBLOCK : 0;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat status;

    transport->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (transport->listener < 0) {
        return -errno;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (bind(transport->listener, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return -errno;
    }
    memcpy(transport->path, path, strlen(path));
    if (path[0] != '\0' && lstat(path, &status) == 0) {
        transport->device = status.st_dev;
        transport->inode = status.st_ino;
    }
    return listen(transport->listener, 0) < 0 ? -errno : 0;
}

int transport_socket_create(struct transport **result, const char *path, bool nonblocking)
{
    struct socket_transport *transport;
    int err;

    if (strlen(path) >= sizeof(transport->path)) {
        return -ENAMETOOLONG;
    }
    transport = calloc(1, sizeof(*transport));
    if (transport == NULL) {
        return -ENOMEM;
    }
    transport->base = (struct transport){
        .ops = &socket_ops,
        .twin = -1,
        .watch_fd = -1,
        .handshake_seconds = HANDSHAKE_SECONDS,
        .stall_seconds = STALL_SECONDS,
        .max_dma_regions = SIZE_MAX,
        .max_dma_bytes = UINT64_MAX,
        .max_poll_us = VFU_POLL_US_MAX,
    };
    transport->nonblocking = nonblocking;
    transport->listener = -1;
    /* A program whose calls wait has its deadlines kept by them. */
    err = poller_init(&transport->poller, nonblocking);
    if (err == 0) {
        err = start_listening(transport, path);
    }
    if (err == 0) {
        err = poller_watch(&transport->poller, transport->listener, EPOLLIN);
    }
    if (err < 0) {
        socket_destroy(&transport->base);
        return err;
    }
    *result = &transport->base;
    return 0;
}
