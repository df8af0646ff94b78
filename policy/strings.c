/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/read.h"

#include <errno.h>
#include <regex.h>
#include <string.h>

static bool has_control_characters(const char *string)
{
    for (const char *c = string; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return true;
    }
    return false;
}

int policy_check_text(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return policy_report_found(report, value, "wanted %s",
                                   key->wanted ? key->wanted : "a string");

    size_t length = (size_t)json_object_get_string_len(value);
    if (length < key->min)
        return policy_report_found(report, value, "wanted %s", key->wanted ? key->wanted : "text");
    if (length > key->max)
        return policy_report_found(report, value, "wanted at most %d bytes", (int)key->max);
    /* They have no use in names and paths, and would let a value forge lines of a log. */
    if (has_control_characters(json_object_get_string(value)))
        return policy_report_found(report, value, "wanted no control characters");
    return 0;
}

/* Returns 1 or 0, or a negative errno. */
static int matches(const char *pattern, const char *string)
{
    regex_t regex;

    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return -ENOMEM;
    int result = regexec(&regex, string, 0, NULL, 0);
    regfree(&regex);
    if (result == REG_ESPACE)
        return -ENOMEM;
    return result == 0;
}

int policy_check_variable(struct policy_report *report, const struct policy_key *key,
                          const char *name, struct json_object *value)
{
    int good = matches(key->pattern, name);
    int bad = matches(key->forbidden, name);

    if (good < 0 || bad < 0)
        return policy_report_no_memory(report);
    if (!good)
        return policy_report_wrong(report, "found a name that is no variable's, wanted letters, "
                                           "digits and '_'");
    if (bad)
        return policy_report_wrong(report, "found a variable that the broker keeps to itself, "
                                           "wanted none of LD_* and VFU_BROKER_*");
    return policy_check_text(report, key, value);
}

static int check_pattern(struct policy_report *report, const struct policy_key *key,
                         struct json_object *value)
{
    int good = key->pattern ? matches(key->pattern, json_object_get_string(value)) : 1;

    if (good < 0)
        return policy_report_no_memory(report);
    if (!good)
        return policy_report_found(report, value, "wanted %s", key->wanted);
    return 0;
}

int policy_read_string(struct policy_report *report, const struct policy_key *key,
                       struct json_object *value, void *target)
{
    int result = policy_check_text(report, key, value);

    if (result == 0)
        result = check_pattern(report, key, value);
    if (result < 0)
        return result;

    char *copy = strdup(json_object_get_string(value));
    if (!copy)
        return policy_report_no_memory(report);
    *(char **)((char *)target + key->offset) = copy;
    return 0;
}
