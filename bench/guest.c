/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/guest.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNDER_WAY 32u
#define SHUFFLE 7919u /* a prime: no count of pages here is a multiple */

#define FLAGS                                                                                      \
    (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE | VFIO_USER_F_DMA_REGION_MMAP)

int guest_memory(uint64_t size)
{
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        err(EXIT_FAILURE, "guest memory");
    }
    return fd;
}

void guest_frame_map(struct wire_frame *frame, uint64_t iova, uint64_t size, uint64_t offset)
{
    const struct vfio_user_dma_map map = {
        .argsz = sizeof(map),
        .flags = FLAGS,
        .offset = offset,
        .addr = iova,
        .size = size,
    };

    wire_frame_set(frame, VFIO_USER_DMA_MAP, &map, sizeof(map), sizeof(frame->header));
}

static void set_unmap(struct wire_frame *frame, const struct vfio_user_dma_unmap *unmap)
{
    wire_frame_set(frame, VFIO_USER_DMA_UNMAP, unmap, sizeof(*unmap),
                   sizeof(frame->header) + sizeof(*unmap));
}

void guest_frame_unmap(struct wire_frame *frame, uint64_t iova, uint64_t size)
{
    const struct vfio_user_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .addr = iova,
        .size = size,
    };

    set_unmap(frame, &unmap);
}

void guest_map(int sock, int fd, uint64_t iova, uint64_t size)
{
    struct wire_frame frame;

    guest_frame_map(&frame, iova, size, 0);
    wire_exchange_fd(sock, &frame, fd);
}

int guest_fill(int sock, int fd, uint64_t count, uint64_t stride, uint64_t *done)
{
    struct wire_frame frame;
    int error = 0;

    for (*done = 0; *done < count && error == 0;) {
        uint64_t end = *done + UNDER_WAY < count ? *done + UNDER_WAY : count;

        for (uint64_t i = *done; i < end; i++) {
            guest_frame_map(&frame, i * stride, GUEST_PAGE, i * SHUFFLE % count * GUEST_PAGE);
            wire_send_fd(sock, &frame.header, frame.header.msg_size, fd);
        }
        for (uint64_t i = *done; i < end; i++) {
            int result = wire_reply(sock, NULL);

            *done += result == 0;
            error = error != 0 ? error : result;
        }
    }
    return error;
}

int guest_clear(int sock)
{
    const struct vfio_user_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .flags = VFIO_DMA_UNMAP_FLAG_ALL,
    };
    struct wire_frame frame;

    set_unmap(&frame, &unmap);
    return wire_command(sock, &frame, -1, NULL);
}

double guest_outcome(int sock)
{
    struct {
        struct vfio_user_region_access access;
        struct outcome outcome;
    } reply;
    struct wire_frame frame;
    int error;

    wire_frame_read(&frame, ORDER_REGION, 0, sizeof(reply.outcome));
    error = wire_command(sock, &frame, -1, &reply);
    if (error == 0) {
        error = reply.outcome.error;
    }
    return error == 0 ? (double)reply.outcome.nanoseconds : -(double)error;
}

double guest_order(int sock, const struct order *order)
{
    struct wire_frame frame;
    int error;

    wire_frame_write(&frame, ORDER_REGION, 0, order, sizeof(*order));
    error = wire_command(sock, &frame, -1, NULL);
    return error == 0 ? guest_outcome(sock) : -(double)error;
}
