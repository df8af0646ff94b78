/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The config space alone: a device with capabilities and BARs that the input chooses, then
 * accesses of a client. What identifies the device, and where its capabilities are, must stay as
 * the program made it, whatever a client writes.
 *
 * Input: 1 byte of how many capabilities (up to 15), whether there are 4096 bytes, and whether a
 * callback has all that is not the library's; for each capability 4 bytes: kind and flags,
 * position / 4, size; 6 bytes of flags of BARs; then accesses: whether to write, size, offset (2
 * bytes), and if it is a write, so many bytes.
 */
#include "device/context.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ACCESS 255

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next(struct input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static ssize_t access_config(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (count == 0 || (size_t)offset + count > ctx->session.config.size) {
        errx(1, "access of %zu bytes at %#lx", count, (long)offset);
    }
    return (ssize_t)count;
}

static ssize_t access_bar(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return (ssize_t)count;
}

static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    return 0;
}

static void add_capability(vfu_ctx_t *ctx, struct input *input)
{
    static const struct {
        uint8_t id;
        bool extended;
    } kinds[] = { { PCI_CAP_ID_PM, false },      { PCI_CAP_ID_MSI, false },
                  { PCI_CAP_ID_VNDR, false },    { PCI_CAP_ID_EXP, false },
                  { PCI_CAP_ID_MSIX, false },    { PCI_EXT_CAP_ID_DSN, true },
                  { PCI_EXT_CAP_ID_VNDR, true }, { 0x42, false } };
    uint8_t data[1024];
    uint8_t choice = next(input);
    uint8_t place = next(input);
    uint8_t size = next(input);
    uint8_t fill = next(input);
    int flags = (choice >> 3) & (VFU_CAP_FLAG_CALLBACK | VFU_CAP_FLAG_READONLY);

    memset(data, fill, sizeof(data));
    data[0] = kinds[choice % 8].id;
    data[1] = 0;
    if (kinds[choice % 8].extended) {
        flags |= VFU_CAP_FLAG_EXTENDED;
        data[2] = 1; /* version */
        data[3] = 0;
        data[6] = (uint8_t)(size << 4);
        data[7] = size >> 4;
    } else if (data[0] == PCI_CAP_ID_VNDR) {
        data[2] = size;
    }
    (void)vfu_pci_add_capability(ctx, (size_t)place * 4 * (choice & 0x80 ? 16 : 1), flags, data);
}

static vfu_ctx_t *make_device(struct input *input)
{
    uint8_t choice = next(input);
    vfu_pci_type_t type = choice & 0x10 ? VFU_PCI_TYPE_EXPRESS : VFU_PCI_TYPE_CONVENTIONAL;
    char path[64]; /* nobody connects */
    vfu_ctx_t *ctx;

    snprintf(path, sizeof(path), "/tmp/vfu-fuzz-config-%d", getpid());
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);

    if (ctx == NULL || vfu_pci_init(ctx, type, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        err(1, "device");
    }
    vfu_pci_set_id(ctx, 0x1234, 0x5678, 0x9abc, 0xdef0);
    vfu_setup_device_reset_cb(ctx, reset);
    if (choice & 0x20) {
        vfu_setup_region(ctx, VFU_PCI_DEV_CFG_REGION_IDX, ctx->session.config.size, access_config,
                         VFU_REGION_FLAG_RW, NULL, 0, -1, 0);
    }
    for (unsigned i = choice & 0xf; i > 0; i--) {
        add_capability(ctx, input);
    }
    for (int bar = 0; bar < 6; bar++) {
        uint8_t kind = next(input);

        (void)vfu_setup_region(ctx, bar, 1ull << (kind & 0x3f), access_bar,
                               VFU_REGION_FLAG_RW | (kind & 0x40 ? VFU_REGION_FLAG_MEM : 0) |
                                   (kind & 0x80 ? VFU_REGION_FLAG_64_BITS : 0),
                               NULL, 0, -1, 0);
    }
    if (vfu_realize_ctx(ctx) < 0) {
        err(1, "realize");
    }
    return ctx;
}

/* Follows the list as a guest does. Returns a hash of what it found. */
static uint64_t walk(vfu_ctx_t *ctx, bool extended)
{
    size_t position = 0;
    uint64_t hash = 1;

    for (unsigned i = 0; i < 1100; i++) {
        size_t size = ctx->session.config.size;
        size_t found = 0;

        for (int id = 0; id < 0x100 && found == 0; id++) {
            found = vfu_pci_find_next_capability(ctx, extended, position, id);
        }
        if (found == 0) {
            return hash;
        }
        if (found >= size) {
            errx(1, "capability at %#zx of %#zx", found, size);
        }
        position = found;
        hash = (hash ^ found) * 0x100000001b3u;
    }
    errx(1, "the list of capabilities has no end");
}

static void access_space(vfu_ctx_t *ctx, struct input *input)
{
    char bytes[MAX_ACCESS] = { 0 };
    bool is_write = next(input) & 1;
    size_t count = next(input);
    size_t offset = next(input);

    offset |= (size_t)next(input) << 8;
    if (count == 0 || offset >= ctx->session.config.size ||
        count > ctx->session.config.size - offset) {
        return;
    }
    for (size_t i = 0; is_write && i < count; i++) {
        bytes[i] = (char)next(input);
    }
    (void)pci_config_access(ctx, bytes, count, offset, is_write);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    vfu_ctx_t *ctx = make_device(&input);
    vfu_pci_hdr_t before = vfu_pci_get_config_space(ctx)->hdr;
    uint64_t lists[2] = { walk(ctx, false), walk(ctx, true) };

    while (input.size > 0) {
        access_space(ctx, &input);
    }
    const vfu_pci_hdr_t *after = &vfu_pci_get_config_space(ctx)->hdr;

    if (memcmp(&before.id, &after->id, sizeof(before.id)) != 0 ||
        memcmp(&before.ss, &after->ss, sizeof(before.ss)) != 0 || before.cap != after->cap ||
        before.htype.raw != after->htype.raw || before.intr.ipin != after->intr.ipin) {
        errx(1, "a client changed what is read-only");
    }
    if (lists[0] != walk(ctx, false) || lists[1] != walk(ctx, true)) {
        errx(1, "a client changed the list of capabilities");
    }
    vfu_destroy_ctx(ctx);
    return 0;
}
