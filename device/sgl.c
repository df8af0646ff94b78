/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The API for guest memory: from guest addresses to entries (dma_sg_t), and from those to memory.
 * It is called by any thread, so that nothing of a region is touched but its struct dma_range.
 */
#include "device/context.h"
#include "device/dirty_log.h"
#include "device/dma_message.h"
#include "device/errors.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Opaque in the API, but programs that use it through ctypes mirror this layout. */
struct dma_sg {
    void *dma_addr;  /* guest address of the region's first byte */
    uint64_t handle; /* of the region; in the place of a pointer; 0: invalid */
    uint64_t length;
    uint64_t offset; /* in the region */
    bool writeable;
};
static_assert(sizeof(struct dma_sg) == 40, "layout");
static_assert(offsetof(struct dma_sg, handle) == 8, "layout");
static_assert(offsetof(struct dma_sg, length) == 16, "layout");
static_assert(offsetof(struct dma_sg, offset) == 24, "layout");
static_assert(offsetof(struct dma_sg, writeable) == 32, "layout");

size_t dma_sg_size(void)
{
    return sizeof(struct dma_sg);
}

/* As much of @length bytes at @address as the region has. */
static uint64_t part_of(const struct dma_range *range, uint64_t address, uint64_t length)
{
    uint64_t left = range->last - address; /* and the one at @address */

    return length - 1 < left ? length : left + 1;
}

/* Returns how many entries it takes, of which the first @max are stored; or a negative errno. */
static int64_t translate(const struct dma *dma, uint64_t address, uint64_t length,
                         struct dma_sg *sgl, size_t max, bool writeable)
{
    uint64_t count = 0;

    while (length > 0) {
        struct dma_range range;
        uint64_t handle, part;

        if (!dma_index_look_up(&dma->index, address, &range, &handle)) {
            return -ENOENT;
        }
        part = part_of(&range, address, length);
        if (count < max) {
            if (writeable && !(range.state & PROT_WRITE)) {
                return -EACCES;
            }
            sgl[count] = (struct dma_sg){
                .dma_addr = (void *)(uintptr_t)range.first,
                .handle = handle,
                .length = part,
                .offset = address - range.first,
                .writeable = writeable,
            };
        }
        count++;
        length -= part;
        address += part;
        if (length > 0 && address == 0) {
            return -ENOENT; /* beyond 2^64 */
        }
    }
    return (int64_t)count;
}

int vfu_addr_to_sgl(vfu_ctx_t *ctx, vfu_dma_addr_t dma_addr, size_t len, dma_sg_t *sgl,
                    size_t max_nr_sgs, int prot)
{
    const struct dma *dma = &ctx->session.dma;
    int64_t count;

    if (!dma->enabled || (sgl == NULL && max_nr_sgs > 0)) {
        return api_result(-EINVAL);
    }
    count = translate(dma, (uintptr_t)dma_addr, len, sgl, max_nr_sgs, prot & PROT_WRITE);
    if (count < 0) {
        return api_result((int)count);
    }
    if ((uint64_t)count > max_nr_sgs) {
        errno = 0;
        return (int)(-count - 1);
    }
    return (int)count;
}

/* Finds the region of an entry that lies within it. Returns 0 or -EINVAL. */
static inline int find_range(const struct vfu_ctx *ctx, const struct dma_sg *sg,
                             struct dma_range *range)
{
    uint64_t size;

    if (!dma_slab_look_up(&ctx->session.dma.index.slab, sg->handle, range)) {
        return -EINVAL;
    }
    size = range->last - range->first + 1;
    return sg->offset <= size && sg->length <= size - sg->offset ? 0 : -EINVAL;
}

/*
 * Whether the entry's memory can be accessed in place. A client may give memory without any
 * access, and the device would die of touching it.
 */
static bool is_accessible(const struct dma_sg *sg, const struct dma_range *range)
{
    return range->vaddr != NULL && !(range->state & DMA_FAULTED) &&
           (range->state & (sg->writeable ? PROT_WRITE : PROT_READ));
}

static int get_one(const struct vfu_ctx *ctx, const struct dma_sg *sg, struct iovec *iov)
{
    struct dma_range range;
    int err = find_range(ctx, sg, &range);

    if (err < 0) {
        return err;
    }
    if (!is_accessible(sg, &range)) {
        return -EFAULT; /* also of memory that has gone */
    }
    *iov = (struct iovec){ .iov_base = range.vaddr + sg->offset, .iov_len = sg->length };
    return 0;
}

int vfu_sgl_get(vfu_ctx_t *ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt, int flags)
{
    if (ctx->session.dma.removed == NULL || flags != 0 || cnt == 0) {
        return api_result(-EINVAL);
    }
    for (size_t i = 0; i < cnt; i++) {
        int err = get_one(ctx, &sgl[i], &iov[i]);

        if (err < 0) {
            return api_result(err);
        }
    }
    return 0;
}

