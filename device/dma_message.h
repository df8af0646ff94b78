/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory that is reached by asking the client for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vfu_ctx;

/*
 * Copies @length bytes (not 0) at guest address @address to or (@is_write) from @data, by as many
 * DMA_READ or DMA_WRITE messages as it takes. Returns 0 or a negative errno, as documented for
 * vfu_sgl_read().
 */
int dma_message_transfer(struct vfu_ctx *ctx, uint64_t address, void *data, uint64_t length,
                         bool is_write);
