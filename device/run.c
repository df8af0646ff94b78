/* SPDX-License-Identifier: BSD-3-Clause */
/* Attaching a client and serving it: the loop, and everything that ends it. */
#include "device/context.h"
#include "device/dispatch.h"
#include "device/errors.h"

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
    ctx->transport->ops->negotiated(ctx->transport);
    ctx->attached = true;
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
    context_end_session(ctx);
    return -ENOTCONN;
}

/* Returns how many requests were served: 0 or 1; or a negative errno. */
static int serve_one(struct vfu_ctx *ctx)
{
    struct connection *connection = &ctx->connection;
    bool wait = !ctx->nonblocking;
    int served = 0;
    int err = 0;

    if (reply_is_pending(&connection->reply)) {
        err = connection_flush(connection, wait);
    }
    if (err == 0) {
        err = connection_receive(connection, wait);
    }
    if (err != FRAME_COMPLETE) {
        return give_up(ctx, err);
    }
    served = dispatch_message(ctx);
    err = served < 0 ? served : connection_flush(connection, false);
    connection_message_done(connection);
    if (err < 0 && err != -EAGAIN) {
        err = give_up(ctx, err);
        return served > 0 ? served : err;
    }
    return served;
}

int vfu_run_ctx(vfu_ctx_t *ctx)
{
    int result;

    if (!ctx->realized) {
        return api_result(-EINVAL);
    }
    do {
        result = ctx->attached ? serve_one(ctx) : -ENOTCONN;
    } while (result >= 0 && !ctx->nonblocking);
    return api_result(result);
}
