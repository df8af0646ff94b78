/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broker-test-workers [--detached|--late] COUNT SOCKET
 *
 * A device with COUNT threads besides the first, which do its work. Registers of 8 bytes in BAR0;
 * a write has the worker's number (from 0) in its upper half, and says what it shall do:
 *
 *   0x00  add 1 to the 8 bytes at this guest address, and raise the interrupt of its number
 *   0x08  allocate and free in steps of this many bytes, and raise it
 *   0x10  return
 *   0x18  call socket(2)
 *   0x20  (--late) begin: the only worker, made before the seal, does then for the first time what
 *         the C library has a thread do, and raises interrupt 0
 */
#include <err.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>

#define MAX_WORKERS 64
#define STEPS 10

enum job {
    JOB_NONE = -1,
    JOB_COPY,
    JOB_ALLOCATE,
    JOB_RETURN,
    JOB_CALL,
    JOB_BEGIN,
    JOBS,
};

struct worker {
    vfu_ctx_t *ctx;
    uint32_t number;
    pthread_mutex_t lock;
    pthread_cond_t wakes;
    enum job job;
    uint32_t value;
};

static struct worker workers[MAX_WORKERS];
static uint32_t worker_count;

/* --- the workers --------------------------------------------------------------------------- */

static void copy(vfu_ctx_t *ctx, uint32_t address)
{
    dma_sg_t *sg = malloc(dma_sg_size());
    struct iovec iov;
    uint64_t value;

    if (vfu_addr_to_sgl(ctx, (void *)(uintptr_t)address, sizeof(value), sg, 1,
                        PROT_READ | PROT_WRITE) != 1 ||
        vfu_sgl_get(ctx, sg, &iov, 1, 0) < 0) {
        err(EXIT_FAILURE, "guest memory");
    }
    memcpy(&value, iov.iov_base, sizeof(value));
    value++;
    memcpy(iov.iov_base, &value, sizeof(value));
    vfu_sgl_put(ctx, sg, &iov, 1);
    free(sg);
}

/* The heap grows, and would shrink again. */
static void allocate(size_t size)
{
    char *volatile blocks[STEPS];

    for (size_t i = 0; i < STEPS; i++) {
        blocks[i] = malloc(size);
        if (blocks[i] == NULL) {
            err(EXIT_FAILURE, "memory");
        }
        memset(blocks[i], 1, size);
    }
    for (size_t i = STEPS; i > 0; i--) {
        free(blocks[i - 1]);
    }
}

static enum job next_job(struct worker *worker, uint32_t *value)
{
    enum job job;

    pthread_mutex_lock(&worker->lock);
    while (worker->job == JOB_NONE) {
        pthread_cond_wait(&worker->wakes, &worker->lock);
    }
    job = worker->job;
    *value = worker->value;
    worker->job = JOB_NONE;
    pthread_mutex_unlock(&worker->lock);
    return job;
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    uint32_t value;

    for (;;) {
        switch (next_job(worker, &value)) {
        case JOB_COPY:
            copy(worker->ctx, value);
            break;
        case JOB_ALLOCATE:
            allocate(value);
            break;
        case JOB_CALL:
            syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
            break;
        default:
            return NULL;
        }
        vfu_irq_trigger(worker->ctx, worker->number);
    }
}

static void start_workers(vfu_ctx_t *ctx, bool detached)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 << 10);
    pthread_attr_setdetachstate(&attributes,
                                detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    for (uint32_t i = 0; i < worker_count; i++) {
        pthread_t thread;

        workers[i].ctx = ctx;
        workers[i].number = i;
        workers[i].job = JOB_NONE;
        pthread_mutex_init(&workers[i].lock, NULL);
        pthread_cond_init(&workers[i].wakes, NULL);
        errno = pthread_create(&thread, &attributes, work, &workers[i]);
        if (errno != 0) {
            err(EXIT_FAILURE, "thread");
        }
    }
    pthread_attr_destroy(&attributes);
}

/* --- a thread that begins late ------------------------------------------------------------- */

static uint32_t may_begin;

/* Without the C library, which would begin at once: so only with calls that cannot fail. */
static int begin_late(void *opaque)
{
    static struct rseq area __attribute__((aligned(sizeof(struct rseq))));
    static struct robust_list_head list = { .list = { &list.list } };
    const uint64_t none = 0;

    while (__atomic_load_n(&may_begin, __ATOMIC_ACQUIRE) == 0) {
        syscall(SYS_futex, &may_begin, FUTEX_WAIT, 0, NULL);
    }
    if (syscall(SYS_rseq, &area, sizeof(area), 0, 0x53053053) == 0 &&
        syscall(SYS_set_robust_list, &list, sizeof(list)) == 0 &&
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none)) == 0) {
        vfu_irq_trigger(opaque, 0);
    }
    syscall(SYS_exit, 0);
    return 0;
}

static void start_late_worker(vfu_ctx_t *ctx)
{
    static char stack[64 << 10] __attribute__((aligned(16)));

    if (clone(begin_late, stack + sizeof(stack),
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
              ctx) < 0) {
        err(EXIT_FAILURE, "thread");
    }
}

static void let_begin(void)
{
    __atomic_store_n(&may_begin, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &may_begin, FUTEX_WAKE, 1);
}

/* --- the device ---------------------------------------------------------------------------- */

static ssize_t access_bar0(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct worker *worker;
    uint64_t value = 0;

    memcpy(&value, buffer, is_write && count == sizeof(value) ? count : 0);
    worker = &workers[(value >> 32) % MAX_WORKERS];
    if (count != sizeof(value) || offset % 8 != 0 || offset / 8 >= JOBS || !is_write ||
        (worker->ctx != ctx && offset / 8 != JOB_BEGIN)) {
        errno = EINVAL;
        return -1;
    }
    if (offset / 8 == JOB_BEGIN) {
        let_begin();
        return (ssize_t)count;
    }
    pthread_mutex_lock(&worker->lock);
    worker->job = (enum job)(offset / 8);
    worker->value = (uint32_t)value;
    pthread_cond_signal(&worker->wakes);
    pthread_mutex_unlock(&worker->lock);
    return (ssize_t)count;
}

static void ignore_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

int main(int argc, char **argv)
{
    bool detached = argc == 4 && strcmp(argv[1], "--detached") == 0;
    bool late = argc == 4 && strcmp(argv[1], "--late") == 0;
    vfu_ctx_t *ctx;

    if (argc != 3 + (detached || late) || atoi(argv[argc - 2]) > MAX_WORKERS) {
        errx(2, "usage: broker-test-workers [--detached|--late] COUNT SOCKET");
    }
    worker_count = (uint32_t)atoi(argv[argc - 2]);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[argc - 1], 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL ||
        vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, access_bar0,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, MAX_WORKERS) < 0 ||
        vfu_setup_device_dma(ctx, 4, ignore_dma, ignore_dma) < 0 || vfu_realize_ctx(ctx) < 0) {
        err(EXIT_FAILURE, "device");
    }
    if (late) {
        start_late_worker(ctx);
    } else {
        start_workers(ctx, detached);
    }
    while (vfu_attach_ctx(ctx) == 0) {
        while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
        }
    }
    return errno != ESHUTDOWN;
}
