/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's interrupts: how many of each type, and the eventfds that a client has given. */
#pragma once

#include "device/eventfd_slot.h"

#include <stdbool.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

struct irq_table {
    uint32_t count; /* interrupts of this type */
    uint32_t room;  /* entries allocated */
    struct eventfd_slot *eventfds;
    vfu_dev_irq_state_cb_t *state_changed;
};

struct irqs {
    struct irq_table tables[VFU_DEV_NUM_IRQS];
    /* INTx, MSI or MSI-X: the type that was given an eventfd last. */
    enum vfu_dev_irq_type active;
    bool realized;
};

void irqs_init(struct irqs *irqs);
void irqs_fini(struct irqs *irqs);

/* Allocates the tables. Returns 0 or -ENOMEM. */
int irqs_realize(struct irqs *irqs);

/* The largest number of interrupts of one type. */
uint32_t irqs_max_count(const struct irqs *irqs);

/*
 * Gives interrupt @index an eventfd, owned from now on, instead of the one it had; -1 for none.
 * Returns 0 or -ENOMEM: then it has none.
 */
int irqs_assign(struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index, int eventfd);

/* Closes all eventfds of all types. */
void irqs_close_all(struct irqs *irqs);

/* Whether the client has given interrupt @index an eventfd; from any thread. */
bool irqs_is_assigned(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index);

/* Signals an interrupt; from any thread. Returns 0, -ENOENT, or the negative errno of the write. */
int irqs_try_signal(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index);

/*
 * Signals an interrupt; from any thread. Returns 0, also if it has no eventfd; or a negative errno
 * of the write.
 */
int irqs_signal(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index);
