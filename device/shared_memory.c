/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/shared_memory.h"

#include "device/context.h"

#include <errno.h>
#include <fcntl.h>

int shared_memory_seal(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0) {
        return -EINVAL;
    }
    if (seals & F_SEAL_SHRINK) {
        return 0;
    }
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0 ? 0 : -errno;
}

void shared_memory_add(const struct vfu_ctx *ctx, int fd)
{
    if (ctx->shares_memory && fd >= 0) {
        (void)shared_memory_seal(fd);
    }
}

void shared_memory_begin(struct vfu_ctx *ctx)
{
    if (ctx->shares_memory) {
        return;
    }
    ctx->shares_memory = true;
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        const struct ioeventfd *entry =
            ctx->ioeventfds[i] != NULL ? ctx->ioeventfds[i]->newest : NULL;

        shared_memory_add(ctx, ctx->regions[i].fd);
        for (; entry != NULL; entry = entry->next) {
            shared_memory_add(ctx, entry->shadow_fd);
        }
    }
}
