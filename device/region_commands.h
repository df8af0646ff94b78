/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_REGION_INFO, REGION_READ and REGION_WRITE. */
#pragma once

#include "device/dispatch.h"

int region_handle_get_info(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int region_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int region_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
