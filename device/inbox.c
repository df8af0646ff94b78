/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct inbox_entry {
    struct inbox_entry *next;
    struct vetting vetting;
    struct fd_list fds; /* owned */
    size_t size;
    uint8_t message[];
};

bool inbox_is_full(const struct inbox *inbox)
{
    return inbox->messages >= INBOX_MAX_MESSAGES || inbox->bytes >= INBOX_MAX_BYTES ||
           inbox->descriptors >= INBOX_MAX_DESCRIPTORS;
}

int inbox_put(struct inbox *inbox, struct frame *frame, const struct vetting *vetting)
{
    struct inbox_entry *entry = malloc(sizeof(*entry) + frame->have);

    if (entry == NULL) {
        return -ENOMEM;
    }
    entry->next = NULL;
    entry->vetting = *vetting;
    entry->fds = frame->fds;
    entry->size = frame->have;
    memcpy(entry->message, frame->data, frame->have);
    frame->fds.count = 0; /* they are the entry's now */
    frame_reset(frame);
    if (inbox->last != NULL) {
        inbox->last->next = entry;
    } else {
        inbox->first = entry;
    }
    inbox->last = entry;
    inbox->messages++;
    inbox->bytes += entry->size;
    inbox->descriptors += entry->fds.count;
    return 0;
}

static void drop_first(struct inbox *inbox)
{
    struct inbox_entry *entry = inbox->first;

    inbox->first = entry->next;
    if (inbox->first == NULL) {
        inbox->last = NULL;
    }
    inbox->messages--;
    inbox->bytes -= entry->size;
    free(entry);
}

int inbox_get(struct inbox *inbox, struct frame *frame, struct vetting *vetting)
{
    struct inbox_entry *entry = inbox->first;
    int err = frame_load(frame, entry->message, entry->size);

    if (err < 0) {
        return err;
    }
    frame->fds = entry->fds;
    *vetting = entry->vetting;
    inbox->descriptors -= entry->fds.count;
    drop_first(inbox);
    return 0;
}

void inbox_clear(struct inbox *inbox)
{
    while (!inbox_is_empty(inbox)) {
        inbox->descriptors -= inbox->first->fds.count;
        fd_list_close(&inbox->first->fds);
        drop_first(inbox);
    }
}
