/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/device_info.h"

#include "device/context.h"

#include <errno.h>

int device_info_handle_get(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_device_info *wanted = request->payload;
    struct vfio_user_device_info *info;

    if (wanted->argsz < sizeof(*wanted)) {
        return -EINVAL;
    }
    info = reply_payload(reply, sizeof(*info));
    if (info == NULL) {
        return -ENOMEM;
    }
    *info = (struct vfio_user_device_info){
        .argsz = sizeof(*info),
        .flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
        .num_regions = VFU_PCI_DEV_NUM_REGIONS,
        .num_irqs = VFU_DEV_NUM_IRQS,
    };
    return 0;
}
