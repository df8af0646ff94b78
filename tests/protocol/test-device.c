/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-device [--polling] [--no-dma] [--capabilities] [--migration] SOCKET
 *
 * An ordinary device program, written on the public API alone. test-device.h says what the device
 * has. --polling: drive the library without blocking in it. --no-dma: a device without DMA.
 * --capabilities: with the config space of test-device-capabilities.h. --migration: with what
 * test-device-migration.h says.
 */
#include "tests/protocol/test-device.h"

#include "tests/protocol/test-device-capabilities.h"
#include "tests/protocol/test-device-migration.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>

#define REGISTER_COUNT ((TEST_REG_MORE_END - TEST_REG_TRIGGER) / 8)
#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

struct guest_region {
    uint64_t iova;
    uint64_t size;
    uint8_t *vaddr;
    uint32_t prot;
};

struct options {
    bool polling;
    bool dma;
    bool capabilities;
    bool migration;
    const char *socket;
};

struct test_device {
    uint8_t scratch[TEST_DEVICE_SCRATCH_SIZE];
    uint64_t registers[REGISTER_COUNT];
    uint8_t ports[TEST_DEVICE_BAR3_SIZE];
    uint8_t *shared; /* BAR4: mapping of the file that clients map too */
    uint8_t bulk[TEST_DMA_BULK_SIZE];
    uint64_t later; /* TEST_REG_DMA_READ or _WRITE, to be done by the program's loop; 0: nothing */
    uint64_t later_where;
    int events[TEST_IO_EVENTS];
    int spare_event; /* not part of an ioeventfd */
    int shadow_fd;
    uint8_t *shadow; /* its mapping */
    struct guest_region guest[TEST_DEVICE_MAX_MAPS];
};

static volatile sig_atomic_t stopping;

static uint64_t *reg(struct test_device *device, enum test_register which)
{
    return &device->registers[(which - TEST_REG_TRIGGER) / 8];
}

static void on_stop(int signal_number)
{
    stopping = 1;
}

static void log_line(vfu_ctx_t *ctx, int level, const char *message)
{
    char line[512];
    int n = snprintf(line, sizeof(line), "test-device: <%d> %s\n", level, message);
    size_t size = n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1;

    if (write(STDERR_FILENO, line, size) < 0) {
        stopping = 1; /* nobody is there to read it */
    }
}

/* --- what a test asks for --- */

static void crash(struct test_device *device, enum test_crash how)
{
    volatile uintptr_t nowhere = 64; /* not NULL, which sanitizers look for */
    long result;

    switch (how) {
    case TEST_CRASH_SEGV:
        *(volatile int *)nowhere = 1;
        break;
    case TEST_CRASH_ABORT:
        abort();
    case TEST_CRASH_EXIT:
        _exit(TEST_DEVICE_EXIT_STATUS);
    case TEST_CRASH_FORBIDDEN:
        result = syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
        *reg(device, TEST_REG_RESULT) = result < 0 ? (uint64_t)errno : 0;
        if (result >= 0) {
            close((int)result);
        }
        break;
    case TEST_CRASH_SPIN:
        for (;;) {
            __asm__ volatile("" ::: "memory");
        }
    }
}

static struct guest_region *find_guest(struct test_device *device, uint64_t iova, uint64_t count)
{
    for (size_t i = 0; i < ELEMENTS(device->guest); i++) {
        struct guest_region *region = &device->guest[i];

        if (region->vaddr != NULL && iova >= region->iova && iova - region->iova <= region->size &&
            count <= region->size - (iova - region->iova)) {
            return region;
        }
    }
    return NULL;
}

static void access_guest(struct test_device *device, uint64_t at, bool is_write)
{
    uint64_t iova = *reg(device, TEST_REG_GUEST_ADDRESS);
    uint64_t count = *reg(device, TEST_REG_GUEST_COUNT);
    uint64_t *result = reg(device, TEST_REG_RESULT);
    struct guest_region *region = find_guest(device, iova, count);
    uint32_t needed = is_write ? PROT_WRITE : PROT_READ;

    if (at > sizeof(device->scratch) || count > sizeof(device->scratch) - at) {
        *result = EINVAL;
    } else if (region == NULL) {
        *result = ENOENT;
    } else if (!(region->prot & needed)) {
        *result = EACCES;
    } else {
        uint8_t *guest = region->vaddr + (iova - region->iova);

        memcpy(is_write ? guest : device->scratch + at, is_write ? device->scratch + at : guest,
               count);
        *result = 0;
    }
}

