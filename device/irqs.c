/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/irqs.h"

#include "device/context.h"
#include "device/errors.h"
#include "ipc/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

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
            fd_close(&table->eventfds[i]);
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
    int *eventfds;

    for (uint32_t i = count; i < table->room; i++) {
        fd_close(&table->eventfds[i]);
    }
    if (count <= table->room) {
        return 0;
    }
    eventfds = reallocarray(table->eventfds, count, sizeof(*eventfds));
    if (eventfds == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = table->room; i < count; i++) {
        eventfds[i] = -1;
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

void irqs_assign(struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index, int eventfd)
{
    struct irq_table *table = &irqs->tables[type];

    fd_close(&table->eventfds[index]);
    table->eventfds[index] = eventfd;
    if (eventfd >= 0 && type <= VFU_DEV_MSIX_IRQ) {
        irqs->active = type;
    }
}

static int find_eventfd(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index)
{
    const struct irq_table *table = &irqs->tables[type];

    return index < table->count && index < table->room ? table->eventfds[index] : -1;
}

/*
 * Adds 1 to the counter. Only eventfds come here, so there is no SIGPIPE. The write blocks if the
 * client has made the counter full (2^64 - 2) and the eventfd blocking; O_NONBLOCK belongs to the
 * open file description, so it would be the client's to clear again, and its reads would change.
 */
static int eventfd_signal(int eventfd)
{
    const uint64_t one = 1;
    ssize_t n;

    do {
        n = write(eventfd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int irqs_signal(const struct irqs *irqs, enum vfu_dev_irq_type type, uint32_t index)
{
    int eventfd = find_eventfd(irqs, type, index);

    return eventfd >= 0 ? eventfd_signal(eventfd) : 0;
}

/* A program names no type: clients use one at a time, and the others' eventfds are the rest. */
static int find_active_eventfd(const struct irqs *irqs, uint32_t index)
{
    int eventfd = find_eventfd(irqs, irqs->active, index);

    for (int type = VFU_DEV_MSIX_IRQ; eventfd < 0 && type >= VFU_DEV_INTX_IRQ; type--) {
        eventfd = find_eventfd(irqs, (enum vfu_dev_irq_type)type, index);
    }
    return eventfd;
}

int vfu_irq_trigger(vfu_ctx_t *ctx, uint32_t subindex)
{
    const struct irqs *irqs = &ctx->session.irqs;
    int eventfd;

    if (!irqs->realized || subindex >= irqs_max_count(irqs)) {
        return api_result(-EINVAL);
    }
    eventfd = find_active_eventfd(irqs, subindex);
    return api_result(eventfd >= 0 ? eventfd_signal(eventfd) : -ENOENT);
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
