/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_message.h"

#include <errno.h>

/* The messages are not there yet. */
int dma_message_transfer(struct vfu_ctx *ctx, uint64_t address, void *data, uint64_t length,
                         bool is_write)
{
    return -ENOTSUP;
}