/* @where: an offset in the scratch memory, or TEST_DMA_BULK. Returns 0 or an errno. */
static int transfer(vfu_ctx_t *ctx, struct test_device *device, uint64_t where, bool is_write)
{
    uint64_t count = *reg(device, TEST_REG_GUEST_COUNT);
    bool bulk = where == TEST_DMA_BULK;
    uint8_t *data = bulk ? device->bulk : device->scratch + where;
    _Alignas(max_align_t) char sg[64];
    int n;

    if (dma_sg_size() > sizeof(sg) || (!bulk && where > sizeof(device->scratch)) ||
        count > (bulk ? sizeof(device->bulk) : sizeof(device->scratch) - where)) {
        return EOVERFLOW;
    }
    n = vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)*reg(device, TEST_REG_GUEST_ADDRESS), count,
                        (dma_sg_t *)sg, 1, is_write ? PROT_WRITE : PROT_READ);
    if (n != 1) {
        return n < 0 ? errno : EOVERFLOW;
    }
    for (size_t i = 0; i < count && bulk && is_write; i++) {
        data[i] = test_device_bulk_byte(i);
    }
    n = is_write ? vfu_sgl_write(ctx, (dma_sg_t *)sg, 1, data, 0)
                 : vfu_sgl_read(ctx, (dma_sg_t *)sg, 1, data, 0);
    if (n == 0 && bulk && !is_write) {
        *reg(device, TEST_REG_DMA_HASH) = test_device_hash(data, count);
    }
    return n < 0 ? errno : 0;
}

static bool polls;

static void begin_transfer(vfu_ctx_t *ctx, struct test_device *device, uint64_t what,
                           uint64_t where)
{
    if (polls && *reg(device, TEST_REG_DMA_LATER) != 0) {
        device->later = what;
        device->later_where = where;
        return;
    }
    *reg(device, TEST_REG_RESULT) =
        (uint64_t)transfer(ctx, device, where, what == TEST_REG_DMA_WRITE);
}

static void finish_transfer(vfu_ctx_t *ctx)
{
    struct test_device *device = vfu_get_private(ctx);

    if (device->later != 0) {
        *reg(device, TEST_REG_RESULT) = (uint64_t)transfer(ctx, device, device->later_where,
                                                           device->later == TEST_REG_DMA_WRITE);
        device->later = 0;
    }
}

/* Zero if it was not signalled: it does not wait. */
static uint64_t read_io(struct test_device *device, uint64_t which)
{
    uint64_t value = 0;
    uint32_t shadow;

    if (which == TEST_IO_MEMORY) {
        memcpy(&shadow, device->shadow + TEST_DEVICE_SHADOW_OFFSET, sizeof(shadow));
        return shadow;
    }
    return which < TEST_IO_EVENTS && read(device->events[which], &value, sizeof(value)) > 0 ? value
                                                                                            : 0;
}

static int create_io(vfu_ctx_t *ctx, const struct test_device *device, uint64_t how)
{
    int event = how == TEST_IO_CREATE_KNOWN ? device->events[TEST_IO_FIRST] : device->spare_event;

    return vfu_create_ioeventfd(ctx, VFU_PCI_DEV_BAR3_REGION_IDX, event, 4, 4, 0, 0, -1, 0);
}

static void write_register(vfu_ctx_t *ctx, struct test_device *device, uint64_t offset,
                           uint64_t value)
{
    switch (offset) {
    case TEST_REG_TRIGGER:
        *reg(device, TEST_REG_RESULT) =
            vfu_irq_trigger(ctx, (uint32_t)value) < 0 ? (uint64_t)errno : 0;
        break;
    case TEST_REG_CRASH:
        crash(device, (enum test_crash)value);
        break;
    case TEST_REG_GUEST_READ:
    case TEST_REG_GUEST_WRITE:
        access_guest(device, value, offset == TEST_REG_GUEST_WRITE);
        break;
    case TEST_REG_DMA_READ:
    case TEST_REG_DMA_WRITE:
        begin_transfer(ctx, device, offset, value);
        break;
    case TEST_REG_IO_READ:
        *reg(device, TEST_REG_IO_VALUE) = read_io(device, value);
        break;
    case TEST_REG_IO_CREATE:
        *reg(device, TEST_REG_RESULT) = create_io(ctx, device, value) < 0 ? (uint64_t)errno : 0;
        break;
    case TEST_REG_GUEST_ADDRESS:
    case TEST_REG_GUEST_COUNT:
    case TEST_REG_RESET_ERRNO:
    case TEST_REG_DMA_LATER:
    case TEST_REG_INTX_LEVEL:
        *reg(device, (enum test_register)offset) = value;
        break;
    default:
        break; /* the others are for reading */
    }
}

