/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FOUND_MAX 60

static size_t __attribute__((format(printf, 2, 3)))
append(struct policy_report *report, const char *format, ...)
{
    size_t mark = report->key_length;
    size_t room = sizeof(report->key) - mark;
    va_list args;

    va_start(args, format);
    int length = vsnprintf(report->key + mark, room, format, args);
    va_end(args);

    if (length > 0)
        report->key_length += (size_t)length < room ? (size_t)length : room - 1;
    return mark;
}

size_t policy_report_enter(struct policy_report *report, const char *member)
{
    return append(report, "%s%s", report->key_length ? "." : "", *member ? member : "\"\"");
}

size_t policy_report_enter_item(struct policy_report *report, size_t index)
{
    return append(report, "[%zu]", index);
}

void policy_report_leave(struct policy_report *report, size_t mark)
{
    report->key_length = mark;
    report->key[mark] = '\0';
}

/*
 * Keys and file names come from outside: a newline would forge a second log line, an escape
 * character would reach the operator's terminal.
 */
static void replace_control_characters(char *line)
{
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}

static void write_line(struct policy_report *report, const char *found, const char *format,
                       va_list args)
{
    if (report->error_size == 0)
        return;
    int length = snprintf(report->error, report->error_size, "%s: %s%s%s", report->file,
                          report->key, report->key_length ? ": " : "", found);
    if (length >= 0 && (size_t)length < report->error_size)
        vsnprintf(report->error + length, report->error_size - (size_t)length, format, args);
    replace_control_characters(report->error);
}

int policy_report_wrong(struct policy_report *report, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(report, "", format, args);
    va_end(args);
    return -EINVAL;
}

/* In bytes; does not cut a character. */
static int length_shown(const char *text)
{
    size_t length = strlen(text);

    if (length <= FOUND_MAX)
        return (int)length;
    length = FOUND_MAX;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return (int)length;
}

/* As it stands in the file, but short. */
static void describe(const struct policy_report *report, struct json_object *value, char *text,
                     size_t size)
{
    const char *standard = report->by_default ? " (the default)" : "";
    const char *json = NULL;

    switch (json_object_get_type(value)) {
    case json_type_object:
        snprintf(text, size, "found an object, ");
        break;
    case json_type_array:
        snprintf(text, size, "found a list of %zu%s, ", json_object_array_length(value), standard);
        break;
    default:
        json = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!json)
            json = "what is too large";
        snprintf(text, size, "found %.*s%s%s, ", length_shown(json), json,
                 strlen(json) > FOUND_MAX ? "..." : "", standard);
    }
}

int policy_report_found(struct policy_report *report, struct json_object *value, const char *format,
                        ...)
{
    char found[128];
    va_list args;

    describe(report, value, found, sizeof(found));
    va_start(args, format);
    write_line(report, found, format, args);
    va_end(args);
    return -EINVAL;
}

int policy_report_failure(struct policy_report *report, const char *what, int error)
{
    policy_report_wrong(report, "%s: %s", what, strerror(error));
    return -error;
}

int policy_report_no_memory(struct policy_report *report)
{
    return policy_report_failure(report, "cannot be read", ENOMEM);
}
