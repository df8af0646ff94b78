/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_REGION_INFO, REGION_READ, REGION_WRITE and REGION_WRITE_MULTI. */
#pragma once

#include "device/dispatch.h"

int region_handle_get_info(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int region_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int region_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int region_handle_write_multi(struct vfu_ctx *ctx, const struct request *request,
                              struct reply *reply);
