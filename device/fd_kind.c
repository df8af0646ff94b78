/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/fd_kind.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All anonymous inodes look alike to fstat(2); their link in /proc names them (proc(5)). */
bool fd_is_eventfd(int fd)
{
    static const char wanted[] = "anon_inode:[eventfd]";
    char path[32];
    char target[sizeof(wanted)];
    ssize_t n;
    int flags = fcntl(fd, F_GETFL);

    /* An O_PATH descriptor has the same link, and every write to it fails. */
    if (flags < 0 || (flags & O_PATH)) {
        return false;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target));
    return n == (ssize_t)strlen(wanted) && memcmp(target, wanted, strlen(wanted)) == 0;
}
