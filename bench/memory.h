/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says of processes. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* KiB of a line of /proc/PID/smaps_rollup ("Anonymous"), or -1 if that may not be read. */
int64_t memory_of(pid_t pid, const char *kind);
