/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control channels that the broker has given to this process, one for each of its sockets, and
 * the contexts that use them. A channel serves one context in the life of the process.
 */
#pragma once

#include "ipc/control.h"

#include <stddef.h>

struct broker_transport;

/*
 * Finds the channel for a context that wants @path: the one whose socket has the same name, the
 * last component of the path, else the first that is free. @first is the environment's word on the
 * channels. Returns its index and sets @fd, or -EINVAL if that is not a channel, or -EBUSY if there
 * is none left.
 */
int channels_claim(const char *first, const char *path, struct broker_transport *owner, int *fd);

/* The context is gone; nobody else gets its channel. */
void channels_release(int index);

size_t channels_count(void);

/* NULL if there is none, or none any more. */
struct broker_transport *channels_owner(size_t index);

/*
 * Waits until the broker's end of every channel is closed, which is the end of the session.
 * Returns -ESHUTDOWN then, -EINTR, or -EAGAIN if not @wait.
 */
int channels_wait_for_end(bool wait);

/* One thread at a time creates or seals. */
void channels_lock(void);
void channels_unlock(void);
