/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's regions as the program described them. */
#pragma once

#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

struct region {
    uint64_t size; /* bytes; 0: there is no such region */
    int flags;     /* VFU_REGION_FLAG_* */
    vfu_region_access_cb_t *access;
    struct vfio_region_sparse_mmap_area *areas; /* what clients may map; owned */
    uint32_t area_count;
    int fd;          /* the memory behind it, borrowed from the program; -1: none */
    uint64_t offset; /* of the region in @fd */
};

void regions_init(struct region regions[VFU_PCI_DEV_NUM_REGIONS]);
void regions_fini(struct region regions[VFU_PCI_DEV_NUM_REGIONS]);

static inline bool region_is_bar(int index)
{
    return index >= VFU_PCI_DEV_BAR0_REGION_IDX && index <= VFU_PCI_DEV_BAR5_REGION_IDX;
}

/* Whether BAR @index is the upper half of the 64-bit BAR below it. */
bool region_is_upper_half(const struct region *regions, int index);
