/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keeps policy/schema.json and the parser in step: writes the schema that the parser's tables
 * amount to, and compares. A key, type, range, pattern, word or default that is in one and not in
 * the other is a difference, and so is any word of JSON Schema that the parser knows nothing of.
 */
#include "policy/keys.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <json-c/json_util.h>
#include <json-c/linkhash.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PATH_SIZE 512

static const char definitions[] =
    "{\"text\":{\"pattern\":\"^[^\\\\u0000-\\\\u001f\\\\u007f]*$\"},"
    " \"id\":{\"$ref\":\"#/$defs/text\",\"type\":[\"integer\",\"string\"],\"minimum\":0,"
    "         \"maximum\":4294967294,\"minLength\":1,\"maxLength\":256}}";

/* What the parser checks across keys (policy.c). */
static const struct {
    const char *key;
    const char *refused;
} rules[] = {
    { "client", "{\"required\":[\"uids\"],"
                " \"properties\":{\"uids\":{\"maxItems\":0},\"gids\":{\"maxItems\":0}}}" },
    { "dma", "{\"required\":[\"access\",\"require_seals\"],"
             " \"properties\":{\"access\":{\"const\":\"rw\"},\"require_seals\":"
             "   {\"contains\":{\"enum\":[\"write\",\"future-write\"]}}}}" },
};

static struct json_object *parse(const char *text)
{
    enum json_tokener_error error;
    struct json_object *object = json_tokener_parse_verbose(text, &error);

    assert_int_equal(error, json_tokener_success);
    return object;
}

static void add(struct json_object *schema, const char *word, const char *json)
{
    json_object_object_add(schema, word, parse(json));
}

static void add_number(struct json_object *schema, const char *word, uint64_t number)
{
    json_object_object_add(schema, word, json_object_new_uint64(number));
}

static void add_string(struct json_object *schema, const char *word, const char *string)
{
    json_object_object_add(schema, word, json_object_new_string(string));
}

static void add_range(struct json_object *schema, const struct policy_key *key)
{
    add_number(schema, "minimum", key->min);
    add_number(schema, "maximum", key->max);
}

static void add_choices(struct json_object *schema, const struct policy_choice *choices)
{
    struct json_object *words = json_object_new_array();

    for (const struct policy_choice *c = choices; c->word; c++) {
        if (!c->not_built)
            json_object_array_add(words, json_object_new_string(c->word));
    }
    json_object_object_add(schema, "enum", words);
}

static void add_text(struct json_object *schema, const struct policy_key *key, const char *pattern)
{
    add(schema, "type", "\"string\"");
    add(schema, "$ref", "\"#/$defs/text\"");
    if (key->min > 0)
        add_number(schema, "minLength", key->min);
    add_number(schema, "maxLength", key->max);
    if (pattern)
        add_string(schema, "pattern", pattern);
}

static struct json_object *add_list(struct json_object *schema, const struct policy_key *key)
{
    struct json_object *items = json_object_new_object();

    add(schema, "type", "\"array\"");
    if (key->unique)
        add(schema, "uniqueItems", "true");
    if (key->type == POLICY_KEY_SET && key->min > 0)
        add_number(schema, "minItems", key->min);
    if (key->type != POLICY_KEY_SET) /* its words without repetition are few enough */
        add_number(schema, "maxItems", POLICY_MAX_LIST);
    json_object_object_add(schema, "items", items);
    return items;
}

static void add_environment(struct json_object *schema, const struct policy_key *key)
{
    struct json_object *names = json_object_new_object();
    struct json_object *forbidden = json_object_new_object();
    struct json_object *values = json_object_new_object();

    add(schema, "type", "\"object\"");
    add_number(schema, "maxProperties", POLICY_MAX_LIST);
    add_string(names, "pattern", key->pattern);
    add_string(forbidden, "pattern", key->forbidden);
    json_object_object_add(names, "not", forbidden);
    json_object_object_add(schema, "propertyNames", names);
    add_text(values, key, NULL);
    json_object_object_add(schema, "additionalProperties", values);
}

