/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_INFO. */
#pragma once

#include "device/dispatch.h"

int device_info_handle_get(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
