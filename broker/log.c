/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = { "error", "warning", "info", "debug" };

static int log_fd = STDERR_FILENO;
static enum log_level log_max = LOG_LEVEL_INFO;

void log_setup(int fd, enum log_level level)
{
    log_fd = fd;
    log_max = level;
}

int log_level_parse(const char *name)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Copies @text to @line with everything but printable ASCII escaped. Returns the length. */
static size_t escape(char *line, size_t room, const char *text)
{
    size_t used = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && room - used > 5; c++) {
        if (*c >= 0x20 && *c < 0x7f && *c != '\\') {
            line[used++] = (char)*c;
        } else {
            used += (size_t)snprintf(line + used, room - used, "\\x%02x", *c);
        }
    }
    return used;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    char text[LOG_LINE_MAX];
    char line[LOG_LINE_MAX];
    va_list args;
    size_t used;

    if (level > log_max) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    used = (size_t)snprintf(line, sizeof(line), "%s %s ", level_names[level], event);
    used += escape(line + used, sizeof(line) - used, text);
    line[used++] = '\n';
    /* A log that cannot be written must not stop the broker, nor recurse into itself. */
    if (write(log_fd, line, used) < 0) {
        return;
    }
}

void log_stop(const char *format, ...)
{
    char cause[LOG_LINE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(cause, sizeof(cause), format, args);
    va_end(args);
    log_error("stopping", "cause=\"%s\"", cause);
    if (log_fd != STDERR_FILENO) {
        fprintf(stderr, "vfu-broker: %s\n", cause);
    }
}

static struct log_limit total = {
    .burst = LOG_TOTAL_BURST,
    .per_second = LOG_TOTAL_PER_SECOND,
    .credit = LOG_TOTAL_BURST,
};

void log_limit_init(struct log_limit *limit)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    *limit = (struct log_limit){
        .burst = LOG_LIMIT_BURST,
        .per_second = LOG_LIMIT_PER_SECOND,
        .credit = LOG_LIMIT_BURST,
        .refilled = now.tv_sec,
    };
}

bool log_limit_reached(struct log_limit *limit)
{
    struct timespec now;
    time_t seconds;

    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = now.tv_sec - limit->refilled;
    if (seconds > (time_t)limit->burst) {
        seconds = (time_t)limit->burst;
    }
    limit->refilled = now.tv_sec;
    limit->credit += (unsigned)seconds * limit->per_second;
    if (limit->credit > limit->burst) {
        limit->credit = limit->burst;
    }
    return limit->credit == 0;
}

static bool take(struct log_limit *limit)
{
    if (log_limit_reached(limit)) {
        limit->dropped++;
        return false;
    }
    limit->credit--;
    return true;
}

static void report_dropped(struct log_limit *limit, unsigned session)
{
    if (limit->dropped > 0) {
        log_warning("log-limited", "session=%u lines-dropped=%u", session, limit->dropped);
        limit->dropped = 0;
    }
}

bool log_total_take(void)
{
    if (!take(&total)) {
        return false;
    }
    report_dropped(&total, 0);
    return true;
}

bool log_limit_take(struct log_limit *limit, unsigned session)
{
    if (!take(limit)) {
        return false;
    }
    log_limit_finish(limit, session);
    return log_total_take();
}

void log_limit_finish(struct log_limit *limit, unsigned session)
{
    if (limit->dropped > 0 && log_total_take()) {
        report_dropped(limit, session);
    }
}
