/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_commands.h"

#include "device/context.h"
#include "device/dirty_log.h"
#include "ipc/fd.h"

#include <errno.h>
#include <string.h>
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

/* Whether the client sent any, be it that it was not passed on. */
static bool has_descriptor(const struct vfu_ctx *ctx, const struct request *request)
{
    return request->fds->count > 0 || ctx->transport->vetting.error != 0;
}

/*
 * Takes the descriptor that came with the message: none if there was none, or if it is withheld
 * from this device, to which the range then is one without memory. What the policy keeps the device
 * from writing leaves the protection. A gate knows what is no memory, but not what mmap(2) calls
 * that.
 */
static void take_memory(struct vfu_ctx *ctx, struct fd_list *fds, struct dma_request *wanted)
{
    int error = ctx->transport->vetting.error;
    int found;

    if (error != 0) {
        wanted->refused = error == EINVAL ? -ENODEV : -error;
        return;
    }
    if (fds->count == 0) {
        return;
    }
    found = transport_check_descriptor(ctx->transport, fds, 0, DESCRIPTOR_MEMORY);
    if (found < 0) {
        wanted->refused = -ENODEV;
    }
    if (found == 0 || found == DESCRIPTOR_READ_ONLY) {
        wanted->fd = fd_list_take(fds, 0);
    }
    if (found == DESCRIPTOR_READ_ONLY) {
        wanted->prot &= ~(uint32_t)PROT_WRITE;
    }
}

int dma_handle_map(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_dma_map *map = request->payload;
    struct dma_request wanted;
    int err;

    if (!ctx->session.dma.enabled) {
        return 0;
    }
    if (map->argsz < sizeof(*map) ||
        !map_flags_are_valid(map->flags, has_descriptor(ctx, request)) ||
        !range_is_valid(map->addr, map->size)) {
        return -EINVAL;
    }
    wanted = (struct dma_request){
        .address = map->addr,
        .size = map->size,
        .offset = map->offset,
        .prot = prot_of(map->flags),
        .fd = -1,
        .map = !(map->flags & VFIO_USER_F_DMA_REGION_FILE_IO),
    };
    take_memory(ctx, request->fds, &wanted);
    err = dma_add(ctx, &wanted);
    fd_close(&wanted.fd);
    return err;
}

/* A DMA_UNMAP that has been checked. */
struct unmap {
    bool all;
    bool wants_bitmap;
    struct dma_region *region; /* unless all go */
    struct dirty_report report;
    size_t bitmap_size; /* bytes; 0 without one */
};

static int check_argsz(const struct vfio_user_dma_unmap *unmap, uint64_t needed)
{
    return unmap->argsz >= needed && unmap->argsz <= MAX_UNMAP_ARGSZ ? 0 : -EINVAL;
}

static int parse_all(const struct vfio_user_dma_unmap *unmap, struct unmap *parsed)
{
    parsed->all = true;
    return unmap->addr == 0 && unmap->size == 0 ? check_argsz(unmap, sizeof(*unmap)) : -EINVAL;
}

static int find_region(const struct dma *dma, const struct vfio_user_dma_unmap *unmap,
                       struct unmap *parsed)
{
    parsed->region = dma_find_exact(dma, unmap->addr, unmap->size);
    return parsed->region != NULL ? 0 : -ENOENT;
}

static int parse_one(const struct dma *dma, const struct vfio_user_dma_unmap *unmap,
                     struct unmap *parsed)
{
    int err = check_argsz(unmap, sizeof(*unmap));

    return err < 0 ? err : find_region(dma, unmap, parsed);
}

static int parse_with_bitmap(const struct dma *dma, const struct request *request,
                             struct unmap *parsed)
{
    const struct vfio_user_dma_unmap *unmap = request->payload;
    const struct vfio_user_bitmap *bitmap = unmap->bitmap;
    int err;

    if (request->size < sizeof(*unmap) + sizeof(*bitmap) || bitmap->size > MAX_UNMAP_ARGSZ ||
        check_argsz(unmap, sizeof(*unmap) + sizeof(*bitmap) + bitmap->size) < 0 ||
        bitmap->pgsize == 0 || unmap->size < bitmap->pgsize) {
        return -EINVAL;
    }
    err = find_region(dma, unmap, parsed);
    if (err == 0) {
        err = dirty_log_prepare(dma, unmap->addr, unmap->size, bitmap->pgsize, &parsed->report);
    }
    if (err == 0 && dirty_log_report_size(unmap->size, bitmap->pgsize) != bitmap->size) {
        err = -EINVAL;
    }
    parsed->wants_bitmap = true;
    parsed->bitmap_size = (size_t)bitmap->size;
    return err;
}

static int parse_unmap(const struct dma *dma, const struct request *request, struct unmap *parsed)
{
    const struct vfio_user_dma_unmap *unmap = request->payload;

    *parsed = (struct unmap){ .all = false };
    switch (unmap->flags) {
    case 0:
        return parse_one(dma, unmap, parsed);
    case VFIO_DMA_UNMAP_FLAG_ALL:
        return parse_all(unmap, parsed);
    case VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP:
        return parse_with_bitmap(dma, request, parsed);
    default:
        return -EINVAL;
    }
}

/* What the request says, and the bitmap behind it. */
static int prepare_answer(const struct request *request, struct unmap *unmap, struct reply *reply)
{
    size_t fixed = sizeof(struct vfio_user_dma_unmap) +
                   (unmap->wants_bitmap ? sizeof(struct vfio_user_bitmap) : 0);
    uint8_t *answer = reply_payload(reply, fixed + unmap->bitmap_size);

    if (answer == NULL) {
        return -ENOMEM;
    }
    memcpy(answer, request->payload, fixed);
    memset(answer + fixed, 0, unmap->bitmap_size);
    unmap->report.pages = (void *)(answer + fixed); /* on a multiple of 8 */
    return 0;
}

int dma_handle_unmap(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct dma *dma = &ctx->session.dma;
    struct unmap unmap = { .all = false };
    int err = dma->enabled ? parse_unmap(dma, request, &unmap) : 0;

    if (err == 0) {
        /* Always, because there are clients that wait for these bytes. */
        err = prepare_answer(request, &unmap, reply);
    }
    if (err < 0) {
        return err;
    }
    if (unmap.all) {
        dma_remove_all(ctx);
    } else if (unmap.region != NULL) {
        dma_remove(ctx, unmap.region, unmap.wants_bitmap ? &unmap.report : NULL);
    }
    return 0;
}
