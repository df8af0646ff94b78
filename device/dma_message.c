/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_message.h"

#include "device/context.h"
#include "device/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NANOSECONDS 1000000000ull

/* The reference library takes 4096 for an errno too. */
#define MAX_ERRNO 4096u

/* One message: a piece of a transfer that the client can take. */
struct piece {
    struct vfio_user_header header;
    struct vfio_user_dma_region_access access; /* data follows */
};
static_assert(sizeof(struct piece) == 32, "layout");

/* The answer to a write tells nothing that is not known; some clients leave it short, or out. */
static bool echo_is_valid(const struct piece *piece, const uint8_t *payload, size_t size)
{
    const size_t brief = sizeof(uint64_t) + sizeof(uint32_t);

    if (size == 0) {
        return true;
    }
    /* Little endian, and a count of at most 1 MiB: the shorter form is the longer one's start. */
    return (size == sizeof(piece->access) || size == brief) &&
           memcmp(payload, &piece->access, size) == 0;
}

/* Takes the answer's data. Returns 0 or a negative errno. */
static int read_reply(const struct frame *frame, const struct piece *piece, void *data)
{
    const struct vfio_user_header *header = frame_header(frame);
    const uint8_t *payload = frame_payload(frame);
    size_t size = frame_payload_size(frame);

    if (header->cmd != piece->header.cmd) {
        return -EINVAL;
    }
    if (header->flags & VFIO_USER_F_ERROR) {
        return header->error_no > 0 && header->error_no <= MAX_ERRNO ? -(int)header->error_no
                                                                     : -EINVAL;
    }
    if (header->cmd == VFIO_USER_DMA_WRITE) {
        return echo_is_valid(piece, payload, size) ? 0 : -EINVAL;
    }
    if (size != sizeof(piece->access) + piece->access.count ||
        memcmp(payload, &piece->access, sizeof(piece->access)) != 0) {
        return -EINVAL;
    }
    memcpy(data, payload + sizeof(piece->access), piece->access.count);
    return 0;
}

/* @piece has room for @count bytes behind it. */
static int transfer_piece(struct vfu_ctx *ctx, struct piece *piece, uint64_t address, void *data,
                          uint64_t count, bool is_write, uint64_t deadline)
{
    struct frame *answer = &ctx->connection.incoming;
    size_t size = sizeof(*piece);
    int err;

    piece->header.cmd = is_write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ;
    piece->access.addr = address;
    piece->access.count = count;
    if (is_write) {
        memcpy(piece + 1, data, count);
        size += count;
    }
    err = exchange(ctx, piece, size, deadline);
    if (err == 0) {
        err = read_reply(answer, piece, data);
        frame_reset(answer);
    }
    return err;
}

static int transfer(struct vfu_ctx *ctx, uint64_t address, uint8_t *data, uint64_t length,
                    bool is_write, uint64_t deadline)
{
    uint64_t limit = ctx->session.client.max_data_xfer_size;
    uint64_t largest = length < limit ? length : limit;
    struct piece *piece = malloc(sizeof(*piece) + (is_write ? largest : 0));
    int err = piece != NULL ? 0 : -ENOMEM;

    while (length > 0 && err == 0) {
        uint64_t count = length < largest ? length : largest;

        err = transfer_piece(ctx, piece, address, data, count, is_write, deadline);
        address += count;
        data += count;
        length -= count;
    }
    free(piece);
    return err;
}

/*
 * A context whose calls wait is its thread's for as long as it waits. One whose calls do not wait
 * is nobody's most of the time: other threads take their turn. Returns 0 or -EBUSY.
 */
static int take_turn(struct vfu_ctx *ctx, uint64_t deadline, unsigned long *before)
{
    while (!context_claim(ctx, before)) {
        if (!ctx->nonblocking || connection_now() >= deadline) {
            return -EBUSY;
        }
        context_pause();
    }
    return 0;
}

int dma_message_transfer(struct vfu_ctx *ctx, uint64_t address, void *data, uint64_t length,
                         bool is_write)
{
    uint64_t deadline = connection_now() + ctx->transport->stall_seconds * NANOSECONDS;
    unsigned long before;
    int err = take_turn(ctx, deadline, &before);

    if (err < 0) {
        return err;
    }
    err = __atomic_load_n(&ctx->attached, __ATOMIC_ACQUIRE)
              ? transfer(ctx, address, data, length, is_write, deadline)
              : -EBADF;
    context_release(ctx, before);
    return err;
}
