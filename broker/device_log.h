/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device process writes to its standard output and error becomes log lines: cut, escaped,
 * and limited in number, for the process may be hostile.
 */
#pragma once

#include "broker/log.h"

#include <stdbool.h>
#include <stddef.h>

#define DEVICE_LOG_LINE 400 /* bytes; the rest of a line is dropped */

struct device_log {
    int fd; /* non-blocking; borrowed */
    unsigned session;
    size_t used;
    char line[DEVICE_LOG_LINE + 1];
    struct log_limit limit;
};

void device_log_init(struct device_log *log, int fd, unsigned session);

/* Reads what is there, a bounded amount. Returns false at the end of the stream. */
bool device_log_read(struct device_log *log);

/* Writes an unfinished line and how many were dropped. */
void device_log_finish(struct device_log *log);
