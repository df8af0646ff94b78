/* SPDX-License-Identifier: BSD-3-Clause */
/* Every command of the protocol, in the order in which a VMM comes by them. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"

#define CONFIG 7u
#define SIZE 0x10000u
#define MESSAGE_IOVA 0x200000000u
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)

static void show_device(struct vfu_client *client, struct vfio_user_device_info *info)
{
    const struct vfu_client_capabilities *server = vfu_client_server_capabilities(client);

    say("VERSION: 0.%u, %u descriptors and %llu bytes a message%s%s%s", server->minor,
        server->max_msg_fds, (unsigned long long)server->max_data_xfer_size,
        server->migration_pgsize != 0 ? ", migration" : "",
        server->write_multiple ? ", several writes a message" : "",
        server->twin_socket ? ", a second socket for its own commands" : "");
    must(vfu_client_get_device_info(client, info), "DEVICE_GET_INFO");
    say("DEVICE_GET_INFO: %u regions, %u kinds of interrupts%s", info->num_regions, info->num_irqs,
        info->flags & VFIO_DEVICE_FLAGS_RESET ? ", can be reset" : "");
}

static void show_region(struct vfu_client *client, uint32_t index)
{
    AUTO_VFU_CLIENT_REGION region;
    AUTO_VFU_CLIENT_IO_FDS io_fds = { .count = 0 };
    char text[32];

    must(vfu_client_get_region_info(client, index, &region), "DEVICE_GET_REGION_INFO");
    if (region.size == 0) {
        return;
    }
    say("DEVICE_GET_REGION_INFO: region %u has %s, %zu parts of it can be mapped", index,
        size_text(region.size, text), region.area_count);
    for (size_t i = 0; i < region.area_count; i++) {
        volatile uint8_t *memory = vfu_client_region_map(&region, i, PROT_READ | PROT_WRITE);
        uint64_t at = region.areas[i].offset + 100;
        uint8_t byte = 0;

        if (memory == MAP_FAILED) {
            must(-errno, "mapping a region");
        }
        memory[100] = 0x42;
        must(vfu_client_region_read(client, index, at, &byte, 1), "REGION_READ");
        say("    mapped %s at offset %#llx; what is written there %s",
            size_text(region.areas[i].size, text), (unsigned long long)region.areas[i].offset,
            byte == 0x42 ? "can be read by message too" : "CANNOT BE READ BY MESSAGE");
        munmap((void *)memory, region.areas[i].size);
    }
    must(vfu_client_get_io_fds(client, index, &io_fds), "DEVICE_GET_REGION_IO_FDS");
    say("DEVICE_GET_REGION_IO_FDS: region %u has %u", index, io_fds.count);
}

static void access_registers(struct vfu_client *client)
{
    const struct vfio_user_region_write writes[] = {
        { .offset = SERVER_REG_SEED, .region = SERVER_REGISTERS_BAR, .count = 8, .data = { 1 } },
        { .offset = SERVER_REG_WINDOW,
          .region = SERVER_REGISTERS_BAR,
          .count = 8,
          .data = { 0x00, 0x10 } },
    };
    uint32_t ids = 0;
    uint64_t done = 0;

    must(vfu_client_region_read(client, CONFIG, PCI_VENDOR_ID, &ids, 4), "REGION_READ");
    say("REGION_READ: config space says %04x:%04x", ids & 0xffff, ids >> 16);
    set_register(client, SERVER_REG_SEED, 7);
    say("REGION_WRITE: register %#x is %llu now", SERVER_REG_SEED,
        (unsigned long long)get_register(client, SERVER_REG_SEED));
    must(vfu_client_region_post(client, SERVER_REGISTERS_BAR, SERVER_REG_SEED, &(uint64_t){ 9 }, 8),
         "REGION_WRITE without reply");
    say("REGION_WRITE without reply: and now %llu",
        (unsigned long long)get_register(client, SERVER_REG_SEED));
    if (vfu_client_server_capabilities(client)->write_multiple) {
        must(vfu_client_region_write_multi(client, writes, 2, &done), "REGION_WRITE_MULTI");
    }
    say("REGION_WRITE_MULTI: %llu of 2 writes done", (unsigned long long)done);
}

static uint64_t take_count(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void use_interrupts(struct vfu_client *client, uint32_t num_irqs)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    for (uint32_t i = 0; i < num_irqs; i++) {
        struct vfio_irq_info info;

        must(vfu_client_get_irq_info(client, i, &info), "DEVICE_GET_IRQ_INFO");
        say("DEVICE_GET_IRQ_INFO: %u of kind %u, flags %#x", info.count, i, info.flags);
    }
    must(vfu_client_irq_assign(client, VFIO_PCI_INTX_IRQ_INDEX, 0, &fd, 1), "DEVICE_SET_IRQS");
    set_register(client, SERVER_REG_ALARM, 1);
    while (get_register(client, SERVER_REG_STATUS) == 0) {
    }
    say("DEVICE_SET_IRQS: INTx has an eventfd; an alarm for 1970 signalled it %llu times",
        (unsigned long long)take_count(fd));
    must(vfu_client_set_irqs(client, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK,
                             VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL, NULL, 0),
         "DEVICE_SET_IRQS");
    must(vfu_client_set_irqs(client, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
                             VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL, NULL, 0),
         "DEVICE_SET_IRQS");
    say("DEVICE_SET_IRQS: masked and unmasked while asserted, it was signalled %llu times",
        (unsigned long long)take_count(fd));
    set_register(client, SERVER_REG_STATUS, SERVER_STATUS_ALARM);
    must(vfu_client_irq_disable(client, VFIO_PCI_INTX_IRQ_INDEX), "DEVICE_SET_IRQS");
    close(fd);
}

/* Guest memory that the server cannot map: it has to ask. */
struct asked {
    uint8_t memory[SIZE];
    unsigned reads;
    unsigned writes;
};

