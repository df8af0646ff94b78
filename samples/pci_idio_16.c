/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_idio_16.h"

enum {
    OUTPUTS_0_7 = 0,
    INPUTS_0_7 = 1,  /* a write of any value acknowledges the interrupt */
    INTERRUPT = 2,   /* a read enables it, a write of any value disables it */
    FILTERS_ALL = 3, /* a read enables all of them, a write of any value disables them */
    OUTPUTS_8_15 = 4,
    INPUTS_8_15 = 5,
    STATUS = 6,
    FILTERS_0_7 = 7,
};

#define STATUS_PENDING (1u << 2) /* bits 0 and 1 are the groups of inputs that changed */

static uint16_t inputs(const struct pci_idio_16 *card)
{
    return card->outputs;
}

static bool interrupt_pending(const struct pci_idio_16 *card)
{
    return card->changed_groups != 0;
}

static void set_outputs(struct pci_idio_16 *card, uint16_t outputs)
{
    uint16_t before = inputs(card);
    card->outputs = outputs;
    uint16_t changed = before ^ inputs(card);

    card->changed_groups |= (changed & 0x00ff ? 1u << 0 : 0) | (changed & 0xff00 ? 1u << 1 : 0);
}

uint8_t pci_idio_16_read(struct pci_idio_16 *card, unsigned offset)
{
    switch (offset) {
    case OUTPUTS_0_7:
        return (uint8_t)card->outputs;
    case OUTPUTS_8_15:
        return (uint8_t)(card->outputs >> 8);
    case INPUTS_0_7:
        return (uint8_t)inputs(card);
    case INPUTS_8_15:
        return (uint8_t)(inputs(card) >> 8);
    case INTERRUPT:
        card->interrupt_enabled = true;
        return 0;
    case FILTERS_ALL:
        card->filters = 0xff;
        return 0;
    case STATUS:
        return card->changed_groups | (interrupt_pending(card) ? STATUS_PENDING : 0);
    case FILTERS_0_7:
        return card->filters;
    default:
        return 0;
    }
}

void pci_idio_16_write(struct pci_idio_16 *card, unsigned offset, uint8_t value)
{
    switch (offset) {
    case OUTPUTS_0_7:
        set_outputs(card, (uint16_t)((card->outputs & 0xff00) | value));
        break;
    case OUTPUTS_8_15:
        set_outputs(card, (uint16_t)((card->outputs & 0x00ff) | value << 8));
        break;
    case INPUTS_0_7:
        card->changed_groups = 0;
        break;
    case INTERRUPT:
        card->interrupt_enabled = false;
        break;
    case FILTERS_ALL:
        card->filters = 0;
        break;
    case FILTERS_0_7:
        card->filters = value;
        break;
    default:
        break;
    }
}

bool pci_idio_16_interrupt(const struct pci_idio_16 *card)
{
    return card->interrupt_enabled && interrupt_pending(card);
}
