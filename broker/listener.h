/* SPDX-License-Identifier: BSD-3-Clause */
/* The listening socket: bound with the wanted mode and group before anybody can connect. */
#pragma once

#include "broker/own_file.h"

#include <stdbool.h>
#include <sys/types.h>

struct listener {
    int fd; /* listening, non-blocking, close-on-exec; owned */
    struct own_file file;
};

#define LISTENER_NONE ((struct listener){ .fd = -1, .file.directory = -1 })

/*
 * Binds @path, which is borrowed. A socket file on which nobody accepts is replaced; a live one, or
 * a file of another kind, is an error. @group is (gid_t)-1 for none. Returns 0, or -1 with one line
 * in @error.
 */
int listener_bind(struct listener *listener, const char *path, mode_t mode, gid_t group,
                  char *error, size_t error_size);

/* Takes over @fd: must be a listening UNIX stream socket. Returns 0, or -1 with @error. */
int listener_inherit(struct listener *listener, int fd, char *error, size_t error_size);

/* Removes the socket file, if it is still ours. The socket itself stays open until the end. */
void listener_remove(struct listener *listener);
