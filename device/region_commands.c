/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/region_commands.h"

#include "device/context.h"
#include "device/errors.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#define MAX_COUNT VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE

/* A client that takes no descriptors has no use for a region that could be mapped. */
static bool is_mappable(const struct vfu_ctx *ctx, const struct region *region)
{
    return region->area_count > 0 && ctx->session.client.max_msg_fds > 0;
}

static uint32_t info_flags(const struct region *region, bool mappable)
{
    uint32_t flags = mappable ? VFIO_REGION_INFO_FLAG_MMAP : 0;

    if (region->flags & VFU_REGION_FLAG_READ) {
        flags |= VFIO_REGION_INFO_FLAG_READ;
    }
    if (region->flags & VFU_REGION_FLAG_WRITE) {
        flags |= VFIO_REGION_INFO_FLAG_WRITE;
    }
    return flags;
}

static size_t areas_size(const struct region *region)
{
    return sizeof(struct vfio_region_info_cap_sparse_mmap) +
           region->area_count * sizeof(struct vfio_region_sparse_mmap_area);
}

/* Describes the areas behind @info, which has room, and sends the descriptor along. */
static void attach_areas(const struct region *region, struct vfio_region_info *info,
                         struct reply *reply)
{
    struct vfio_region_info_cap_sparse_mmap *sparse = (void *)(info + 1);

    info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
    info->cap_offset = sizeof(*info);
    *sparse = (struct vfio_region_info_cap_sparse_mmap){
        .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
        .nr_areas = region->area_count,
    };
    memcpy(sparse->areas, region->areas, region->area_count * sizeof(region->areas[0]));
    reply->region = info->index;
    reply->region_fd = region->fd;
}

int region_handle_get_info(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_region_info *wanted = request->payload;
    const struct region *region;
    struct vfio_region_info *info;
    size_t full = sizeof(*info);
    size_t size;
    bool mappable;

    if (wanted->argsz < sizeof(*wanted) || wanted->index >= VFU_PCI_DEV_NUM_REGIONS) {
        return -EINVAL;
    }
    region = &ctx->regions[wanted->index];
    mappable = is_mappable(ctx, region);
    if (mappable) {
        full += areas_size(region);
    }
    size = wanted->argsz < full ? wanted->argsz : full;
    info = reply_payload(reply, size);
    if (info == NULL) {
        return -ENOMEM;
    }
    memset(info, 0, size);
    info->argsz = (uint32_t)full;
    info->flags = info_flags(region, mappable);
    info->index = wanted->index;
    info->size = region->size;
    info->offset = region->offset;
    if (mappable && size == full) {
        attach_areas(region, info, reply);
    }
    return 0;
}

/* Finds the region of an access that is within its bounds. Returns NULL if it is not. */
static struct region *find_region(struct vfu_ctx *ctx, const struct vfio_user_region_access *access)
{
    struct region *region;
    uint64_t end;

    if (access->count > MAX_COUNT || access->region >= VFU_PCI_DEV_NUM_REGIONS) {
        return NULL;
    }
    region = &ctx->regions[access->region];
    if (__builtin_add_overflow(access->offset, access->count, &end) || end > region->size) {
        return NULL;
    }
    return region;
}

/* Returns 0 or a negative errno. */
static int access_region(struct vfu_ctx *ctx, const struct region *region,
                         const struct vfio_user_region_access *access, char *data, bool is_write)
{
    int direction = is_write ? VFU_REGION_FLAG_WRITE : VFU_REGION_FLAG_READ;
    ssize_t n;

    if (!(region->flags & direction)) {
        return -EINVAL;
    }
    if (region == &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX]) {
        return pci_config_access(ctx, data, access->count, access->offset, is_write);
    }
    if (region->access == NULL) {
        return -EINVAL;
    }
    errno = 0;
    n = region->access(ctx, data, access->count, (off_t)access->offset, is_write);
    if (n == (ssize_t)access->count) {
        return 0;
    }
    return n == -1 ? callback_error() : -EINVAL;
}

int region_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_region_access *access = request->payload;
    const struct region *region = find_region(ctx, access);
    struct vfio_user_region_access *answer;

    if (region == NULL) {
        return -EINVAL;
    }
    if (access->count == 0) {
        return 0;
    }
    answer = reply_payload(reply, sizeof(*answer) + access->count);
    if (answer == NULL) {
        return -ENOMEM;
    }
    *answer = *access;
    memset(answer->data, 0, access->count);
    return access_region(ctx, region, access, (char *)answer->data, false);
}

int region_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct vfio_user_region_access *access = request->payload;
    const struct region *region = find_region(ctx, access);
    struct vfio_user_region_access *answer;

    if (region == NULL || request->size - sizeof(*access) != access->count) {
        return -EINVAL;
    }
    if (access->count == 0) {
        return 0;
    }
    answer = reply_payload(reply, sizeof(*answer));
    if (answer == NULL) {
        return -ENOMEM;
    }
    *answer = *access;
    return access_region(ctx, region, access, (char *)access->data, true);
}
