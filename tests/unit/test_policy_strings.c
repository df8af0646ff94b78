/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strings in a policy: paths, names, variables, and the lists of them.
 */
#include "tests/unit/policy_helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH_WANTED "wanted an absolute path without '.', '..' and empty parts"
#define PROGRAM_WANTED "wanted a plain name, or an absolute path without '.', '..' and empty parts"

static void test_program_is_a_path_or_a_plain_name(void **state)
{
    static const char *const good[] = { "'p'",   "'/p'",   "'/usr/lib/p'", "'.p'",
                                        "'..p'", "'/...'", "'a b'",        "'/\xc3\xa9t\xc3\xa9/p'",
                                        "'p.'" };
    static const char *const bad[] = { "",    ".",   "..",      "a/b",  "./p",  "/",     "//p",
                                       "/p/", "/..", "/a/../b", "/a/.", "/./p", "/a//b", "p/" };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        policy_free(policy_expect_value("device.program", good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char value[32], error[128];
        snprintf(value, sizeof(value), "'%s'", bad[i]);
        snprintf(error, sizeof(error), "found \"%s\", " PROGRAM_WANTED, bad[i]);
        policy_expect_value_error("device.program", value, error);
    }
}

static void test_paths_are_absolute_and_plain(void **state)
{
    policy_expect_value_error("jail.files", "['/a','b']", "[1]: found \"b\", " PATH_WANTED);
    policy_expect_value_error("jail.files", "['/']", "[0]: found \"/\", " PATH_WANTED);
    policy_expect_value_error("jail.files", "['/a/../b']", "[0]: found \"/a/../b\", " PATH_WANTED);
    policy_expect_value_error("jail.files", "['/a',3]", "[1]: found 3, " PATH_WANTED);
    policy_expect_value_error("jail.files", "['']", "[0]: found \"\", " PATH_WANTED);
    policy_expect_value_error("jail.files", "['/a','/b','/a']",
                              "[2]: found \"/a\", wanted it once in the list");
    policy_expect_value_error("resources", "[{'name':'a','path':'a'}]",
                              "[0].path: found \"a\", " PATH_WANTED);
}

static void test_system_calls_are_names(void **state)
{
    policy_expect_value_error("jail.syscalls", "['fsync','Open']",
                              "[1]: found \"Open\", wanted the name of a system call");
    policy_expect_value_error("jail.syscalls", "[0]",
                              "[0]: found 0, wanted the name of a system call");
    policy_expect_value_error("jail.syscalls", "['']",
                              "[0]: found \"\", wanted the name of a system call");
    policy_expect_value_error("jail.syscalls", "['fsync','fsync']",
                              "[1]: found \"fsync\", wanted it once in the list");
    policy_expect_value_error("jail.syscalls", "'fsync'",
                              "found \"fsync\", wanted a list of at most 64 items");
}

static void test_resources_are_named_once(void **state)
{
    policy_expect_value_error("resources", "{}",
                              "found an object, wanted a list of at most 64 items");
    policy_expect_value_error("resources", "['/a']", "[0]: found \"/a\", wanted an object");
    policy_expect_value_error("resources", "[{'path':'/a'}]",
                              "[0].name: missing, wanted letters, digits, '_', '.', '-'");
    policy_expect_value_error("resources", "[{'name':'a'}]", "[0].path: missing, " PATH_WANTED);
    policy_expect_value_error("resources", "[{'name':'a=b','path':'/a'}]",
                              "[0].name: found \"a=b\", wanted letters, digits, '_', '.', '-'");
    policy_expect_value_error("resources",
                              "[{'name':'a','path':'/a'},{'name':'b','path':'/a'},"
                              "{'name':'a','path':'/c'}]",
                              "[2].name: found \"a\" again, wanted a name of its own");
}

static void test_environment_cannot_reach_the_loader(void **state)
{
    static const char *const kept[] = { "VFU_BROKER_FD", "VFU_BROKER_RESOURCES",
                                        "LD_PRELOAD",    "LD_LIBRARY_PATH",
                                        "LD_AUDIT",      "LD_ORIGIN_PATH",
                                        "LD_ANYTHING",   "LD_" };
    static const char *const bad[] = { "1A", "A-B", "A=B", "A B", "\xc3\xa4" };
    char path[64];

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        snprintf(path, sizeof(path), "device.env.%s", kept[i]);
        policy_expect_value_error(path, "'x'",
                                  "found a variable that the broker keeps to itself, wanted none "
                                  "of LD_* and VFU_BROKER_*");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(path, sizeof(path), "device.env.%s", bad[i]);
        policy_expect_value_error(path, "'x'",
                                  "found a name that is no variable's, wanted letters, digits "
                                  "and '_'");
    }
    policy_free(policy_expect_value("device.env.LDX", "'x'"));
    policy_free(policy_expect_value("device.env.XLD_PRELOAD", "'x'"));
}

