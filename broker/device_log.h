/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device process writes to its standard output and error becomes log lines: cut, escaped,
 * and limited in number, for the process may be hostile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define DEVICE_LOG_LINE 400      /* bytes; the rest of a line is dropped */
#define DEVICE_LOG_BURST 50      /* lines that may come at once */
#define DEVICE_LOG_PER_SECOND 10 /* and then */

struct device_log {
    int fd; /* non-blocking; borrowed */
    unsigned session;
    size_t used;
    char line[DEVICE_LOG_LINE + 1];
    unsigned credit;  /* lines that may be written now */
    unsigned dropped; /* since the last one written */
    struct timespec refilled;
};

void device_log_init(struct device_log *log, int fd, unsigned session);

/* Reads what is there, a bounded amount. Returns false at the end of the stream. */
bool device_log_read(struct device_log *log);

/*
 * True while the process has used up what it may write: leave the rest in the pipe, which is
 * small, and look again within a second.
 */
bool device_log_limited(struct device_log *log);

/* Writes an unfinished line and how many were dropped. */
void device_log_finish(struct device_log *log);
