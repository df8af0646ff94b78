/* SPDX-License-Identifier: BSD-3-Clause */
#include "server_device.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <vfio-user/vfu-broker.h>

#define SECOND 1000000000ll
#define CHANGE_PERIOD (SECOND / 100)

static uint64_t *reg(struct server_device *device, enum server_register which)
{
    return &device->registers[which / 8];
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* --- memory --- */

void server_pages_mark(struct server_pages *pages, uint64_t offset, uint64_t size)
{
    for (uint64_t page = offset / SERVER_PAGE;
         size > 0 && page <= (offset + size - 1) / SERVER_PAGE; page++) {
        pages->touched[page / 64] |= 1ull << (page % 64);
        pages->dirty[page / 64] |= 1ull << (page % 64);
    }
}

/* Only what may be something else: the rest has never been there. */
static void clear_memory(struct server_device *device)
{
    struct server_pages *pages = &device->pages;

    for (size_t i = 0; i < pages->words; i++) {
        for (uint64_t bits = pages->touched[i]; bits != 0; bits &= bits - 1) {
            uint64_t page = i * 64 + (unsigned)__builtin_ctzll(bits);

            memset(device->data + page * SERVER_PAGE, 0, SERVER_PAGE);
        }
        pages->touched[i] = 0;
        pages->dirty[i] = 0;
    }
    memset(device->shared, 0, SERVER_SHARED_SIZE);
}

static void fill_memory(struct server_device *device, uint64_t value)
{
    uint64_t *words = (uint64_t *)device->data;

    for (uint64_t i = 0; i < device->data_size / sizeof(*words); i++) {
        words[i] = value + i;
    }
    server_pages_mark(&device->pages, 0, device->data_size);
}

/* --- interrupts --- */

static bool uses_msix(vfu_ctx_t *ctx)
{
    size_t at = vfu_pci_find_capability(ctx, false, PCI_CAP_ID_MSIX);
    const uint8_t *config = vfu_pci_get_config_space(ctx)->raw;

    return at != 0 && (config[at + PCI_MSIX_FLAGS + 1] & (PCI_MSIX_FLAGS_ENABLE >> 8));
}

static void raise_line(vfu_ctx_t *ctx)
{
    /* ENOENT: the client has not asked for interrupts. */
    if (vfu_irq_trigger(ctx, 0) < 0 && errno != ENOENT) {
        vfu_log(ctx, LOG_ERR, "cannot raise the interrupt: %m");
    }
}

/*
 * Drivers disable the line in the command register, and look into the status register for who
 * asserts one that is shared (PCI 2.3); Linux's vfio-pci does both.
 */
void server_device_update_line(struct server_device *device, vfu_ctx_t *ctx)
{
    vfu_pci_hdr_t *header = &vfu_pci_get_config_space(ctx)->hdr;
    bool pending = *reg(device, SERVER_REG_STATUS) != 0 && !uses_msix(ctx);
    bool line = pending && !header->cmd.id;

    header->sts.is = pending;
    if (line && !device->line && !device->masked && device->running) {
        raise_line(ctx);
    }
    device->line = line;
}

static void mask_line(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    struct server_device *device = vfu_get_private(ctx);

    device->masked = mask;
    if (!mask && device->line && device->running) {
        raise_line(ctx);
    }
}

static void signal_vector(vfu_ctx_t *ctx, enum server_vector vector)
{
    if (uses_msix(ctx) && vfu_msix_trigger(ctx, vector) < 0) {
        vfu_log(ctx, LOG_ERR, "cannot signal vector %d: %m", (int)vector);
    }
}

void server_device_resume(struct server_device *device, vfu_ctx_t *ctx)
{
    device->running = true;
    device->next_change = 0;
    /* Whoever had it before may not have passed it on. */
    device->line = false;
    server_device_update_line(device, ctx);
}

/* --- guest memory --- */

/* Returns 0 or an errno. Memory that is not mapped is reached by messages, if they are allowed. */
static int access_guest(struct server_device *device, vfu_ctx_t *ctx, uint64_t address, void *data,
                        uint64_t size, bool is_write, bool messages)
{
    int n = vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, size, device->sg, 1,
                            is_write ? PROT_WRITE : PROT_READ);

    if (n != 1) {
        return n == -1 ? errno : EFAULT; /* in several regions */
    }
    if (!messages && !vfu_sg_is_mappable(ctx, device->sg)) {
        return EFAULT;
    }
    n = is_write ? vfu_sgl_write(ctx, device->sg, 1, data, VFU_SGL_DIRECT_ACCESS)
                 : vfu_sgl_read(ctx, device->sg, 1, data, VFU_SGL_DIRECT_ACCESS);
    return n < 0 ? errno : 0;
}

