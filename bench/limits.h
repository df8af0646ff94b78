/* SPDX-License-Identifier: BSD-3-Clause */
/* What figures are to be at most. They are shown beside them; nobody fails. */
#pragma once

#include <stdbool.h>

struct limit {
    const char *figure; /* its name */
    bool of_value;      /* else of its ratio */
    double at_most;
};

/* NULL: nothing is said of this figure. */
const struct limit *limit_of(const char *figure);
