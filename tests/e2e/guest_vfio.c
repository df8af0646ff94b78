/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: drives the device of samples/server as a driver in user space does, with the
 * kernel's vfio-pci and without an IOMMU, so that an address for DMA is a physical one. Alarm by
 * INTx, alarm and transfers by MSI-X, both directions of DMA, the memory that clients may map.
 *
 * guest-vfio ADDRESS: of the device on the PCI bus. The last line is "ok", or what is wrong.
 */
#include "samples/server_device.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define WAIT_MS 120000 /* for what must come; an emulated guest on a busy machine is slow */

static int container;
static int device;

/* --- vfio ---------------------------------------------------------------------------------- */

static void open_device(const char *address)
{
    char path[128];
    char link[128];
    struct vfio_group_status status = { .argsz = sizeof(status) };
    ssize_t n;
    int group;

    container = open("/dev/vfio/vfio", O_RDWR);
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
    n = readlink(path, link, sizeof(link) - 1);
    if (n < 0) {
        err(1, "%s", path);
    }
    link[n] = '\0';
    snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
    group = open(path, O_RDWR);
    if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0 ||
        ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
        ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) < 0) {
        err(1, "%s", path);
    }
    device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
    if (device < 0) {
        err(1, "%s", address);
    }
}

static off_t region_offset(unsigned index, uint64_t size)
{
    struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

    if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0 || info.size < size) {
        errx(1, "region %u has %llu bytes, wanted %llu", index, info.size,
             (unsigned long long)size);
    }
    return (off_t)info.offset;
}

static volatile uint64_t *map_bar(unsigned index, uint64_t size)
{
    void *bar =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device, region_offset(index, size));

    if (bar == MAP_FAILED) {
        err(1, "BAR %u", index);
    }
    return bar;
}

/* Devices reach memory only when they are bus masters. */
static void set_command(uint16_t bits)
{
    off_t at = region_offset(VFIO_PCI_CONFIG_REGION_INDEX, 64) + PCI_COMMAND;
    uint16_t command;

    if (pread(device, &command, 2, at) != 2) {
        err(1, "config space");
    }
    command |= bits;
    if (pwrite(device, &command, 2, at) != 2) {
        err(1, "config space");
    }
}

static void set_irqs(unsigned index, uint32_t flags, const int *eventfds, uint32_t count)
{
    struct {
        struct vfio_irq_set set;
        int fds[SERVER_VECTORS];
    } request = { .set = { .flags = flags, .index = index, .count = count } };

    request.set.argsz =
        (uint32_t)(sizeof(request.set) + (eventfds != NULL ? count * sizeof(int) : 0));
    if (eventfds != NULL) {
        memcpy(request.fds, eventfds, count * sizeof(int));
    }
    if (ioctl(device, VFIO_DEVICE_SET_IRQS, &request) < 0) {
        err(1, "SET_IRQS of index %u with flags %#x", index, flags);
    }
}

static void await(int eventfd, const char *what)
{
    struct pollfd poll_fd = { .fd = eventfd, .events = POLLIN };
    uint64_t count = 0;

    if (poll(&poll_fd, 1, WAIT_MS) != 1 || read(eventfd, &count, sizeof(count)) < 0) {
        errx(1, "%s: no interrupt", what);
    }
    if (count != 1) {
        errx(1, "%s: %llu interrupts", what, (unsigned long long)count);
    }
    printf("%s: one interrupt\n", what);
}

/* --- the device ---------------------------------------------------------------------------- */

static volatile uint64_t *registers;

static void expect(const char *what, uint64_t wanted, uint64_t found)
{
    if (found != wanted) {
        errx(1, "%s is %#llx, wanted %#llx", what, (unsigned long long)found,
             (unsigned long long)wanted);
    }
}

/* A time that has passed: rings at once. */
static void ring(void)
{
    registers[SERVER_REG_ALARM / 8] = 1;
}

static void try_line(void)
{
    int eventfd_of_line = eventfd(0, EFD_CLOEXEC);

    set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
             &eventfd_of_line, 1);
    for (unsigned i = 1; i <= 2; i++) {
        ring();
        await(eventfd_of_line, "INTx");
        expect("status", SERVER_STATUS_ALARM, registers[SERVER_REG_STATUS / 8]);
        expect("alarms", i, registers[SERVER_REG_RUNG / 8]);
        registers[SERVER_REG_STATUS / 8] = SERVER_STATUS_ALARM;
        /* The kernel has masked the line for us to do that. */
        set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, NULL,
                 1);
    }
    set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, NULL,
             0);
}

