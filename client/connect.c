/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"
#include "ipc/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

/* What the protocol says of a peer that says nothing. */
static const struct vfu_client_capabilities defaults = {
    .max_msg_fds = 1,
    .max_data_xfer_size = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE,
    .max_dma_maps = 65535,
    .pgsizes = 4096,
};

int vfu_client_adopt(int sock, int timeout_ms, struct vfu_client **client)
{
    AUTO_FD owned = sock;
    struct vfu_client *new = calloc(1, sizeof(*new));
    int err;

    if (new == NULL) {
        return -ENOMEM;
    }
    err = stream_open(&new->main, fd_take(&owned));
    if (err < 0) {
        free(new);
        return err;
    }
    new->twin.sock = -1;
    new->timeout_ms = timeout_ms;
    new->next_id = 1;
    new->server = defaults;
    new->max_data_xfer_size = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE;
    *client = new;
    return 0;
}

/*
 * A UNIX socket whose backlog is full refuses a non-blocking connect at once and has no way to
 * poll for room; a blocking one waits for as long as SO_SNDTIMEO says (af_unix.c,
 * unix_stream_connect).
 */
static int connect_within(int sock, const struct sockaddr_un *address, int timeout_ms)
{
    struct timeval limit = {
        .tv_sec = timeout_ms / 1000,
        .tv_usec = timeout_ms % 1000 * 1000,
    };
    const struct timeval unlimited = { .tv_sec = 0 };
    int result;

    if (limit.tv_sec == 0 && limit.tv_usec == 0) {
        limit.tv_usec = 1; /* zero would mean for ever */
    }
    if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0) {
        return -errno;
    }
    do {
        result = connect(sock, (const struct sockaddr *)address, sizeof(*address));
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    }
    if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &unlimited, sizeof(unlimited)) < 0) {
        return -errno;
    }
    return 0;
}

int vfu_client_connect(const char *path, int timeout_ms, struct vfu_client **client)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    AUTO_FD sock = -1;
    int err;

    if (strlen(path) >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return -errno;
    }
    err = connect_within(sock, &address, timeout_ms);
    if (err < 0) {
        return err;
    }
    return vfu_client_adopt(fd_take(&sock), timeout_ms, client);
}

struct vfu_client *vfu_client_free(struct vfu_client *client)
{
    if (client == NULL) {
        return NULL;
    }
    command_drop_all(client);
    stream_close(&client->twin);
    stream_close(&client->main);
    free(client->spare);
    free(client);
    return NULL;
}

void vfu_client_set_timeout(struct vfu_client *client, int timeout_ms)
{
    client->timeout_ms = timeout_ms;
}

int vfu_client_socket(const struct vfu_client *client)
{
    return client->main.sock;
}

int vfu_client_twin_socket(const struct vfu_client *client)
{
    return client->twin.sock;
}
