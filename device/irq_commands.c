/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/irq_commands.h"

#include "device/context.h"
#include "device/msix.h"
#include "device/resample.h"

#include <errno.h>
#include <linux/vfio.h>

#define SET_HEADER_SIZE offsetof(struct vfio_irq_set, data)

#define DATA_NONE VFIO_IRQ_SET_DATA_NONE
#define DATA_BOOL VFIO_IRQ_SET_DATA_BOOL
#define DATA_EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define ACTION_TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

/* A DEVICE_SET_IRQS that has been checked. */
struct irq_set {
    uint32_t action; /* VFIO_IRQ_SET_ACTION_* */
    uint32_t data;   /* VFIO_IRQ_SET_DATA_* */
    enum vfu_dev_irq_type type;
    uint32_t start;
    uint32_t count;
    const uint8_t *bools; /* @count of them, with DATA_BOOL */
    struct fd_list *fds;  /* none or @count eventfds */
};

int irq_handle_get_info(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_irq_info *wanted = request->payload;
    struct vfio_irq_info *info;

    if (wanted->argsz < sizeof(*wanted) || wanted->index >= VFU_DEV_NUM_IRQS) {
        return -EINVAL;
    }
    info = reply_payload(reply, sizeof(*info));
    if (info == NULL) {
        return -ENOMEM;
    }
    *info = (struct vfio_irq_info){
        .argsz = sizeof(*info),
        .flags = VFIO_IRQ_INFO_EVENTFD,
        .index = wanted->index,
        .count = ctx->session.irqs.tables[wanted->index].count,
    };
    return 0;
}

static bool is_one_bit(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Which interrupts, and whether that goes with what is to be done to them. */
static int check_range(const struct irq_set *set, uint32_t available)
{
    if (set->start >= available || set->count > available - set->start) {
        return -EINVAL;
    }
    if (set->type >= VFU_DEV_ERR_IRQ && (set->action != ACTION_TRIGGER || set->count > 1)) {
        return -EINVAL;
    }
    if (set->count == 0 &&
        (set->start != 0 || set->action != ACTION_TRIGGER || set->data != DATA_NONE)) {
        return -EINVAL;
    }
    return 0;
}

static int check_descriptors(struct transport *transport, const struct irq_set *set)
{
    if (transport->vetting.error != 0) {
        return -EINVAL; /* some were no eventfds */
    }
    if (set->fds->count == 0) {
        return 0;
    }
    if (set->data != DATA_EVENTFD || set->fds->count != set->count) {
        return -EINVAL;
    }
    for (size_t i = 0; i < set->fds->count; i++) {
        int err = transport_check_descriptor(transport, set->fds, i, DESCRIPTOR_EVENTFD);

        if (err != 0) {
            return err;
        }
    }
    return 0;
}

static int parse(struct vfu_ctx *ctx, const struct request *request, struct irq_set *set)
{
    const struct vfio_irq_set *wanted = request->payload;
    uint32_t data = wanted->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    uint32_t action = wanted->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    int err;

    if (wanted->argsz < SET_HEADER_SIZE || wanted->index >= VFU_DEV_NUM_IRQS ||
        !is_one_bit(action) || !is_one_bit(data) ||
        (data == DATA_BOOL && request->size - SET_HEADER_SIZE != wanted->count)) {
        return -EINVAL;
    }
    *set = (struct irq_set){
        .action = action,
        .data = data,
        .type = (enum vfu_dev_irq_type)wanted->index,
        .start = wanted->start,
        .count = wanted->count,
        .bools = wanted->data,
        .fds = request->fds,
    };
    err = check_range(set, ctx->session.irqs.tables[set->type].count);
    return err < 0 ? err : check_descriptors(ctx->transport, set);
}

static int set_mask(struct vfu_ctx *ctx, const struct irq_set *set)
{
    vfu_dev_irq_state_cb_t *changed = ctx->session.irqs.tables[set->type].state_changed;
    bool mask = set->action == VFIO_IRQ_SET_ACTION_MASK;

    /* As with the eventfds of interrupts, no descriptor takes away the one that there is. */
    if (set->type == VFU_DEV_INTX_IRQ && set->data == DATA_EVENTFD && !mask) {
        resample_set(ctx, fd_list_take(set->fds, 0));
    }
    if (changed != NULL) {
        changed(ctx, set->start, set->count, mask);
    }
    if (set->type == VFU_DEV_MSIX_IRQ) {
        msix_client_mask(ctx, set->start, set->count, mask);
    }
    return 0;
}

/* No descriptors means: take away those that there are. */
static int assign(struct vfu_ctx *ctx, const struct irq_set *set)
{
    int err = 0;

    for (uint32_t i = 0; i < set->count && err == 0; i++) {
        err = irqs_assign(&ctx->session.irqs, set->type, set->start + i, fd_list_take(set->fds, i));
    }
    msix_update(ctx);
    return err;
}

static int disable(struct vfu_ctx *ctx, enum vfu_dev_irq_type type)
{
    struct irqs *irqs = &ctx->session.irqs;

    if (type == VFU_DEV_INTX_IRQ) {
        resample_set(ctx, -1);
    }
    for (uint32_t i = 0; i < irqs->tables[type].count; i++) {
        irqs_assign(irqs, type, i, -1);
    }
    return 0;
}

static int loop_back(const struct irqs *irqs, const struct irq_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        int err = 0;

        if (set->data == DATA_NONE || set->bools[i] != 0) {
            err = irqs_signal(irqs, set->type, set->start + i);
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

int irq_handle_set(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct irqs *irqs = &ctx->session.irqs;
    struct irq_set set;
    int err = parse(ctx, request, &set);

    if (err < 0) {
        return err;
    }
    if (set.action != ACTION_TRIGGER) {
        return set_mask(ctx, &set);
    }
    if (set.count == 0) {
        return disable(ctx, set.type);
    }
    return set.data == DATA_EVENTFD ? assign(ctx, &set) : loop_back(irqs, &set);
}
