/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads JSON values as the tables in keys.h say. All return 0, or a negative errno, reported; what
 * they allocate hangs on the target from the first moment on, so that its owner frees it.
 */
#pragma once

#include "policy/keys.h"
#include "policy/report.h"

#include <json-c/json_object.h>

typedef int policy_reader(struct policy_report *report, const struct policy_key *key,
                          struct json_object *value, void *target);

/* Reads a value of any type into @target, by the reader for the type. */
policy_reader policy_read_key;

/* Reads the member @key of @object, or its default. */
policy_reader policy_read_member;

/* Those that have a file of their own: strings.c, lists.c, identity.c. */
policy_reader policy_read_string;
policy_reader policy_read_set;
policy_reader policy_read_strings;
policy_reader policy_read_environment;
policy_reader policy_read_resources;
policy_reader policy_read_users;
policy_reader policy_read_groups;
policy_reader policy_read_jail_user;

/* Checks that @value is a list, its length, and that no value is in it twice. */
int policy_check_list(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value);

/* Checks type and length, and that there are no control characters. */
int policy_check_text(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value);

/* The same for a variable of the environment, and its name. */
int policy_check_variable(struct policy_report *report, const struct policy_key *key,
                          const char *name, struct json_object *value);

/* Finds the choice that @value names. NULL: there is none, reported; an -EINVAL for the caller. */
const struct policy_choice *policy_find_choice(struct policy_report *report,
                                               const struct policy_key *key,
                                               struct json_object *value);

/* Stores a number in the target of @key. */
void policy_store(const struct policy_key *key, void *target, uint64_t number);

/* Whether @value is an integer within the range. */
bool policy_is_number(struct json_object *value, uint64_t min, uint64_t max, uint64_t *number);
