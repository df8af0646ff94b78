/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/read.h"

#include "policy/wanted.h"

#include <errno.h>
#include <json-c/linkhash.h> /* json_object_object_foreach */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_among_first(struct json_object *list, size_t count, struct json_object *value)
{
    for (size_t i = 0; i < count; i++) {
        if (json_object_equal(json_object_array_get_idx(list, i), value))
            return true;
    }
    return false;
}

static int refuse_repetition(struct policy_report *report, struct json_object *list)
{
    for (size_t i = 1; i < json_object_array_length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        if (!is_among_first(list, i, item))
            continue;
        policy_report_enter_item(report, i);
        return policy_report_found(report, item, "wanted it once in the list");
    }
    return 0;
}

int policy_check_list(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array) ||
        json_object_array_length(value) > POLICY_MAX_LIST)
        return policy_report_found(report, value, "wanted %s", policy_wanted(key).text);
    return key->unique ? refuse_repetition(report, value) : 0;
}

int policy_read_set(struct policy_report *report, const struct policy_key *key,
                    struct json_object *value, void *target)
{
    unsigned set = 0;
    int result = policy_check_list(report, key, value);

    if (result < 0)
        return result;
    if (json_object_array_length(value) < key->min)
        return policy_report_found(report, value, "wanted at least %s",
                                   policy_wanted_choices(key->choices).text);

    for (size_t i = 0; i < json_object_array_length(value); i++) {
        size_t mark = policy_report_enter_item(report, i);
        const struct policy_choice *choice =
            policy_find_choice(report, key, json_object_array_get_idx(value, i));
        policy_report_leave(report, mark);
        if (!choice)
            return -EINVAL;
        set |= choice->value;
    }
    policy_store(key, target, set);
    return 0;
}

/* A NULL-terminated list for @count strings, which belongs to @target at once. */
static char **allocate_strings(const struct policy_key *key, void *target, size_t count)
{
    char **strings = calloc(count + 1, sizeof(*strings));

    *(char ***)((char *)target + key->offset) = strings;
    return strings;
}

int policy_read_strings(struct policy_report *report, const struct policy_key *key,
                        struct json_object *value, void *target)
{
    const struct policy_key item = { .wanted = key->wanted,
                                     .size = sizeof(char *),
                                     .min = key->min,
                                     .max = key->max,
                                     .pattern = key->pattern };
    int result = policy_check_list(report, key, value);
    if (result < 0)
        return result;

    size_t count = json_object_array_length(value);
    char **strings = allocate_strings(key, target, count);
    if (!strings)
        return policy_report_no_memory(report);
    for (size_t i = 0; i < count && result == 0; i++) {
        size_t mark = policy_report_enter_item(report, i);
        result =
            policy_read_string(report, &item, json_object_array_get_idx(value, i), &strings[i]);
        policy_report_leave(report, mark);
    }
    return result;
}

static int read_variable(struct policy_report *report, const struct policy_key *key,
                         const char *name, struct json_object *value, char **variable)
{
    size_t mark = policy_report_enter(report, name);
    int result = policy_check_variable(report, key, name, value);

    if (result == 0 && asprintf(variable, "%s=%s", name, json_object_get_string(value)) < 0) {
        *variable = NULL;
        result = policy_report_no_memory(report);
    }
    policy_report_leave(report, mark);
    return result;
}

int policy_read_environment(struct policy_report *report, const struct policy_key *key,
                            struct json_object *value, void *target)
{
    if (!json_object_is_type(value, json_type_object))
        return policy_report_found(report, value, "wanted an object of strings");
    size_t count = (size_t)json_object_object_length(value);
    if (count > POLICY_MAX_LIST)
        return policy_report_wrong(report, "found %zu variables, wanted at most %d", count,
                                   POLICY_MAX_LIST);

    char **variables = allocate_strings(key, target, count);
    if (!variables)
        return policy_report_no_memory(report);
    int result = 0;
    json_object_object_foreach(value, name, text)
    {
        result = read_variable(report, key, name, text, variables++);
        if (result < 0)
            break;
    }
    return result;
}

static int refuse_same_name(struct policy_report *report, const struct policy_resource *resources,
                            size_t last)
{
    for (size_t i = 0; i < last; i++) {
        if (strcmp(resources[i].name, resources[last].name) != 0)
            continue;
        policy_report_enter(report, "name");
        return policy_report_wrong(report, "found \"%s\" again, wanted a name of its own",
                                   resources[last].name);
    }
    return 0;
}

int policy_read_resources(struct policy_report *report, const struct policy_key *key,
                          struct json_object *value, void *target)
{
    const struct policy_key item = { .type = POLICY_KEY_OBJECT, .keys = key->keys };
    struct policy *policy = target;
    int result = policy_check_list(report, key, value);
    if (result < 0)
        return result;

    size_t count = json_object_array_length(value);
    policy->resources = calloc(count ? count : 1, sizeof(*policy->resources));
    if (!policy->resources)
        return policy_report_no_memory(report);
    policy->resource_count = count;
    for (size_t i = 0; i < count && result == 0; i++) {
        size_t mark = policy_report_enter_item(report, i);
        result = policy_read_key(report, &item, json_object_array_get_idx(value, i),
                                 &policy->resources[i]);
        if (result == 0)
            result = refuse_same_name(report, policy->resources, i);
        policy_report_leave(report, mark);
    }
    return result;
}
