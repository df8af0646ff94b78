/* SPDX-License-Identifier: BSD-3-Clause */
/* The system calls that a process makes, counted by tracing it. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct trace_call {
    const char *name; /* NULL: all others */
    long number;
    size_t count;
};

/* The calls that a server may make to serve; the last one has no name. */
extern struct trace_call trace_calls[];

/*
 * Counts what @pid, of one thread, calls while @client runs, in a child. Returns 0, or -errno:
 * -EPERM if it may not be traced.
 */
int trace_run(pid_t pid, void (*client)(const void *opaque), const void *opaque);
