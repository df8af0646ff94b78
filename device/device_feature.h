/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_FEATURE: migration and the log of dirty pages. */
#pragma once

#include "device/dispatch.h"

int device_feature_handle(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);

/* Whether the device must be quiet for it. */
bool device_feature_quiesces(const struct vfu_ctx *ctx, const struct request *request);
