/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's byte stream, with descriptors, in any pieces, against a device with memory, I/O and
 * mappable regions, all kinds of interrupts, and DMA. The device runs in this process.
 *
 * Input: operations. Each is a byte that says what to do, a size (2 bytes, little endian), and so
 * many bytes:
 *   0-3  send the bytes as they are          4-5  with descriptors: the first byte chooses them
 *   6    send them as the payload of a message with a right header, its first two bytes the command
 *   7    hang up, and connect again
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>

#include "ipc/fd_list.h"
#include "ipc/socket.h"

#define MEMORY_SIZE 65536
#define STEPS 64 /* of the device for each operation: more than that would be a loop */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char socket_path[64];
static vfu_ctx_t *ctx;
static int client = -1;
static int memory;
static int interrupt;
static int pipes[2];
static uint8_t registers[4096];
static const void *mapped;

static ssize_t access_region(vfu_ctx_t *device, char *buf, size_t count, loff_t offset,
                             bool is_write)
{
    if ((size_t)offset + count > sizeof(registers)) {
        errx(1, "access beyond the region");
    }
    if (!is_write) {
        memcpy(buf, registers + offset, count);
    } else if (offset == 0) {
        vfu_irq_trigger(device, (uint8_t)buf[0]);
    } else {
        memcpy(registers + offset, buf, count);
    }
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
    static const char version[] = "\1\0\1\0\26\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0{}";
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, socket_path);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0) {
        err(1, "connect");
    }
    /* "{}" and its NUL: 23 bytes of a message. */
    uint8_t message[23];
    memcpy(message, version, sizeof(message));
    message[4] = sizeof(message);
    if (send(client, message, sizeof(message), 0) != sizeof(message)) {
        err(1, "send");
    }
}

/* Lets the device do what it can, and reads what it answers. */
static void step(void)
{
    char answer[65536];

    for (int i = 0; i < STEPS; i++) {
        int result = vfu_run_ctx(ctx);

        if (result < 0 && errno == ENOTCONN) {
            result = vfu_attach_ctx(ctx);
        }
        while (recv(client, answer, sizeof(answer), MSG_DONTWAIT) > 0) {
        }
        if (result == 0 || (result < 0 && errno == EAGAIN)) {
            return;
        }
    }
}

static void hang_up(void)
{
    close(client);
    /* Until it has noticed, the device does not listen to the next one. */
    for (int i = 0; i < STEPS && (vfu_run_ctx(ctx) >= 0 || errno != ENOTCONN); i++) {
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
    switch (operation % 8) {
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
    struct iovec areas[] = { { (void *)0, 4096 }, { (void *)8192, 4096 } };

    ctx = vfu_create_ctx(VFU_TRANS_SOCK, socket_path, LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                         VFU_DEV_TYPE_PCI);
    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, sizeof(registers), access_region,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR1_REGION_IDX, 16, access_region, VFU_REGION_FLAG_RW,
                         NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR2_REGION_IDX, 16384, NULL,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS, areas,
                         2, memory, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, 4) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 16) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 ||
        vfu_setup_device_dma(ctx, 16, add_memory, remove_memory) < 0 || vfu_realize_ctx(ctx) < 0) {
        err(1, "device");
    }
}

static void set_up(void)
{
    snprintf(socket_path, sizeof(socket_path), "/tmp/vfu-fuzz-%d", getpid());
    unlink(socket_path);
    memory = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (memory < 0 || interrupt < 0 || ftruncate(memory, MEMORY_SIZE) < 0 || pipe(pipes) < 0) {
        err(1, "descriptors");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (socket_path[0] == '\0') {
        set_up();
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
    close(client);
    vfu_destroy_ctx(ctx);
    if (mapped != NULL) {
        errx(1, "memory of a client that is gone");
    }
    return 0;
}
