/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptors that go to a client with the first byte of a reply. */
#pragma once

#include "ipc/fd_list.h"

#include <stdint.h>

enum attachment_kind {
    ATTACHMENT_NONE,
    ATTACHMENT_REGION, /* the memory of a region */
    ATTACHMENT_IO_FDS, /* the eventfds and shadow memory of ioeventfds */
    ATTACHMENT_TWIN,   /* one end of a new pair of sockets; the list stays empty */
};

struct attachment {
    enum attachment_kind kind;
    uint32_t region;    /* whose memory it is, with ATTACHMENT_REGION */
    struct fd_list fds; /* borrowed: never closed through this list */
};

/* Makes it nothing at all. The list may be large: it is not cleared. */
static inline void attachment_reset(struct attachment *attachment)
{
    attachment->kind = ATTACHMENT_NONE;
    attachment->fds.count = 0;
}