static int serve(void *opaque, uint64_t iova, void *data, uint64_t count, bool is_write)
{
    struct asked *asked = opaque;
    uint64_t at = iova - MESSAGE_IOVA;

    if (iova < MESSAGE_IOVA || at > SIZE || count > SIZE - at) {
        return EFAULT;
    }
    memcpy(is_write ? asked->memory + at : data, is_write ? data : asked->memory + at, count);
    asked->reads += !is_write;
    asked->writes += is_write;
    return 0;
}

static void copy(struct vfu_client *client, enum server_command command, uint64_t iova,
                 uint64_t size)
{
    set_register(client, SERVER_REG_GUEST_ADDRESS, iova);
    set_register(client, SERVER_REG_GUEST_SIZE, size);
    set_register(client, SERVER_REG_GUEST_COMMAND, command);
    must((int)get_register(client, SERVER_REG_GUEST_RESULT), "the device's access to guest memory");
}

static void use_guest_memory(struct vfu_client *client)
{
    static struct asked asked;
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint64_t bitmap = 0;
    uint8_t *memory;

    if (fd < 0 || ftruncate(fd, SIZE) < 0) {
        must(-errno, "guest memory");
    }
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        must(-errno, "guest memory");
    }
    memset(memory, 0x11, SIZE);
    must(vfu_client_dma_map(client, GUEST_IOVA, SIZE, RW, fd, 0), "DMA_MAP");
    copy(client, SERVER_COMMAND_READ, GUEST_IOVA, SIZE);
    say("DMA_MAP: the device has read guest memory that it maps");

    must(vfu_client_dirty_start(client, SERVER_PAGE), "DEVICE_FEATURE");
    copy(client, SERVER_COMMAND_WRITE, GUEST_IOVA + SERVER_PAGE, 2 * SERVER_PAGE);
    must(vfu_client_dirty_report(client, GUEST_IOVA, SIZE, SERVER_PAGE, &bitmap), "DEVICE_FEATURE");
    must(vfu_client_dirty_stop(client), "DEVICE_FEATURE");
    say("DEVICE_FEATURE: after a write to pages 1 and 2 the log of dirty pages says %#llx",
        (unsigned long long)bitmap);

    vfu_client_set_dma(client, serve, &asked);
    memset(asked.memory, 0x22, SIZE);
    must(vfu_client_dma_map(client, MESSAGE_IOVA, SIZE, RW, -1, 0), "DMA_MAP");
    copy(client, SERVER_COMMAND_READ, MESSAGE_IOVA, SIZE);
    copy(client, SERVER_COMMAND_WRITE, MESSAGE_IOVA, SIZE);
    say("DMA_READ, DMA_WRITE: it asked for other guest memory %u times, and to write %u times",
        asked.reads, asked.writes);
    must(vfu_client_dma_unmap(client, GUEST_IOVA, SIZE), "DMA_UNMAP");
    must(vfu_client_dma_unmap_all(client), "DMA_UNMAP");
    say("DMA_UNMAP: one region, then all that are left");
    vfu_client_set_dma(client, NULL, NULL);
    munmap(memory, SIZE);
    close(fd);
}

/* Out of the device and into it again. */
static void move_state(struct vfu_client *client)
{
    static uint8_t buffer[1u << 20];
    uint64_t flags = 0, total = 0;
    uint32_t state = 0, n = 0;

    for (uint32_t feature = VFIO_DEVICE_FEATURE_MIGRATION;
         feature <= VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT; feature++) {
        if (vfu_client_feature_probe(client, feature, 0) == 0) {
            say("DEVICE_FEATURE: there is feature %u", feature);
        }
    }
    must(vfu_client_migration_get_flags(client, &flags), "DEVICE_FEATURE");
    say("DEVICE_FEATURE: it can migrate%s",
        flags & VFIO_MIGRATION_PRE_COPY ? ", and send its state while it runs" : "");
    must(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_STOP_COPY),
         "DEVICE_FEATURE");
    must(vfu_client_migration_read(client, buffer, sizeof(buffer), &n), "MIG_DATA_READ");
    must(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_RESUMING), "DEVICE_FEATURE");
    must(vfu_client_migration_write(client, buffer, n), "MIG_DATA_WRITE");
    total = n;
    must(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_RUNNING), "DEVICE_FEATURE");
    must(vfu_client_migration_get_state(client, &state), "DEVICE_FEATURE");
    say("MIG_DATA_READ, MIG_DATA_WRITE: %llu bytes of state read and written back; state is %u",
        (unsigned long long)total, state);
}

void take_tour(struct vfu_client *client)
{
    struct vfio_user_device_info info;

    show_device(client, &info);
    if (get_register(client, SERVER_REG_ID) != SERVER_ID) {
        must(-ENODEV, "looking for the sample server");
    }
    for (uint32_t i = 0; i < info.num_regions; i++) {
        show_region(client, i);
    }
    access_registers(client);
    use_interrupts(client, info.num_irqs);
    use_guest_memory(client);
    move_state(client);
    must(vfu_client_reset_device(client), "DEVICE_RESET");
    say("DEVICE_RESET: register %#x is %llu again", SERVER_REG_SEED,
        (unsigned long long)get_register(client, SERVER_REG_SEED));
}
