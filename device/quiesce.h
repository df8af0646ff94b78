/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Some requests, and the end of a session, must not go on while the device works: it is asked to be
 * quiet first. If it cannot be at once the work is parked, and nothing else is done for the client,
 * until the program calls vfu_device_quiesced().
 */
#pragma once

#include <stdbool.h>

#include <vfio-user/libvfio-user.h>

struct request;

enum quiesce_work {
    QUIESCE_NOTHING,
    QUIESCE_REQUEST, /* in ctx->connection.frame */
    QUIESCE_END_SESSION,
};

struct quiesce {
    vfu_device_quiesce_cb_t *ask; /* NULL: the device is always quiet */
    enum quiesce_work parked;
};

/* Asks the device. Returns 0; -EBUSY: @work is parked; or another negative errno: it refuses. */
int quiesce_ask(struct vfu_ctx *ctx, enum quiesce_work work);

/* Whether a request needs a quiet device; for the table of commands. Nothing is checked yet. */
bool quiesce_for_dma(const struct vfu_ctx *ctx, const struct request *request);
bool quiesce_always(const struct vfu_ctx *ctx, const struct request *request);
bool quiesce_for_write(const struct vfu_ctx *ctx, const struct request *request);
bool quiesce_for_writes(const struct vfu_ctx *ctx, const struct request *request);