/* Returns 0 or an errno. */
static int transfer(struct server_device *device, vfu_ctx_t *ctx, uint64_t command)
{
    uint64_t address = *reg(device, SERVER_REG_GUEST_ADDRESS);
    uint64_t size = *reg(device, SERVER_REG_GUEST_SIZE);
    int error;

    if (!device->running) {
        return EAGAIN;
    }
    if ((command != SERVER_COMMAND_READ && command != SERVER_COMMAND_WRITE) || size == 0 ||
        size > SERVER_TRANSFER_MAX) {
        return EINVAL;
    }
    error = access_guest(device, ctx, address, device->data, size, command == SERVER_COMMAND_WRITE,
                         true);
    if (command == SERVER_COMMAND_READ) {
        /* Whatever it came to: of memory that has gone there are zeros in it now. */
        server_pages_mark(&device->pages, 0, size);
    }
    if (error == 0) {
        *reg(device, SERVER_REG_GUEST_WRITES) += command == SERVER_COMMAND_WRITE;
    }
    return error;
}

/* --- what it does by itself --- */

static uint64_t choose(struct server_device *device, uint64_t count)
{
    uint64_t *seed = reg(device, SERVER_REG_SEED);

    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 24) % count;
}

static void change_page(struct server_device *device)
{
    uint64_t window = *reg(device, SERVER_REG_WINDOW);
    uint64_t size = window != 0 ? window : device->data_size;
    uint64_t offset = choose(device, size / SERVER_PAGE) * SERVER_PAGE;
    uint64_t number = ++*reg(device, SERVER_REG_CHANGES);

    memcpy(device->data + offset + choose(device, SERVER_PAGE / 8) * 8, &number, sizeof(number));
    server_pages_mark(&device->pages, offset, 1);
}

static void write_guest_page(struct server_device *device, vfu_ctx_t *ctx)
{
    uint64_t pages = *reg(device, SERVER_REG_GUEST_SIZE) / SERVER_PAGE;
    uint64_t number = *reg(device, SERVER_REG_GUEST_WRITES) + 1;

    if (pages > 0 &&
        access_guest(device, ctx,
                     *reg(device, SERVER_REG_GUEST_ADDRESS) + choose(device, pages) * SERVER_PAGE,
                     &number, sizeof(number), true, false) == 0) {
        *reg(device, SERVER_REG_GUEST_WRITES) = number;
    }
}

static int64_t act_on_memory(struct server_device *device, vfu_ctx_t *ctx)
{
    uint64_t rate = *reg(device, SERVER_REG_RATE), guest_rate = *reg(device, SERVER_REG_GUEST_RATE);
    uint64_t now;

    if (rate == 0 && guest_rate == 0) {
        return -1;
    }
    now = now_ns(CLOCK_MONOTONIC);
    if (now < device->next_change) {
        return (int64_t)(device->next_change - now);
    }
    for (uint64_t i = 0; i < rate; i++) {
        change_page(device);
    }
    for (uint64_t i = 0; i < guest_rate; i++) {
        write_guest_page(device, ctx);
    }
    ++*(uint64_t *)device->shared; /* for clients to see that it lives */
    device->next_change = now + CHANGE_PERIOD;
    return CHANGE_PERIOD;
}