/* --- regions --- */

static ssize_t refuse(uint64_t offset, size_t count)
{
    if (offset == TEST_REG_SHORT) {
        return (ssize_t)count - 1;
    }
    errno = offset == TEST_REG_FAILS ? EIO : 0;
    return -1;
}

static ssize_t copy(uint8_t *memory, char *buffer, size_t count, bool is_write)
{
    if (is_write) {
        memcpy(memory, buffer, count);
    } else {
        memcpy(buffer, memory, count);
    }
    return (ssize_t)count;
}

static ssize_t access_registers(vfu_ctx_t *ctx, struct test_device *device, char *buffer,
                                size_t count, uint64_t offset, bool is_write)
{
    uint64_t value;

    if (offset >= TEST_REG_FAILS) {
        return refuse(offset, count);
    }
    if (offset >= MIG_REG_BEGIN && offset < TEST_REG_IO_READ) {
        return migration_access(ctx, buffer, count, offset, is_write, device->scratch,
                                sizeof(device->scratch));
    }
    if (offset + count > (offset < TEST_REG_IO_READ ? TEST_REG_END : TEST_REG_MORE_END)) {
        errno = ENXIO;
        return -1;
    }
    if (!is_write) {
        return copy((uint8_t *)device->registers + (offset - TEST_REG_TRIGGER), buffer, count,
                    false);
    }
    if (count != sizeof(value) || offset % sizeof(value) != 0) {
        errno = ENXIO;
        return -1;
    }
    memcpy(&value, buffer, sizeof(value));
    write_register(ctx, device, offset, value);
    return (ssize_t)count;
}

static ssize_t access_bar0(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct test_device *device = vfu_get_private(ctx);
    uint64_t at = (uint64_t)offset;

    (*reg(device, TEST_REG_ACCESSES))++;
    if (at >= sizeof(device->scratch)) {
        return access_registers(ctx, device, buffer, count, at, is_write);
    }
    if (count > sizeof(device->scratch) - at) {
        errno = ENXIO;
        return -1;
    }
    return copy(device->scratch + at, buffer, count, is_write);
}

static ssize_t access_bar1(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    for (size_t i = 0; i < count && !is_write; i++) {
        buffer[i] = (char)test_device_bar1_byte((uint64_t)offset + i);
    }
    return (ssize_t)count;
}

static ssize_t access_bar2(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct test_device *device = vfu_get_private(ctx);

    if (is_write) {
        *reg(device, TEST_REG_WRITTEN) = test_device_hash(buffer, count);
        *reg(device, TEST_REG_WRITES) += 1;
    }
    return (ssize_t)count;
}

static ssize_t access_bar3(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct test_device *device = vfu_get_private(ctx);

    return copy(device->ports + offset, buffer, count, is_write);
}

static ssize_t access_bar4(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct test_device *device = vfu_get_private(ctx);

    return copy(device->shared + offset, buffer, count, is_write);
}

/* --- events --- */

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    struct test_device *device = vfu_get_private(ctx);
    uint64_t error = *reg(device, TEST_REG_RESET_ERRNO);

    if (type == VFU_RESET_LOST_CONN) {
        *reg(device, TEST_REG_LOST) += 1;
        *reg(device, TEST_REG_RESET_ERRNO) = 0;
        return 0;
    }
    if (type == VFU_RESET_PCI_FLR) {
        return capabilities_reset();
    }
    *reg(device, TEST_REG_RESETS) += 1;
    if (error != 0) {
        errno = (int)error;
        return -1;
    }
    memset(device->scratch, 0, sizeof(device->scratch));
    return 0;
}

static void on_map(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct test_device *device = vfu_get_private(ctx);

    *reg(device, TEST_REG_MAPS) += 1;
    *reg(device, TEST_REG_MAP_IOVA) = (uintptr_t)info->iova.iov_base;
    *reg(device, TEST_REG_MAP_SIZE) = info->iova.iov_len;
    *reg(device, TEST_REG_MAP_MAPPED) = info->vaddr != NULL;
    *reg(device, TEST_REG_MAP_PROT) = info->prot;
    *reg(device, TEST_REG_MAP_PAGE) = info->page_size;
    for (size_t i = 0; i < ELEMENTS(device->guest); i++) {
        struct guest_region *region = &device->guest[i];

        if (region->vaddr == NULL) {
            region->iova = (uintptr_t)info->iova.iov_base;
            region->size = info->iova.iov_len;
            region->vaddr = info->vaddr;
            region->prot = info->prot;
            return;
        }
    }
}

