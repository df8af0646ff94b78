/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ioeventfds of a region. The reply is the server's and not trusted: its entries have 40 bytes
 * in the protocol's text and 48 with shadow memory, and each index has to name a descriptor.
 */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE sizeof(vfio_user_region_io_fds_reply_t)
#define ENTRY_SIZE sizeof(vfio_user_sub_region_ioeventfd_t)
#define SHORT_ENTRY_SIZE sizeof(vfio_user_sub_region_ioregionfd_t)

/* What a server may be asked for at most. */
#define MAX_ARGSZ VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE

void vfu_client_io_fds_release(struct vfu_client_io_fds *io_fds)
{
    fd_list_close(&io_fds->fds);
    free(io_fds->entries);
    io_fds->entries = NULL;
    io_fds->count = 0;
}

static int ask(struct vfu_client *client, uint32_t index, uint32_t argsz,
               struct vfu_client_message *reply, vfio_user_region_io_fds_reply_t *head)
{
    const vfio_user_region_io_fds_request_t question = { .argsz = argsz, .index = index };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        .head = &question,
        .head_size = sizeof(question),
    };
    int result = vfu_client_command(client, &request, reply);

    if (result != 0) {
        return result;
    }
    if (reply->size < sizeof(*head)) {
        return -EPROTO;
    }
    memcpy(head, reply->payload, sizeof(*head));
    return head->index == index && head->argsz >= HEADER_SIZE ? 0 : -EPROTO;
}

static bool index_is_valid(uint32_t index, const struct fd_list *fds)
{
    return index == UINT32_MAX || index < fds->count;
}

static void read_entry(const uint8_t *bytes, size_t size, vfio_user_sub_region_ioeventfd_t *entry)
{
    vfio_user_sub_region_ioregionfd_t brief;

    if (size == ENTRY_SIZE) {
        memcpy(entry, bytes, ENTRY_SIZE);
        return;
    }
    memcpy(&brief, bytes, sizeof(brief));
    *entry = (vfio_user_sub_region_ioeventfd_t){
        .gpa_offset = brief.offset,
        .size = brief.size,
        .fd_index = brief.fd_index,
        .type = brief.type,
        .flags = brief.flags,
        .datamatch = brief.user_data,
    };
}

static int read_entries(struct vfu_client_message *reply, uint32_t count,
                        struct vfu_client_io_fds *io_fds)
{
    size_t bytes = reply->size - HEADER_SIZE;
    size_t size = count > 0 ? bytes / count : 0;

    if (count == 0) {
        return bytes == 0 && reply->fds.count == 0 ? 0 : -EPROTO;
    }
    if ((size != ENTRY_SIZE && size != SHORT_ENTRY_SIZE) || size * count != bytes) {
        return -EPROTO;
    }
    io_fds->entries = calloc(count, ENTRY_SIZE);
    if (io_fds->entries == NULL) {
        return -ENOMEM;
    }
    io_fds->count = count;
    for (uint32_t i = 0; i < count; i++) {
        vfio_user_sub_region_ioeventfd_t *entry = &io_fds->entries[i];

        read_entry(reply->payload + HEADER_SIZE + i * size, size, entry);
        if (!index_is_valid(entry->fd_index, &reply->fds) ||
            (entry->type == VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW &&
             !index_is_valid(entry->shadow_mem_fd_index, &reply->fds))) {
            return -EPROTO;
        }
    }
    io_fds->fds = reply->fds;
    reply->fds.count = 0;
    return 0;
}

int vfu_client_get_io_fds(struct vfu_client *client, uint32_t index,
                          struct vfu_client_io_fds *io_fds)
{
    uint32_t argsz = HEADER_SIZE;

    *io_fds = (struct vfu_client_io_fds){ .count = 0 };
    /* The first answer says how much room the whole takes, the second has it. */
    for (int tries = 0; tries < 2; tries++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        vfio_user_region_io_fds_reply_t head;
        int result = ask(client, index, argsz, &reply, &head);

        if (result != 0) {
            return result;
        }
        if (head.argsz <= argsz) {
            result = read_entries(&reply, head.count, io_fds);
            if (result < 0) {
                vfu_client_io_fds_release(io_fds);
            }
            return result;
        }
        if (head.argsz > MAX_ARGSZ) {
            return -EPROTO;
        }
        argsz = head.argsz;
    }
    return -EPROTO;
}
