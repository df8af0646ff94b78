/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/reset.h"

#include "device/context.h"
#include "device/dirty_log.h"
#include "device/errors.h"
#include "device/msix.h"

int vfu_setup_device_reset_cb(vfu_ctx_t *ctx, vfu_reset_cb_t *reset)
{
    ctx->reset = reset;
    return 0;
}

static int call_reset(struct vfu_ctx *ctx, vfu_reset_type_t type)
{
    msix_reset(ctx, type == VFU_RESET_LOST_CONN);
    if (ctx->reset == NULL) {
        return 0;
    }
    errno = 0;
    return ctx->reset(ctx, type) < 0 ? callback_error() : 0;
}

int reset_handle_device(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    int err;

    log_client(ctx, LOG_INFO, "device reset");
    err = call_reset(ctx, VFU_RESET_DEVICE);
    if (err == 0) {
        migration_reset(&ctx->session.migration);
        dirty_log_stop(&ctx->session.dma);
    }
    return err;
}

int reset_function(struct vfu_ctx *ctx)
{
    log_client(ctx, LOG_INFO, "function level reset%s",
               ctx->reset == NULL ? ", which the device does not care for" : "");
    return call_reset(ctx, VFU_RESET_PCI_FLR);
}

void reset_lost_connection(struct vfu_ctx *ctx)
{
    migration_reset(&ctx->session.migration);
    dirty_log_stop(&ctx->session.dma);
    if (call_reset(ctx, VFU_RESET_LOST_CONN) < 0) {
        vfu_log(ctx, LOG_WARNING, "the device failed to reset after its client was gone");
    }
}
