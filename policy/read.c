/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/read.h"

#include "policy/wanted.h"

#include <errno.h>
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h> /* json_object_object_foreach */
#include <stdlib.h>
#include <string.h>

static policy_reader read_object, read_integer, read_size, read_choice;

static policy_reader *const readers[POLICY_KEY_TYPES] = {
    [POLICY_KEY_OBJECT] = read_object,
    [POLICY_KEY_INTEGER] = read_integer,
    [POLICY_KEY_SIZE] = read_size,
    [POLICY_KEY_CHOICE] = read_choice,
    [POLICY_KEY_SET] = policy_read_set,
    [POLICY_KEY_STRING] = policy_read_string,
    [POLICY_KEY_STRINGS] = policy_read_strings,
    [POLICY_KEY_ENVIRONMENT] = policy_read_environment,
    [POLICY_KEY_USERS] = policy_read_users,
    [POLICY_KEY_GROUPS] = policy_read_groups,
    [POLICY_KEY_JAIL_USER] = policy_read_jail_user,
    [POLICY_KEY_RESOURCES] = policy_read_resources,
};

int policy_read_key(struct policy_report *report, const struct policy_key *key,
                    struct json_object *value, void *target)
{
    return readers[key->type](report, key, value, target);
}

static int read_default(struct policy_report *report, const struct policy_key *key, void *target)
{
    if (!key->fallback)
        return policy_report_wrong(report, "missing, wanted %s", policy_wanted(key).text);

    struct json_object *value = json_tokener_parse(key->fallback);
    if (!value)
        return policy_report_no_memory(report);
    int result = policy_read_key(report, key, value, target);
    json_object_put(value);
    return result;
}

int policy_read_member(struct policy_report *report, const struct policy_key *key,
                       struct json_object *object, void *target)
{
    size_t mark = policy_report_enter(report, key->name);
    bool outer_by_default = report->by_default;
    struct json_object *value;
    int result;

    report->by_default = !json_object_object_get_ex(object, key->name, &value);
    if (report->by_default)
        result = read_default(report, key, target);
    else
        result = policy_read_key(report, key, value, target);
    report->by_default = outer_by_default;
    policy_report_leave(report, mark);
    return result;
}

static bool is_known(const struct policy_key *keys, const char *name)
{
    for (const struct policy_key *key = keys; key->name; key++) {
        if (strcmp(key->name, name) == 0)
            return true;
    }
    return false;
}

static int refuse_unknown_keys(struct policy_report *report, const struct policy_key *keys,
                               struct json_object *object)
{
    json_object_object_foreach(object, name, value)
    {
        if (is_known(keys, name))
            continue;
        policy_report_enter(report, name);
        return policy_report_wrong(report, "unknown key, wanted one of %s",
                                   policy_wanted_keys(keys).text);
    }
    return 0;
}

static int read_object(struct policy_report *report, const struct policy_key *key,
                       struct json_object *value, void *target)
{
    if (!json_object_is_type(value, json_type_object))
        return policy_report_found(report, value, "wanted an object");

    int result = refuse_unknown_keys(report, key->keys, value);
    for (const struct policy_key *member = key->keys; member->name && result == 0; member++)
        result = policy_read_member(report, member, value, target);
    return result;
}

void policy_store(const struct policy_key *key, void *target, uint64_t number)
{
    void *at = (char *)target + key->offset;

    if (key->size == sizeof(uint64_t))
        *(uint64_t *)at = number;
    else if (key->size == sizeof(uint32_t))
        *(uint32_t *)at = (uint32_t)number;
    else if (key->size == sizeof(bool))
        *(bool *)at = number != 0;
}

bool policy_is_number(struct json_object *value, uint64_t min, uint64_t max, uint64_t *number)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
        return false;
    /* json-c gives the largest it has for a number that is too large: out of every range here. */
    *number = json_object_get_uint64(value);
    return *number >= min && *number <= max;
}

static int read_integer(struct policy_report *report, const struct policy_key *key,
                        struct json_object *value, void *target)
{
    uint64_t number;

    if (!policy_is_number(value, key->min, key->max, &number))
        return policy_report_found(report, value, "wanted %s", policy_wanted(key).text);
    policy_store(key, target, number);
    return 0;
}

/* Digits, then K, M, G or T. */
static bool parse_size(const char *text, uint64_t *size)
{
    static const char units[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;

    if (digits == 0 || !unit || text[digits + 1] != '\0')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    uint64_t factor = UINT64_C(1) << (10 * (unit - units + 1));
    return errno == 0 && !__builtin_mul_overflow(number, factor, size);
}

static int read_size(struct policy_report *report, const struct policy_key *key,
                     struct json_object *value, void *target)
{
    uint64_t size;
    bool good;

    if (json_object_is_type(value, json_type_string))
        good = parse_size(json_object_get_string(value), &size) && size >= key->min &&
               size <= key->max;
    else
        good = policy_is_number(value, key->min, key->max, &size);
    if (!good)
        return policy_report_found(report, value, "wanted %s", policy_wanted(key).text);
    policy_store(key, target, size);
    return 0;
}

const struct policy_choice *policy_find_choice(struct policy_report *report,
                                               const struct policy_key *key,
                                               struct json_object *value)
{
    struct policy_wanted wanted = policy_wanted_choices(key->choices);
    const struct policy_choice *choice = key->choices;

    if (!json_object_is_type(value, json_type_string)) {
        policy_report_found(report, value, "wanted %s", wanted.text);
        return NULL;
    }
    while (choice->word && strcmp(choice->word, json_object_get_string(value)) != 0)
        choice++;
    if (choice->word && !choice->not_built)
        return choice;
    policy_report_found(report, value, "%swanted %s",
                        choice->word ? "not supported by this version (not built yet), " : "",
                        wanted.text);
    return NULL;
}

static int read_choice(struct policy_report *report, const struct policy_key *key,
                       struct json_object *value, void *target)
{
    const struct policy_choice *choice = policy_find_choice(report, key, value);

    if (!choice)
        return -EINVAL;
    policy_store(key, target, choice->value);
    return 0;
}
