/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/vfu.h"

#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define MAX_CONFIG 4096

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static void print_capabilities_of_server(const struct vfu_client *client)
{
    const struct vfu_client_capabilities *server = vfu_client_server_capabilities(client);

    printf("protocol 0.%u, %u descriptors and %" PRIu64 " bytes in a message%s%s%s\n",
           server->minor, server->max_msg_fds, server->max_data_xfer_size,
           server->migration_pgsize != 0 ? ", migration" : "",
           server->write_multiple ? ", write-multiple" : "",
           server->twin_socket ? ", twin-socket" : "");
}

static int print_region(struct vfu_client *client, unsigned index)
{
    AUTO_VFU_CLIENT_REGION region = { .fd = -1 };
    int result = vfu_client_get_region_info(client, index, &region);

    if (result != 0) {
        return vfu_failed("region", result);
    }
    if (region.size == 0) {
        return VFU_OK;
    }
    printf("  %-6s %#10" PRIx64 " bytes %s%s%s\n", vfu_region_name(index), region.size,
           region.flags & VFIO_REGION_INFO_FLAG_READ ? "r" : "-",
           region.flags & VFIO_REGION_INFO_FLAG_WRITE ? "w" : "-",
           region.fd >= 0 ? ", can be mapped:" : "");
    for (size_t i = 0; i < region.area_count; i++) {
        printf("         %#" PRIx64 " to %#" PRIx64 "\n", (uint64_t)region.areas[i].offset,
               (uint64_t)(region.areas[i].offset + region.areas[i].size - 1));
    }
    return VFU_OK;
}

static int print_regions(struct vfu_client *client, unsigned count)
{
    printf("regions:\n");
    for (unsigned i = 0; i < count; i++) {
        if (print_region(client, i) != VFU_OK) {
            return VFU_FAILED;
        }
    }
    return VFU_OK;
}

static int print_irqs(struct vfu_client *client, unsigned count)
{
    printf("interrupts:\n");
    for (unsigned i = 0; i < count; i++) {
        struct vfio_irq_info info = { .count = 0 };
        int result = vfu_client_get_irq_info(client, i, &info);

        if (result != 0) {
            return vfu_failed("interrupts", result);
        }
        if (info.count > 0) {
            printf("  %-6s %u\n", vfu_irq_name(i), info.count);
        }
    }
    return VFU_OK;
}

static void print_config(const uint8_t *config, size_t size)
{
    printf("config space: %zu bytes\n", size);
    printf("  device %04x:%04x, subsystem %04x:%04x, class %02x%02x%02x, revision %02x\n",
           get16(config), get16(config + PCI_DEVICE_ID), get16(config + PCI_SUBSYSTEM_VENDOR_ID),
           get16(config + PCI_SUBSYSTEM_ID), config[PCI_CLASS_PROG + 2], config[PCI_CLASS_PROG + 1],
           config[PCI_CLASS_PROG], config[PCI_REVISION_ID]);
    printf("  command %04x, status %04x, interrupt pin %c\n", get16(config + PCI_COMMAND),
           get16(config + PCI_STATUS),
           config[PCI_INTERRUPT_PIN] == 0 ? '-' : 'A' + config[PCI_INTERRUPT_PIN] - 1);
    vfu_print_capabilities(config, size);
}

static int read_config(struct vfu_client *client)
{
    AUTO_VFU_CLIENT_REGION region = { .fd = -1 };
    uint8_t config[MAX_CONFIG] = { 0 };
    int result = vfu_client_get_region_info(client, CONFIG, &region);
    size_t size = region.size < sizeof(config) ? (size_t)region.size : sizeof(config);

    if (result == 0 && size >= PCI_STD_HEADER_SIZEOF) {
        result = vfu_client_region_read(client, CONFIG, 0, config, size);
    }
    if (result != 0) {
        return vfu_failed("config space", result);
    }
    if (size >= PCI_STD_HEADER_SIZEOF) {
        print_config(config, size);
    }
    return VFU_OK;
}

int vfu_info(int argc, char **argv)
{
    struct vfio_user_device_info info;
    struct vfu_client *client;
    int status;

    if (argc != 2) {
        return vfu_usage("info", "SOCKET");
    }
    client = vfu_open(argv[1]);
    status = vfu_client_get_device_info(client, &info);
    if (status != 0) {
        status = vfu_failed("device", status);
    } else {
        print_capabilities_of_server(client);
        status = print_regions(client, info.num_regions < 64 ? info.num_regions : 64);
    }
    if (status == VFU_OK) {
        status = print_irqs(client, info.num_irqs < 64 ? info.num_irqs : 64);
    }
    if (status == VFU_OK && info.num_regions > CONFIG) {
        status = read_config(client);
    }
    vfu_client_free(client);
    return status;
}
