/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/ioeventfds.h"

#include "device/context.h"
#include "device/errors.h"
#include "device/shared_memory.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRY_SIZE sizeof(union sub_region)

/* Neither a client's question nor our answer may be larger than this. */
#define MAX_ARGSZ VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE
#define MAX_ENTRIES ((MAX_ARGSZ - sizeof(vfio_user_region_io_fds_reply_t)) / ENTRY_SIZE)

#define NO_INDEX UINT32_MAX

static int find(const struct fd_list *list, int fd)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->fds[i] == fd) {
            return (int)i;
        }
    }
    return -1;
}

/* Adds @fd unless it is there, or is none. Returns 0, or -ENOSPC if a message cannot carry it. */
static int add_once(struct fd_list *list, int fd)
{
    if (fd < 0 || find(list, fd) >= 0) {
        return 0;
    }
    if (list->count == FD_LIST_MAX) {
        return -ENOSPC;
    }
    fd_list_add(list, fd);
    return 0;
}

void ioeventfds_fini(struct ioeventfd_table *tables[VFU_PCI_DEV_NUM_REGIONS])
{
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        while (tables[i] != NULL && tables[i]->newest != NULL) {
            struct ioeventfd *entry = tables[i]->newest;

            tables[i]->newest = entry->next;
            free(entry);
        }
        free(tables[i]);
        tables[i] = NULL;
    }
}

/* --- creation --- */

static int check(const struct vfu_ctx *ctx, uint32_t region_idx, const struct ioeventfd *wanted)
{
    const struct transport *transport = ctx->transport;
    uint64_t end;

    if (region_idx >= VFU_PCI_DEV_NUM_REGIONS || wanted->fd < -1 || wanted->shadow_fd < -1 ||
        __builtin_add_overflow(wanted->offset, wanted->size, &end) ||
        end > ctx->regions[region_idx].size) {
        return -EINVAL;
    }
    if (!transport->ops->can_share(transport, wanted->fd, DESCRIPTOR_EVENTFD) ||
        !transport->ops->can_share(transport, wanted->shadow_fd, DESCRIPTOR_MEMORY)) {
        return -EPERM;
    }
    return 0;
}

static int add(struct ioeventfd_table *table, const struct ioeventfd *wanted)
{
    size_t known = table->fds.count;
    struct ioeventfd *entry;

    if (table->count == MAX_ENTRIES || add_once(&table->fds, wanted->fd) < 0 ||
        add_once(&table->fds, wanted->shadow_fd) < 0) {
        table->fds.count = known;
        return -ENOSPC;
    }
    entry = malloc(sizeof(*entry));
    if (entry == NULL) {
        table->fds.count = known;
        return -ENOMEM;
    }
    *entry = *wanted;
    entry->next = table->newest;
    table->newest = entry;
    table->count++;
    return 0;
}

static int create(struct vfu_ctx *ctx, uint32_t region_idx, const struct ioeventfd *wanted)
{
    int err = check(ctx, region_idx, wanted);
    struct ioeventfd_table **table;

    if (err < 0) {
        return err;
    }
    table = &ctx->ioeventfds[region_idx];
    if (*table == NULL) {
        *table = calloc(1, sizeof(**table));
    }
    err = *table != NULL ? add(*table, wanted) : -ENOMEM;
    if (err == 0) {
        shared_memory_add(ctx, wanted->shadow_fd);
    }
    return err;
}

int vfu_create_ioeventfd(vfu_ctx_t *ctx, uint32_t region_idx, int fd, size_t gpa_offset,
                         uint32_t size, uint32_t flags, uint64_t datamatch, int shadow_fd,
                         size_t shadow_offset)
{
    const struct ioeventfd wanted = {
        .offset = gpa_offset,
        .datamatch = datamatch,
        .shadow_offset = shadow_offset,
        .size = size,
        .flags = flags,
        .fd = fd,
        .shadow_fd = shadow_fd,
    };

    return api_result(create(ctx, region_idx, &wanted));
}

/* --- all of them, for the gate --- */

int io_fds_find(const struct io_fds *all, int fd)
{
    for (uint32_t i = 0; i < all->count; i++) {
        if (all->fds[i] == fd) {
            return (int)i;
        }
    }
    return -1;
}

