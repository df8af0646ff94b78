/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_commands.h"

#include "device/context.h"
#include "ipc/fd.h"

#include <errno.h>
#include <sys/mman.h>

#define ACCESS_FLAGS (VFIO_USER_F_DMA_REGION_MMAP | VFIO_USER_F_DMA_REGION_FILE_IO)
#define KNOWN_FLAGS (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE | ACCESS_FLAGS)

#define MAX_UNMAP_ARGSZ VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE

static bool map_flags_are_valid(uint32_t flags, bool with_descriptor)
{
    if ((flags & ~(uint32_t)KNOWN_FLAGS) || (flags & ACCESS_FLAGS) == ACCESS_FLAGS) {
        return false;
    }
    return with_descriptor || !(flags & ACCESS_FLAGS);
}

static bool range_is_valid(uint64_t address, uint64_t size)
{
    uint64_t last;

    return size > 0 && !__builtin_add_overflow(address, size - 1, &last);
}

static uint32_t prot_of(uint32_t flags)
{
    uint32_t prot = PROT_NONE;

    if (flags & VFIO_USER_F_DMA_REGION_READ) {
        prot |= PROT_READ;
    }
    if (flags & VFIO_USER_F_DMA_REGION_WRITE) {
        prot |= PROT_WRITE;
    }
    return prot;
}

/*
 * Takes the descriptor that came with the message: -1 if there was none, or if it is withheld from
 * this device, to which the range then is one without memory. What the policy keeps the device from
 * writing leaves @prot. Returns 0 or -EINVAL.
 */
static int take_memory(struct vfu_ctx *ctx, struct fd_list *fds, int *fd, uint32_t *prot)
{
    int found;

    *fd = -1;
    if (fds->count == 0) {
        return 0;
    }
    found = transport_check_descriptor(ctx->transport, fds, 0, DESCRIPTOR_MEMORY);
    if (found == 0 || found == DESCRIPTOR_READ_ONLY) {
        *fd = fd_list_take(fds, 0);
    }
    if (found == DESCRIPTOR_READ_ONLY) {
        *prot &= ~(uint32_t)PROT_WRITE;
    }
    return found < 0 ? found : 0;
}

int dma_handle_map(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_dma_map *map = request->payload;
    AUTO_FD fd = -1;
    struct dma_request wanted;
    uint32_t prot;
    int err;

    if (!ctx->session.dma.enabled) {
        return 0;
    }
    if (map->argsz < sizeof(*map) || !map_flags_are_valid(map->flags, request->fds->count > 0) ||
        !range_is_valid(map->addr, map->size)) {
        return -EINVAL;
    }
    prot = prot_of(map->flags);
    err = take_memory(ctx, request->fds, &fd, &prot);
    if (err < 0) {
        return err;
    }
    wanted = (struct dma_request){
        .address = map->addr,
        .size = map->size,
        .offset = map->offset,
        .prot = prot,
        .fd = fd,
        .map = !(map->flags & VFIO_USER_F_DMA_REGION_FILE_IO),
    };
    err = dma_add(ctx, &wanted);
    fd = wanted.fd;
    return err;
}

static int check_unmap(const struct vfio_user_dma_unmap *unmap)
{
    switch (unmap->flags) {
    case 0:
        break;
    case VFIO_DMA_UNMAP_FLAG_ALL:
        if (unmap->addr != 0 || unmap->size != 0) {
            return -EINVAL;
        }
        break;
    default:
        /* The dirty bitmap comes with dirty logging, which is never on. */
        return -EINVAL;
    }
    return unmap->argsz >= sizeof(*unmap) && unmap->argsz <= MAX_UNMAP_ARGSZ ? 0 : -EINVAL;
}

static int unmap_range(struct vfu_ctx *ctx, const struct vfio_user_dma_unmap *unmap)
{
    struct dma_region *region;
    int err = check_unmap(unmap);

    if (err < 0) {
        return err;
    }
    if (unmap->flags == VFIO_DMA_UNMAP_FLAG_ALL) {
        dma_remove_all(ctx);
        return 0;
    }
    region = dma_find_exact(&ctx->session.dma, unmap->addr, unmap->size);
    if (region == NULL) {
        return -ENOENT;
    }
    dma_remove(ctx, region, NULL);
    return 0;
}

int dma_handle_unmap(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_dma_unmap *unmap = request->payload;
    struct vfio_user_dma_unmap *answer;
    int err = ctx->session.dma.enabled ? unmap_range(ctx, unmap) : 0;

    if (err < 0) {
        return err;
    }
    /* Always, because there are clients that wait for these bytes. */
    answer = reply_payload(reply, sizeof(*answer));
    if (answer == NULL) {
        return -ENOMEM;
    }
    *answer = *unmap;
    return 0;
}
