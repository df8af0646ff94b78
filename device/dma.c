/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma.h"

#include "device/context.h"
#include "device/dirty_log.h"
#include "device/errors.h"
#include "device/memory_guard.h"
#include "ipc/fd.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int vfu_setup_device_dma(vfu_ctx_t *ctx, size_t max_regions, vfu_dma_register_cb_t *dma_register,
                         vfu_dma_unregister_cb_t *dma_unregister)
{
    struct dma *dma = &ctx->session.dma;

    dma->enabled = true;
    dma->max_regions = max_regions < INT_MAX ? max_regions : INT_MAX;
    dma->added = dma_register;
    dma->removed = dma_unregister;
    return 0;
}

/* fstat(3) is another system call since glibc 2.33, which the jail's filter does not know. */
static int file_status(int fd, struct stat *status)
{
    return syscall(SYS_fstat, fd, status) == 0 ? 0 : -EINVAL;
}

static size_t page_size_of(const struct stat *status)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t block = status->st_blksize > 0 ? (size_t)status->st_blksize : 0;

    /* Huge-page files tell their page size so; a filesystem may say anything. */
    return block > page && (block & (block - 1)) == 0 ? block : page;
}

/*
 * mmap(2) would say so too, unless it finds fault with the direction first. Of anonymous files some
 * can be mapped, but none can be read at an offset.
 */
static bool is_no_memory(const struct stat *status, bool map)
{
    return S_ISFIFO(status->st_mode) || S_ISSOCK(status->st_mode) || S_ISDIR(status->st_mode) ||
           (!map && (status->st_mode & S_IFMT) == 0);
}

/* Looks at the file behind a range, if there is one. Returns 0 or a negative errno. */
static int inspect_file(const struct dma_request *request, struct dma_region *region,
                        struct dma_file *file)
{
    struct stat status;
    uint64_t end;
    int err;

    region->info.page_size = (size_t)sysconf(_SC_PAGESIZE);
    if (request->refused < 0) {
        return request->refused;
    }
    if (request->fd < 0) {
        return 0;
    }
    err = file_status(request->fd, &status);
    if (err < 0) {
        return err;
    }
    if (is_no_memory(&status, request->map)) {
        return -ENODEV;
    }
    if (__builtin_add_overflow(request->offset, request->size, &end)) {
        return -EINVAL;
    }
    /* Touching memory beyond the end of its file kills the process. */
    if (S_ISREG(status.st_mode) && end > (uint64_t)status.st_size) {
        return -EINVAL;
    }
    region->has_file = true;
    region->device = status.st_dev;
    region->inode = status.st_ino;
    region->info.page_size = page_size_of(&status);
    *file = (struct dma_file){
        .fd = request->fd,
        .device = status.st_dev,
        .inode = status.st_ino,
        .size = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0,
        .page_size = region->info.page_size,
    };
    return 0;
}

/*
 * Whole pages are mapped, so the range may start somewhere within the first one. The program learns
 * of these pages, not of others that the mapping has.
 */
static int map_region(struct vfu_ctx *ctx, const struct dma_request *request,
                      const struct dma_file *file, struct dma_region *region)
{
    vfu_dma_info_t *info = &region->info;
    uint64_t mask = info->page_size - 1;
    uint64_t delta = request->offset & mask;
    uint64_t length;
    uint8_t *start;
    int err;

    if (__builtin_add_overflow(delta + mask, (uint64_t)info->iova.iov_len, &length)) {
        return -EINVAL;
    }
    length &= ~mask;
    err = dma_mappings_get(&ctx->session.dma.mappings, ctx->transport, file,
                           request->offset - delta, length, info->prot, &region->mapping);
    if (err < 0) {
        return err;
    }
    start = region->mapping->address + (request->offset - delta - region->mapping->offset);
    info->mapping = (struct iovec){ .iov_base = start, .iov_len = length };
    info->vaddr = start + delta;
    return 0;
}

static void region_free(struct dma *dma, struct dma_region *region)
{
    int fd = region->fd;

    /* A fault there is no longer ours: somebody else's mapping may come to be in its place. */
    __atomic_store_n(&region->range->use, 0, __ATOMIC_SEQ_CST);
    memory_guard_settle();
    if (region->mapping != NULL) {
        dma_mappings_put(&dma->mappings, region->mapping, region->info.mapping.iov_len);
    }
    dirty_log_forget(dma, region);
    dma_slab_give(&dma->index.slab, region);
    fd_close(&fd);
}

/* A mapping keeps the file alive by itself; a descriptor is kept only where it is used. */
static int provide_access(struct vfu_ctx *ctx, struct dma_request *request,
                          const struct dma_file *file, struct dma_region *region, int *fd)
{
    if (request->fd < 0) {
        return 0;
    }
    if (request->map) {
        return map_region(ctx, request, file, region);
    }
    *fd = fd_take(&request->fd);
    return 0;
}

static void publish(const struct dma_request *request, struct dma_region *region, uint32_t use,
                    int fd)
{
    const struct dma_range range = {
        .first = request->address,
        .last = request->address + (request->size - 1),
        .vaddr = region->info.vaddr,
        .use = use,
        .state = request->prot | (fd >= 0 ? DMA_FILE : 0),
    };

    DMA_STORE(region->offset, request->offset);
    DMA_STORE(region->fd, fd);
    DMA_STORE(region->dirty, NULL);
    DMA_STORE(region->faults, 0);
    dma_range_store(region->range, &range);
    /* A page was replaced just when the mapping was given out: whoever did so saw no region. */
    if (region->mapping != NULL && __atomic_load_n(&region->mapping->faulted, __ATOMIC_SEQ_CST)) {
        dma_region_fault(region);
    }
}