/* A clock that is set must not make the alarm ring late: it is looked at each second. */
static int64_t act_on_alarm(struct server_device *device, vfu_ctx_t *ctx)
{
    uint64_t alarm = *reg(device, SERVER_REG_ALARM);
    uint64_t now;

    if (alarm == 0) {
        return -1;
    }
    now = now_ns(CLOCK_REALTIME);
    if (now / SECOND < alarm) {
        uint64_t left = alarm - now / SECOND > 1 ? SECOND : SECOND - now % SECOND;

        return (int64_t)left;
    }
    *reg(device, SERVER_REG_ALARM) = 0;
    *reg(device, SERVER_REG_STATUS) |= SERVER_STATUS_ALARM;
    ++*reg(device, SERVER_REG_RUNG);
    signal_vector(ctx, SERVER_VECTOR_ALARM);
    return -1;
}

int64_t server_device_act(struct server_device *device, vfu_ctx_t *ctx)
{
    int64_t memory, alarm;

    if (!device->running) {
        return -1;
    }
    memory = act_on_memory(device, ctx);
    alarm = act_on_alarm(device, ctx);
    /* The client may have written to the command register. */
    server_device_update_line(device, ctx);
    return memory < 0 || (alarm >= 0 && alarm < memory) ? alarm : memory;
}

/* --- accesses --- */

bool server_registers_are_valid(const struct server_device *device, const uint64_t *registers)
{
    uint64_t window = registers[SERVER_REG_WINDOW / 8];

    return registers[SERVER_REG_RATE / 8] <= SERVER_RATE_MAX &&
           registers[SERVER_REG_GUEST_RATE / 8] <= SERVER_RATE_MAX && window <= device->data_size &&
           window % SERVER_PAGE == 0 &&
           !(registers[SERVER_REG_STATUS / 8] & ~(uint64_t)SERVER_STATUS_ALARM) &&
           registers[SERVER_REG_ID / 8] == SERVER_ID &&
           registers[SERVER_REG_DATA_SIZE / 8] == device->data_size &&
           registers[SERVER_REG_FILL / 8] == 0 && registers[SERVER_REG_GUEST_COMMAND / 8] == 0;
}

/* Returns 0, or an errno: nothing has changed. */
static int write_register(struct server_device *device, vfu_ctx_t *ctx, enum server_register which,
                          uint64_t value)
{
    uint64_t before = *reg(device, which);

    switch (which) {
    case SERVER_REG_STATUS:
        *reg(device, which) &= ~value;
        server_device_update_line(device, ctx);
        return 0;
    case SERVER_REG_FILL:
        fill_memory(device, value);
        return 0;
    case SERVER_REG_GUEST_COMMAND:
        *reg(device, SERVER_REG_GUEST_RESULT) = (uint64_t)transfer(device, ctx, value);
        signal_vector(ctx, SERVER_VECTOR_TRANSFER);
        return 0;
    case SERVER_REG_ALARM:
    case SERVER_REG_RATE:
    case SERVER_REG_WINDOW:
    case SERVER_REG_GUEST_ADDRESS:
    case SERVER_REG_GUEST_SIZE:
    case SERVER_REG_GUEST_RATE:
    case SERVER_REG_SEED:
        *reg(device, which) = value;
        if (!server_registers_are_valid(device, device->registers)) {
            *reg(device, which) = before;
            return EINVAL;
        }
        return 0;
    default:
        return 0; /* the others are for reading */
    }
}

static ssize_t access_registers(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset,
                                bool is_write)
{
    struct server_device *device = vfu_get_private(ctx);
    uint64_t value;

    if (!is_write) {
        for (size_t i = 0; i < count; i++) {
            uint64_t at = (uint64_t)offset + i;

            buf[i] = at < SERVER_REG_END ? ((const char *)device->registers)[at] : 0;
        }
        return (ssize_t)count;
    }
    if (count != sizeof(value) || offset % (off_t)sizeof(value) != 0) {
        errno = EINVAL;
        return -1;
    }
    memcpy(&value, buf, sizeof(value));
    errno = offset < SERVER_REG_END
                ? write_register(device, ctx, (enum server_register)offset, value)
                : 0;
    return errno == 0 ? (ssize_t)count : -1;
}

static ssize_t access_data(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    struct server_device *device = vfu_get_private(ctx);

    if (is_write) {
        memcpy(device->data + offset, buf, count);
        server_pages_mark(&device->pages, (uint64_t)offset, count);
    } else {
        memcpy(buf, device->data + offset, count);
    }
    return (ssize_t)count;
}