static void on_unmap(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct test_device *device = vfu_get_private(ctx);

    *reg(device, TEST_REG_UNMAPS) += 1;
    *reg(device, TEST_REG_UNMAP_IOVA) = (uintptr_t)info->iova.iov_base;
    *reg(device, TEST_REG_UNMAP_SIZE) = info->iova.iov_len;
    for (size_t i = 0; i < ELEMENTS(device->guest); i++) {
        struct guest_region *region = &device->guest[i];

        if (region->vaddr != NULL && region->vaddr == info->vaddr) {
            region->vaddr = NULL;
        }
    }
}

static void on_irq_state(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t start, uint32_t count,
                         bool mask)
{
    struct test_device *device = vfu_get_private(ctx);

    *reg(device, TEST_REG_IRQ_CALLS) += 1;
    *reg(device, TEST_REG_IRQ_TYPE) = (uint64_t)type;
    *reg(device, TEST_REG_IRQ_START) = start;
    *reg(device, TEST_REG_IRQ_COUNT) = count;
    *reg(device, TEST_REG_IRQ_MASK) = mask;
}

static void on_intx_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    struct test_device *device = vfu_get_private(ctx);

    on_irq_state(ctx, VFU_DEV_INTX_IRQ, start, count, mask);
    if (!mask && *reg(device, TEST_REG_INTX_LEVEL) != 0) {
        vfu_irq_trigger(ctx, 0);
    }
}

static void on_msi_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    on_irq_state(ctx, VFU_DEV_MSI_IRQ, start, count, mask);
}

static void on_msix_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    on_irq_state(ctx, VFU_DEV_MSIX_IRQ, start, count, mask);
}

/* --- set-up --- */

static void describe_regions(vfu_ctx_t *ctx, int shared_fd)
{
    struct iovec areas[] = {
        { (void *)TEST_DEVICE_AREA0_OFFSET, TEST_DEVICE_AREA0_SIZE },
        { (void *)TEST_DEVICE_AREA1_OFFSET, TEST_DEVICE_AREA1_SIZE },
    };
    const int memory = VFU_REGION_FLAG_MEM;
    const struct {
        int index;
        size_t size;
        vfu_region_access_cb_t *access;
        int flags;
    } plain[] = {
        { VFU_PCI_DEV_BAR0_REGION_IDX, TEST_DEVICE_BAR0_SIZE, access_bar0,
          VFU_REGION_FLAG_RW | memory },
        { VFU_PCI_DEV_BAR1_REGION_IDX, TEST_DEVICE_BAR1_SIZE, access_bar1,
          VFU_REGION_FLAG_READ | memory },
        { VFU_PCI_DEV_BAR2_REGION_IDX, TEST_DEVICE_BAR2_SIZE, access_bar2,
          VFU_REGION_FLAG_WRITE | memory },
        { VFU_PCI_DEV_BAR3_REGION_IDX, TEST_DEVICE_BAR3_SIZE, access_bar3, VFU_REGION_FLAG_RW },
        { VFU_PCI_DEV_VGA_REGION_IDX, TEST_DEVICE_VGA_SIZE, NULL, VFU_REGION_FLAG_RW | memory },
    };

    for (size_t i = 0; i < ELEMENTS(plain); i++) {
        if (vfu_setup_region(ctx, plain[i].index, plain[i].size, plain[i].access, plain[i].flags,
                             NULL, 0, -1, 0) < 0) {
            err(EXIT_FAILURE, "region %d", plain[i].index);
        }
    }
    if (vfu_setup_region(ctx, VFU_PCI_DEV_BAR4_REGION_IDX, TEST_DEVICE_BAR4_SIZE, access_bar4,
                         VFU_REGION_FLAG_RW | memory | VFU_REGION_FLAG_64_BITS |
                             VFU_REGION_FLAG_PREFETCH,
                         areas, ELEMENTS(areas), shared_fd, TEST_DEVICE_BAR4_OFFSET) < 0) {
        err(EXIT_FAILURE, "region 4");
    }
}

