/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's log: one line an event, "level event key=value ...", to standard error or a file.
 * Everything in a value is escaped, so that no text of a device or client can forge a line.
 */
#pragma once

#include <stddef.h>

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
 * in the result are escaped as \xNN; a line is cut after LOG_LINE_MAX bytes.
 */
#define LOG_LINE_MAX 1024
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) log_event(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
