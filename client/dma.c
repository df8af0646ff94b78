/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

int vfu_client_dma_map(struct vfu_client *client, uint64_t iova, uint64_t size, uint32_t flags,
                       int fd, uint64_t offset)
{
    const struct vfio_user_dma_map map = {
        .argsz = sizeof(map),
        .flags = flags,
        .offset = offset,
        .addr = iova,
        .size = size,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DMA_MAP,
        .head = &map,
        .head_size = sizeof(map),
        .fds = &fd,
        .fd_count = fd >= 0 ? 1 : 0,
    };

    return vfu_client_command_fixed(client, &request, NULL, 0);
}

static int unmap(struct vfu_client *client, uint32_t flags, uint64_t iova, uint64_t size)
{
    const struct vfio_user_dma_unmap ask = {
        .argsz = sizeof(ask),
        .flags = flags,
        .addr = iova,
        .size = size,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DMA_UNMAP,
        .head = &ask,
        .head_size = sizeof(ask),
    };
    struct vfio_user_dma_unmap answer;

    return vfu_client_command_fixed(client, &request, &answer, sizeof(answer));
}

int vfu_client_dma_unmap(struct vfu_client *client, uint64_t iova, uint64_t size)
{
    return unmap(client, 0, iova, size);
}

int vfu_client_dma_unmap_dirty(struct vfu_client *client, uint64_t iova, uint64_t size,
                               uint64_t page_size, void *bitmap)
{
    const struct vfio_user_bitmap head = {
        .pgsize = page_size,
        .size = vfu_client_dirty_bytes(size, page_size),
    };
    const struct vfio_user_dma_unmap ask = {
        .argsz = (uint32_t)(sizeof(ask) + sizeof(head) + head.size),
        .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
        .addr = iova,
        .size = size,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DMA_UNMAP,
        .head = &ask,
        .head_size = sizeof(ask),
        .data = &head,
        .data_size = sizeof(head),
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int result = vfu_client_command(client, &request, &reply);

    if (result != 0) {
        return result;
    }
    if (reply.size != ask.argsz || reply.fds.count != 0 ||
        memcmp(reply.payload, &ask, sizeof(ask)) != 0 ||
        memcmp(reply.payload + sizeof(ask), &head, sizeof(head)) != 0) {
        return -EPROTO;
    }
    memcpy(bitmap, reply.payload + sizeof(ask) + sizeof(head), head.size);
    return 0;
}

int vfu_client_dma_unmap_all(struct vfu_client *client)
{
    return unmap(client, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
}
