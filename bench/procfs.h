/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says of processes. Other users' can be out of reach: then it is -1. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* KiB of the lines of /proc/PID/smaps_rollup that begin with @kind ("Private_"), together. */
int64_t procfs_memory(pid_t pid, const char *kind);

/* How often it has been switched away from, of its own or not. */
int64_t procfs_switches(pid_t pid);

/* Nanoseconds that it has run. */
int64_t procfs_time(pid_t pid);

/* Adds to @count processes all that descend from them, up to @max. Returns how many there are. */
size_t procfs_add_descendants(pid_t *pids, size_t count, size_t max);