static bool is_required(const struct policy_key *key)
{
    bool required = false;

    if (key->type != POLICY_KEY_OBJECT)
        return !key->fallback;
    for (const struct policy_key *member = key->keys; member->name; member++)
        required = required || is_required(member);
    return required;
}

static struct json_object *schema_of(const struct policy_key *key);

static void add_object(struct json_object *schema, const struct policy_key *keys)
{
    struct json_object *properties = json_object_new_object();
    struct json_object *required = json_object_new_array();

    for (const struct policy_key *key = keys; key->name; key++) {
        json_object_object_add(properties, key->name, schema_of(key));
        if (is_required(key))
            json_object_array_add(required, json_object_new_string(key->name));
    }
    add(schema, "type", "\"object\"");
    add(schema, "additionalProperties", "false");
    json_object_object_add(schema, "properties", properties);
    if (json_object_array_length(required) > 0)
        json_object_object_add(schema, "required", json_object_get(required));
    json_object_put(required);
}

static void add_type(struct json_object *schema, const struct policy_key *key)
{
    switch (key->type) {
    case POLICY_KEY_OBJECT:
        add_object(schema, key->keys);
        break;
    case POLICY_KEY_INTEGER:
        add(schema, "type", "\"integer\"");
        add_range(schema, key);
        break;
    case POLICY_KEY_SIZE:
        add(schema, "type", "[\"integer\",\"string\"]");
        add(schema, "pattern", "\"^[0-9]+[KMGT]$\"");
        add_range(schema, key);
        break;
    case POLICY_KEY_CHOICE:
        add_choices(schema, key->choices);
        break;
    case POLICY_KEY_SET:
        add_choices(add_list(schema, key), key->choices);
        break;
    case POLICY_KEY_STRING:
        add_text(schema, key, key->pattern);
        break;
    case POLICY_KEY_STRINGS:
        add_text(add_list(schema, key), key, key->pattern);
        break;
    case POLICY_KEY_ENVIRONMENT:
        add_environment(schema, key);
        break;
    case POLICY_KEY_USERS:
    case POLICY_KEY_GROUPS:
        add(add_list(schema, key), "$ref", "\"#/$defs/id\"");
        break;
    case POLICY_KEY_JAIL_USER:
        add(schema, "$ref", "\"#/$defs/id\"");
        break;
    case POLICY_KEY_RESOURCES:
        add_object(add_list(schema, key), key->keys);
        break;
    case POLICY_KEY_TYPES:
        fail();
    }
}

static struct json_object *schema_of(const struct policy_key *key)
{
    struct json_object *schema = json_object_new_object();

    add_type(schema, key);
    if (key->fallback && key->type != POLICY_KEY_OBJECT)
        add(schema, "default", key->fallback);
    for (size_t i = 0; key->name && i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (strcmp(rules[i].key, key->name) == 0)
            add(schema, "not", rules[i].refused);
    }
    return schema;
}

static struct json_object *wanted_schema(void)
{
    struct json_object *schema = schema_of(&policy_root);

    add(schema, "$schema", "\"https://json-schema.org/draft/2020-12/schema\"");
    add(schema, "title", "\"vfu-broker policy\"");
    add(schema, "$defs", definitions);
    return schema;
}

static struct json_object *read_schema(void)
{
    struct json_object *schema = json_object_from_file(POLICY_DIR "/schema.json");

    assert_non_null(schema);
    return schema;
}

static size_t count_differences(struct json_object *wanted, struct json_object *found,
                                const char *path, bool tell);

