/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/quiesce.h"

#include "device/context.h"
#include "device/dispatch.h"
#include "device/errors.h"

void vfu_setup_device_quiesce_cb(vfu_ctx_t *ctx, vfu_device_quiesce_cb_t *quiesce_cb)
{
    ctx->quiesce.ask = quiesce_cb;
}

int quiesce_ask(struct vfu_ctx *ctx, enum quiesce_work work)
{
    int err;

    if (ctx->quiesce.ask == NULL) {
        return 0;
    }
    errno = 0;
    if (ctx->quiesce.ask(ctx) >= 0) {
        return 0;
    }
    err = callback_error();
    if (err == -EBUSY) {
        ctx->quiesce.parked = work;
    }
    return err;
}

bool quiesce_for_dma(const struct vfu_ctx *ctx, const struct request *request)
{
    return ctx->session.dma.enabled;
}

bool quiesce_always(const struct vfu_ctx *ctx, const struct request *request)
{
    return true;
}

static bool write_resets(const struct vfu_ctx *ctx, uint32_t region, uint64_t offset, size_t count)
{
    return region == VFU_PCI_DEV_CFG_REGION_IDX && pci_config_write_resets(ctx, offset, count);
}

bool quiesce_for_write(const struct vfu_ctx *ctx, const struct request *request)
{
    const struct vfio_user_region_access *access = request->payload;

    return request->size >= sizeof(*access) &&
           write_resets(ctx, access->region, access->offset, access->count);
}

bool quiesce_for_writes(const struct vfu_ctx *ctx, const struct request *request)
{
    const struct vfio_user_region_write_multi *multi = request->payload;
    size_t count;

    if (request->size < sizeof(*multi)) {
        return false;
    }
    count = (request->size - sizeof(*multi)) / sizeof(multi->writes[0]);
    for (size_t i = 0; i < count; i++) {
        const struct vfio_user_region_write *write = &multi->writes[i];

        if (write_resets(ctx, write->region, write->offset, write->count)) {
            return true;
        }
    }
    return false;
}
