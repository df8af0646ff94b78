/* SPDX-License-Identifier: BSD-3-Clause */
/* Resets: the library itself resets nothing, it tells the device. */
#pragma once

#include "device/dispatch.h"

int reset_handle_device(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);

/* The guest asks for a reset of the function. Returns 0 or the callback's negative errno. */
int reset_function(struct vfu_ctx *ctx);

/* The client is gone. */
void reset_lost_connection(struct vfu_ctx *ctx);
