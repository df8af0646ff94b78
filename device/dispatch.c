/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dispatch.h"

#include "device/context.h"
#include "device/device_feature.h"
#include "device/device_info.h"
#include "device/dma_commands.h"
#include "device/ioeventfds.h"
#include "device/irq_commands.h"
#include "device/region_commands.h"
#include "device/reset.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stddef.h>

struct command {
    uint32_t min_payload; /* bytes; a shorter message is EINVAL */
    bool carries_fds;
    /* Returns 0, or the negative errno that the client gets. */
    int (*handle)(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
    /* Whether the device must be quiet for it; NULL: never. */
    bool (*quiesces)(const struct vfu_ctx *ctx, const struct request *request);
};

/* VERSION has no handler: it comes first, and once; see negotiation.c. */
static const struct command commands[VFIO_USER_MAX] = {
    /* clang-format off */
    [VFIO_USER_VERSION] = { 0, true, NULL, NULL },
    [VFIO_USER_DMA_MAP] =
        { sizeof(struct vfio_user_dma_map), true, dma_handle_map, quiesce_for_dma },
    [VFIO_USER_DMA_UNMAP] =
        { sizeof(struct vfio_user_dma_unmap), false, dma_handle_unmap, quiesce_for_dma },
    [VFIO_USER_DEVICE_GET_INFO] =
        { sizeof(struct vfio_user_device_info), false, device_info_handle_get, NULL },
    [VFIO_USER_DEVICE_GET_REGION_INFO] =
        { sizeof(struct vfio_region_info), false, region_handle_get_info, NULL },
    [VFIO_USER_DEVICE_GET_REGION_IO_FDS] =
        { sizeof(vfio_user_region_io_fds_request_t), false, ioeventfds_handle_get, NULL },
    [VFIO_USER_DEVICE_GET_IRQ_INFO] =
        { sizeof(struct vfio_irq_info), false, irq_handle_get_info, NULL },
    [VFIO_USER_DEVICE_SET_IRQS] =
        { offsetof(struct vfio_irq_set, data), true, irq_handle_set, NULL },
    [VFIO_USER_REGION_READ] =
        { sizeof(struct vfio_user_region_access), false, region_handle_read, NULL },
    [VFIO_USER_REGION_WRITE] =
        { sizeof(struct vfio_user_region_access), false, region_handle_write, quiesce_for_write },
    [VFIO_USER_REGION_WRITE_MULTI] =
        { sizeof(struct vfio_user_region_write_multi), false, region_handle_write_multi,
          quiesce_for_writes },
    [VFIO_USER_DEVICE_RESET] = { 0, false, reset_handle_device, quiesce_always },
    [VFIO_USER_DEVICE_FEATURE] =
        { sizeof(struct vfio_user_device_feature), false, device_feature_handle,
          device_feature_quiesces },
    [VFIO_USER_MIG_DATA_READ] =
        { sizeof(struct vfio_user_mig_data), false, migration_handle_read, NULL },
    [VFIO_USER_MIG_DATA_WRITE] =
        { sizeof(struct vfio_user_mig_data), false, migration_handle_write, NULL },
    /* clang-format on */
};

bool dispatch_carries_fds(const struct vfio_user_header *header)
{
    return header->cmd < VFIO_USER_MAX && commands[header->cmd].carries_fds;
}

static int execute(struct vfu_ctx *ctx, const struct command *command,
                   const struct request *request, struct reply *reply)
{
    return request->size >= command->min_payload ? command->handle(ctx, request, reply) : -EINVAL;
}

static void complete(struct reply *reply, const struct vfio_user_header *header, int err)
{
    if (header->flags & VFIO_USER_F_NO_REPLY) {
        reply_reset(reply);
        return;
    }
    if (err < 0) {
        reply_fail(reply, err);
    }
    reply_finish(reply);
}

void dispatch_refuse(struct vfu_ctx *ctx, int err)
{
    const struct vfio_user_header *header = frame_header(&ctx->connection.frame);
    struct reply *reply = &ctx->connection.reply;

    if ((header->flags & VFIO_USER_F_TYPE_MASK) != VFIO_USER_F_TYPE_COMMAND) {
        return;
    }
    reply_begin(reply, header);
    complete(reply, header, err);
}

static struct request request_of(struct frame *frame)
{
    return (struct request){
        .header = frame_header(frame),
        .payload = frame_payload(frame),
        .size = frame_payload_size(frame),
        .fds = &frame->fds,
    };
}

static const struct command *command_of(const struct vfio_user_header *header)
{
    const struct command *command =
        header->cmd < VFIO_USER_MAX ? &commands[header->cmd] : &commands[VFIO_USER_VERSION];

    return command->handle != NULL ? command : NULL;
}

void dispatch_execute(struct vfu_ctx *ctx)
{
    const struct request request = request_of(&ctx->connection.frame);
    const struct command *command = command_of(request.header);
    struct reply *reply = &ctx->connection.reply;
    int err = -EINVAL;

    reply_begin(reply, request.header);
    if (command != NULL) {
        err = execute(ctx, command, &request, reply);
    }
    if (err < 0) {
        log_client(ctx, LOG_DEBUG, "command %u refused: error %d", request.header->cmd, -err);
    }
    complete(reply, request.header, err);
}

/* Returns 0 when the device is quiet enough for the request; else as quiesce_ask(). */
static int prepare_device(struct vfu_ctx *ctx)
{
    const struct request request = request_of(&ctx->connection.frame);
    const struct command *command = command_of(request.header);

    if (command == NULL || command->quiesces == NULL || !command->quiesces(ctx, &request)) {
        return 0;
    }
    return quiesce_ask(ctx, QUIESCE_REQUEST);
}

int dispatch_message(struct vfu_ctx *ctx)
{
    const struct vfio_user_header *header = frame_header(&ctx->connection.frame);
    int err;

    switch (header->flags & VFIO_USER_F_TYPE_MASK) {
    case VFIO_USER_F_TYPE_COMMAND:
        break;
    case VFIO_USER_F_TYPE_REPLY:
        if (ctx->connection.abandoned > 0) {
            ctx->connection.abandoned--; /* it comes too late */
            return 0;
        }
        log_client(ctx, LOG_WARNING, "dropping a reply to nothing (command %u)", header->cmd);
        return 0;
    default:
        return -EPROTO;
    }
    if ((header->msg_size == sizeof(*header) && header->cmd != VFIO_USER_DEVICE_RESET) ||
        !migration_allows(&ctx->session.migration, header->cmd)) {
        dispatch_refuse(ctx, -EINVAL);
        return 0;
    }
    err = prepare_device(ctx);
    if (err == -EBUSY) {
        return err;
    }
    if (err < 0) {
        dispatch_refuse(ctx, err);
        return 0;
    }
    dispatch_execute(ctx);
    return 1;
}