static void mark_one(const struct vfu_ctx *ctx, const struct dma_sg *sg,
                     const struct dma_range *range)
{
    struct dma_details details;

    if ((range->state & DMA_LOGGED) &&
        dma_slab_look_up_details(&ctx->session.dma.index.slab, sg->handle, &details) &&
        details.dirty != NULL) {
        dirty_bitmap_mark(details.dirty, sg->offset, sg->length);
    }
}

static void mark(const struct vfu_ctx *ctx, const struct dma_sg *sgl, size_t cnt)
{
    if (DMA_LOAD(ctx->session.dma.log_shift) == 0) {
        return;
    }
    for (size_t i = 0; i < cnt; i++) {
        struct dma_range range;

        if (sgl[i].writeable && find_range(ctx, &sgl[i], &range) == 0) {
            mark_one(ctx, &sgl[i], &range);
        }
    }
}

void vfu_sgl_mark_dirty(vfu_ctx_t *ctx, dma_sg_t *sgl, size_t cnt)
{
    mark(ctx, sgl, cnt);
}

void vfu_sgl_put(vfu_ctx_t *ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt)
{
    mark(ctx, sgl, cnt);
}

bool vfu_sg_is_mappable(vfu_ctx_t *ctx, dma_sg_t *sg)
{
    struct dma_range range;

    return find_range(ctx, sg, &range) == 0 && is_accessible(sg, &range);
}

/* Reads or writes all of it, or fails: there is no end of file in guest memory. */
static int copy_file(int fd, uint64_t position, uint8_t *data, uint64_t length, bool is_write)
{
    while (length > 0) {
        ssize_t n = is_write ? pwrite(fd, data, length, (off_t)position)
                             : pread(fd, data, length, (off_t)position);

        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return -EIO;
        }
        if (n > 0) {
            data += n;
            position += (uint64_t)n;
            length -= (uint64_t)n;
        }
    }
    return 0;
}

/* Copies where the memory or its file is here. Returns 0 or a negative errno. */
static int copy_directly(const struct vfu_ctx *ctx, const struct dma_range *range,
                         const struct dma_sg *sg, void *data, bool is_write)
{
    struct dma_details details;

    if (range->state & DMA_FILE) {
        return dma_slab_look_up_details(&ctx->session.dma.index.slab, sg->handle, &details)
                   ? copy_file(details.fd, details.offset + sg->offset, data, sg->length, is_write)
                   : -EINVAL;
    }
    if (is_write) {
        memcpy(range->vaddr + sg->offset, data, sg->length);
    } else {
        memcpy(data, range->vaddr + sg->offset, sg->length);
    }
    return 0;
}

/* Whether the memory has gone, perhaps while it was copied: then it was not, but zeros. */
static bool has_gone(const struct vfu_ctx *ctx, const struct dma_sg *sg)
{
    struct dma_range range;

    return DMA_LOAD(ctx->session.dma.faulted) && find_range(ctx, sg, &range) == 0 &&
           (range.state & DMA_FAULTED);
}

static int transfer(struct vfu_ctx *ctx, const struct dma_sg *sg, void *data, int flags,
                    bool is_write)
{
    uint32_t needed = is_write ? PROT_WRITE : PROT_READ;
    struct dma_range range;
    int err;

    if (is_write && !sg->writeable) {
        return -EPERM;
    }
    err = find_range(ctx, sg, &range);
    if (err < 0) {
        return err;
    }
    if (!(range.state & needed)) {
        return -EPERM;
    }
    if (range.state & DMA_FAULTED) {
        return -EFAULT;
    }
    if (sg->length == 0) {
        return 0;
    }
    if (!(flags & VFU_SGL_DIRECT_ACCESS) || (range.vaddr == NULL && !(range.state & DMA_FILE))) {
        return dma_message_transfer(ctx, range.first + sg->offset, data, sg->length, is_write);
    }
    err = copy_directly(ctx, &range, sg, data, is_write);
    if (is_write) {
        /* Afterwards: a report in between would tell of what is not there yet. */
        mark_one(ctx, sg, &range);
    }
    return err == 0 && has_gone(ctx, sg) ? -EFAULT : err;
}

static int check_transfer(const struct dma_sg *sgl, size_t sg_cnt, const void *data, int flags)
{
    if (flags & ~VFU_SGL_DIRECT_ACCESS) {
        return -EINVAL;
    }
    if (sg_cnt != 1) {
        return -ENOTSUP;
    }
    return sgl != NULL && data != NULL ? 0 : -EINVAL;
}

int vfu_sgl_read(vfu_ctx_t *ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags)
{
    int err = check_transfer(sgl, sg_cnt, data, flags);

    return api_result(err < 0 ? err : transfer(ctx, sgl, data, flags, false));
}

int vfu_sgl_write(vfu_ctx_t *ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags)
{
    int err = check_transfer(sgl, sg_cnt, data, flags);

    return api_result(err < 0 ? err : transfer(ctx, sgl, data, flags, true));
}
