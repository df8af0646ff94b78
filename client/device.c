/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

int vfu_client_get_device_info(struct vfu_client *client, struct vfio_user_device_info *info)
{
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_GET_INFO,
        .head = &ask,
        .head_size = sizeof(ask),
    };

    return vfu_client_command_fixed(client, &request, info, sizeof(*info));
}

int vfu_client_reset_device(struct vfu_client *client)
{
    const struct vfu_client_request request = { .command = VFIO_USER_DEVICE_RESET };

    return vfu_client_command_fixed(client, &request, NULL, 0);
}
