/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/listener.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Clients beyond the one served wait here for the moment it takes to refuse them. */
#define BACKLOG 16

#ifndef SO_PASSPIDFD /* Linux 6.5 */
#define SO_PASSPIDFD 76
#endif

#define FAIL(...) (snprintf(error, error_size, __VA_ARGS__), -1)

/* Removes what a broker that was killed left behind. */
static int remove_stale(const struct sockaddr_un *address, char *error, size_t error_size)
{
    const char *path = address->sun_path;
    AUTO_FD probe = -1;
    struct stat st;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : FAIL("%s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return FAIL("%s: exists and is not a socket; remove it or choose another path", path);
    }
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return FAIL("socket: %s", strerror(errno));
    }
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno != ECONNREFUSED) {
        return FAIL("%s: in use: another process accepts connections on it", path);
    }
    return unlink(path) < 0 ? FAIL("%s: %s", path, strerror(errno)) : 0;
}

/* Until listen(2) nobody can connect, so mode and group are right before anybody does. */
static int bind_and_listen(struct listener *listener, const struct sockaddr_un *address,
                           const char *path, mode_t mode, gid_t group, char *error,
                           size_t error_size)
{
    mode_t old_mask = umask(0777);
    int result = bind(listener->fd, (const struct sockaddr *)address, sizeof(*address));

    umask(old_mask);
    if (result < 0) {
        return FAIL("%s: %s", path, strerror(errno));
    }
    if (own_file_remember(&listener->file, path) < 0) {
        return FAIL("%s: %s", path, strerror(errno));
    }
    if (group != (gid_t)-1 && chown(path, (uid_t)-1, group) < 0) {
        return FAIL("%s: group %u: %s", path, group, strerror(errno));
    }
    if (chmod(path, mode) < 0 || listen(listener->fd, BACKLOG) < 0) {
        return FAIL("%s: %s", path, strerror(errno));
    }
    return 0;
}

int listener_bind(struct listener *listener, const char *path, mode_t mode, gid_t group,
                  char *error, size_t error_size)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int result;

    *listener = LISTENER_NONE;
    if (path[0] == '\0' || strlen(path) >= sizeof(address.sun_path)) {
        return FAIL("%s: a socket path has 1 to %zu bytes", path, sizeof(address.sun_path) - 1);
    }
    strcpy(address.sun_path, path);
    if (remove_stale(&address, error, error_size) < 0) {
        return -1;
    }
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0) {
        return FAIL("socket: %s", strerror(errno));
    }
    result = bind_and_listen(listener, &address, path, mode, group, error, error_size);
    if (result < 0) {
        listener_remove(listener);
    }
    return result;
}

static int socket_option(int fd, int option)
{
    int value;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* Connections inherit these: the kernel would add to each message what nobody here asks for. */
static void clear_sender_options(int fd)
{
    static const int options[] = { SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD };
    const int off = 0;

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        /* A kernel that does not know one of them does not do it either. */
        (void)setsockopt(fd, SOL_SOCKET, options[i], &off, sizeof(off));
    }
}

int listener_inherit(struct listener *listener, int fd, char *error, size_t error_size)
{
    int flags = fcntl(fd, F_GETFL);

    *listener = LISTENER_NONE;
    if (flags < 0) {
        return FAIL("--fd %d: %s", fd, strerror(errno));
    }
    if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
        socket_option(fd, SO_ACCEPTCONN) != 1) {
        return FAIL("--fd %d: not a listening UNIX stream socket", fd);
    }
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return FAIL("--fd %d: %s", fd, strerror(errno));
    }
    clear_sender_options(fd);
    listener->fd = fd;
    return 0;
}

/*
 * Does not close the socket, for that drops what clients in its queue have sent, and a TCP socket
 * among that may linger for hours. Not in an ending process: the kernel closes it when we end.
 */
void listener_remove(struct listener *listener)
{
    own_file_remove(&listener->file);
}
