/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing regions, in pieces of at most what the server takes in one message. */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

static uint32_t piece_size(const struct vfu_client *client, size_t left)
{
    uint64_t limit = client->server.max_data_xfer_size;

    if (limit > VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE) {
        limit = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE;
    }
    return (uint32_t)(left < limit ? left : limit);
}

static int read_piece(struct vfu_client *client, const struct vfio_user_region_access *access,
                      void *buffer)
{
    const struct vfu_client_request request = {
        .command = VFIO_USER_REGION_READ,
        .head = access,
        .head_size = sizeof(*access),
    };
    struct vfu_client_message reply = { .size = 0 };
    const struct vfio_user_region_access *answer;
    int result = vfu_client_command(client, &request, &reply);

    answer = (const void *)reply.payload;
    if (result == 0 &&
        (reply.size != sizeof(*answer) + access->count || answer->count != access->count)) {
        result = -EPROTO;
    }
    if (result == 0) {
        memcpy(buffer, answer->data, access->count);
    }
    vfu_client_message_recycle(client, &reply);
    return result;
}

int vfu_client_region_read(struct vfu_client *client, uint32_t region, uint64_t offset,
                           void *buffer, size_t count)
{
    uint8_t *at = buffer;

    while (count > 0) {
        const struct vfio_user_region_access access = {
            .offset = offset,
            .region = region,
            .count = piece_size(client, count),
        };
        int result = read_piece(client, &access, at);

        if (result != 0) {
            return result;
        }
        at += access.count;
        offset += access.count;
        count -= access.count;
    }
    return 0;
}

static int write_piece(struct vfu_client *client, const struct vfu_client_request *request,
                       uint32_t count, bool posted)
{
    struct vfio_user_region_access answer;
    int result;

    if (posted) {
        return vfu_client_post(client, request);
    }
    result = vfu_client_command_fixed(client, request, &answer, sizeof(answer));
    return result == 0 && answer.count != count ? -EPROTO : result;
}

static int write_region(struct vfu_client *client, uint32_t region, uint64_t offset,
                        const void *buffer, size_t count, bool posted)
{
    const uint8_t *at = buffer;

    while (count > 0) {
        const struct vfio_user_region_access access = {
            .offset = offset,
            .region = region,
            .count = piece_size(client, count),
        };
        const struct vfu_client_request request = {
            .command = VFIO_USER_REGION_WRITE,
            .head = &access,
            .head_size = sizeof(access),
            .data = at,
            .data_size = access.count,
        };
        int result = write_piece(client, &request, access.count, posted);

        if (result != 0) {
            return result;
        }
        at += access.count;
        offset += access.count;
        count -= access.count;
    }
    return 0;
}

int vfu_client_region_write(struct vfu_client *client, uint32_t region, uint64_t offset,
                            const void *buffer, size_t count)
{
    return write_region(client, region, offset, buffer, count, false);
}

int vfu_client_region_post(struct vfu_client *client, uint32_t region, uint64_t offset,
                           const void *buffer, size_t count)
{
    return write_region(client, region, offset, buffer, count, true);
}

static int describe_writes(const struct vfu_client *client,
                           const struct vfio_user_region_write *writes, size_t count,
                           uint64_t *wr_cnt, struct vfu_client_request *request)
{
    if (!client->server.write_multiple) {
        return -EOPNOTSUPP;
    }
    if (count > VFU_CLIENT_WRITES_MAX) {
        return -E2BIG;
    }
    *wr_cnt = count;
    *request = (struct vfu_client_request){
        .command = VFIO_USER_REGION_WRITE_MULTI,
        .head = wr_cnt,
        .head_size = sizeof(*wr_cnt),
        .data = writes,
        .data_size = count * sizeof(*writes),
    };
    return 0;
}

int vfu_client_region_write_multi(struct vfu_client *client,
                                  const struct vfio_user_region_write *writes, size_t count,
                                  uint64_t *done)
{
    struct vfu_client_request request;
    uint64_t wr_cnt;
    uint64_t answer = 0;
    int result = describe_writes(client, writes, count, &wr_cnt, &request);

    if (result == 0) {
        result = vfu_client_command_fixed(client, &request, &answer, sizeof(answer));
    }
    if (result == 0 && answer > count) {
        result = -EPROTO;
    }
    if (done != NULL) {
        *done = result == 0 ? answer : 0;
    }
    return result;
}

int vfu_client_region_post_multi(struct vfu_client *client,
                                 const struct vfio_user_region_write *writes, size_t count)
{
    struct vfu_client_request request;
    uint64_t wr_cnt;
    int result = describe_writes(client, writes, count, &wr_cnt, &request);

    return result < 0 ? result : vfu_client_post(client, &request);
}
