/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/log.h"

#include "device/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void log_init(struct log *log)
{
    *log = (struct log){ .level = LOG_ERR };
}

void vfu_log(vfu_ctx_t *ctx, int level, const char *fmt, ...)
{
    char line[LOG_LINE_MAX];
    int saved = errno;
    va_list args;

    if (ctx->log.write == NULL || level > ctx->log.level || fmt == NULL) {
        return;
    }
    va_start(args, fmt);
    /* A format that cannot be converted has said nothing; there is no line then. */
    if (vsnprintf(line, sizeof(line), fmt, args) >= 0) {
        ctx->log.write(ctx, level, line);
    }
    va_end(args);
    errno = saved;
}

int vfu_setup_log(vfu_ctx_t *ctx, vfu_log_fn_t *log, int level)
{
    if (level < LOG_EMERG || level > LOG_DEBUG) {
        errno = EINVAL;
        return -1;
    }
    ctx->log = (struct log){ .write = log, .level = level };
    return 0;
}
