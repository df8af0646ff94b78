/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one line that says what is wrong with a policy: file, key, what was found, what is wanted.
 * Keeps the full path of the key that is being read ("resources[2].path"), so that every check can
 * speak of its own value only.
 */
#pragma once

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

struct policy_report {
    const char *file;
    char *error;
    size_t error_size;
    char key[256]; /* path of the key being read; "" is the whole file */
    size_t key_length;
    bool by_default; /* the value is not in the file */
};

/*
 * Steps into a member of the object, or an item of the list, that is being read. Returns a mark
 * for policy_report_leave(). A path that is too long for the line is cut, which harms nothing.
 */
size_t policy_report_enter(struct policy_report *report, const char *member);
size_t policy_report_enter_item(struct policy_report *report, size_t index);
void policy_report_leave(struct policy_report *report, size_t mark);

/* Writes the line, without control characters, whatever the file held. Always returns -EINVAL. */
int policy_report_wrong(struct policy_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, beginning with "found @value, ". */
int policy_report_found(struct policy_report *report, struct json_object *value, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

/* The same for what is not the policy's fault. Returns -@error. */
int policy_report_failure(struct policy_report *report, const char *what, int error);
int policy_report_no_memory(struct policy_report *report);