static int collect(struct io_fds *all, int fd, enum descriptor_kind kind)
{
    if (fd < 0 || io_fds_find(all, fd) >= 0) {
        return 0;
    }
    if (all->count == CONTROL_IO_FDS_MAX) {
        return -E2BIG;
    }
    all->fds[all->count] = fd;
    all->kind[all->count] = (uint8_t)kind;
    all->count++;
    return 0;
}

int ioeventfds_collect(struct ioeventfd_table *const tables[VFU_PCI_DEV_NUM_REGIONS],
                       struct io_fds *all)
{
    int err = 0;

    all->count = 0;
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        const struct ioeventfd *entry = tables[i] != NULL ? tables[i]->newest : NULL;

        for (; entry != NULL && err == 0; entry = entry->next) {
            err = collect(all, entry->fd, DESCRIPTOR_EVENTFD);
            if (err == 0) {
                err = collect(all, entry->shadow_fd, DESCRIPTOR_MEMORY);
            }
        }
    }
    return err;
}

/* --- what a client asks --- */

/* The place of @fd among those that are sent, where it gets one if it has none. */
static uint32_t index_of(struct fd_list *sent, int fd)
{
    (void)add_once(sent, fd); /* there is room for all of a table's */
    return fd >= 0 ? (uint32_t)find(sent, fd) : NO_INDEX;
}

static void describe(const struct ioeventfd *entry, struct fd_list *sent, union sub_region *result)
{
    bool has_shadow = entry->shadow_fd >= 0;

    result->ioeventfd = (vfio_user_sub_region_ioeventfd_t){
        .gpa_offset = entry->offset,
        .size = entry->size,
        .fd_index = index_of(sent, entry->fd),
        .type = has_shadow ? VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW : VFIO_USER_IO_FD_TYPE_IOEVENTFD,
        .flags = entry->flags,
        .shadow_offset = entry->shadow_offset,
        .datamatch = entry->datamatch,
    };
    if (has_shadow) {
        result->ioeventfd.shadow_mem_fd_index = index_of(sent, entry->shadow_fd);
    }
}

static int check_request(const struct vfu_ctx *ctx, const vfio_user_region_io_fds_request_t *wanted)
{
    if (wanted->flags != 0 || wanted->count != 0 || wanted->index >= VFU_PCI_DEV_NUM_REGIONS ||
        ctx->regions[wanted->index].flags == 0 || wanted->argsz < sizeof(*wanted) ||
        wanted->argsz > MAX_ARGSZ) {
        return -EINVAL;
    }
    return 0;
}

int ioeventfds_handle_get(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const vfio_user_region_io_fds_request_t *wanted = request->payload;
    int err = check_request(ctx, wanted);
    const struct ioeventfd_table *table = err == 0 ? ctx->ioeventfds[wanted->index] : NULL;
    uint32_t count = table != NULL ? table->count : 0;
    uint32_t full = (uint32_t)(sizeof(vfio_user_region_io_fds_reply_t) + count * ENTRY_SIZE);
    bool complete = err == 0 && wanted->argsz >= full;
    vfio_user_region_io_fds_reply_t *answer;
    const struct ioeventfd *entry;

    if (err == 0 && complete && count > 0 && table->fds.count > ctx->session.client.max_msg_fds) {
        err = -ENOSPC; /* more descriptors than this client can receive */
    }
    if (err < 0) {
        return err;
    }
    answer = reply_payload(reply, complete ? full : sizeof(*answer));
    if (answer == NULL) {
        return -ENOMEM;
    }
    *answer = (vfio_user_region_io_fds_reply_t){
        .argsz = full,
        .index = wanted->index,
        .count = count,
    };
    if (!complete || count == 0) {
        return 0;
    }
    entry = table->newest;
    for (uint32_t i = 0; i < count; i++, entry = entry->next) {
        describe(entry, &reply->attachment.fds, &answer->sub_regions[i]);
    }
    if (reply->attachment.fds.count > 0) {
        reply->attachment.kind = ATTACHMENT_IO_FDS;
    }
    return 0;
}
