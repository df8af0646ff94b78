/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Says in words what the tables in keys.h ask for: the second half of most messages.
 */
#pragma once

#include "policy/keys.h"

struct policy_wanted {
    char text[320];
};

/* What a value of this key has to be. */
struct policy_wanted policy_wanted(const struct policy_key *key);

/* The words that are supported: "a", or one of "a", "b". */
struct policy_wanted policy_wanted_choices(const struct policy_choice *choices);

/* The names of the supported keys. */
struct policy_wanted policy_wanted_keys(const struct policy_key *keys);
