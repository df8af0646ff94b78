/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/stats.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t stats_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double stats_quantile(double *samples, size_t count, double fraction)
{
    qsort(samples, count, sizeof(*samples), compare);
    return samples[(size_t)((double)(count - 1) * fraction)];
}

void series_add(struct series *series, double value)
{
    if (series->count < ROUNDS_MAX) {
        series->values[series->count++] = value;
    }
}

double series_median(const struct series *series)
{
    double values[ROUNDS_MAX];

    memcpy(values, series->values, series->count * sizeof(values[0]));
    return stats_quantile(values, series->count, 0.5);
}

double series_ratio(const struct series *series, const struct series *baseline)
{
    struct series ratios = { .count = 0 };

    for (size_t i = 0; i < series->count; i++) {
        series_add(&ratios, series->values[i] / baseline->values[i]);
    }
    return series_median(&ratios);
}
