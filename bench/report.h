/* SPDX-License-Identifier: BSD-3-Clause */
/* What was measured: a table for people as it comes, or one JSON object at the end. */
#pragma once

#include "bench/stats.h"

#include <stdbool.h>

void report_open(bool json);

/* Headings are of the table only. */
void report_heading(const char *text);

/* A figure by itself, or with the ratio to what was measured in turn with it (@baseline). */
void report_value(const char *unit, double value, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
void report_series(const char *unit, const struct series *series, const struct series *baseline,
                   const char *name, ...) __attribute__((format(printf, 4, 5)));

/* A figure that could not be measured. */
void report_missing(const char *why, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* Ends the report: the figures with a limit once more, or the JSON. */
void report_close(void);
