/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of the server: DMA_READ and DMA_WRITE. They are answered whenever this library waits
 * for anything, on the stream that they came by.
 */
#include "client/internal.h"

#include <errno.h>
#include <string.h>

/* Messages waiting to be sent, beyond which the server is not reading. */
#define MAX_QUEUED 1024

void vfu_client_set_dma(struct vfu_client *client, vfu_client_dma_fn *dma, void *opaque)
{
    client->dma = dma;
    client->dma_opaque = opaque;
}

/*
 * Queued only: it must not get between the pieces of a message that is being sent. A server that
 * sends commands without end and reads no answers is cut off. Returns the entry with its header, or
 * NULL with the error in @err.
 */
static struct outgoing *queue_answer(struct stream *stream, const struct vfio_user_header *command,
                                     size_t payload, int error, int *err)
{
    const struct vfio_user_header answer = {
        .msg_id = command->msg_id,
        .cmd = command->cmd,
        .msg_size = (uint32_t)(sizeof(answer) + payload),
        .flags = VFIO_USER_F_TYPE_REPLY | (error != 0 ? VFIO_USER_F_ERROR : 0),
        .error_no = (uint32_t)error,
    };
    struct outgoing *out;

    if (stream->queued >= MAX_QUEUED) {
        *err = -ENOBUFS;
        return NULL;
    }
    out = stream_queue(stream, sizeof(answer) + payload, NULL);
    if (out == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    memcpy(out->bytes, &answer, sizeof(answer));
    return out;
}

static int refuse(struct stream *stream, const struct vfio_user_header *command, int error)
{
    int err = 0;

    if (!(command->flags & VFIO_USER_F_NO_REPLY)) {
        (void)queue_answer(stream, command, 0, error, &err);
    }
    return err;
}

/* What is wrong with the command: 0 or a positive errno. */
static int check(const struct vfu_client *client, const struct vfu_client_message *command,
                 struct vfio_user_dma_region_access *access)
{
    bool is_write = command->header.cmd == VFIO_USER_DMA_WRITE;

    if (client->dma == NULL) {
        return ENOTSUP;
    }
    if (command->header.cmd != VFIO_USER_DMA_READ && !is_write) {
        return ENOSYS;
    }
    if (command->fds.count > 0 || command->size < sizeof(*access)) {
        return EINVAL;
    }
    memcpy(access, command->payload, sizeof(*access));
    if (access->count > client->max_data_xfer_size) {
        return E2BIG;
    }
    return command->size - sizeof(*access) == (is_write ? access->count : 0) ? 0 : EINVAL;
}

static int serve_read(struct vfu_client *client, struct stream *stream,
                      const struct vfio_user_header *header,
                      const struct vfio_user_dma_region_access *access)
{
    int err = 0;
    struct outgoing *out = queue_answer(stream, header, sizeof(*access) + access->count, 0, &err);
    uint8_t *data;
    int error;

    if (out == NULL) {
        return err;
    }
    data = mempcpy(out->bytes + sizeof(*header), access, sizeof(*access));
    error = client->dma(client->dma_opaque, access->addr, data, access->count, false);
    if (error != 0) {
        struct vfio_user_header *answer = (struct vfio_user_header *)out->bytes;

        answer->msg_size = sizeof(*answer);
        answer->flags |= VFIO_USER_F_ERROR;
        answer->error_no = (uint32_t)error;
        out->size = sizeof(*answer);
    }
    return 0;
}

static int serve_write(struct vfu_client *client, struct stream *stream,
                       const struct vfu_client_message *command,
                       const struct vfio_user_dma_region_access *access)
{
    int error = client->dma(client->dma_opaque, access->addr, command->payload + sizeof(*access),
                            access->count, true);
    struct outgoing *out;
    int err = 0;

    if (error != 0 || (command->header.flags & VFIO_USER_F_NO_REPLY)) {
        return refuse(stream, &command->header, error);
    }
    out = queue_answer(stream, &command->header, sizeof(*access), 0, &err);
    if (out != NULL) {
        memcpy(out->bytes + sizeof(command->header), access, sizeof(*access));
    }
    return err;
}

int serve_command(struct vfu_client *client, struct stream *stream,
                  const struct vfu_client_message *command)
{
    struct vfio_user_dma_region_access access;
    int error = check(client, command, &access);

    if (error != 0) {
        return refuse(stream, &command->header, error);
    }
    if (command->header.cmd == VFIO_USER_DMA_WRITE) {
        return serve_write(client, stream, command, &access);
    }
    /* Nobody wants what is read. */
    return command->header.flags & VFIO_USER_F_NO_REPLY
               ? 0
               : serve_read(client, stream, &command->header, &access);
}

int vfu_client_serve(struct vfu_client *client)
{
    int err = stream_wait(client, deadline_after(client->timeout_ms));

    if (err == 0) {
        err = stream_progress(client);
    }
    return err == 0 ? stream_progress(client) : err; /* sends the answers */
}
