/* SPDX-License-Identifier: BSD-3-Clause */
/* Attaching a client and serving it: the loop, and everything that ends it. */
#include "device/context.h"
#include "device/dispatch.h"
#include "device/errors.h"
#include "device/progress.h"
#include "device/resample.h"

#include <errno.h>
#include <string.h>

static int take_client(struct vfu_ctx *ctx)
{
    struct transport *transport = ctx->transport;
    int sock = transport->ops->attach(transport, ctx, !ctx->nonblocking);

    if (sock < 0) {
        return sock;
    }
    connection_open(&ctx->connection, sock, NEGOTIATION_MESSAGE_MAX);
    return 0;
}

/* The exchange goes on with the next call of vfu_attach_ctx(). */
static bool is_unfinished(int err)
{
    return err == -EAGAIN || err == -EINTR;
}

static int attach(struct vfu_ctx *ctx)
{
    struct connection *connection = &ctx->connection;
    int err = 0;

    if (ctx->attached) {
        return -EINVAL;
    }
    if (!connection_is_open(connection)) {
        err = take_client(ctx);
    }
    if (err < 0) {
        return err;
    }
    err = negotiation_run(ctx);
    if (err < 0) {
        if (!is_unfinished(err)) {
            log_client(ctx, LOG_ERR, "no agreement with the client: %s", strerror(-err));
            connection_close(connection);
        }
        return err;
    }
    connection_negotiated(connection, MESSAGE_MAX);
    adaptive_wait_start(ctx);
    ctx->transport->ops->negotiated(ctx->transport);
    __atomic_store_n(&ctx->attached, true, __ATOMIC_RELEASE); /* for threads that copy memory */
    return 0;
}

int vfu_attach_ctx(vfu_ctx_t *ctx)
{
    return api_result(attach(ctx));
}

/* Framing is lost, or the message is too much: its sender hears why before it is disconnected. */
static void refuse_last_message(struct vfu_ctx *ctx, int err)
{
    dispatch_refuse(ctx, err == -ENOMEM ? -ENOMEM : -EINVAL);
    connection_flush(&ctx->connection, false);
}

/* Ends the session as soon as the device is quiet. Returns what vfu_run_ctx() reports. */
static int end_session(struct vfu_ctx *ctx)
{
    int err;

    connection_break(&ctx->connection, -ENOTCONN); /* for callbacks that would still talk to it */
    err = quiesce_ask(ctx, QUIESCE_END_SESSION);
    ctx->ending = true;
    if (err < 0) {
        return err;
    }
    context_end_session(ctx);
    return -ENOTCONN;
}

/* Ends the session if @err says so. Returns what vfu_run_ctx() reports. */
static int give_up(struct vfu_ctx *ctx, int err)
{
    switch (err) {
    case -EAGAIN:
        return 0;
    case -EINTR:
        return err;
    case -EBADMSG:
    case -ENOMEM:
        refuse_last_message(ctx, err);
        break;
    case -ENOTCONN:
        break;
    case -ETIMEDOUT:
        log_client(ctx, LOG_WARNING, "disconnecting a client that stalls");
        break;
    default:
        log_client(ctx, LOG_WARNING, "disconnecting the client: %s", strerror(-err));
        break;
    }
    return end_session(ctx);
}

/*
 * The message in hand has been dealt with, and counts for @served: sends what reply there is.
 * Returns what vfu_run_ctx() reports.
 */
static int finish_message(struct vfu_ctx *ctx, int served)
{
    int err = served < 0 ? served : connection_flush(&ctx->connection, false);

    connection_message_done(&ctx->connection);
    if (err < 0 && err != -EAGAIN) {
        err = give_up(ctx, err);
        return served > 0 && err == -ENOTCONN ? served : err;
    }
    return served;
}

/* What has come of waiting for a message is dealt with; but replies with descriptors take a gate,
 * which has its own watch. */
static int handle(struct vfu_ctx *ctx, int status)
{
    int result = 0;

    progress_step(ctx->requests);
    if (ctx->ending) {
        result = end_session(ctx);
    } else if (status == CONNECTION_WATCHED) {
        resample_handle(ctx);
    } else if (status == FRAME_COMPLETE) {
        result = dispatch_message(ctx);
        dma_log_faults(ctx);
    } else {
        result = give_up(ctx, status);
    }
    progress_step(ctx->requests);
    return result;
}

/* Returns how many requests were served: 0 or 1; or a negative errno. */
static int serve_one(struct vfu_ctx *ctx)
{
    struct connection *connection = &ctx->connection;
    bool wait = !ctx->nonblocking;
    int err = 0;
    int result;

    if (ctx->ending) {
        return handle(ctx, 0);
    }
    if (reply_is_ready(&connection->reply)) {
        err = connection_flush(connection, wait);
    }
    if (err == 0) {
        err = connection_receive(connection, wait);
    }
    result = handle(ctx, err);
    return err == FRAME_COMPLETE && result != -EBUSY ? finish_message(ctx, result) : result;
}

/* Another thread may be in the middle of a message of its own to the client. */
static int run(struct vfu_ctx *ctx)
{
    unsigned long before;
    int result;

    if (!ctx->realized) {
        return -EINVAL;
    }
    if (!context_claim(ctx, &before)) {
        if (!ctx->nonblocking) {
            context_pause();
        }
        return 0;
    }
    if (ctx->quiesce.parked != QUIESCE_NOTHING) {
        result = -EBUSY;
    } else {
        result = ctx->attached ? serve_one(ctx) : -ENOTCONN;
    }
    context_release(ctx, before);
    return result;
}

int vfu_run_ctx(vfu_ctx_t *ctx)
{
    int result;

    do {
        result = run(ctx);
    } while (result >= 0 && !ctx->nonblocking);
    return api_result(result);
}

/* Returns 0, or what sending the reply failed with; a client that is gone is no failure. */
static int serve_parked(struct vfu_ctx *ctx, int quiesce_errno)
{
    int err;

    if (quiesce_errno == 0) {
        bool inside = progress_pause(ctx->requests);

        progress_step(ctx->requests);
        dispatch_execute(ctx);
        progress_step(ctx->requests);
        progress_resume(ctx->requests, inside);
    } else {
        dispatch_refuse(ctx, quiesce_errno > 0 && quiesce_errno < 4096 ? -quiesce_errno : -EINVAL);
    }
    err = connection_flush(&ctx->connection, false);
    connection_message_done(&ctx->connection);
    if (err == 0 || err == -EAGAIN) {
        return 0;
    }
    ctx->ending = true;
    if (quiesce_errno == 0) {
        context_end_session(ctx);
    }
    return err == -ENOTCONN ? 0 : err;
}

/* Returns 0 or a negative errno. */
static int finish_parked(struct vfu_ctx *ctx, int quiesce_errno)
{
    enum quiesce_work work = ctx->quiesce.parked;

    ctx->quiesce.parked = QUIESCE_NOTHING;
    switch (work) {
    case QUIESCE_NOTHING:
        return -EINVAL;
    case QUIESCE_REQUEST:
        return serve_parked(ctx, quiesce_errno);
    case QUIESCE_END_SESSION:
        if (quiesce_errno == 0) {
            context_end_session(ctx);
        }
        break;
    }
    return 0;
}

int vfu_device_quiesced(vfu_ctx_t *ctx, int quiesce_errno)
{
    unsigned long before;
    int result;

    while (!context_claim(ctx, &before)) {
        context_pause();
    }
    result = finish_parked(ctx, quiesce_errno);
    context_release(ctx, before);
    return api_result(result);
}
