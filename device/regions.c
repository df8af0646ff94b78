/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/regions.h"

#include "device/context.h"
#include "device/errors.h"
#include "device/shared_memory.h"

#include <errno.h>
#include <stdlib.h>

/* As many areas as a reply with all of them may have. */
#define MAX_AREAS                                                                                  \
    ((VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE - sizeof(struct vfio_region_info) -                     \
      sizeof(struct vfio_region_info_cap_sparse_mmap)) /                                           \
     sizeof(struct vfio_region_sparse_mmap_area))

#define MIN_MEM_BAR 16
#define MIN_IO_BAR 4

/* What vfu_setup_region() was called with. */
struct description {
    int index;
    size_t size;
    vfu_region_access_cb_t *access;
    int flags;
    const struct iovec *areas;
    uint32_t area_count;
    int fd;
    uint64_t offset;
};

void regions_init(struct region regions[VFU_PCI_DEV_NUM_REGIONS])
{
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        regions[i].fd = -1;
    }
}

void regions_fini(struct region regions[VFU_PCI_DEV_NUM_REGIONS])
{
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        free(regions[i].areas);
    }
}

bool region_is_upper_half(const struct region *regions, int index)
{
    return region_is_bar(index) && index % 2 == 1 &&
           (regions[index - 1].flags & VFU_REGION_FLAG_64_BITS);
}

static bool flags_are_valid(const struct description *d)
{
    if ((d->flags & ~VFU_REGION_FLAG_MASK) || !(d->flags & VFU_REGION_FLAG_RW)) {
        return false;
    }
    if ((d->flags & VFU_REGION_FLAG_ALWAYS_CB) && d->access == NULL) {
        return false;
    }
    if (d->index == VFU_PCI_DEV_CFG_REGION_IDX) {
        return (d->flags & VFU_REGION_FLAG_RW) == VFU_REGION_FLAG_RW &&
               !(d->flags & VFU_REGION_FLAG_MEM);
    }
    return true;
}

static bool areas_are_valid(const struct description *d)
{
    if ((d->areas == NULL) != (d->area_count == 0) || d->area_count > MAX_AREAS || d->fd < -1 ||
        (d->area_count > 0 && d->fd == -1)) {
        return false;
    }
    for (uint32_t i = 0; i < d->area_count; i++) {
        uint64_t end;

        if (__builtin_add_overflow((uint64_t)(uintptr_t)d->areas[i].iov_base,
                                   (uint64_t)d->areas[i].iov_len, &end) ||
            end > d->size) {
            return false;
        }
    }
    return true;
}

static bool bar_is_valid(const struct region *regions, const struct description *d)
{
    size_t min = (d->flags & VFU_REGION_FLAG_MEM) ? MIN_MEM_BAR : MIN_IO_BAR;

    if (d->size > 0 && ((d->size & (d->size - 1)) != 0 || d->size < min)) {
        return false;
    }
    if (region_is_upper_half(regions, d->index)) {
        return false;
    }
    if (d->flags & VFU_REGION_FLAG_64_BITS) {
        return d->index % 2 == 0 && regions[d->index + 1].size == 0;
    }
    return true;
}

static bool is_valid(const struct region *regions, const struct description *d)
{
    if (d->index < 0 || d->index >= VFU_PCI_DEV_NUM_REGIONS || !flags_are_valid(d) ||
        !areas_are_valid(d)) {
        return false;
    }
    return !region_is_bar(d->index) || bar_is_valid(regions, d);
}

/* Without explicit areas all of a region that has memory can be mapped. */
static int copy_areas(const struct description *d, struct region *region)
{
    struct vfio_region_sparse_mmap_area *areas;
    uint32_t count = d->area_count > 0 ? d->area_count : 1;

    if (d->fd == -1 || d->size == 0) {
        return 0;
    }
    areas = calloc(count, sizeof(*areas));
    if (areas == NULL) {
        return -ENOMEM;
    }
    areas[0].size = d->size;
    for (uint32_t i = 0; i < d->area_count; i++) {
        areas[i].offset = (uintptr_t)d->areas[i].iov_base;
        areas[i].size = d->areas[i].iov_len;
    }
    region->areas = areas;
    region->area_count = count;
    return 0;
}

static int setup(struct vfu_ctx *ctx, const struct description *d)
{
    struct region *region = &ctx->regions[d->index];
    struct region described = {
        .size = d->size,
        .flags = d->flags,
        .access = d->access,
        .fd = d->fd,
        .offset = d->offset,
    };
    int err = copy_areas(d, &described);

    if (err < 0) {
        return err;
    }
    free(region->areas);
    *region = described;
    shared_memory_add(ctx, d->fd);
    if (d->index == VFU_PCI_DEV_CFG_REGION_IDX) {
        pci_config_limit_region(ctx);
    } else if (ctx->realized && region_is_bar(d->index)) {
        pci_config_reset_bar(ctx, d->index);
    }
    return 0;
}

int vfu_setup_region(vfu_ctx_t *ctx, int region_idx, size_t size,
                     vfu_region_access_cb_t *region_access, int flags, struct iovec *mmap_areas,
                     uint32_t nr_mmap_areas, int fd, uint64_t offset)
{
    const struct description description = {
        .index = region_idx,
        .size = size,
        .access = region_access,
        .flags = flags,
        .areas = mmap_areas,
        .area_count = nr_mmap_areas,
        .fd = fd,
        .offset = offset,
    };

    if (!is_valid(ctx->regions, &description)) {
        vfu_log(ctx, LOG_ERR, "region %d cannot be set up like that", region_idx);
        return api_result(-EINVAL);
    }
    return api_result(setup(ctx, &description));
}
