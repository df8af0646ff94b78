/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lspci: makes a device with a rich config space, and prints that in the form which lspci(8) reads
 * with -F:
 *
 *     lspci >device; /usr/bin/lspci -vv -F device
 *
 * No client ever connects.
 */
#include <err.h>
#include <libvfio-user.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR0_SIZE 0x2000
#define MSIX_VECTORS 8

static struct pmcap power = {
    .hdr.id = PCI_CAP_ID_PM,
    .pc = { .vs = 3, .d1s = 1, .psup = 0x1f },
    .pmcs.nsfrst = 1,
};

static struct msicap msi = {
    .hdr.id = PCI_CAP_ID_MSI,
    .mc = { .mmc = 2, .c64 = 1, .pvm = 1 },
};

static struct pxcap express = {
    .hdr.id = PCI_CAP_ID_EXP,
    .pxcaps = { .ver = 2 },
    .pxdcap = { .mps = 1, .rer = 1, .flrc = 1 },
    .pxdcap2 = { .ctds = 1 },
};

static struct msixcap msix = {
    .hdr.id = PCI_CAP_ID_MSIX,
    .mxc.ts = MSIX_VECTORS - 1,
    .mpba.pbao = 0x1000 >> 3,
};

static struct {
    struct vsc header;
    char text[12];
} __attribute__((packed)) vendor = {
    .header = { .hdr.id = PCI_CAP_ID_VNDR, .size = sizeof(vendor) },
    .text = "vfio-user",
};

static struct dsncap serial_number = {
    .hdr = { .id = PCI_EXT_CAP_ID_DSN, .version = 1 },
    .sn_lo = 0x89abcdef,
    .sn_hi = 0x01234567,
};

static struct {
    struct pcie_ext_cap_vsc_hdr header;
    uint32_t data[2];
} __attribute__((packed)) extended_vendor = {
    .header = { .hdr = { .id = PCI_EXT_CAP_ID_VNDR, .version = 1 },
                .id = 0x42,
                .rev = 1,
                .len = sizeof(extended_vendor) },
    .data = { 0x600dcafe, 0x0ddba11 },
};

static const struct {
    void *data;
    int flags;
} capabilities[] = {
    { &power, 0 },
    { &msi, 0 },
    { &express, 0 },
    { &msix, 0 },
    { &vendor, VFU_CAP_FLAG_READONLY },
    { &serial_number, VFU_CAP_FLAG_EXTENDED },
    { &extended_vendor, VFU_CAP_FLAG_EXTENDED },
};

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return (ssize_t)count;
}

static int describe(vfu_ctx_t *ctx)
{
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        return -1;
    }
    vfu_pci_set_id(ctx, 0x494f, 0x0dc8, 0x1af4, 0x1100);
    vfu_pci_set_class(ctx, 0x08, 0x80, 0x00);
    vfu_pci_get_config_space(ctx)->hdr.rid = 0x07;
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        if (vfu_pci_add_capability(ctx, 0, capabilities[i].flags, capabilities[i].data) < 0) {
            return -1;
        }
    }
    if (vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, BAR0_SIZE, bar0_access,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS |
                             VFU_REGION_FLAG_PREFETCH,
                         NULL, 0, -1, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0) {
        return -1;
    }
    return vfu_realize_ctx(ctx);
}

static void print(const uint8_t *bytes, size_t size)
{
    printf("00:00.0 a device\n");
    for (size_t i = 0; i < size; i++) {
        if (i % 16 == 0) {
            printf("%02zx:", i);
        }
        printf(" %02x", bytes[i]);
        if (i % 16 == 15) {
            printf("\n");
        }
    }
    printf("\n");
}

int main(void)
{
    char path[64];
    vfu_ctx_t *ctx;

    /* A context has a socket, whether somebody is to connect or not. */
    snprintf(path, sizeof(path), "/tmp/vfu-lspci.%d", getpid());
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL || describe(ctx) < 0) {
        err(EXIT_FAILURE, "the device");
    }
    print(vfu_pci_get_config_space(ctx)->raw, PCI_CFG_SPACE_EXP_SIZE);
    vfu_destroy_ctx(ctx);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
