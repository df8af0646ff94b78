/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space in a migration: it travels with the client, not with the device's data. */
#include "client/internal.h"

#include <linux/pci_regs.h>
#include <string.h>

#define CONFIG_REGION 7u

struct restoration {
    struct vfu_client *to;
    const uint8_t *config;         /* that it shall have */
    uint8_t now[LIVE_CONFIG_SIZE]; /* what it had at first */
};

/* A register that the client sets; read-only bits in it do no harm. */
static int restore_register(const struct restoration *restoration, size_t offset, size_t size)
{
    const uint8_t *wanted = restoration->config + offset;

    return memcmp(restoration->now + offset, wanted, size) == 0
               ? 0
               : vfu_client_region_write(restoration->to, CONFIG_REGION, offset, wanted, size);
}

struct config_register {
    uint8_t offset;
    uint8_t size;
};

static int restore_capability(const struct restoration *restoration, uint8_t id, size_t at)
{
    static const struct config_register pm[] = { { PCI_PM_CTRL, 2 }, { 0, 0 } };
    static const struct config_register msi[] = { { 4, 4 },  { 8, 4 }, { 12, 4 },
                                                  { 16, 4 }, { 2, 2 }, { 0, 0 } };
    static const struct config_register msix[] = { { PCI_MSIX_FLAGS, 2 }, { 0, 0 } };
    static const struct config_register express[] = { { PCI_EXP_DEVCTL, 2 },
                                                      { PCI_EXP_DEVCTL2, 2 },
                                                      { 0, 0 } };
    const struct config_register *registers = id == PCI_CAP_ID_PM     ? pm
                                              : id == PCI_CAP_ID_MSI  ? msi
                                              : id == PCI_CAP_ID_MSIX ? msix
                                              : id == PCI_CAP_ID_EXP  ? express
                                                                      : NULL;
    int result = 0;

    for (; registers != NULL && registers->size != 0 && result == 0; registers++) {
        if (at + registers->offset + registers->size <= LIVE_CONFIG_SIZE) {
            result = restore_register(restoration, at + registers->offset, registers->size);
        }
    }
    return result;
}

/* The links are the source's and not trusted: there are at most so many capabilities. */
static int restore_capabilities(const struct restoration *restoration)
{
    const uint8_t *config = restoration->config;
    size_t at = config[PCI_STATUS] & PCI_STATUS_CAP_LIST ? config[PCI_CAPABILITY_LIST] & 0xfc : 0;
    int result = 0;

    for (size_t i = 0; i < LIVE_CONFIG_SIZE / 4 && at >= PCI_STD_HEADER_SIZEOF && result == 0;
         i++) {
        result = restore_capability(restoration, config[at], at);
        at = config[at + 1] & 0xfc;
    }
    return result;
}

/* What makes the device decode and master comes last. */
int live_restore_config(struct vfu_client *to, const uint8_t *config)
{
    static const struct config_register header[] = {
        { PCI_BASE_ADDRESS_0, 4 }, { PCI_BASE_ADDRESS_1, 4 }, { PCI_BASE_ADDRESS_2, 4 },
        { PCI_BASE_ADDRESS_3, 4 }, { PCI_BASE_ADDRESS_4, 4 }, { PCI_BASE_ADDRESS_5, 4 },
        { PCI_INTERRUPT_LINE, 1 },
    };
    struct restoration restoration = { .to = to, .config = config };
    int result =
        vfu_client_region_read(to, CONFIG_REGION, 0, restoration.now, sizeof(restoration.now));

    if (result == 0) {
        result = restore_capabilities(&restoration);
    }
    for (size_t i = 0; i < sizeof(header) / sizeof(header[0]) && result == 0; i++) {
        result = restore_register(&restoration, header[i].offset, header[i].size);
    }
    return result == 0 ? restore_register(&restoration, PCI_COMMAND, 2) : result;
}
