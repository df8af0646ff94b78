/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often something may happen that somebody untrusted causes: evenly, and so many times at once
 * after a while of nothing. All times are of CLOCK_MONOTONIC, in nanoseconds.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#define RATE_SECOND INT64_C(1000000000)

struct rate {
    int64_t interval; /* from one to the next */
    int64_t saved;    /* how many intervals may be made up for */
    int64_t due;      /* when the next may happen */
};

/* To initialize one with. */
#define RATE(per_second, burst)                                                                    \
    {                                                                                              \
        .interval = RATE_SECOND / (per_second), .saved = (burst)-1                                 \
    }

static inline int64_t rate_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * RATE_SECOND + now.tv_nsec;
}

/* How long until the next one; 0: now. */
static inline int64_t rate_wait(const struct rate *rate)
{
    int64_t now = rate_clock();

    return rate->due > now ? rate->due - now : 0;
}

/* One has happened. */
static inline void rate_take(struct rate *rate)
{
    int64_t first = rate_clock() - rate->saved * rate->interval;

    rate->due = (rate->due > first ? rate->due : first) + rate->interval;
}