static void create_events(struct test_device *device)
{
    for (int i = 0; i < TEST_IO_EVENTS; i++) {
        device->events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    device->spare_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    device->shadow_fd = memfd_create("test-device-shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (device->spare_event < 0 || device->shadow_fd < 0 ||
        ftruncate(device->shadow_fd, TEST_DEVICE_SHADOW_SIZE) < 0) {
        err(EXIT_FAILURE, "ioeventfds");
    }
    device->shadow = mmap(NULL, TEST_DEVICE_SHADOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                          device->shadow_fd, 0);
    if (device->shadow == MAP_FAILED) {
        err(EXIT_FAILURE, "shadow memory");
    }
}

static void describe_ioeventfds(vfu_ctx_t *ctx, const struct test_device *device)
{
    const struct {
        int fd;
        size_t offset;
        uint32_t size;
        uint32_t flags;
        uint64_t datamatch;
        int shadow_fd;
        size_t shadow_offset;
    } ioeventfds[TEST_DEVICE_IO_COUNT] = {
        { device->events[TEST_IO_FIRST], 0, 4, 0, 0, -1, 0 },
        { device->events[TEST_IO_MATCH], 8, 8, 1, TEST_DEVICE_IO_MATCH, -1, 0 },
        { device->events[TEST_IO_FIRST], 0x10, 2, 2, 0, -1, 0 },
        { -1, 0x20, 1, 0, 0, -1, 0 },
        { device->events[TEST_IO_SHADOW], 0x28, 4, 0, 0, device->shadow_fd,
          TEST_DEVICE_SHADOW_OFFSET },
    };

    for (size_t i = 0; i < ELEMENTS(ioeventfds); i++) {
        if (vfu_create_ioeventfd(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, ioeventfds[i].fd,
                                 ioeventfds[i].offset, ioeventfds[i].size, ioeventfds[i].flags,
                                 ioeventfds[i].datamatch, ioeventfds[i].shadow_fd,
                                 ioeventfds[i].shadow_offset) < 0) {
            err(EXIT_FAILURE, "ioeventfd %zu", i);
        }
    }
}

static void close_events(struct test_device *device)
{
    for (int i = 0; i < TEST_IO_EVENTS; i++) {
        close(device->events[i]);
    }
    close(device->spare_event);
    munmap(device->shadow, TEST_DEVICE_SHADOW_SIZE);
    close(device->shadow_fd);
}

static void describe_interrupts(vfu_ctx_t *ctx)
{
    if (vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, TEST_DEVICE_MSI_COUNT) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, TEST_DEVICE_MSIX_COUNT) < 0 ||
        vfu_setup_irq_state_callback(ctx, VFU_DEV_INTX_IRQ, on_intx_state) < 0 ||
        vfu_setup_irq_state_callback(ctx, VFU_DEV_MSI_IRQ, on_msi_state) < 0 ||
        vfu_setup_irq_state_callback(ctx, VFU_DEV_MSIX_IRQ, on_msix_state) < 0) {
        err(EXIT_FAILURE, "interrupts");
    }
}

static void describe(vfu_ctx_t *ctx, const struct options *options, int shared_fd)
{
    vfu_pci_type_t type = options->capabilities ? VFU_PCI_TYPE_EXPRESS : VFU_PCI_TYPE_CONVENTIONAL;

    if (vfu_setup_log(ctx, log_line, LOG_INFO) < 0 ||
        vfu_pci_init(ctx, type, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        err(EXIT_FAILURE, "device");
    }
    vfu_pci_set_id(ctx, TEST_DEVICE_VENDOR, TEST_DEVICE_DEVICE, TEST_DEVICE_SUBVENDOR,
                   TEST_DEVICE_SUBSYSTEM);
    vfu_pci_set_class(ctx, TEST_DEVICE_CLASS >> 16, (TEST_DEVICE_CLASS >> 8) & 0xff,
                      TEST_DEVICE_CLASS & 0xff);
    describe_regions(ctx, shared_fd);
    describe_ioeventfds(ctx, vfu_get_private(ctx));
    describe_interrupts(ctx);
    if (vfu_setup_device_reset_cb(ctx, on_reset) < 0) {
        err(EXIT_FAILURE, "reset");
    }
    if (options->dma && vfu_setup_device_dma(ctx, TEST_DEVICE_MAX_MAPS, on_map, on_unmap) < 0) {
        err(EXIT_FAILURE, "DMA");
    }
    if (options->capabilities && capabilities_describe(ctx) < 0) {
        err(EXIT_FAILURE, "capabilities");
    }
    if (options->migration && migration_describe(ctx) < 0) {
        err(EXIT_FAILURE, "migration");
    }
    if (vfu_realize_ctx(ctx) < 0) {
        err(EXIT_FAILURE, "realize");
    }
}

/* The file that BAR4 shares with clients; sealable, for whoever wants it not to shrink. */
static int create_shared_file(struct test_device *device)
{
    size_t size = TEST_DEVICE_BAR4_OFFSET + TEST_DEVICE_BAR4_SIZE;
    int fd = memfd_create("test-device-bar4", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    uint8_t *memory;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        err(EXIT_FAILURE, "memory of BAR4");
    }
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        err(EXIT_FAILURE, "mapping of BAR4");
    }
    device->shared = memory + TEST_DEVICE_BAR4_OFFSET;
    return fd;
}

