/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

#include <stddef.h>

int vfu_client_get_irq_info(struct vfu_client *client, uint32_t index, struct vfio_irq_info *info)
{
    const struct vfio_irq_info ask = { .argsz = sizeof(ask), .index = index };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_GET_IRQ_INFO,
        .head = &ask,
        .head_size = sizeof(ask),
    };

    return vfu_client_command_fixed(client, &request, info, sizeof(*info));
}

int vfu_client_set_irqs(struct vfu_client *client, uint32_t flags, uint32_t index, uint32_t start,
                        uint32_t count, const uint8_t *bools, const int *fds, size_t fd_count)
{
    const struct vfio_irq_set set = {
        .argsz = offsetof(struct vfio_irq_set, data),
        .flags = flags,
        .index = index,
        .start = start,
        .count = count,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_SET_IRQS,
        .head = &set,
        .head_size = offsetof(struct vfio_irq_set, data),
        .data = bools,
        .data_size = bools != NULL ? count : 0,
        .fds = fds,
        .fd_count = fd_count,
    };

    return vfu_client_command_fixed(client, &request, NULL, 0);
}

int vfu_client_irq_assign(struct vfu_client *client, uint32_t index, uint32_t start,
                          const int *eventfds, uint32_t count)
{
    uint32_t limit = client->server.max_msg_fds;

    /* A server that says 0 takes none at all: let it answer for itself. */
    limit = limit == 0 ? 1 : limit > FD_LIST_MAX ? FD_LIST_MAX : limit;
    for (uint32_t done = 0; done < count;) {
        uint32_t n = count - done < limit ? count - done : limit;
        int result =
            vfu_client_set_irqs(client, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                index, start + done, n, NULL, eventfds + done, n);

        if (result != 0) {
            return result;
        }
        done += n;
    }
    return 0;
}

int vfu_client_irq_deassign(struct vfu_client *client, uint32_t index, uint32_t start,
                            uint32_t count)
{
    return vfu_client_set_irqs(client, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                               index, start, count, NULL, NULL, 0);
}

int vfu_client_irq_disable(struct vfu_client *client, uint32_t index)
{
    return vfu_client_set_irqs(client, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index,
                               0, 0, NULL, NULL, 0);
}
