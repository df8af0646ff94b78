/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/device_log.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

static_assert(4 * DEVICE_LOG_LINE + 100 < LOG_LINE_MAX, "\\xNN for each byte");

void device_log_init(struct device_log *log, int fd, unsigned session)
{
    *log = (struct device_log){ .fd = fd, .session = session };
    log_limit_init(&log->limit);
}

static void write_line(struct device_log *log)
{
    log->line[log->used] = '\0';
    log->used = 0;
    if (log_limit_take(&log->limit, log->session)) {
        log_info("device-log", "session=%u text=\"%s\"", log->session, log->line);
    }
}

static void add(struct device_log *log, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            write_line(log);
        } else if (log->used < DEVICE_LOG_LINE) {
            /* A NUL would end the text here, a quote in the log's line. */
            log->line[log->used++] = text[i] == '\0' ? ' ' : text[i] == '"' ? '\'' : text[i];
        }
    }
}

bool device_log_read(struct device_log *log)
{
    char text[4096];
    ssize_t n = read(log->fd, text, sizeof(text));

    if (n > 0) {
        add(log, text, (size_t)n);
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void device_log_finish(struct device_log *log)
{
    if (log->used > 0) {
        write_line(log);
    }
    log_limit_finish(&log->limit, log->session);
}
