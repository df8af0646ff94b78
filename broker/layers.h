/* SPDX-License-Identifier: BSD-3-Clause */
/* What this host offers of the layers that the jail is made of. */
#pragma once

#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>

struct layer {
    const char *name;
    enum jail_layer optional; /* the bit by which a policy can accept its absence; 0: it cannot */
    const char *purpose;
    int error; /* 0: this host has it; else the errno of trying */
};

struct layers {
    bool user_namespaces;
    bool cgroup_namespaces;
    bool landlock;
    bool mdwe;
};

/*
 * Tries each layer and calls @report (may be NULL) for it. Returns in @layers what the jail can
 * use. Returns NULL, or the first layer that is missing and that @policy does not accept as
 * missing.
 */
const struct layer *layers_probe(struct layers *layers, const struct policy *policy,
                                 void (*report)(const struct layer *layer));
