/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_FEATURE, and a device's migration data. */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/vfio.h>

int vfu_client_feature_get(struct vfu_client *client, uint32_t number, const void *data,
                           size_t size, void *answer, size_t answer_size)
{
    const struct vfio_user_device_feature ask = {
        .argsz = (uint32_t)(sizeof(ask) + answer_size),
        .flags = number | VFIO_DEVICE_FEATURE_GET,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_FEATURE,
        .head = &ask,
        .head_size = sizeof(ask),
        .data = data,
        .data_size = size,
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int result = vfu_client_command(client, &request, &reply);

    if (result != 0) {
        return result;
    }
    if (reply.size != sizeof(ask) + answer_size || reply.fds.count != 0 ||
        memcmp(reply.payload, &ask, sizeof(ask)) != 0) {
        return -EPROTO;
    }
    memcpy(answer, reply.payload + sizeof(ask), answer_size);
    return 0;
}

/* The answer is the request. */
static int send_feature(struct vfu_client *client, uint32_t flags, const void *data, size_t size)
{
    const struct vfio_user_device_feature ask = {
        .argsz = (uint32_t)(sizeof(ask) + size),
        .flags = flags,
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DEVICE_FEATURE,
        .head = &ask,
        .head_size = sizeof(ask),
        .data = data,
        .data_size = size,
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int result = vfu_client_command(client, &request, &reply);

    if (result != 0) {
        return result;
    }
    if (reply.size != sizeof(ask) + size || reply.fds.count != 0 ||
        memcmp(reply.payload, &ask, sizeof(ask)) != 0 ||
        (size > 0 && memcmp(reply.payload + sizeof(ask), data, size) != 0)) {
        return -EPROTO;
    }
    return 0;
}

int vfu_client_feature_set(struct vfu_client *client, uint32_t number, const void *data,
                           size_t size)
{
    return send_feature(client, number | VFIO_DEVICE_FEATURE_SET, data, size);
}

int vfu_client_feature_probe(struct vfu_client *client, uint32_t number, uint32_t operations)
{
    return send_feature(client, number | operations | VFIO_DEVICE_FEATURE_PROBE, NULL, 0);
}

int vfu_client_migration_get_state(struct vfu_client *client, uint32_t *state)
{
    struct vfio_user_device_feature_mig_state answer;
    int result = vfu_client_feature_get(client, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, NULL, 0,
                                        &answer, sizeof(answer));

    if (result == 0) {
        *state = answer.device_state;
    }
    return result;
}

int vfu_client_migration_set_state(struct vfu_client *client, uint32_t state)
{
    const struct vfio_user_device_feature_mig_state wanted = { .device_state = state };

    return vfu_client_feature_set(client, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &wanted,
                                  sizeof(wanted));
}

int vfu_client_migration_submit_read(struct vfu_client *client, uint32_t size, uint16_t *id)
{
    const struct vfio_user_mig_data ask = { .argsz = (uint32_t)sizeof(ask) + size, .size = size };
    const struct vfu_client_request request = {
        .command = VFIO_USER_MIG_DATA_READ,
        .head = &ask,
        .head_size = sizeof(ask),
    };

    return vfu_client_submit(client, &request, id);
}

int vfu_client_migration_collect_read(struct vfu_client *client, uint16_t id, uint32_t size,
                                      struct vfu_client_message *reply, const uint8_t **data,
                                      uint32_t *read)
{
    int result = vfu_client_collect(client, id, reply);
    struct vfio_user_mig_data answer;

    if (result != 0) {
        return result;
    }
    if (reply->size < sizeof(answer) || reply->fds.count != 0) {
        return -EPROTO;
    }
    memcpy(&answer, reply->payload, sizeof(answer));
    /* Some servers fill the message up to what was asked for: the number in it counts. */
    if (answer.size > size || reply->size - sizeof(answer) < answer.size) {
        return -EPROTO;
    }
    *data = reply->payload + sizeof(answer);
    *read = answer.size;
    return 0;
}

int vfu_client_migration_read(struct vfu_client *client, void *buffer, uint32_t size,
                              uint32_t *read)
{
    struct vfu_client_message reply = { .size = 0 };
    const uint8_t *data;
    uint16_t id;
    int result = vfu_client_migration_submit_read(client, size, &id);

    if (result == 0) {
        result = vfu_client_migration_collect_read(client, id, size, &reply, &data, read);
    }
    if (result == 0 && *read > 0) {
        memcpy(buffer, data, *read);
    }
    vfu_client_message_recycle(client, &reply);
    return result;
}

int vfu_client_migration_submit_write(struct vfu_client *client, const void *buffer, uint32_t size,
                                      uint16_t *id)
{
    const struct vfio_user_mig_data head = { .argsz = (uint32_t)sizeof(head) + size, .size = size };
    const struct vfu_client_request request = {
        .command = VFIO_USER_MIG_DATA_WRITE,
        .head = &head,
        .head_size = sizeof(head),
        .data = buffer,
        .data_size = size,
    };

    return vfu_client_submit(client, &request, id);
}

static int write_piece(struct vfu_client *client, const void *buffer, uint32_t size)
{
    uint16_t id;
    int err = vfu_client_migration_submit_write(client, buffer, size, &id);

    return err < 0 ? err : vfu_client_collect(client, id, NULL);
}

int vfu_client_migration_write(struct vfu_client *client, const void *buffer, uint32_t size)
{
    const uint8_t *at = buffer;

    do {
        uint32_t limit = (uint32_t)client->server.max_data_xfer_size; /* at most 64 MiB */
        uint32_t piece = size < limit ? size : limit;
        int result = write_piece(client, at, piece);

        if (result != 0) {
            return result;
        }
        at += piece;
        size -= piece;
    } while (size > 0);
    return 0;
}

int vfu_client_migration_get_flags(struct vfu_client *client, uint64_t *flags)
{
    struct vfio_user_device_feature_migration answer;
    int result = vfu_client_feature_get(client, VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0, &answer,
                                        sizeof(answer));

    *flags = result == 0 ? answer.flags : 0;
    return result;
}

int vfu_client_dirty_start(struct vfu_client *client, uint64_t page_size)
{
    return vfu_client_dirty_start_ranges(client, page_size, NULL, 0);
}

int vfu_client_dirty_start_ranges(struct vfu_client *client, uint64_t page_size,
                                  const struct vfio_user_device_feature_dma_logging_range *ranges,
                                  uint32_t count)
{
    const struct vfio_user_device_feature_dma_logging_control control = {
        .page_size = page_size,
        .num_ranges = count,
    };
    uint8_t *data;
    int result;

    if (count > VFU_CLIENT_RANGES_MAX) {
        return -E2BIG;
    }
    data = malloc(sizeof(control) + count * sizeof(*ranges));
    if (data == NULL) {
        return -ENOMEM;
    }
    memcpy(data, &control, sizeof(control));
    if (count > 0) {
        memcpy(data + sizeof(control), ranges, count * sizeof(*ranges));
    }
    result = vfu_client_feature_set(client, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, data,
                                    sizeof(control) + count * sizeof(*ranges));
    free(data);
    return result;
}

int vfu_client_dirty_stop(struct vfu_client *client)
{
    return vfu_client_feature_set(client, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

size_t vfu_client_dirty_bytes(uint64_t length, uint64_t page_size)
{
    uint64_t pages = length / page_size + (length % page_size != 0);

    return (size_t)((pages + 63) / 64 * 8);
}

static int report_piece(struct vfu_client *client, uint64_t iova, uint64_t length,
                        uint64_t page_size, void *bitmap)
{
    const struct vfio_user_device_feature_dma_logging_report ask = {
        .iova = iova,
        .length = length,
        .page_size = page_size,
    };
    size_t size = vfu_client_dirty_bytes(length, page_size);
    uint8_t *answer = malloc(sizeof(ask) + size);
    int result;

    if (answer == NULL) {
        return -ENOMEM;
    }
    result = vfu_client_feature_get(client, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &ask,
                                    sizeof(ask), answer, sizeof(ask) + size);
    if (result == 0) {
        result = memcmp(answer, &ask, sizeof(ask)) == 0 ? 0 : -EPROTO;
    }
    if (result == 0) {
        memcpy(bitmap, answer + sizeof(ask), size);
    }
    free(answer);
    return result;
}

/* A bitmap that is larger than a message may be takes several. */
int vfu_client_dirty_report(struct vfu_client *client, uint64_t iova, uint64_t length,
                            uint64_t page_size, void *bitmap)
{
    const uint64_t most = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE * 8ull;
    uint8_t *at = bitmap;

    do {
        uint64_t piece = length / page_size > most ? most * page_size : length;
        int result = report_piece(client, iova, piece, page_size, at);

        if (result != 0) {
            return result;
        }
        at += VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE;
        iova += piece;
        length -= piece;
    } while (length > 0);
    return 0;
}