static ssize_t access_shared(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    struct server_device *device = vfu_get_private(ctx);

    if (is_write) {
        memcpy(device->shared + offset, buf, count);
    } else {
        memcpy(buf, device->shared + offset, count);
    }
    return (ssize_t)count;
}

/* --- life --- */

void server_device_reset(struct server_device *device)
{
    clear_memory(device);
    memset(device->registers, 0, sizeof(device->registers));
    *reg(device, SERVER_REG_ID) = SERVER_ID;
    *reg(device, SERVER_REG_DATA_SIZE) = device->data_size;
    device->line = false;
    device->next_change = 0;
}

/* For each type of reset, the loss of the connection among them. */
static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    struct server_device *device = vfu_get_private(ctx);

    server_device_reset(device);
    server_migration_reset(device);
    device->running = true;
    device->masked = device->masked && type != VFU_RESET_LOST_CONN;
    return 0;
}

/* What is mapped is found by its address each time; these say that clients may map. */
static void on_map(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void on_unmap(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void *map_memory(size_t size, int flags, int fd)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

int server_device_create(struct server_device *device, uint64_t data_size)
{
    *device = (struct server_device){ .data_size = data_size, .running = true };
    device->pages.words = (size_t)(data_size / SERVER_PAGE + 63) / 64;
    device->pages.touched = calloc(device->pages.words, sizeof(uint64_t));
    device->pages.dirty = calloc(device->pages.words, sizeof(uint64_t));
    device->sg = calloc(1, dma_sg_size());
    device->data = map_memory(data_size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    device->shared_fd = memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (device->shared_fd < 0 || ftruncate(device->shared_fd, SERVER_SHARED_SIZE) < 0) {
        return -1;
    }
    device->shared = map_memory(SERVER_SHARED_SIZE, MAP_SHARED, device->shared_fd);
    if (device->pages.touched == NULL || device->pages.dirty == NULL || device->sg == NULL ||
        device->data == NULL || device->shared == NULL || server_migration_create(device) < 0) {
        errno = ENOMEM;
        return -1;
    }
    server_device_reset(device);
    return 0;
}

static int describe_regions(struct server_device *device, vfu_ctx_t *ctx)
{
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    struct iovec areas[] = {
        { NULL, SERVER_SHARED_GAP },
        { (void *)(uintptr_t)(SERVER_SHARED_GAP + SERVER_SHARED_GAP_SIZE),
          SERVER_SHARED_SIZE - SERVER_SHARED_GAP - SERVER_SHARED_GAP_SIZE },
    };

    if (vfu_setup_region(ctx, SERVER_REGISTERS_BAR, SERVER_REGISTERS_SIZE, access_registers, memory,
                         NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, SERVER_MSIX_BAR, SERVER_MSIX_SIZE, NULL, memory, NULL, 0, -1, 0) <
            0 ||
        vfu_setup_region(ctx, SERVER_DATA_BAR, device->data_size, access_data,
                         memory | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH, NULL, 0, -1,
                         0) < 0) {
        return -1;
    }
    return vfu_setup_region(ctx, SERVER_SHARED_BAR, SERVER_SHARED_SIZE, access_shared, memory,
                            areas, 2, device->shared_fd, 0);
}

int server_device_describe(struct server_device *device, vfu_ctx_t *ctx)
{
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        return -1;
    }
    vfu_pci_set_id(ctx, SERVER_VENDOR, SERVER_DEVICE, SERVER_VENDOR, SERVER_DEVICE);
    vfu_pci_set_class(ctx, 0x08, 0x80, 0);
    if (describe_regions(device, ctx) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_irq_state_callback(ctx, VFU_DEV_INTX_IRQ, mask_line) < 0 ||
        vfu_msix_setup(ctx, SERVER_VECTORS, SERVER_MSIX_BAR, 0, SERVER_MSIX_BAR,
                       SERVER_MSIX_PENDING) < 0 ||
        vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, on_map, on_unmap) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 || server_migration_describe(ctx) < 0) {
        return -1;
    }
    return vfu_realize_ctx(ctx);
}
