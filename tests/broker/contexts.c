/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broker-test-contexts SOCKET...
 *
 * A program with a context for each path, all polled by its one thread. It knows nothing of
 * brokers: whoever loses a client waits for the next one. Registers of 8 bytes in BAR0:
 *
 *   0x00  which context this is: the place of its path among the arguments, from 1
 *   0x08  keeps what is written, for this context
 *   0x10  keeps what is written, for all of them
 *   0x18  a write ends the process with SIGSEGV
 *   0x20  guest memory regions that are mapped
 */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <vfio-user/libvfio-user.h>

#define MAX_CONTEXTS 64

struct device {
    vfu_ctx_t *ctx;
    bool attached;
    uint64_t registers[5];
};

enum {
    NUMBER,
    OWN,
    SHARED,
    CRASH,
    MAPPED,
};

static struct device devices[MAX_CONTEXTS];
static uint64_t shared;

/* What it does wrong is meant: no sanitizer shall report it first. */
__attribute__((no_sanitize("address", "undefined"))) static void crash(void)
{
    volatile int *nowhere = NULL;

    *nowhere = 1;
}

static ssize_t access_bar0(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct device *device = vfu_get_private(ctx);
    uint64_t *reg = &device->registers[offset / 8];

    if (count != sizeof(*reg) || offset % 8 != 0 || offset / 8 > MAPPED) {
        errno = EINVAL;
        return -1;
    }
    if (is_write && offset / 8 == CRASH) {
        crash();
    }
    reg = offset / 8 == SHARED ? &shared : reg;
    memcpy(is_write ? (char *)reg : buffer, is_write ? buffer : (char *)reg, count);
    return (ssize_t)count;
}

static void on_map(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct device *device = vfu_get_private(ctx);

    device->registers[MAPPED] += info->vaddr != NULL;
}

static void on_unmap(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct device *device = vfu_get_private(ctx);

    device->registers[MAPPED] -= info->vaddr != NULL;
}

static void create(struct device *device, const char *path)
{
    device->ctx =
        vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, device, VFU_DEV_TYPE_PCI);
    device->registers[NUMBER] = (uint64_t)(device - devices) + 1;
    if (device->ctx == NULL ||
        vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(device->ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, access_bar0,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_setup_device_dma(device->ctx, 4, on_map, on_unmap) < 0 ||
        vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 4) < 0 ||
        vfu_realize_ctx(device->ctx) < 0) {
        err(EXIT_FAILURE, "%s", path);
    }
}

static void serve(struct device *device)
{
    if (!device->attached) {
        device->attached = vfu_attach_ctx(device->ctx) == 0;
        if (!device->attached && errno != EAGAIN && errno != EINTR && errno != EINVAL &&
            errno != ENOMSG && errno != ECONNRESET && errno != ETIMEDOUT) {
            err(EXIT_FAILURE, "attach %d", (int)(device - devices) + 1);
        }
    } else if (vfu_run_ctx(device->ctx) < 0 && errno == ENOTCONN) {
        device->attached = false;
    }
}

int main(int argc, char **argv)
{
    struct pollfd fds[MAX_CONTEXTS];
    nfds_t count = (nfds_t)argc - 1;

    if (count < 1 || count > MAX_CONTEXTS) {
        errx(2, "usage: broker-test-contexts SOCKET...");
    }
    for (nfds_t i = 0; i < count; i++) {
        create(&devices[i], argv[1 + i]);
        fds[i] = (struct pollfd){ .fd = vfu_get_poll_fd(devices[i].ctx), .events = POLLIN };
    }
    serve(&devices[0]);
    for (;;) {
        if (ppoll(fds, count, NULL, NULL) < 0 && errno != EINTR) {
            err(EXIT_FAILURE, "ppoll");
        }
        for (nfds_t i = 0; i < count; i++) {
            if (fds[i].revents != 0) {
                serve(&devices[i]);
            }
        }
    }
}