/* Those of the members of @one that @other has not, or has differently where @both is set. */
static size_t compare_members(struct json_object *one, struct json_object *other, const char *path,
                              bool both, bool tell)
{
    char below[PATH_SIZE];
    size_t count = 0;

    json_object_object_foreach(one, name, value)
    {
        struct json_object *counterpart;
        snprintf(below, sizeof(below), "%s/%s", path, name);
        if (json_object_object_get_ex(other, name, &counterpart)) {
            count += both ? count_differences(value, counterpart, below, tell) : 0;
        } else if (both || strcmp(name, "description") != 0) {
            count++;
            if (tell)
                print_error("%s: only in the %s\n", below, both ? "parser" : "schema");
        }
    }
    return count;
}

static size_t count_differences(struct json_object *wanted, struct json_object *found,
                                const char *path, bool tell)
{
    if (json_object_is_type(wanted, json_type_object) &&
        json_object_is_type(found, json_type_object))
        return compare_members(wanted, found, path, true, tell) +
               compare_members(found, wanted, path, false, tell);
    if (json_object_equal(wanted, found))
        return 0;
    if (tell)
        print_error("%s: the parser has %s, the schema %s\n", path,
                    json_object_to_json_string(wanted), json_object_to_json_string(found));
    return 1;
}

static void test_schema_describes_the_parser(void **state)
{
    struct json_object *wanted = wanted_schema();
    struct json_object *found = read_schema();

    assert_int_equal(count_differences(wanted, found, "", true), 0);
    json_object_put(wanted);
    json_object_put(found);
}

static struct json_object *at(struct json_object *schema, const char *pointer)
{
    char path[PATH_SIZE];
    char *rest = path, *name;

    snprintf(path, sizeof(path), "%s", pointer);
    while ((name = strsep(&rest, "/")))
        assert_true(json_object_object_get_ex(schema, name, &schema));
    return schema;
}

/* The comparison itself: one difference of each kind is one, wherever it is. */
static void test_difference_is_noticed(void **state)
{
    struct json_object *wanted = wanted_schema();
    struct json_object *found = read_schema();

    json_object_object_del(at(found, "properties/jail/properties"), "files");
    assert_int_equal(count_differences(wanted, found, "", false), 1);
    add(at(found, "properties/dma/properties"), "pages", "{\"type\":\"integer\"}");
    assert_int_equal(count_differences(wanted, found, "", false), 2);
    add(at(found, "properties/restart/properties/max"), "default", "6");
    assert_int_equal(count_differences(wanted, found, "", false), 3);
    add(at(found, "properties/resources/items"), "required", "[\"name\"]");
    assert_int_equal(count_differences(wanted, found, "", false), 4);
    json_object_object_del(at(found, "properties/client"), "not");
    assert_int_equal(count_differences(wanted, found, "", false), 5);
    add(at(found, "$defs/id"), "maximum", "4294967295");
    assert_int_equal(count_differences(wanted, found, "", false), 6);
    json_object_put(wanted);
    json_object_put(found);
}

/* Returns how many keys there are. */
static size_t check_descriptions(struct json_object *object)
{
    size_t count = 0;

    json_object_object_foreach(at(object, "properties"), name, schema)
    {
        struct json_object *items, *properties;
        const char *text = json_object_get_string(json_object_object_get(schema, "description"));
        if (!text || strlen(text) < 10)
            print_error("%s has no description\n", name);
        assert_true(text && strlen(text) >= 10);
        count++;
        if (json_object_object_get_ex(schema, "properties", &properties))
            count += check_descriptions(schema);
        if (json_object_object_get_ex(schema, "items", &items) &&
            json_object_object_get_ex(items, "properties", &properties))
            count += check_descriptions(items);
    }
    return count;
}

static size_t count_keys(const struct policy_key *keys)
{
    size_t count = 0;

    for (const struct policy_key *key = keys; key->name; key++)
        count += 1 + (key->keys ? count_keys(key->keys) : 0);
    return count;
}

static void test_every_key_is_described(void **state)
{
    struct json_object *schema = read_schema();

    assert_int_equal(check_descriptions(schema), count_keys(policy_root.keys));
    json_object_put(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_describes_the_parser),
        cmocka_unit_test(test_difference_is_noticed),
        cmocka_unit_test(test_every_key_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
