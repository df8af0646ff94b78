/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registers of the ACCES PCI-IDIO-16: 16 outputs, 16 isolated inputs and an interrupt for
 * changes of the inputs. Here each input is wired to the output of the same number. Registers and
 * nothing else: how accesses arrive and where interrupts go is the device program's business.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes of the register block; only the first eight mean something. */
#define PCI_IDIO_16_SIZE 0x100

/* Everything is zero after power-up and after a reset. */
struct pci_idio_16 {
    uint16_t outputs;
    uint8_t filters;        /* one bit for each of the inputs 0-7 */
    uint8_t changed_groups; /* since the last acknowledge: bit 0 inputs 0-7, bit 1 inputs 8-15 */
    bool interrupt_enabled;
};

/*
 * Access to one byte. Reads have side effects too: a read happens once for each access of the
 * guest, or the guest sees a different card.
 */
uint8_t pci_idio_16_read(struct pci_idio_16 *card, unsigned offset);
void pci_idio_16_write(struct pci_idio_16 *card, unsigned offset, uint8_t value);

/* The level of the interrupt line. */
bool pci_idio_16_interrupt(const struct pci_idio_16 *card);
