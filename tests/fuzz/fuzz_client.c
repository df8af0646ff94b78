/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's byte stream, with descriptors, in any pieces, against a device that has everything:
 * memory, I/O and mappable regions, ioeventfds, capabilities, all kinds of interrupts, DMA,
 * quiesce, migration. The device runs in this process, standalone or under a broker.
 *
 * Input: operations. Each is a byte that says what to do, a size (2 bytes, little endian), and so
 * many bytes:
 *   0-2  send the bytes as they are          4-5  with descriptors: the first byte chooses them
 *   3    change the length of guest memory, by the first byte
 *   6    send them as the payload of a message with a right header, its first two bytes the command
 *   7    hang up, and connect again, where that is possible
 * With the highest bit: the bytes say how a gate that was taken over changes its next answer.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>
#include <vfio-user/vfu-broker.h>

#include "ipc/fd_list.h"
#include "ipc/socket.h"
#include "tests/fuzz/surroundings.h"

#define MEMORY_SIZE 65536
#define STEPS 64 /* of the device for each operation: more than that would be a loop */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static vfu_ctx_t *ctx;
static int client = -1;
static int memory; /* of the guest */
static int shared; /* of the device, behind BAR2 */
static int interrupt;
static int pipes[2];
static uint8_t registers[4096];
static const void *mapped;
static int twin = -1; /* the client's end, once it has one */
static bool parked;   /* the device has said that it is not quiet yet */
static bool busy;     /* the next time it is asked, it says so */
static vfu_migr_state_t migration;

/* Registers of BAR0; the rest is memory. */
enum {
    REG_TRIGGER = 0,
    REG_BUSY = 1,
    REG_COPY = 16, /* struct copy: guest memory from or to the registers */
    REG_DATA = 1024,
    REG_TABLE = 2048, /* of MSI-X */
    REG_PENDING = 3072,
};

struct copy {
    uint64_t address;
    uint16_t count;
    uint8_t is_write;
    uint8_t by_message;
};

/*
 * The answer of a client that does not send one beforehand is the end of its stream: nobody else is
 * there to send one.
 */
static void copy_guest(const struct copy *copy)
{
    char entries[4][64];
    dma_sg_t *sgl = (dma_sg_t *)entries;
    size_t count = copy->count % 1024;
    int found;

    if (dma_sg_size() != 40) {
        errx(1, "entries of %zu bytes", dma_sg_size());
    }
    found = vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)copy->address, count, sgl, 6,
                            copy->is_write ? PROT_WRITE : PROT_READ);
    if (found < 1) {
        return;
    }
    if (copy->by_message || !vfu_sg_is_mappable(ctx, sgl)) {
        shutdown(client, SHUT_WR);
        if (twin >= 0) {
            shutdown(twin, SHUT_WR);
        }
    }
    if (copy->is_write) {
        vfu_sgl_write(ctx, sgl, 1, registers + REG_DATA,
                      copy->by_message ? 0 : VFU_SGL_DIRECT_ACCESS);
    } else {
        vfu_sgl_read(ctx, sgl, 1, registers + REG_DATA,
                     copy->by_message ? 0 : VFU_SGL_DIRECT_ACCESS);
    }
    for (int i = 0; i < found; i++) {
        dma_sg_t *sg = (dma_sg_t *)((char *)entries + i * 40);
        struct iovec iov;

        if (vfu_sgl_get(ctx, sg, &iov, 1, 0) == 0) {
            registers[12] = *(volatile uint8_t *)iov.iov_base;
            vfu_sgl_put(ctx, sg, &iov, 1);
        }
    }
}

static int quiesce(vfu_ctx_t *device)
{
    if (parked) {
        errx(1, "asked twice");
    }
    if (busy) {
        busy = false;
        parked = true;
        errno = EBUSY;
        return -1;
    }
    return 0;
}

static int transition(vfu_ctx_t *device, vfu_migr_state_t state)
{
    migration = state;
    return 0;
}

static ssize_t read_state(vfu_ctx_t *device, void *buf, uint64_t count)
{
    if (migration != VFU_MIGR_STATE_PRE_COPY && migration != VFU_MIGR_STATE_STOP_AND_COPY) {
        errx(1, "read in state %d", migration);
    }
    memset(buf, 1, count < 100 ? count : 100);
    return count < 100 ? (ssize_t)count : 100;
}

