/* SPDX-License-Identifier: BSD-3-Clause */
/* The device of a fuzzer without a broker. */
#include "tests/fuzz/surroundings.h"

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

char surroundings_path[SURROUNDINGS_PATH_SIZE];

void surroundings_begin(void)
{
    if (surroundings_path[0] == '\0') {
        snprintf(surroundings_path, sizeof(surroundings_path), "/tmp/vfu-fuzz-%d", getpid());
        unlink(surroundings_path);
    }
}

void surroundings_end(void)
{
}

int surroundings_connect(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, surroundings_path);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        err(1, "connect");
    }
    return sock;
}

void surroundings_lie(const uint8_t *changes, size_t size)
{
}
