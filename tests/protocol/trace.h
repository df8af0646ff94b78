/* SPDX-License-Identifier: BSD-3-Clause */
/* Which system calls the processes of a server make: strace, for as long as a test wants. */
#pragma once

#include "tests/protocol/harness.h"

#define TRACE_MAX_PIDS 16

struct trace {
    pid_t pid;
    char calls[200];    /* file: one line for each call */
    char messages[200]; /* file: strace's own words */
};

/* Fails the test if strace is not installed, or tracing is not permitted. */
void trace_start(struct trace *trace, const struct server *server, const pid_t *pids, size_t count);

/* Detaches. Returns how many calls it saw; trace_count() has them until trace_forget(). */
size_t trace_stop(struct trace *trace);

/* How many of the calls were @name. */
size_t trace_count(const struct trace *trace, const char *name);

void trace_forget(struct trace *trace);
