/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures out of samples. What is compared was measured in turn, round by round, so that whatever
 * else the machine does hits both; a ratio is the median of the rounds' ratios.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Monotonic, in nanoseconds; no system call. */
uint64_t stats_now(void);

/* The sample below which @fraction of them are; sorts them. */
double stats_quantile(double *samples, size_t count, double fraction);

#define ROUNDS_MAX 64

/* One value a round, all for the same thing. */
struct series {
    double values[ROUNDS_MAX];
    size_t count;
};

void series_add(struct series *series, double value);
double series_median(const struct series *series);

/* The median of what @series is of @baseline, round by round. Both have as many rounds. */
double series_ratio(const struct series *series, const struct series *baseline);
