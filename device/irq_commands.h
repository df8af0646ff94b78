/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS. */
#pragma once

#include "device/dispatch.h"

int irq_handle_get_info(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int irq_handle_set(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
