/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/wanted.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 2, 3)))
add(struct policy_wanted *wanted, const char *format, ...)
{
    size_t length = strlen(wanted->text);
    va_list args;

    va_start(args, format);
    vsnprintf(wanted->text + length, sizeof(wanted->text) - length, format, args);
    va_end(args);
}

static void add_choices(struct policy_wanted *wanted, const struct policy_choice *choices)
{
    const char *between = "";

    for (const struct policy_choice *c = choices; c->word; c++) {
        if (c->not_built)
            continue;
        add(wanted, "%s\"%s\"", between, c->word);
        between = ", ";
    }
}

/* In the largest unit that does it exactly. */
static void add_size(struct policy_wanted *wanted, uint64_t size)
{
    size_t unit = 0;

    for (; unit < 4 && size && size % 1024 == 0; unit++)
        size /= 1024;
    add(wanted, "%" PRIu64 "%.1s", size, &"\0KMGT"[unit]);
}

static void add_range(struct policy_wanted *wanted, const struct policy_key *key)
{
    if (key->min == key->max)
        add(wanted, "%" PRIu64, key->min);
    else
        add(wanted, "an integer from %" PRIu64 " to %" PRIu64, key->min, key->max);
}

struct policy_wanted policy_wanted_choices(const struct policy_choice *choices)
{
    struct policy_wanted words = {}, wanted = {};

    add_choices(&words, choices);
    add(&wanted, "%s%s", strchr(words.text, ',') ? "one of " : "", words.text);
    return wanted;
}

struct policy_wanted policy_wanted_keys(const struct policy_key *keys)
{
    struct policy_wanted wanted = {};
    const char *between = "";

    for (const struct policy_key *key = keys; key->name; key++) {
        add(&wanted, "%s%s", between, key->name);
        between = ", ";
    }
    return wanted;
}

struct policy_wanted policy_wanted(const struct policy_key *key)
{
    struct policy_wanted wanted = {};

    switch (key->type) {
    case POLICY_KEY_INTEGER:
        add_range(&wanted, key);
        break;
    case POLICY_KEY_SIZE:
        add(&wanted, "bytes, or a string like \"64M\" with K, M, G or T, from ");
        add_size(&wanted, key->min);
        add(&wanted, " to ");
        add_size(&wanted, key->max);
        break;
    case POLICY_KEY_CHOICE:
        return policy_wanted_choices(key->choices);
    case POLICY_KEY_SET:
        add(&wanted, "a list of ");
        add_choices(&wanted, key->choices);
        break;
    case POLICY_KEY_OBJECT:
    case POLICY_KEY_ENVIRONMENT:
        add(&wanted, "an object");
        break;
    case POLICY_KEY_STRING:
        add(&wanted, "%s", key->wanted);
        break;
    default:
        add(&wanted, "a list of at most %d items", POLICY_MAX_LIST);
    }
    return wanted;
}
