/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a region is. The chain of capabilities in the reply is the server's and not trusted: every
 * offset in it is checked, and it must lead forward.
 */
#include "client/internal.h"
#include "ipc/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Room for more capabilities than any device has; a server that wants more is refused. */
#define MAX_INFO_SIZE 65536u

void vfu_client_region_release(struct vfu_client_region *region)
{
    fd_close(&region->fd);
    free(region->areas);
    region->areas = NULL;
    region->area_count = 0;
}

/* Asks with room for @argsz bytes. */
static int ask(struct vfu_client *client, uint32_t index, uint32_t argsz,
               struct vfu_client_message *reply)
{
    const struct vfio_region_info question = { .argsz = argsz, .index = index };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_GET_REGION_INFO,
        .head = &question,
        .head_size = sizeof(question),
    };

    return vfu_client_command(client, &request, reply);
}

static int read_areas(const struct vfu_client_message *reply, size_t at,
                      struct vfu_client_region *region)
{
    struct vfio_region_info_cap_sparse_mmap sparse;
    size_t bytes;

    if (reply->size - at < sizeof(sparse) || region->areas != NULL) {
        return -EPROTO;
    }
    memcpy(&sparse, reply->payload + at, sizeof(sparse));
    bytes = sparse.nr_areas * sizeof(*region->areas);
    if (sparse.nr_areas > MAX_INFO_SIZE || reply->size - at - sizeof(sparse) < bytes) {
        return -EPROTO;
    }
    region->areas = malloc(bytes > 0 ? bytes : 1);
    if (region->areas == NULL) {
        return -ENOMEM;
    }
    memcpy(region->areas, reply->payload + at + sizeof(sparse), bytes);
    region->area_count = sparse.nr_areas;
    for (size_t i = 0; i < region->area_count; i++) {
        const struct vfio_region_sparse_mmap_area *area = &region->areas[i];

        if (area->offset > region->size || area->size > region->size - area->offset) {
            return -EPROTO;
        }
    }
    return 0;
}

static int read_capabilities(const struct vfu_client_message *reply, size_t at,
                             struct vfu_client_region *region)
{
    while (at != 0) {
        struct vfio_info_cap_header header;
        int err = 0;

        if (at < sizeof(struct vfio_region_info) || at > reply->size ||
            reply->size - at < sizeof(header)) {
            return -EPROTO;
        }
        memcpy(&header, reply->payload + at, sizeof(header));
        if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
            err = read_areas(reply, at, region);
        }
        if (err == 0 && header.next != 0 && header.next <= at) {
            err = -EPROTO; /* a chain that leads back never ends */
        }
        if (err < 0) {
            return err;
        }
        at = header.next;
    }
    return 0;
}

/* A region that can be mapped and says nothing of areas can be mapped as a whole. */
static int add_whole_area(struct vfu_client_region *region)
{
    region->areas = calloc(1, sizeof(*region->areas));
    if (region->areas == NULL) {
        return -ENOMEM;
    }
    region->areas[0].size = region->size;
    region->area_count = 1;
    return 0;
}

static int read_info(struct vfu_client_message *reply, uint32_t index,
                     struct vfu_client_region *region)
{
    struct vfio_region_info info;
    int err = 0;

    memcpy(&info, reply->payload, sizeof(info));
    if (info.index != index || info.argsz < sizeof(info) || reply->fds.count > 1) {
        return -EPROTO;
    }
    region->index = index;
    region->flags = info.flags;
    region->size = info.size;
    region->offset = info.offset;
    region->fd = fd_list_take(&reply->fds, 0);
    if (info.flags & VFIO_REGION_INFO_FLAG_CAPS) {
        err = read_capabilities(reply, info.cap_offset, region);
    }
    if (err == 0 && (info.flags & VFIO_REGION_INFO_FLAG_MMAP) && region->fd >= 0 &&
        region->areas == NULL) {
        err = add_whole_area(region);
    }
    return err;
}

int vfu_client_get_region_info(struct vfu_client *client, uint32_t index,
                               struct vfu_client_region *region)
{
    uint32_t argsz = sizeof(struct vfio_region_info);

    *region = (struct vfu_client_region){ .fd = -1 };
    /* The first answer says how much room the whole takes, the second has it. */
    for (int tries = 0; tries < 2; tries++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        struct vfio_region_info info;
        int result = ask(client, index, argsz, &reply);

        if (result != 0) {
            return result;
        }
        if (reply.size < sizeof(info)) {
            return -EPROTO;
        }
        memcpy(&info, reply.payload, sizeof(info));
        if (info.argsz <= argsz) {
            result = read_info(&reply, index, region);
            if (result < 0) {
                vfu_client_region_release(region);
            }
            return result;
        }
        if (info.argsz > MAX_INFO_SIZE) {
            return -EPROTO;
        }
        argsz = info.argsz;
    }
    return -EPROTO;
}

void *vfu_client_region_map(const struct vfu_client_region *region, size_t area, int prot)
{
    if (area >= region->area_count) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    return mmap(NULL, region->areas[area].size, prot, MAP_SHARED, region->fd,
                (off_t)(region->offset + region->areas[area].offset));
}
