/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/resample.h"

#include "device/context.h"
#include "device/progress.h"
#include "ipc/fd.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

void resample_set(struct vfu_ctx *ctx, int eventfd)
{
    connection_watch(&ctx->connection, eventfd);
    fd_close(&ctx->session.resample);
    ctx->session.resample = eventfd;
}

/*
 * Takes what the counter holds, so that it is not readable for ever. Returns whether there was
 * anything. Whether a read blocks is the client's to say, who may have read it in the meantime as
 * well: it is told not to where that call is at hand. In a jail the client stops but its own
 * device.
 */
static bool take_signal(const struct vfu_ctx *ctx)
{
    uint64_t count;
    const struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
    int fd = ctx->session.resample;
    ssize_t n;

    progress_enter_call();
    n = ctx->transport->jailed ? read(fd, &count, sizeof(count))
                               : preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    progress_leave_call();
    if (n < 0 && errno == EOPNOTSUPP) {
        n = read(fd, &count, sizeof(count)); /* a kernel before 5.8 */
    }
    return n == sizeof(count);
}

void resample_handle(struct vfu_ctx *ctx)
{
    vfu_dev_irq_state_cb_t *changed = ctx->session.irqs.tables[VFU_DEV_INTX_IRQ].state_changed;

    if (take_signal(ctx) && changed != NULL) {
        changed(ctx, 0, 1, false);
    }
}
