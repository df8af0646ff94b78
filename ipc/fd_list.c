/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/fd_list.h"

#include "ipc/fd.h"

int fd_list_take(struct fd_list *list, size_t index)
{
    return index < list->count ? fd_take(&list->fds[index]) : -1;
}

void fd_list_close(struct fd_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        fd_close(&list->fds[i]);
    }
    list->count = 0;
}
