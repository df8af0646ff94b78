/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-device SOCKET_PATH: the device of the benchmark. BAR 0 is memory, BAR 2 takes orders. It
 * uses what any library with the libvfio-user API has, and nothing else, so that bench/run.sh can
 * build it with another one.
 */
#include <err.h>
#include <errno.h>
#include <libvfio-user.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "orders.h"

#define BAR_SIZE 4096
#define CACHE_LINE 64u
#define SLICES 40u

static char memory[BAR_SIZE];
static struct outcome outcome;
static dma_sg_t *entry;
static char buffer[1 << 20];
static int event; /* nobody waits for it */

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- guest memory --- */

static int find_entry(vfu_ctx_t *ctx, uint64_t address, size_t size)
{
    int n = vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, size, entry, 1,
                            PROT_READ | PROT_WRITE);

    return n == 1 ? 0 : n < -1 ? E2BIG : errno;
}

static int translate_one(vfu_ctx_t *ctx, uint64_t address, struct iovec *iov)
{
    int error = find_entry(ctx, address, CACHE_LINE);

    if (error != 0) {
        return error;
    }
    if (vfu_sgl_get(ctx, entry, iov, 1, 0) < 0) {
        return errno;
    }
    vfu_sgl_put(ctx, entry, iov, 1);
    return 0;
}

/*
 * Which region comes next depends on what came out last time, as the next load does in what this
 * is compared with: no two translations overlap. The top bit of an address is never set, which a
 * processor does not know.
 */
