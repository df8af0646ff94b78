/* SPDX-License-Identifier: BSD-3-Clause */
/* A single owned descriptor: closed when its variable goes out of scope, unless taken. */
#pragma once

#include <unistd.h>

static inline void fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* Moves ownership out of @fd, which then holds nothing. */
static inline int fd_take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#define AUTO_FD __attribute__((cleanup(fd_close))) int
