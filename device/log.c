/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/log.h"

#include "device/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void log_init(struct log *log)
{
    *log = (struct log){ .level = LOG_ERR };
}

static bool is_logged(const struct log *log, int level)
{
    return log->write != NULL && level <= log->level;
}

/* errno stays as it was, for "%m" and for callers who log before they return. */
static void write_line(struct vfu_ctx *ctx, int level, const char *fmt, va_list args)
{
    char line[LOG_LINE_MAX];
    int saved = errno;

    /* A format that cannot be converted has said nothing; there is no line then. */
    if (vsnprintf(line, sizeof(line), fmt, args) >= 0) {
        ctx->log.write(ctx, level, line);
    }
    errno = saved;
}

void vfu_log(vfu_ctx_t *ctx, int level, const char *fmt, ...)
{
    va_list args;

    if (fmt == NULL || !is_logged(&ctx->log, level)) {
        return;
    }
    va_start(args, fmt);
    write_line(ctx, level, fmt, args);
    va_end(args);
}

/* Whether one more line may be logged in this second. */
static bool take_turn(struct vfu_ctx *ctx)
{
    struct log *log = &ctx->log;
    unsigned suppressed = log->suppressed;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != log->second) {
        log->second = now.tv_sec;
        log->lines = 0;
        log->suppressed = 0;
        if (suppressed > 0) {
            vfu_log(ctx, LOG_WARNING, "%u lines about the client are not shown", suppressed);
        }
    }
    if (log->lines >= LOG_CLIENT_LINES) {
        log->suppressed++;
        return false;
    }
    log->lines++;
    return true;
}

void log_client(struct vfu_ctx *ctx, int level, const char *fmt, ...)
{
    int saved = errno;
    va_list args;

    if (!is_logged(&ctx->log, level) || !take_turn(ctx)) {
        errno = saved;
        return;
    }
    errno = saved;
    va_start(args, fmt);
    write_line(ctx, level, fmt, args);
    va_end(args);
}

int vfu_setup_log(vfu_ctx_t *ctx, vfu_log_fn_t *log, int level)
{
    if (level < LOG_EMERG || level > LOG_DEBUG) {
        errno = EINVAL;
        return -1;
    }
    ctx->log.write = log;
    ctx->log.level = level;
    return 0;
}
