/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that the broker made for its lifetime, the socket or the pid file, and removes at its end.
 */
#pragma once

#include <sys/types.h>

struct own_file {
    int directory;    /* an O_PATH descriptor; owned; -1: nothing to remove */
    const char *name; /* in it; borrowed */
    dev_t device;     /* of the file, so that nobody else's is removed */
    ino_t inode;
};

/* Remembers the file at @path, which is borrowed. Returns 0, or -1 and errno. */
int own_file_remember(struct own_file *file, const char *path);

/*
 * Removes it if it is still the one that was remembered. Root does so as the directory's owner, for
 * it may have given up the capability to override that one's mode.
 */
void own_file_remove(struct own_file *file);

/* Makes @path, a regular file that holds @text, and remembers it. Returns 0, or -1 and errno. */
int own_file_write(struct own_file *file, const char *path, const char *text);
