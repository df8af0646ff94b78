/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

int client_dma_map(struct client *client, uint64_t iova, uint64_t size, uint32_t flags, int fd,
                   uint64_t offset)
{
    const struct vfio_user_dma_map map = {
        .argsz = sizeof(map),
        .flags = flags,
        .offset = offset,
        .addr = iova,
        .size = size,
    };
    const struct client_request request = {
        .command = VFIO_USER_DMA_MAP,
        .head = &map,
        .head_size = sizeof(map),
        .fds = &fd,
        .fd_count = fd >= 0 ? 1 : 0,
    };

    return client_command_fixed(client, &request, NULL, 0);
}

static int unmap(struct client *client, uint32_t flags, uint64_t iova, uint64_t size)
{
    const struct vfio_user_dma_unmap ask = {
        .argsz = sizeof(ask),
        .flags = flags,
        .addr = iova,
        .size = size,
    };
    const struct client_request request = {
        .command = VFIO_USER_DMA_UNMAP,
        .head = &ask,
        .head_size = sizeof(ask),
    };
    struct vfio_user_dma_unmap answer;

    return client_command_fixed(client, &request, &answer, sizeof(answer));
}

int client_dma_unmap(struct client *client, uint64_t iova, uint64_t size)
{
    return unmap(client, 0, iova, size);
}

int client_dma_unmap_all(struct client *client)
{
    return unmap(client, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
}
