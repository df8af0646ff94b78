/* SPDX-License-Identifier: BSD-3-Clause */
/* The GPIO card, as its program has it, but for the program. */
#include "tests/fuzz/migration_card.h"

int card_main(int argc, char **argv);

#define main card_main
#include "samples/gpio-pci-idio-16.c"
#undef main

vfu_ctx_t *card_create(const char *path)
{
    static struct gpio_device card = { .loopback = true };
    vfu_ctx_t *ctx =
        vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, &card, VFU_DEV_TYPE_PCI);

    return ctx != NULL && describe(ctx) == 0 ? ctx : NULL;
}
