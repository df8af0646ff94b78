/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that travel together with one message. A list owns what it holds: whoever has the
 * list closes it with fd_list_close(), and takes out with fd_list_take() what it wants to keep.
 */
#pragma once

#include <stddef.h>

/* SCM_MAX_FD of the kernel: no message can carry more (unix(7)). */
#define FD_LIST_MAX 253

struct fd_list {
    size_t count;
    int fds[FD_LIST_MAX]; /* -1 where a descriptor was taken out */
};

static inline void fd_list_init(struct fd_list *list)
{
    list->count = 0;
}

/* Gives @fd to the list. The caller has made sure that there is room. */
static inline void fd_list_add(struct fd_list *list, int fd)
{
    list->fds[list->count++] = fd;
}

/* Moves descriptor @index to the caller; -1 if there is none (any more). */
int fd_list_take(struct fd_list *list, size_t index);

/* Closes what the list still owns and empties it. Safe on an empty list, and twice. */
void fd_list_close(struct fd_list *list);

#define AUTO_FD_LIST __attribute__((cleanup(fd_list_close))) struct fd_list