static int translate_random(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    struct iovec iov = { .iov_base = NULL };
    static uint64_t state = 1; /* goes on where the last order ended */

    for (uint64_t i = 0; i < count; i++) {
        uint64_t region;
        int error;

        state = state * 6364136223846793005u + 1442695040888963407u;
        state += (uint64_t)(uintptr_t)iov.iov_base >> 63;
        region = (state >> 32) * order->regions >> 32;
        error = translate_one(ctx, region * order->stride, &iov);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int translate_in_turn(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    static uint64_t region; /* goes on too */
    struct iovec iov;

    for (uint64_t i = 0; i < count; i++) {
        int error;

        region = region + 1 < order->regions ? region + 1 : 0;
        error = translate_one(ctx, region * order->stride, &iov);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int translate(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    return order->flags & ORDER_RANDOM ? translate_random(ctx, order, count)
                                       : translate_in_turn(ctx, order, count);
}

static int copy_bare(const struct order *order, const struct iovec *iov)
{
    bool is_write = order->flags & ORDER_WRITE;

    memcpy(is_write ? iov->iov_base : buffer, is_write ? buffer : iov->iov_base, order->size);
    __asm__ volatile("" : : "r"(buffer), "r"(iov->iov_base) : "memory");
    return 0;
}

static int copy_one(vfu_ctx_t *ctx, const struct order *order)
{
    int flags = order->flags & ORDER_MESSAGES ? 0 : VFU_SGL_DIRECT_ACCESS;
    int result = order->flags & ORDER_WRITE ? vfu_sgl_write(ctx, entry, 1, buffer, flags)
                                            : vfu_sgl_read(ctx, entry, 1, buffer, flags);

    return result < 0 ? errno : 0;
}

/* Always the same entry: what is timed is the copying. */
static int copy(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    struct iovec iov;
    int error = order->size <= sizeof(buffer) ? find_entry(ctx, 0, order->size) : EINVAL;

    if (error != 0 || vfu_sgl_get(ctx, entry, &iov, 1, 0) < 0) {
        return error != 0 ? error : errno;
    }
    for (uint64_t i = 0; i < count && error == 0; i++) {
        error = order->flags & ORDER_BARE ? copy_bare(order, &iov) : copy_one(ctx, order);
    }
    return error;
}

/* --- a random dependent load --- */

struct line {
    struct line *next;
    char rest[CACHE_LINE - sizeof(struct line *)];
};

/* One cycle through all lines, in random order (Sattolo's shuffle). */
static void link_lines(struct line *lines, size_t count)
{
    uint64_t state = 1;

    for (size_t i = 0; i < count; i++) {
        lines[i].next = &lines[i];
    }
    for (size_t i = count; i-- > 1;) {
        struct line *next = lines[i].next;
        size_t other;

        state = state * 6364136223846793005u + 1442695040888963407u;
        other = (size_t)((state >> 32) * i >> 32);
        lines[i].next = lines[other].next;
        lines[other].next = next;
    }
}

/* Goes on where the last order ended, in memory of the same size. */
static int load(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    static struct line *lines, *line;
    static size_t have;
    size_t wanted = order->size / sizeof(*lines) > 0 ? order->size / sizeof(*lines) : 1;

    if (have != wanted) {
        free(lines);
        lines = line = aligned_alloc(CACHE_LINE, wanted * sizeof(*lines));
        have = lines != NULL ? wanted : 0;
        if (lines == NULL) {
            return ENOMEM;
        }
        link_lines(lines, wanted);
    }
    for (uint64_t i = 0; i < count; i++) {
        line = line->next;
    }
    __asm__ volatile("" : : "r"(line));
    return 0;
}

/* --- interrupts --- */

static int trigger_one(vfu_ctx_t *ctx, bool bare)
{
    static const uint64_t one = 1;

    if (bare) {
        return write(event, &one, sizeof(one)) == sizeof(one) ? 0 : errno;
    }
    return vfu_irq_trigger(ctx, 0) == 0 ? 0 : errno;
}

static int trigger(vfu_ctx_t *ctx, const struct order *order, uint64_t count)
{
    int error = 0;

    for (uint64_t i = 0; i < count && error == 0; i++) {
        error = trigger_one(ctx, order->flags & ORDER_BARE);
    }
    return error;
}

/* --- the device --- */

/* Each does its thing @count times. */
static int (*const orders[ORDER_KINDS])(vfu_ctx_t *ctx, const struct order *order,
                                        uint64_t count) = {
    [ORDER_TRANSLATE] = translate,
    [ORDER_LOAD] = load,
    [ORDER_COPY] = copy,
    [ORDER_TRIGGER] = trigger,
};

/* The reply to the order comes after the interrupt. */
static void wake(vfu_ctx_t *ctx)
{
    uint64_t start = now();

    do {
        outcome.nanoseconds = now();
    } while (outcome.nanoseconds < start + ORDER_WAKE_NS);
    outcome.error = trigger_one(ctx, false);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/*
 * In slices: of the first half the caches get warm, and the median of the others stands for all, as
 * the kernel gives the processor to somebody else now and then.
 */
static void carry_out(vfu_ctx_t *ctx, const struct order *order)
{
    size_t slices = order->count % SLICES == 0 ? SLICES : 1;
    uint64_t times[SLICES];

    outcome.error = 0;
    for (size_t i = 0; i < slices && outcome.error == 0; i++) {
        uint64_t start = now();

        outcome.error = orders[order->kind](ctx, order, order->count / slices);
        times[i] = now() - start;
    }
    qsort(times + slices / 2, slices - slices / 2, sizeof(times[0]), compare);
    outcome.nanoseconds = times[slices / 2 + slices / 4] * slices;
}

static ssize_t access_memory(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (is_write) {
        memcpy(memory + offset, buf, count);
    } else {
        memcpy(buf, memory + offset, count);
    }
    return (ssize_t)count;
}

static ssize_t access_orders(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    struct order order;

    if (offset != 0 || count != (is_write ? sizeof(order) : sizeof(outcome))) {
        errno = EINVAL;
        return -1;
    }
    if (!is_write) {
        memcpy(buf, &outcome, sizeof(outcome));
        return (ssize_t)count;
    }
    memcpy(&order, buf, sizeof(order));
    if (order.kind == ORDER_WAKE) {
        wake(ctx);
    } else if (order.kind < ORDER_KINDS) {
        carry_out(ctx, &order);
    } else {
        outcome.error = EINVAL;
    }
    return (ssize_t)count;
}

/* vfu_sgl_get() works for programs that have these. */
static void dma_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void dma_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

/* There is no end to its state. */
static int migration_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t migration_read(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static ssize_t migration_write(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static const vfu_migration_callbacks_t migration = {
    .version = VFU_MIGR_CALLBACKS_VERS,
    .transition = migration_transition,
    .read_data = migration_read,
    .write_data = migration_write,
};

static int setup_bar(vfu_ctx_t *ctx, int index, vfu_region_access_cb_t *access)
{
    return vfu_setup_region(ctx, index, BAR_SIZE, access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                            NULL, 0, -1, 0);
}

static int describe(vfu_ctx_t *ctx)
{
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        setup_bar(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, access_memory) < 0 ||
        setup_bar(ctx, VFU_PCI_DEV_BAR2_REGION_IDX, access_orders) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_device_migration_callbacks(ctx, &migration) < 0 ||
        vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, dma_register, dma_unregister) < 0) {
        return -1;
    }
    vfu_pci_set_id(ctx, 0x494f, 0xbe9c, 0, 0);
    return vfu_realize_ctx(ctx);
}

int main(int argc, char **argv)
{
    vfu_ctx_t *ctx;

    if (argc != 2) {
        errx(2, "usage: bench-device SOCKET_PATH");
    }
    entry = calloc(1, dma_sg_size());
    event = eventfd(0, EFD_CLOEXEC);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[1], 0, NULL, VFU_DEV_TYPE_PCI);
    if (entry == NULL || event < 0 || ctx == NULL || describe(ctx) < 0) {
        err(EXIT_FAILURE, "%s", argv[1]);
    }
    while (vfu_attach_ctx(ctx) == 0) {
        while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
        }
    }
    vfu_destroy_ctx(ctx);
    free(entry);
    return EXIT_SUCCESS;
}
