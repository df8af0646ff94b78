/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/internal.h"

int client_get_device_info(struct client *client, struct vfio_user_device_info *info)
{
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    const struct client_request request = {
        .command = VFIO_USER_DEVICE_GET_INFO,
        .head = &ask,
        .head_size = sizeof(ask),
    };

    return client_command_fixed(client, &request, info, sizeof(*info));
}

int client_reset_device(struct client *client)
{
    const struct client_request request = { .command = VFIO_USER_DEVICE_RESET };

    return client_command_fixed(client, &request, NULL, 0);
}
