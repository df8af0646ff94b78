/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages that came while an answer of the client was awaited: whole ones, kept with their
 * descriptors until their turn comes. Bounded: who gets no answer for too many stops reading.
 */
#pragma once

#include "device/transport.h"
#include "ipc/frame.h"

#include <stdbool.h>
#include <stddef.h>

/* Beyond any of these nothing more is put in: by the last message it may be more. */
#define INBOX_MAX_MESSAGES 1024u
#define INBOX_MAX_BYTES (4u << 20)
#define INBOX_MAX_DESCRIPTORS FD_LIST_MAX

struct inbox_entry;

struct inbox {
    struct inbox_entry *first;
    struct inbox_entry *last;
    size_t messages;
    size_t bytes;
    size_t descriptors;
};

static inline bool inbox_is_empty(const struct inbox *inbox)
{
    return inbox->first == NULL;
}

bool inbox_is_full(const struct inbox *inbox);

/* Takes the message out of @frame, which is ready for the next one then. Returns 0 or -ENOMEM. */
int inbox_put(struct inbox *inbox, struct frame *frame, const struct vetting *vetting);

/*
 * Moves the oldest message into @frame, which is empty, and what is known of its descriptors into
 * @vetting. Not for an empty inbox. Returns 0, or -ENOMEM and leaves everything as it was.
 */
int inbox_get(struct inbox *inbox, struct frame *frame, struct vetting *vetting);

void inbox_clear(struct inbox *inbox);
