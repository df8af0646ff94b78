/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strict JSON. json-c, even when strict, keeps the last of two members of one name, takes keys in
 * single quotes, and cuts a key at an escaped NUL: in a security policy each of these would let a
 * reader see another policy than the program, so they are refused here.
 */
#pragma once

#include "policy/report.h"

#include <json-c/json_object.h>

/*
 * Parses all of @text. On success returns 0 and gives the caller a reference in @root (NULL is the
 * JSON value null); else a negative errno, reported.
 */
int policy_text_parse(struct policy_report *report, const char *text, struct json_object **root);
