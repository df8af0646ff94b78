/* SPDX-License-Identifier: BSD-3-Clause */
/* What is not one attempt of one device process, but the end of several, or a look from outside. */
#pragma once

#include "tests/escape/broker.h"

struct scenario {
    const char *name;
    const char *layer;              /* that the scenario is about */
    const char *outcome;            /* in words */
    bool (*run)(const char *build); /* false with the reason on standard error */
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* Collects all processes that became ours by the death of their parents. False if any live on. */
bool nobody_is_left(void);
