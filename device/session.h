/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All that a session with a client consists of, in one place: what was negotiated, the memory and
 * the interrupts that the client has set up, and the config space that it sees.
 */
#pragma once

#include "device/dma.h"
#include "device/irqs.h"
#include "device/migration.h"
#include "device/negotiation.h"
#include "device/pci_config.h"

struct session {
    struct client_capabilities client;
    struct dma dma;
    struct irqs irqs;
    int resample; /* eventfd of INTx; owned; -1: none; see resample.h */
    struct pci_config config;
    struct migration migration;
};