static ssize_t write_state(vfu_ctx_t *device, void *buf, uint64_t count)
{
    if (migration != VFU_MIGR_STATE_RESUME) {
        errx(1, "write in state %d", migration);
    }
    if (count > 0) {
        registers[11] = *(uint8_t *)buf;
        registers[13] = ((uint8_t *)buf)[count - 1];
    }
    return (ssize_t)count;
}

static ssize_t access_region(vfu_ctx_t *device, char *buf, size_t count, loff_t offset,
                             bool is_write)
{
    if ((size_t)offset + count > sizeof(registers)) {
        errx(1, "access beyond the region");
    }
    if (!is_write) {
        memcpy(buf, registers + offset, count);
        return (ssize_t)count;
    }
    if (offset == REG_COPY && count == sizeof(struct copy)) {
        struct copy copy;

        memcpy(&copy, buf, sizeof(copy));
        copy_guest(&copy);
        return (ssize_t)count;
    }
    memcpy(registers + offset, buf, count);
    if (offset == REG_TRIGGER) {
        vfu_irq_trigger(device, (uint8_t)buf[0]);
        vfu_msix_trigger(device, (uint8_t)buf[0]);
    }
    busy = offset == REG_BUSY;
    return (ssize_t)count;
}

static void add_memory(vfu_ctx_t *device, vfu_dma_info_t *info)
{
    if (info->vaddr != NULL && (info->prot & PROT_READ)) {
        /* The whole of it must be there: first and last byte. */
        registers[8] = *(volatile uint8_t *)info->vaddr;
        registers[9] = ((volatile uint8_t *)info->vaddr)[info->iova.iov_len - 1];
        mapped = info->vaddr;
    }
}

static void remove_memory(vfu_ctx_t *device, vfu_dma_info_t *info)
{
    if (mapped == info->vaddr) {
        mapped = NULL;
    }
}

static int reset(vfu_ctx_t *device, vfu_reset_type_t type)
{
    memset(registers, 0, sizeof(registers));
    return 0;
}

static void connect_client(void)
{
    static const char json[] = "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true,"
                               "\"twin_socket\":{\"supported\":true}}}";

    client = surroundings_connect();
    if (client < 0) {
        return;
    }
    struct {
        struct vfio_user_header header;
        struct vfio_user_version version;
        char json[sizeof(json)];
    } __attribute__((packed)) message = {
        .header = { .msg_id = 1, .cmd = VFIO_USER_VERSION, .msg_size = sizeof(message) },
        .version = { .minor = 1 },
    };
    memcpy(message.json, json, sizeof(json));
    if (send(client, &message, sizeof(message), 0) != sizeof(message)) {
        err(1, "send");
    }
}

/* Reads what the device answers, and keeps the twin socket if there is one in it. */
static void receive_all(void)
{
    static char answer[65536];

    for (;;) {
        struct fd_list fds = { .count = 0 };
        ssize_t n = socket_receive(client, answer, sizeof(answer), MSG_DONTWAIT, &fds);

        for (size_t i = 0; i < fds.count; i++) {
            int type = 0;
            socklen_t size = sizeof(type);

            if (twin < 0 && getsockopt(fds.fds[i], SOL_SOCKET, SO_TYPE, &type, &size) == 0) {
                twin = fd_list_take(&fds, i);
            }
        }
        fd_list_close(&fds);
        if (n <= 0) {
            return;
        }
    }
}

static void leave(void)
{
    close(client);
    if (twin >= 0) {
        close(twin);
    }
    twin = -1;
}

/* Lets the device do what it can, and reads what it answers. */
static void step(void)
{
    for (int i = 0; i < STEPS; i++) {
        int result = vfu_run_ctx(ctx);

        if (result < 0 && errno == ENOTCONN) {
            result = vfu_attach_ctx(ctx);
        }
        if (result < 0 && errno == EBUSY) {
            parked = false;
            vfu_device_quiesced(ctx, 0);
        }
        receive_all();
        if (result == 0 || (result < 0 && errno == EAGAIN)) {
            return;
        }
    }
}

static void hang_up(void)
{
    leave();
    /* Until it has noticed, the device does not listen to the next one. */
    for (int i = 0; i < STEPS && (vfu_run_ctx(ctx) >= 0 || errno != ENOTCONN); i++) {
        if (parked) {
            parked = false;
            vfu_device_quiesced(ctx, 0);
        }
    }
    connect_client();
    step();
}

static void send_bytes(const uint8_t *data, size_t size, unsigned choice)
{
    const int kinds[] = { memory, interrupt, pipes[1], memory };
    struct fd_list fds = { .count = 0 };

    for (unsigned i = 0; i < choice % 20; i++) {
        fd_list_add(&fds, kinds[(choice / 20 + i) % 4]);
    }
    if (size > 0) {
        socket_send(client, data, size, MSG_DONTWAIT, &fds);
    }
}

