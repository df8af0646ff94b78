/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/processors.h"

#include <err.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

const char *const placement_names[PLACEMENTS] = {
    [ONE_PROCESSOR] = "one processor",
    [TWO_PROCESSORS] = "two processors",
};

static cpu_set_t all;

/* The @n-th processor that we may use, or -1. */
static int processor(int n)
{
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all) && n-- == 0) {
            return i;
        }
    }
    return -1;
}

static void move_to(const cpu_set_t *set)
{
    if (sched_setaffinity(0, sizeof(*set), set) < 0) {
        err(EXIT_FAILURE, "sched_setaffinity");
    }
}

static void move_to_one(int n)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor(n), &set);
    move_to(&set);
}

void processors_enter(enum placement placement)
{
    setsid();
    if (placement == ANYWHERE) {
        move_to(&all);
    } else {
        move_to_one(placement == TWO_PROCESSORS ? 1 : 0);
    }
}

void processors_open(void)
{
    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) < 0) {
        err(EXIT_FAILURE, "sched_getaffinity");
    }
    move_to_one(0);
}

bool processors_allow(enum placement placement)
{
    return placement == ONE_PROCESSOR || processor(1) >= 0;
}
