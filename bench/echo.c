/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/echo.h"

#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_SIZE (2u << 20)

static bool receive(int sock, char *buffer, size_t size)
{
    return recv(sock, buffer, size, MSG_WAITALL) == (ssize_t)size;
}

/* As receive(), and one descriptor may come along. */
static bool receive_fd(int sock, char *buffer, size_t size)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = buffer, .iov_len = size };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);

    if (n > 0 && message.msg_controllen > 0) {
        int fd;

        memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
        close(fd);
    }
    return n == (ssize_t)size;
}

void echo_serve(int sock, const void *opaque)
{
    static char buffer[BUFFER_SIZE];
    const struct echo_script *script = opaque;

    for (size_t i = 0;; i = (i + 1) % script->count) {
        const struct echo_step *step = &script->steps[i];

        for (unsigned k = 0; k < step->every; k++) {
            if (!(script->takes_fds ? receive_fd : receive)(sock, buffer, step->in)) {
                return;
            }
        }
        for (size_t sent = 0; sent < step->out;) {
            ssize_t n = send(sock, buffer + sent, step->out - sent, MSG_NOSIGNAL);

            if (n < 0) {
                return;
            }
            sent += (size_t)n;
        }
    }
}

void echo_spawn(struct echo *echo, enum placement placement,
                void (*serve)(int sock, const void *opaque), const void *opaque)
{
    int socks[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) < 0) {
        err(EXIT_FAILURE, "socketpair");
    }
    echo->pid = fork();
    if (echo->pid < 0) {
        err(EXIT_FAILURE, "fork");
    }
    if (echo->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(socks[0]);
        processors_enter(placement);
        serve(socks[1], opaque);
        _exit(0);
    }
    close(socks[1]);
    echo->sock = socks[0];
}

void echo_stop(struct echo *echo)
{
    close(echo->sock);
    kill(echo->pid, SIGKILL); /* a later one has inherited our end of its socket */
    waitpid(echo->pid, NULL, 0);
}
