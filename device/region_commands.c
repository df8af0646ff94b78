/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/region_commands.h"

#include "device/context.h"
#include "device/errors.h"
#include "device/msix.h"

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
    reply->attachment.kind = ATTACHMENT_REGION;
    reply->attachment.region = info->index;
    fd_list_add(&reply->attachment.fds, region->fd);
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

/*
 * Finds the region of an access that is within its bounds. Returns NULL if it is not, or if a
 * device that hands over its state cannot be accessed.
 */
static struct region *find_region(struct vfu_ctx *ctx, uint32_t index, uint64_t offset,
                                  uint32_t count)
{
    struct region *region;
    uint64_t end;

    if (count > MAX_COUNT || index >= VFU_PCI_DEV_NUM_REGIONS ||
        !migration_allows_access(&ctx->session.migration)) {
        return NULL;
    }
    region = &ctx->regions[index];
    if (__builtin_add_overflow(offset, count, &end) || end > region->size) {
        return NULL;
    }
    return region;
}

static bool is_config_space(const struct vfu_ctx *ctx, const struct region *region)
{
    return region == &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];
}

/* Whether anybody handles an access in this direction. */
static bool is_accessible(const struct vfu_ctx *ctx, const struct region *region, bool is_write)
{
    int direction = is_write ? VFU_REGION_FLAG_WRITE : VFU_REGION_FLAG_READ;

    return (region->flags & direction) && (region->access != NULL || is_config_space(ctx, region) ||
                                           msix_owns_part(ctx->msix, (int)(region - ctx->regions)));
}

/* Returns 0 or a negative errno. */
static int call_program(struct vfu_ctx *ctx, const struct region *region, uint64_t offset,
                        size_t count, char *data, bool is_write)
{
    ssize_t n;

    if (region->access == NULL) {
        return -EINVAL;
    }
    errno = 0;
    n = region->access(ctx, data, count, (off_t)offset, is_write);
    if (n == (ssize_t)count) {
        return 0;
    }
    return n == -1 ? callback_error() : -EINVAL;
}

/* A BAR with MSI-X that the library keeps: the program gets what is between. */
static int access_around_msix(struct vfu_ctx *ctx, const struct region *region, uint64_t offset,
                              size_t count, char *data, bool is_write)
{
    int index = (int)(region - ctx->regions);
    int err = 0;
    size_t n;

    for (; count > 0 && err == 0; offset += n, data += n, count -= n) {
        n = count;
        if (msix_owns(ctx->msix, index, offset, &n)) {
            msix_access(ctx, index, data, n, offset, is_write);
        } else {
            err = call_program(ctx, region, offset, n, data, is_write);
        }
    }
    return err;
}

/* Returns 0 or a negative errno. */
static int access_region(struct vfu_ctx *ctx, const struct region *region, uint64_t offset,
                         uint32_t count, char *data, bool is_write)
{
    if (!is_accessible(ctx, region, is_write)) {
        return -EINVAL;
    }
    if (is_config_space(ctx, region)) {
        return pci_config_access(ctx, data, count, offset, is_write);
    }
    return ctx->msix != NULL ? access_around_msix(ctx, region, offset, count, data, is_write)
                             : call_program(ctx, region, offset, count, data, is_write);
}

int region_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_region_access *access = request->payload;
    const struct region *region = find_region(ctx, access->region, access->offset, access->count);
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
    return access_region(ctx, region, access->offset, access->count, (char *)answer->data, false);
}

int region_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct vfio_user_region_access *access = request->payload;
    const struct region *region = find_region(ctx, access->region, access->offset, access->count);
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
    return access_region(ctx, region, access->offset, access->count, (char *)access->data, true);
}

/* Before the first of several writes is done, all of them must be possible. */
static bool writes_are_valid(struct vfu_ctx *ctx, const struct vfio_user_region_write_multi *multi)
{
    for (uint64_t i = 0; i < multi->wr_cnt; i++) {
        const struct vfio_user_region_write *write = &multi->writes[i];
        const struct region *region = find_region(ctx, write->region, write->offset, write->count);

        if (region == NULL || write->count == 0 || write->count > sizeof(write->data) ||
            !is_accessible(ctx, region, true)) {
            return false;
        }
    }
    return true;
}

/* Returns 0 or a negative errno. */
static int write_one(struct vfu_ctx *ctx, const struct vfio_user_region_write *write)
{
    /* As aligned as the data of a single write, which programs know to be. */
    char data[sizeof(write->data)] __attribute__((aligned(16)));
    const struct region *region = find_region(ctx, write->region, write->offset, write->count);

    memcpy(data, write->data, sizeof(data));
    /* The callbacks of earlier writes may have changed the region. */
    return region != NULL ? access_region(ctx, region, write->offset, write->count, data, true)
                          : -EINVAL;
}

int region_handle_write_multi(struct vfu_ctx *ctx, const struct request *request,
                              struct reply *reply)
{
    const struct vfio_user_region_write_multi *multi = request->payload;
    struct vfio_user_region_write_multi *answer;
    size_t bytes = request->size - sizeof(*multi);
    uint64_t done = 0;

    if (!ctx->session.client.write_multiple || bytes % sizeof(multi->writes[0]) != 0 ||
        bytes / sizeof(multi->writes[0]) != multi->wr_cnt || !writes_are_valid(ctx, multi)) {
        return -EINVAL;
    }
    answer = reply_payload(reply, sizeof(*answer));
    if (answer == NULL) {
        return -ENOMEM;
    }
    /* The first failure ends it: the client learns how far it went. */
    while (done < multi->wr_cnt && write_one(ctx, &multi->writes[done]) == 0) {
        done++;
    }
    answer->wr_cnt = done;
    return 0;
}
