/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Policies for tests: written with ' for ", to the file policy.json in a folder of the test's own,
 * which is the working directory, so that every message begins with "policy.json: ".
 */
#pragma once

#include "policy/policy.h"

#include <stddef.h>

/* Set-up and teardown of a group. */
int scratch_enter(void **state);
int scratch_leave(void **state);

void scratch_write(const char *name, const void *bytes, size_t length);

/* The smallest policy, with @value (JSON) for the key at @path ("dma.access"). To be freed. */
char *policy_text_with(const char *path, const char *value);

/* Loads it, and fails the test where that fails. */
struct policy *policy_expect(const char *text);
struct policy *policy_expect_value(const char *path, const char *value);

/* Fails the test unless loading it fails with EINVAL and "policy.json: " and then @error. */
void policy_expect_error(const char *text, const char *error);

/* The same for one value: the message is about @path, or "[1]: ..." of the list there. */
void policy_expect_value_error(const char *path, const char *value, const char *error);
