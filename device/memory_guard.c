/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handler runs in whatever thread touches the memory, at any point of its work: it takes no
 * lock, and calls nothing but mmap(2). What it walks, the contexts and their regions, is changed by
 * others, who wait for the handlers that may be on it before they let go of what they took out.
 */
#include "device/memory_guard.h"

#include "device/dma.h"
#include "ipc/control.h"
#include "ipc/fd.h"
#include "ipc/fixed_memory.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <vfio-user/vfu-broker.h>

/* So many single pages of a range are replaced, then all of it. */
#define SINGLE_PAGES 4

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct dma *list;
static unsigned handlers; /* that may be walking the list */

static struct sigaction previous;

/* Of a sealed process, for the sessions of all its contexts. */
static int zeros = -1;
static uint64_t zeros_used; /* bytes of the file */

/* Puts zeros in place of @length bytes at @start. */
static bool replace(struct dma *dma, uint8_t *start, uint64_t length, int prot)
{
    uint64_t offset = __atomic_fetch_add(&dma->zeros_used, length, __ATOMIC_RELAXED);
    int file = dma->zeros;

    if (file < 0) {
        file = zeros;
        offset = __atomic_fetch_add(&zeros_used, length, __ATOMIC_RELAXED);
    }
    return offset <= CONTROL_ZEROS_SIZE - length &&
           mmap(start, length, prot, MAP_SHARED | MAP_FIXED, file, (off_t)offset) != MAP_FAILED;
}

/* Marks every region that has any of these bytes: regions of one file may have them in common. */
static void mark(struct dma *dma, const uint8_t *start, uint64_t length)
{
    uint32_t slot = 0;
    struct dma_region *region;

    while ((region = dma_slab_find(&dma->index.slab, slot, start, length)) != NULL) {
        dma_region_fault(region);
        slot = region->slot + 1;
    }
}

/*
 * What to replace because of a fault at @address: its page, all that the region has, or all that is
 * mapped of the file.
 */
static struct iovec choose(const struct dma_region *region, uint8_t *address)
{
    struct dma_mapping *mapping = region->mapping;
    struct iovec part = region->info.mapping;
    uint64_t page = region->info.page_size;

    if (!dma_mapping_split(mapping)) {
        return (struct iovec){ .iov_base = mapping->address, .iov_len = mapping->length };
    }
    if (DMA_LOAD(region->faults) < SINGLE_PAGES) {
        uint64_t offset = (uint64_t)(address - (uint8_t *)part.iov_base) / page * page;

        part.iov_base = (uint8_t *)part.iov_base + offset;
        part.iov_len = page;
    }
    return part;
}

/* The region is not unmapped meanwhile, be it another one than that in use: see region_free(). */
static bool cover(struct dma *dma, const struct dma_region *region, uint8_t *address)
{
    struct iovec part = choose(region, address);

    DMA_STORE(dma->faulted, true);
    /* Before the regions are looked at: one that is made meanwhile sees this. */
    __atomic_store_n(&region->mapping->faulted, true, __ATOMIC_SEQ_CST);
    mark(dma, part.iov_base, part.iov_len);
    return replace(dma, part.iov_base, part.iov_len, (int)region->info.prot);
}

static bool cover_any(uint8_t *address)
{
    bool covered = false;

    __atomic_fetch_add(&handlers, 1, __ATOMIC_SEQ_CST);
    for (struct dma *dma = __atomic_load_n(&list, __ATOMIC_SEQ_CST); dma != NULL;
         dma = __atomic_load_n(&dma->next_guarded, __ATOMIC_SEQ_CST)) {
        const struct dma_region *region = dma_slab_find(&dma->index.slab, 0, address, 1);

        if (region != NULL) {
            covered = cover(dma, region, address);
            break;
        }
    }
    __atomic_fetch_sub(&handlers, 1, __ATOMIC_SEQ_CST);
    return covered;
}

/*
 * What is nobody's ends the process as if there were no handler. A sealed one cannot change it
 * (rt_sigaction is not in the filter), but can return with the signal blocked, when the kernel
 * kills what faults again.
 */
static void die(const siginfo_t *info, ucontext_t *context)
{
    if (info->si_code > 0) {
        sigaddset(&context->uc_sigmask, SIGBUS);
    } else if (!vfu_is_sealed()) {
        signal(SIGBUS, SIG_DFL);
        raise(SIGBUS);
    }
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int error = errno;
    bool covered = info->si_code > 0 && cover_any(info->si_addr);

    errno = error;
    if (covered) {
        return;
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        die(info, context);
    } else {
        previous.sa_handler(number);
    }
}

static int install(void)
{
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    struct sigaction present;

    if (sigaction(SIGBUS, NULL, &present) < 0) {
        return -errno;
    }
    if ((present.sa_flags & SA_SIGINFO) && present.sa_sigaction == on_fault) {
        return 0;
    }
    previous = present;
    ours.sa_mask = present.sa_mask;
    return sigaction(SIGBUS, &ours, NULL) < 0 ? -errno : 0;
}

int memory_guard_install(void)
{
    int err;

    pthread_mutex_lock(&list_lock);
    err = install();
    pthread_mutex_unlock(&list_lock);
    return err;
}

int memory_guard_begin(struct dma *dma)
{
    if (dma->zeros < 0) {
        int fd = fixed_memory_create("zeros", CONTROL_ZEROS_SIZE);

        if (fd < 0) {
            return fd;
        }
        dma->zeros = fd;
    }
    return memory_guard_install();
}

void memory_guard_end(struct dma *dma)
{
    if (dma->zeros_used > 0) {
        fd_close(&dma->zeros);
    }
    dma->zeros_used = 0;
}

bool memory_guard_has_zeros(const struct dma *dma, uint64_t limit)
{
    uint64_t share = CONTROL_ZEROS_SIZE / (2 * CONTROL_MAX_CHANNELS);

    return __atomic_load_n(&dma->zeros_used, __ATOMIC_RELAXED) <= (limit < share ? limit : share);
}

void memory_guard_use(int fd)
{
    fd_close(&zeros);
    zeros = fd;
}

void memory_guard_settle(void)
{
    /* Some microseconds at most: a handler waits for nobody. */
    while (__atomic_load_n(&handlers, __ATOMIC_SEQ_CST) != 0) {
    }
}

void memory_guard_add(struct dma *dma)
{
    dma->zeros = -1;
    pthread_mutex_lock(&list_lock);
    dma->next_guarded = list;
    __atomic_store_n(&list, dma, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&list_lock);
}

void memory_guard_remove(struct dma *dma)
{
    pthread_mutex_lock(&list_lock);
    for (struct dma **link = &list; *link != NULL; link = &(*link)->next_guarded) {
        if (*link == dma) {
            __atomic_store_n(link, dma->next_guarded, __ATOMIC_SEQ_CST);
            break;
        }
    }
    memory_guard_settle();
    pthread_mutex_unlock(&list_lock);
    fd_close(&dma->zeros);
}
