/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP and DMA_UNMAP. */
#pragma once

#include "device/dispatch.h"

int dma_handle_map(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int dma_handle_unmap(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
