/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/device_log.h"

#include "broker/log.h"

#include <errno.h>
#include <unistd.h>

void device_log_init(struct device_log *log, int fd, unsigned session)
{
    *log = (struct device_log){ .fd = fd, .session = session, .credit = DEVICE_LOG_BURST };
    clock_gettime(CLOCK_MONOTONIC, &log->refilled);
}

static void refill(struct device_log *log)
{
    struct timespec now;
    time_t seconds;

    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = now.tv_sec - log->refilled.tv_sec;
    if (seconds > 0) {
        log->credit += seconds > DEVICE_LOG_BURST ? DEVICE_LOG_BURST
                                                  : (unsigned)seconds * DEVICE_LOG_PER_SECOND;
        log->credit = log->credit > DEVICE_LOG_BURST ? DEVICE_LOG_BURST : log->credit;
        log->refilled = now;
    }
}

static void report_dropped(struct device_log *log)
{
    if (log->dropped > 0) {
        log_warning("device-log-limited", "session=%u lines-dropped=%u", log->session,
                    log->dropped);
        log->dropped = 0;
    }
}

static void write_line(struct device_log *log)
{
    log->line[log->used] = '\0';
    log->used = 0;
    refill(log);
    if (log->credit == 0) {
        log->dropped++;
        return;
    }
    log->credit--;
    report_dropped(log);
    log_info("device-log", "session=%u text=\"%s\"", log->session, log->line);
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

bool device_log_limited(struct device_log *log)
{
    refill(log);
    return log->credit == 0;
}

void device_log_finish(struct device_log *log)
{
    if (log->used > 0) {
        write_line(log);
    }
    report_dropped(log);
}