/* --- running --- */

enum outcome {
    GOES_ON,
    ENDS,
    FAILS,
};

static bool wait_for_input(vfu_ctx_t *ctx)
{
    struct pollfd poll_fd = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };

    return poll(&poll_fd, 1, -1) >= 0 || errno == EINTR;
}

/* A client that negotiates badly ends its own connection only. */
static enum outcome attach(vfu_ctx_t *ctx, bool polling)
{
    while (!stopping) {
        if (polling && !wait_for_input(ctx)) {
            return FAILS;
        }
        if (stopping || vfu_attach_ctx(ctx) == 0) {
            break;
        }
        switch (errno) {
        case EAGAIN:
        case EINTR:
        case EINVAL:
        case ENOMSG:
        case ECONNRESET:
        case EFAULT:
        case ETIMEDOUT:
            break;
        case ESHUTDOWN:
            return ENDS; /* a process of the broker's has done its duty */
        default:
            warn("attach");
            return FAILS;
        }
    }
    return stopping ? ENDS : GOES_ON;
}

static enum outcome serve(vfu_ctx_t *ctx, bool polling)
{
    while (!stopping) {
        if (polling && !wait_for_input(ctx)) {
            return FAILS;
        }
        if (stopping || vfu_run_ctx(ctx) >= 0 || errno == EINTR || errno == EAGAIN) {
            finish_transfer(ctx);
            continue;
        }
        if (errno == ENOTCONN) {
            return GOES_ON;
        }
        if (errno == EBUSY && migration_become_quiet(ctx) == 0) {
            continue;
        }
        if (errno == TEST_REFUSED_AT_THE_END) {
            continue; /* the quiesce callback; it is asked again */
        }
        warn("run");
        return FAILS;
    }
    return ENDS;
}

static struct options parse_options(int argc, char **argv)
{
    struct options options = { .dma = true };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--polling") == 0) {
            options.polling = true;
        } else if (strcmp(argv[i], "--no-dma") == 0) {
            options.dma = false;
        } else if (strcmp(argv[i], "--capabilities") == 0) {
            options.capabilities = true;
        } else if (strcmp(argv[i], "--migration") == 0) {
            options.migration = true;
        } else {
            options.socket = argv[i];
        }
    }
    if (options.socket == NULL) {
        errx(2, "usage: test-device [--polling] [--no-dma] [--capabilities] [--migration] SOCKET");
    }
    return options;
}

int main(int argc, char **argv)
{
    static struct test_device device;
    const struct options options = parse_options(argc, argv);
    const struct sigaction stop = { .sa_handler = on_stop };
    int shared_fd = create_shared_file(&device);
    enum outcome outcome = GOES_ON;
    vfu_ctx_t *ctx;

    polls = options.polling;
    sigaction(SIGTERM, &stop, NULL);
    create_events(&device);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, options.socket,
                         options.polling ? LIBVFIO_USER_FLAG_ATTACH_NB : 0, &device,
                         VFU_DEV_TYPE_PCI);
    if (ctx == NULL) {
        err(EXIT_FAILURE, "%s", options.socket);
    }
    describe(ctx, &options, shared_fd);
    while (outcome == GOES_ON) {
        outcome = attach(ctx, options.polling);
        if (outcome == GOES_ON) {
            outcome = serve(ctx, options.polling);
        }
    }
    vfu_destroy_ctx(ctx);
    munmap(device.shared - TEST_DEVICE_BAR4_OFFSET,
           TEST_DEVICE_BAR4_OFFSET + TEST_DEVICE_BAR4_SIZE);
    close(shared_fd);
    close_events(&device);
    return outcome == ENDS ? EXIT_SUCCESS : EXIT_FAILURE;
}
