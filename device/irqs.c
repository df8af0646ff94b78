/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/irqs.h"

#include "device/context.h"
#include "device/errors.h"

#include <errno.h>
#include <stdlib.h>

void irqs_init(struct irqs *irqs)
{
    irqs->tables[VFU_DEV_ERR_IRQ].count = 1;
    irqs->tables[VFU_DEV_REQ_IRQ].count = 1;
}

void irqs_close_all(struct irqs *irqs)
{
    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        struct irq_table *table = &irqs->tables[type];

        for (uint32_t i = 0; i < table->room; i++) {
            eventfd_slot_set(&table->eventfds[i], -1);
        }
    }
}

void irqs_fini(struct irqs *irqs)
{
    irqs_close_all(irqs);
    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        free(irqs->tables[type].eventfds);
    }
}

/* Makes the table fit @count; eventfds beyond that are closed. */
static int table_resize(struct irq_table *table, uint32_t count)
{
    struct eventfd_slot *eventfds;

    for (uint32_t i = count; i < table->room; i++) {
        eventfd_slot_set(&table->eventfds[i], -1);
    }
    if (count <= table->room) {
        return 0;
    }
    eventfds = reallocarray(table->eventfds, count, sizeof(*eventfds));
    if (eventfds == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = table->room; i < count; i++) {
        eventfds[i] = (struct eventfd_slot){ 0 };
    }
    table->eventfds = eventfds;
    table->room = count;
    return 0;
}

int irqs_realize(struct irqs *irqs)
{
    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        int err = table_resize(&irqs->tables[type], irqs->tables[type].count);

        if (err < 0) {
            return err;
        }
    }
    irqs->realized = true;
    return 0;
}

uint32_t irqs_max_count(const struct irqs *irqs)
{
    uint32_t max = 0;

    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        if (irqs->tables[type].count > max) {
            max = irqs->tables[type].count;
        }
    }
    return max;
}

int irqs_assign(struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index, int eventfd)
{
    if (eventfd >= 0 && type <= VFU_DEV_MSIX_IRQ) {
        __atomic_store_n(&irqs->active, type, __ATOMIC_RELAXED);
    }
    return eventfd_slot_set(&irqs->tables[type].eventfds[index], eventfd);
}

bool irqs_is_assigned(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index)
{
    const struct irq_table *table = &irqs->tables[type];

    return index < table->count && index < table->room &&
           eventfd_slot_is_set(&table->eventfds[index]);
}

int irqs_try_signal(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index)
{
    const struct irq_table *table = &irqs->tables[type];

    return index < table->count && index < table->room
               ? eventfd_slot_signal(&table->eventfds[index])
               : -ENOENT;
}

int irqs_signal(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index)
{
    int err = irqs_try_signal(irqs, type, index);

    return err == -ENOENT ? 0 : err;
}

/* A program names no type: clients use one at a time, and the others' eventfds are the rest. */
static int signal_active(const struct irqs *irqs, uint32_t index)
{
    int err = irqs_try_signal(irqs, __atomic_load_n(&irqs->active, __ATOMIC_RELAXED), index);

    for (int type = VFU_DEV_MSIX_IRQ; err == -ENOENT && type >= VFU_DEV_INTX_IRQ; type--) {
        err = irqs_try_signal(irqs, (enum vfu_dev_irq_type)type, index);
    }
    return err;
}

int vfu_irq_trigger(vfu_ctx_t *ctx, uint32_t subindex)
{
    const struct irqs *irqs = &ctx->session.irqs;

    if (!irqs->realized || subindex >= irqs_max_count(irqs)) {
        return api_result(-EINVAL);
    }
    return api_result(signal_active(irqs, subindex));
}

int vfu_setup_device_nr_irqs(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t count)
{
    struct irqs *irqs = &ctx->session.irqs;
    int err = 0;

    if ((unsigned)type >= VFU_DEV_NUM_IRQS || (type >= VFU_DEV_ERR_IRQ && count > 1)) {
        return api_result(-EINVAL);
    }
    if (irqs->realized) {
        err = table_resize(&irqs->tables[type], count);
    }
    if (err < 0) {
        return api_result(err);
    }
    irqs->tables[type].count = count;
    if (irqs->realized) {
        pci_config_update_pin(ctx);
    }
    return 0;
}

int vfu_setup_irq_state_callback(vfu_ctx_t *ctx, enum vfu_dev_irq_type type,
                                 vfu_dev_irq_state_cb_t *cb)
{
    if ((unsigned)type >= VFU_DEV_NUM_IRQS) {
        return api_result(-EINVAL);
    }
    ctx->session.irqs.tables[type].state_changed = cb;
    return 0;
}
