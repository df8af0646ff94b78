/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's log: one line an event, "level event key=value ...", to standard error or a file.
 * Everything in a value is escaped, so that no text of a device or client can forge a line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* Messages above @level are dropped. @fd is borrowed. */
void log_setup(int fd, enum log_level level);

/* Finds a level by name; returns -1 for none. */
int log_level_parse(const char *name);

/*
 * Writes one line. @event is a stable name, @format gives the key=value part. Control characters
 * in the result are escaped as \xNN; a line is cut after LOG_LINE_MAX bytes: enough for
 * all that a device may write in a line, escaped.
 */
#define LOG_LINE_MAX 2048
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Says why the broker ends: as the event "stopping" in the log and, should that be a file, in one
 * line on standard error too.
 */
void log_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many lines somebody untrusted may cause: a burst, then so many a second. */
#define LOG_LIMIT_BURST 50
#define LOG_LIMIT_PER_SECOND 10
/* How many all of them together may: a client can have one session after the other. */
#define LOG_TOTAL_BURST 2000
#define LOG_TOTAL_PER_SECOND 50

struct log_limit {
    unsigned burst;
    unsigned per_second;
    unsigned credit;
    unsigned dropped; /* since the last line that was allowed */
    time_t refilled;  /* CLOCK_MONOTONIC */
};

void log_limit_init(struct log_limit *limit);

/* True while nothing may be written. Takes no credit. */
bool log_limit_reached(struct log_limit *limit);

/*
 * Whether a line may be written now, which takes credit. When lines were dropped before it, one
 * "log-limited" line says how many, with @session; or with 0, if it was for the total.
 */
bool log_limit_take(struct log_limit *limit, unsigned session);

/* The same for a line that comes a few times in a session: takes from the total alone. */
bool log_total_take(void);

/* Says what was dropped at the end, if anything. */
void log_limit_finish(struct log_limit *limit, unsigned session);

#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) log_event(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)
/* What comes a few times in every session. */
#define log_session_info(event, ...)                                                               \
    do {                                                                                           \
        if (log_total_take()) {                                                                    \
            log_info(event, __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)
#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