static void send_message(const uint8_t *payload, size_t size, unsigned choice)
{
    uint8_t message[65536];
    struct vfio_user_header header = { .msg_id = 7 };

    if (size < 2) {
        return;
    }
    header.cmd = (uint16_t)(payload[0] | payload[1] << 8);
    header.msg_size = (uint32_t)(sizeof(header) + size - 2);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), payload + 2, size - 2);
    send_bytes(message, header.msg_size, choice);
}

static void operate(unsigned operation, const uint8_t *data, size_t size)
{
    if (operation & 0x80) {
        surroundings_lie(data, size);
        return;
    }
    switch (operation % 8) {
    case 3:
        if (ftruncate(memory, size > 0 ? data[0] * 256 : 0) < 0) {
            err(1, "guest memory");
        }
        break;
    case 4:
        send_bytes(data, size, size > 0 ? data[0] : 0);
        break;
    case 5:
        if (size > 0) {
            send_message(data + 1, size - 1, data[0]);
        }
        break;
    case 6:
        send_message(data, size, 0);
        break;
    case 7:
        hang_up();
        break;
    default:
        send_bytes(data, size, 0);
    }
    step();
}

static void create_device(void)
{
    static const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = transition,
        .read_data = read_state,
        .write_data = write_state,
    };
    struct iovec areas[] = { { (void *)0, 4096 }, { (void *)8192, 4096 } };
    struct pmcap power = { .hdr.id = PCI_CAP_ID_PM };
    struct pxcap express = { .hdr.id = PCI_CAP_ID_EXP, .pxdcap.flrc = 1 };
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI };

    ctx = vfu_create_ctx(VFU_TRANS_SOCK, surroundings_path, LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                         VFU_DEV_TYPE_PCI);
    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, sizeof(registers), access_region,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR1_REGION_IDX, 16, access_region, VFU_REGION_FLAG_RW,
                         NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR2_REGION_IDX, 16384, NULL,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS, areas,
                         2, shared, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, 4) < 0 ||
        vfu_pci_add_capability(ctx, 0, 0, &power) < 0 ||
        vfu_pci_add_capability(ctx, 0, 0, &express) < 0 ||
        vfu_pci_add_capability(ctx, 0, 0, &msi) < 0 ||
        vfu_msix_setup(ctx, 16, 0, REG_TABLE, 0, REG_PENDING) < 0 ||
        vfu_create_ioeventfd(ctx, 0, interrupt, 0, 4, 0, 0, -1, 0) < 0 ||
        vfu_create_ioeventfd(ctx, 0, interrupt, 8, 4, 0, 0, shared, 64) < 0 ||
        vfu_setup_device_migration_callbacks(ctx, &callbacks) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 ||
        vfu_setup_device_dma(ctx, 16, add_memory, remove_memory) < 0 || vfu_realize_ctx(ctx) < 0) {
        err(1, "device");
    }
    vfu_setup_device_quiesce_cb(ctx, quiesce);
    parked = busy = false;
    migration = VFU_MIGR_STATE_RUNNING;
}

static void set_up(void)
{
    memory = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    shared = memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (memory < 0 || shared < 0 || ftruncate(shared, MEMORY_SIZE) < 0 || interrupt < 0 ||
        pipe(pipes) < 0) {
        err(1, "descriptors");
    }
}

static int lowest_free(void)
{
    int fd = dup(memory);

    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool warm; /* the library keeps what it has opened once */
    int before;

    if (memory == 0) {
        set_up();
    }
    before = lowest_free();
    surroundings_begin();
    if (ftruncate(memory, MEMORY_SIZE) < 0) {
        err(1, "guest memory");
    }
    create_device();
    connect_client();
    vfu_attach_ctx(ctx);
    step();
    while (size >= 3) {
        size_t length = data[1] | (size_t)data[2] << 8;

        length = length < size - 3 ? length : size - 3;
        operate(data[0], data + 3, length < 60000 ? length : 60000);
        data += 3 + length;
        size -= 3 + length;
    }
    leave();
    vfu_destroy_ctx(ctx);
    surroundings_end();
    if (warm && lowest_free() != before) {
        errx(1, "a descriptor was kept");
    }
    warm = true;
    if (mapped != NULL) {
        errx(1, "memory of a client that is gone");
    }
    return 0;
}