static void test_environment_holds_strings(void **state)
{
    policy_expect_value_error("device.env", "['A=B']",
                              "found a list of 1, wanted an object of strings");
    policy_expect_value_error("device.env.A", "1", "found 1, wanted a string");
    policy_expect_value_error("device.env.A", "null", "found null, wanted a string");
    policy_expect_value_error("device.env.A", "'a\\nb'",
                              "found \"a\\nb\", wanted no control characters");
}

static void test_control_characters_are_refused(void **state)
{
    policy_expect_value_error("device.args", "['\\u001b[2J']",
                              "[0]: found \"\\u001b[2J\", wanted no control characters");
    policy_expect_value_error("device.program", "'/a\\nb'",
                              "found \"/a\\nb\", wanted no control characters");
    policy_expect_value_error("jail.files", "['/a\\u007f']",
                              "[0]: found \"/a?\", wanted no control characters");
}

/* A list of @count strings "x0", "x1", ... */
static char *list_of(size_t count, const char *format)
{
    char *list = calloc(count + 1, 32);

    assert_non_null(list);
    strcat(list, "[");
    for (size_t i = 0; i < count; i++) {
        sprintf(list + strlen(list), format, i);
        strcat(list, i + 1 < count ? "," : "");
    }
    strcat(list, "]");
    return list;
}

static void check_list_length(const char *path, const char *format)
{
    char *longest = list_of(64, format);
    char *longer = list_of(65, format);

    policy_free(policy_expect_value(path, longest));
    policy_expect_value_error(path, longer,
                              "found a list of 65, wanted a list of at most 64 items");
    free(longest);
    free(longer);
}

static void test_lists_are_limited(void **state)
{
    check_list_length("device.args", "'x%zu'");
    check_list_length("jail.files", "'/x%zu'");
    check_list_length("jail.syscalls", "'x%zu'");
    check_list_length("client.uids", "%zu");
    check_list_length("client.gids", "%zu");
    check_list_length("resources", "{'name':'%zu','path':'/x'}");
}

static void test_environment_is_limited(void **state)
{
    char text[4096] = "{";

    for (int i = 0; i < 64; i++)
        sprintf(text + strlen(text), "'V%d':'',", i);
    size_t length = strlen(text);
    strcpy(text + length - 1, "}");
    policy_free(policy_expect_value("device.env", text));
    strcpy(text + length, "'W':''}");
    text[length - 1] = ',';
    policy_expect_value_error("device.env", text, "found 65 variables, wanted at most 64");
}

static void test_strings_are_limited(void **state)
{
    char value[4200] = "'";

    memset(value + 1, 'x', 4095);
    strcpy(value + 4096, "'");
    policy_free(policy_expect_value("device.program", value));
    strcpy(value + 4096, "x'");
    policy_expect_value_error("device.program", value,
                              "found \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                              "..., wanted at most 4095 bytes");
}

static void test_long_value_is_cut_between_characters(void **state)
{
    /* The quote and 29 characters of two bytes are 59 bytes; the 60th would be half of one. */
    policy_expect_value_error("dma.access", "'ääääääääääääääääääääääääääääääääääääääää'",
                              "found \"äääääääääääääääääääääääääääää..., "
                              "wanted one of \"none\", \"ro\", \"rw\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_is_a_path_or_a_plain_name),
        cmocka_unit_test(test_paths_are_absolute_and_plain),
        cmocka_unit_test(test_system_calls_are_names),
        cmocka_unit_test(test_resources_are_named_once),
        cmocka_unit_test(test_environment_cannot_reach_the_loader),
        cmocka_unit_test(test_environment_holds_strings),
        cmocka_unit_test(test_control_characters_are_refused),
        cmocka_unit_test(test_lists_are_limited),
        cmocka_unit_test(test_environment_is_limited),
        cmocka_unit_test(test_strings_are_limited),
        cmocka_unit_test(test_long_value_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
