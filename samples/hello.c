/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello SOCKET_PATH: about the smallest device there is, a PCI card whose first BAR says hello.
 * The same program runs standalone, where it binds SOCKET_PATH, and under vfu-broker.
 */
#include <err.h>
#include <libvfio-user.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state_block.h"

#define BAR0_SIZE 64

static const char greeting[BAR0_SIZE] = "Hello, world!\n";
static char memory[BAR0_SIZE];

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (is_write) {
        memcpy(memory + offset, buf, count);
    } else {
        memcpy(buf, memory + offset, count);
    }
    return (ssize_t)count;
}

static void dma_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    printf("guest memory: %zu bytes at %p\n", info->iova.iov_len, info->iova.iov_base);
}

static void dma_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    printf("no more guest memory at %p\n", info->iova.iov_base);
}

static void memory_save(vfu_ctx_t *ctx, void *state)
{
    memcpy(state, memory, sizeof(memory));
}

static bool memory_load(vfu_ctx_t *ctx, const void *state)
{
    memcpy(memory, state, sizeof(memory));
    return true;
}

static void memory_clear(vfu_ctx_t *ctx)
{
    memcpy(memory, greeting, sizeof(memory));
}

static const struct state_block migration = {
    .name = "hello",
    .size = sizeof(memory),
    .save = memory_save,
    .load = memory_load,
    .clear = memory_clear,
};

static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    memory_clear(ctx);
    state_block_reset();
    return 0;
}

static int describe(vfu_ctx_t *ctx)
{
    memory_clear(ctx);
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        return -1;
    }
    vfu_pci_set_id(ctx, 0xdead, 0xbeef, 0xcafe, 0xbabe);
    if (vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, BAR0_SIZE, bar0_access,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_setup_device_dma(ctx, dma_register, dma_unregister) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 || state_block_describe(ctx, &migration) < 0) {
        return -1;
    }
    return vfu_realize_ctx(ctx);
}

int main(int argc, char **argv)
{
    vfu_ctx_t *ctx;

    if (argc != 2) {
        errx(2, "usage: hello SOCKET_PATH");
    }
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[1], 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL || describe(ctx) < 0) {
        err(EXIT_FAILURE, "%s", argv[1]);
    }
    setlinebuf(stdout);

    while (vfu_attach_ctx(ctx) == 0) {
        vfu_run_ctx(ctx); /* until the client has gone */
    }
    vfu_destroy_ctx(ctx);
    return EXIT_SUCCESS;
}