static int region_new(struct vfu_ctx *ctx, struct dma_request *request, struct dma_region **result)
{
    struct dma *dma = &ctx->session.dma;
    struct dma_file file;
    uint32_t use;
    struct dma_region *region = dma_slab_take(&dma->index.slab, &use);
    int fd = -1;
    int err;

    if (region == NULL) {
        return -ENOMEM;
    }
    region->info = (vfu_dma_info_t){
        .iova = { (void *)(uintptr_t)request->address, request->size },
        .prot = request->prot,
    };
    region->has_file = false;
    region->mapping = NULL;
    region->bitmap = NULL;
    err = inspect_file(request, region, &file);
    if (err == 0) {
        err = dirty_log_check_size(dma, region);
    }
    if (err == 0) {
        err = provide_access(ctx, request, &file, region, &fd);
    }
    if (err < 0) {
        dma_slab_give(&dma->index.slab, region);
        return err;
    }
    publish(request, region, use, fd);
    err = dirty_log_watch(dma, region);
    if (err < 0) {
        region_free(dma, region);
        return err;
    }
    *result = region;
    return 0;
}

/* Whether the client only repeats what it said when it added @region. */
static bool is_repetition(const struct dma_request *request, const struct dma_region *region)
{
    struct stat status;

    if (request->refused < 0 || request->offset != region->offset ||
        request->prot != region->info.prot || (request->fd >= 0) != region->has_file) {
        return false;
    }
    return request->fd < 0 || (file_status(request->fd, &status) == 0 &&
                               status.st_dev == region->device && status.st_ino == region->inode);
}

/* Returns 0 if the range may be added, 1 if it is there already, or -EINVAL. */
static int check_against_others(const struct dma *dma, const struct dma_request *request)
{
    uint64_t last = request->address + (request->size - 1);
    const struct dma_region *other = dma_index_find(&dma->index, request->address, last);

    if (other == NULL) {
        return 0;
    }
    return dma_region_first(other) == request->address && dma_region_last(other) == last &&
                   is_repetition(request, other)
               ? 1
               : -EINVAL;
}

static int check_limits(const struct vfu_ctx *ctx, const struct dma_request *request)
{
    const struct dma *dma = &ctx->session.dma;
    const struct transport *transport = ctx->transport;
    uint64_t bytes;

    if (dma_index_count(&dma->index) >= dma->max_regions ||
        dma_index_count(&dma->index) >= transport->max_dma_regions) {
        return -EINVAL;
    }
    if (request->fd >= 0 && !memory_guard_has_zeros(dma, transport->max_dma_bytes)) {
        return -EINVAL;
    }
    if (request->fd >= 0 && (__builtin_add_overflow(dma->bytes, request->size, &bytes) ||
                             bytes > transport->max_dma_bytes)) {
        return -EINVAL;
    }
    return 0;
}

int dma_add(struct vfu_ctx *ctx, struct dma_request *request)
{
    struct dma *dma = &ctx->session.dma;
    struct dma_region *region;
    int err;

    if (request->size > DMA_MAX_REGION_SIZE) {
        return -ENOSPC;
    }
    err = check_against_others(dma, request);
    if (err != 0) {
        return err < 0 ? err : 0;
    }
    err = check_limits(ctx, request);
    if (err == 0) {
        err = region_new(ctx, request, &region);
    }
    if (err < 0) {
        return err;
    }
    err = dma_index_insert(&dma->index, region);
    if (err < 0) {
        region_free(dma, region);
        return err;
    }
    dma->bytes += region->has_file ? region->info.iova.iov_len : 0;
    if (dma->added != NULL) {
        dma->added(ctx, &region->info);
    }
    return 0;
}

struct dma_region *dma_find_exact(const struct dma *dma, uint64_t address, uint64_t size)
{
    struct dma_region *region = dma_index_find(&dma->index, address, address);

    return region != NULL && dma_region_first(region) == address &&
                   region->info.iova.iov_len == size
               ? region
               : NULL;
}

/* Until the program's callback returns, addresses in the region can still be looked up. */
void dma_remove(struct vfu_ctx *ctx, struct dma_region *region, struct dirty_report *report)
{
    struct dma *dma = &ctx->session.dma;

    if (dma->removed != NULL) {
        dma->removed(ctx, &region->info);
    }
    if (report != NULL) {
        dirty_log_collect(dma, report);
    }
    dma_index_remove(&dma->index, region);
    dma->bytes -= region->has_file ? region->info.iova.iov_len : 0;
    region_free(dma, region);
}

void dma_remove_all(struct vfu_ctx *ctx)
{
    struct dma_region *region;

    while ((region = dma_index_find(&ctx->session.dma.index, 0, UINT64_MAX)) != NULL) {
        dma_remove(ctx, region, NULL);
    }
    dma_mappings_trim(&ctx->session.dma.mappings);
    DMA_STORE(ctx->session.dma.faulted, false);
    ctx->session.dma.fault_logged = false;
}

void dma_log_faults(struct vfu_ctx *ctx)
{
    struct dma *dma = &ctx->session.dma;

    if (DMA_LOAD(dma->faulted) && !dma->fault_logged) {
        dma->fault_logged = true;
        log_client(ctx, LOG_WARNING,
                   "guest memory has gone: it reads as zeros, and calls for it fail with EFAULT");
    }
}

void dma_fini(struct dma *dma)
{
    dma_index_fini(&dma->index);
}
