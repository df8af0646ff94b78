/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a context's log lines go: nowhere, until the program says otherwise. */
#pragma once

#include <vfio-user/libvfio-user.h>

/* Longest line, as programs that use the reference library may rely on. */
#define LOG_LINE_MAX 8192

struct log {
    vfu_log_fn_t *write; /* NULL: no log */
    int level;
};

void log_init(struct log *log);
