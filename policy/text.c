/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/text.h"

#include <errno.h>
#include <json-c/json_tokener.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 8 /* a policy needs 3 */

/* An object or list that the scan is inside of. */
struct level {
    struct json_object *seen; /* the object's keys so far; NULL in a list */
    size_t mark;              /* where in the report's path its members begin */
    size_t index;             /* of the list's current item */
};

struct scan {
    struct policy_report *report;
    struct level levels[MAX_DEPTH];
    size_t depth;
    bool key_is_next;
};

static int report_syntax(struct policy_report *report, const char *text, size_t offset,
                         enum json_tokener_error error)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < offset && text[i]; i++) {
        column++;
        if (text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return policy_report_wrong(report,
                               "line %zu, column %zu: found broken JSON (%s), wanted one object",
                               line, column, json_tokener_error_desc(error));
}

static int parse_strictly(struct policy_report *report, const char *text, struct json_object **root)
{
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    if (!tokener)
        return policy_report_no_memory(report);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

    /* With the NUL, which tells the tokener that nothing follows. */
    size_t length = strlen(text) + 1;
    *root = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);

    if (error == json_tokener_success)
        return 0;
    return report_syntax(report, text, end, error);
}

static int push(struct scan *scan, bool object)
{
    struct level *level = &scan->levels[scan->depth];

    if (scan->depth == MAX_DEPTH) /* the tokener has refused it already */
        return policy_report_wrong(scan->report, "found deeper nesting, wanted at most %d levels",
                                   MAX_DEPTH);
    *level = (struct level){ .mark = scan->report->key_length };
    if (object) {
        level->seen = json_object_new_object();
        if (!level->seen)
            return policy_report_no_memory(scan->report);
    } else {
        policy_report_enter_item(scan->report, 0);
    }
    scan->depth++;
    scan->key_is_next = object;
    return 0;
}

static void pop(struct scan *scan)
{
    struct level *level = &scan->levels[--scan->depth];

    json_object_put(level->seen);
    scan->key_is_next = false;
}

static void step(struct scan *scan)
{
    struct level *level = &scan->levels[scan->depth - 1];

    policy_report_leave(scan->report, level->mark);
    scan->key_is_next = level->seen != NULL;
    if (!level->seen)
        policy_report_enter_item(scan->report, ++level->index);
}

static int check_new_key(struct scan *scan, const char *key)
{
    struct level *level = &scan->levels[scan->depth - 1];

    policy_report_leave(scan->report, level->mark);
    policy_report_enter(scan->report, key);
    if (json_object_object_get_ex(level->seen, key, NULL))
        return policy_report_wrong(scan->report, "found twice, wanted once");
    if (json_object_object_add(level->seen, key, NULL) < 0)
        return policy_report_no_memory(scan->report);
    return 0;
}

/* Keys are compared as decoded: "a" and "\u0061" are the same. */
static int scan_key(struct scan *scan, const char *quoted, size_t length)
{
    char *copy = strndup(quoted, length);
    struct json_object *key = copy ? json_tokener_parse(copy) : NULL;
    int result = key ? check_new_key(scan, json_object_get_string(key))
                     : policy_report_no_memory(scan->report);

    json_object_put(key);
    free(copy);
    return result;
}

/*
 * Finds the end of the string that starts at @quote. An escaped NUL would end a key or a value too
 * early for everyone who takes it as a C string.
 */
static const char *scan_string(struct scan *scan, const char *quote, int *result)
{
    const char *c = quote + 1;

    while (*c && *c != '"') {
        if (strncmp(c, "\\u0000", 6) == 0)
            *result = policy_report_wrong(scan->report, "found \\u0000 in a string, wanted text");
        c += *c == '\\' && c[1] ? 2 : 1;
    }
    return *c ? c + 1 : c;
}

/*
 * Looks at one token of @text. The tokener has found the text well formed; where this scan thinks
 * otherwise, one of the two is wrong, and the policy is refused. Returns what follows the token.
 */
static const char *scan_token(struct scan *scan, const char *text, int *result)
{
    const char *next = text + 1;

    if (scan->depth == 0 && strchr("}],", *text)) {
        *result = policy_report_wrong(scan->report, "found a stray %c, wanted one object", *text);
        return next;
    }
    switch (*text) {
    case '{':
    case '[':
        *result = push(scan, *text == '{');
        break;
    case '}':
    case ']':
        pop(scan);
        break;
    case ',':
        step(scan);
        break;
    case '"':
        next = scan_string(scan, text, result);
        if (scan->key_is_next && *result == 0)
            *result = scan_key(scan, text, (size_t)(next - text));
        scan->key_is_next = false;
        break;
    case '\'':
        *result = policy_report_wrong(scan->report, "found a key in ', wanted keys in \"");
        break;
    }
    return next;
}

static int refuse_ambiguity(struct policy_report *report, const char *text)
{
    struct scan scan = { .report = report };
    int result = 0;

    while (*text && result == 0)
        text = scan_token(&scan, text, &result);
    while (scan.depth)
        pop(&scan);
    if (result == 0)
        policy_report_leave(report, 0);
    return result;
}

int policy_text_parse(struct policy_report *report, const char *text, struct json_object **root)
{
    struct json_object *parsed = NULL;
    int result = parse_strictly(report, text, &parsed);

    if (result == 0)
        result = refuse_ambiguity(report, text);
    if (result < 0) {
        json_object_put(parsed);
        return result;
    }
    *root = parsed;
    return 0;
}
