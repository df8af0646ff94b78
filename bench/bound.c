/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/bound.h"
#include "bench/stats.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPIN_NS 1000000u
#define BUFFER_SIZE 4096

static char buffer[BUFFER_SIZE];

/* False if there is nothing. */
static bool peek(int sock)
{
    ssize_t n = recv(sock, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);

    if (n == 0) {
        _exit(0);
    }
    return n > 0;
}

static void answer(int sock, const struct bound *bound)
{
    if (read(sock, buffer, bound->in) != (ssize_t)bound->in ||
        write(sock, buffer, bound->out) != (ssize_t)bound->out) {
        _exit(0);
    }
}

void bound_serve_waiting(int sock, const void *opaque)
{
    struct pollfd fd = { .fd = sock, .events = POLLIN };

    while (ppoll(&fd, 1, NULL, NULL) == 1 && peek(sock)) {
        answer(sock, opaque);
    }
}

void bound_serve_spinning(int sock, const void *opaque)
{
    struct pollfd fd = { .fd = sock, .events = POLLIN };
    uint64_t last = 0;

    for (;;) {
        if (peek(sock)) {
            answer(sock, opaque);
            last = stats_now();
        } else if (stats_now() - last > SPIN_NS) {
            ppoll(&fd, 1, NULL, NULL);
            last = stats_now();
        }
    }
}
