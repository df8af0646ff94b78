/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/context.h"

#include "device/dispatch.h"
#include "device/errors.h"
#include "device/memory_guard.h"
#include "device/resample.h"
#include "device/reset.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

static int check_creation(vfu_trans_t trans, const char *path, int flags, vfu_dev_type_t dev_type)
{
    if (flags & ~LIBVFIO_USER_FLAG_ATTACH_NB) {
        return -EINVAL;
    }
    if (trans != VFU_TRANS_SOCK || dev_type != VFU_DEV_TYPE_PCI) {
        return -ENOTSUP;
    }
    return path != NULL ? 0 : -EINVAL;
}

static struct vfu_ctx *context_free(struct vfu_ctx *ctx)
{
    memory_guard_remove(&ctx->session.dma);
    dma_fini(&ctx->session.dma);
    irqs_fini(&ctx->session.irqs);
    ioeventfds_fini(ctx->ioeventfds);
    regions_fini(ctx->regions);
    free(ctx->msix);
    if (ctx->transport != NULL) {
        connection_fini(&ctx->connection);
        ctx->transport->ops->destroy(ctx->transport);
    }
    free(ctx);
    return NULL;
}

static int context_init(struct vfu_ctx *ctx, const char *path)
{
    struct transport *transport;
    int err;

    log_init(&ctx->log);
    irqs_init(&ctx->session.irqs);
    ctx->session.resample = -1;
    migration_init(&ctx->session.migration);
    regions_init(ctx->regions);
    err = transport_create(&transport, ctx, path);
    if (err < 0) {
        return err;
    }
    err = connection_init(&ctx->connection, transport, dispatch_carries_fds);
    if (err < 0) {
        transport->ops->destroy(transport);
        return err;
    }
    ctx->transport = transport;
    return adaptive_wait_configure(ctx);
}

vfu_ctx_t *vfu_create_ctx(vfu_trans_t trans, const char *path, int flags, void *pvt,
                          vfu_dev_type_t dev_type)
{
    int err = check_creation(trans, path, flags, dev_type);
    struct vfu_ctx *ctx;

    if (err < 0) {
        errno = -err;
        return NULL;
    }
    ctx = calloc(1, sizeof(*ctx));
    if (ctx == NULL) {
        return NULL;
    }
    ctx->pvt = pvt;
    ctx->requests = &ctx->own_requests;
    ctx->nonblocking = flags & LIBVFIO_USER_FLAG_ATTACH_NB;
    memory_guard_add(&ctx->session.dma);
    err = context_init(ctx, path);
    if (err < 0) {
        context_free(ctx);
        errno = -err;
        return NULL;
    }
    return ctx;
}

int vfu_realize_ctx(vfu_ctx_t *ctx)
{
    int err;

    if (ctx->realized) {
        return 0;
    }
    err = irqs_realize(&ctx->session.irqs);
    if (err < 0) {
        return api_result(err);
    }
    pci_config_realize(ctx);
    ctx->realized = true;
    return 0;
}

int vfu_get_poll_fd(vfu_ctx_t *ctx)
{
    return ctx->transport->ops->poll_fd(ctx->transport);
}

void *vfu_get_private(vfu_ctx_t *ctx)
{
    return ctx->pvt;
}

bool context_claim(struct vfu_ctx *ctx, unsigned long *before)
{
    unsigned long self = (unsigned long)pthread_self();
    unsigned long nobody = 0;

    *before = atomic_load_explicit(&ctx->owner, memory_order_relaxed);
    if (*before == self) {
        return true;
    }
    *before = 0;
    return atomic_compare_exchange_strong_explicit(&ctx->owner, &nobody, self, memory_order_acquire,
                                                   memory_order_relaxed);
}

void context_release(struct vfu_ctx *ctx, unsigned long before)
{
    if (before == 0) {
        atomic_store_explicit(&ctx->owner, 0, memory_order_release);
    }
}

void context_pause(void)
{
    const struct timespec moment = { .tv_nsec = 1000000 };

    ppoll(NULL, 0, &moment, NULL);
}

void context_end_session(struct vfu_ctx *ctx)
{
    dma_remove_all(ctx);
    memory_guard_end(&ctx->session.dma);
    reset_lost_connection(ctx);
    irqs_close_all(&ctx->session.irqs);
    resample_set(ctx, -1);
    connection_close(&ctx->connection);
    ctx->attached = false;
    ctx->ending = false;
}

void vfu_destroy_ctx(vfu_ctx_t *ctx)
{
    if (ctx == NULL) {
        return;
    }
    context_end_session(ctx);
    context_free(ctx);
}