static void map_page(uint64_t *page, uint64_t iova)
{
    struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map),
                                            .flags =
                                                VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                            .vaddr = (uintptr_t)page,
                                            .iova = iova,
                                            .size = PAGE };

    if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) < 0) {
        err(1, "MAP_DMA");
    }
}

static void unmap_page(uint64_t iova)
{
    struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
                                                .iova = iova,
                                                .size = PAGE };

    if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0 || unmap.size != PAGE) {
        err(1, "UNMAP_DMA");
    }
}

static void transfer(enum server_command command, uint64_t address, uint64_t size, int vector,
                     int result)
{
    registers[SERVER_REG_GUEST_ADDRESS / 8] = address;
    registers[SERVER_REG_GUEST_SIZE / 8] = size;
    registers[SERVER_REG_GUEST_COMMAND / 8] = command;
    await(vector, command == SERVER_COMMAND_READ ? "MSI-X, DMA to the device"
                                                 : "MSI-X, DMA from the device");
    expect("result", (uint64_t)result, registers[SERVER_REG_GUEST_RESULT / 8]);
}

static void try_vectors(int *vectors)
{
    for (unsigned i = 0; i < SERVER_VECTORS; i++) {
        vectors[i] = eventfd(0, EFD_CLOEXEC);
    }
    set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
             vectors, SERVER_VECTORS);
    ring();
    await(vectors[SERVER_VECTOR_ALARM], "MSI-X, alarm");
    registers[SERVER_REG_STATUS / 8] = SERVER_STATUS_ALARM;
}

static void try_dma(int vector)
{
    uint64_t *pages =
        mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile uint64_t *data = map_bar(SERVER_DATA_BAR, SERVER_DATA_MIN);

    for (unsigned n = 0; n < 64; n += 9) {
        uint64_t *page = pages + n * PAGE / 8;
        uint64_t iova = 0x10000000 + n * 3 * PAGE;

        for (unsigned i = 0; i < PAGE / 8; i++) {
            page[i] = 0x1111000000000000 + n + i;
        }
        map_page(page, iova);
        transfer(SERVER_COMMAND_READ, iova, PAGE, vector, 0);
        for (unsigned i = 0; i < PAGE / 8; i += 37) {
            expect("a word of the device's memory", 0x1111000000000000 + n + i, data[i]);
        }
        data[0] = 0x2222;
        data[511] = 0x3333;
        transfer(SERVER_COMMAND_WRITE, iova, PAGE, vector, 0);
        expect("the first word of the page", 0x2222, page[0]);
        expect("a word of the page", 0x1111000000000001 + n, page[1]);
        expect("the last word of the page", 0x3333, page[511]);

        unmap_page(iova);
        data[0] = 0x5555;
        transfer(SERVER_COMMAND_WRITE, iova, PAGE, vector, ENOENT);
        expect("the first word of the page that is unmapped", 0x2222, page[0]);
    }
}

static void try_shared_memory(void)
{
    volatile uint64_t *shared = map_bar(SERVER_SHARED_BAR, SERVER_SHARED_SIZE);
    const unsigned places[] = { 0, SERVER_SHARED_GAP - 8, SERVER_SHARED_GAP,
                                SERVER_SHARED_GAP + SERVER_SHARED_GAP_SIZE - 8,
                                SERVER_SHARED_SIZE - 8 };

    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        shared[places[i] / 8] = 0x4444 + i;
    }
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        expect("a word of the shared memory", 0x4444 + i, shared[places[i] / 8]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        errx(2, "usage: guest-vfio ADDRESS");
    }
    int vectors[SERVER_VECTORS];

    open_device(argv[1]);
    set_command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    registers = map_bar(SERVER_REGISTERS_BAR, SERVER_REGISTERS_SIZE);
    expect("the id", SERVER_ID, registers[SERVER_REG_ID / 8]);
    try_line();
    try_vectors(vectors);
    try_dma(vectors[SERVER_VECTOR_TRANSFER]);
    try_shared_memory();
    printf("ok\n");
    return 0;
}
