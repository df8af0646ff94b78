/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a policy is read from, and the JSON in it: nothing hangs, nothing is taken two ways.
 */
#include "tests/unit/policy_helper.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define SMALL "{'version':1,'device':{'program':'p'}}"
#define FILE_MAX (64 * 1024)

static void expect_load_error(const char *path, int wanted_errno, const char *wanted)
{
    char error[1024] = "";

    errno = 0;
    assert_null(policy_load(path, error, sizeof(error)));
    assert_int_equal(errno, wanted_errno);
    assert_string_equal(error, wanted);
}

static void expect_bytes_error(const char *bytes, size_t length, const char *wanted)
{
    scratch_write("policy.json", bytes, length);
    expect_load_error("policy.json", EINVAL, wanted);
}

static void test_missing_file_is_enoent(void **state)
{
    expect_load_error("absent.json", ENOENT,
                      "absent.json: cannot be opened: No such file or directory");
    expect_load_error("", ENOENT, ": cannot be opened: No such file or directory");
}

static void test_fifo_is_refused_at_once(void **state)
{
    assert_int_equal(mkfifo("fifo", 0600), 0);
    alarm(10); /* instead of a hang */
    expect_load_error("fifo", EINVAL,
                      "fifo: found a pipe, socket or device, wanted a regular file");
    alarm(0);
}

static void test_what_is_no_regular_file_is_refused(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    expect_load_error("socket", ENXIO, "socket: cannot be opened: No such device or address");
    expect_load_error(".", EINVAL, ".: found a directory, wanted a regular file");
    expect_load_error("/dev/null", EINVAL,
                      "/dev/null: found a pipe, socket or device, wanted a regular file");
    assert_int_equal(symlink("loop", "loop"), 0);
    expect_load_error("loop", ELOOP, "loop: cannot be opened: Too many levels of symbolic links");
}

static void test_file_of_64k_is_the_largest(void **state)
{
    static const char policy[] = "{\"version\":1,\"device\":{\"program\":\"p\"}}";
    char *text = malloc(FILE_MAX + 1);
    char error[1024] = "";

    memset(text, ' ', FILE_MAX + 1);
    memcpy(text, policy, strlen(policy));
    scratch_write("policy.json", text, FILE_MAX);
    policy_free(policy_load("policy.json", error, sizeof(error)));
    assert_string_equal(error, "");
    expect_bytes_error(text, FILE_MAX + 1,
                       "policy.json: found a larger file, wanted at most 65536 bytes");
    free(text);
}

static void test_symbolic_link_to_a_policy_is_followed(void **state)
{
    char error[1024] = "";

    policy_free(policy_expect(SMALL));
    assert_int_equal(symlink("policy.json", "link.json"), 0);
    struct policy *policy = policy_load("link.json", error, sizeof(error));
    assert_string_equal(error, "");
    assert_string_equal(policy->file, "link.json");
    policy_free(policy);
}

static void test_nul_byte_is_refused(void **state)
{
    static const char after[] = "{\"version\":1,\"device\":{\"program\":\"p\"}}\0{}";

    expect_bytes_error(after, sizeof(after) - 1,
                       "policy.json: found a NUL byte at offset 38, wanted JSON text");
}

static void test_empty_file_is_refused(void **state)
{
    policy_expect_error("", "line 1, column 1: found broken JSON (unexpected end of data), "
                            "wanted one object");
    policy_expect_error(" \n ", "line 2, column 2: found broken JSON (unexpected end of data), "
                                "wanted one object");
}

static void test_what_is_no_object_is_refused(void **state)
{
    policy_expect_error("[]", "found a list of 0, wanted an object");
    policy_expect_error("null", "found null, wanted an object");
    policy_expect_error("1", "found 1, wanted an object");
    policy_expect_error("'version'", "found \"version\", wanted an object");
}

static void test_what_is_no_json_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        { "{'version':1,}", "line 1, column 14: found broken JSON (unexpected character)" },
        { "{'version':1 'device':2}",
          "line 1, column 14: found broken JSON (object value separator ',' expected)" },
        { "{version:1}",
          "line 1, column 2: found broken JSON (quoted object property name expected)" },
        { "{'version':01}", "line 1, column 14: found broken JSON (number expected)" },
        { "{'version':True}", "line 1, column 12: found broken JSON (boolean expected)" },
        { "// comment\n{}", "line 1, column 1: found broken JSON (unexpected character)" },
        { "{\n  /* comment */ 'version':1}",
          "line 2, column 3: found broken JSON (quoted object property name expected)" },
        { SMALL " x", "line 1, column 40: found broken JSON (unexpected character)" },
        { SMALL SMALL, "line 1, column 39: found broken JSON (unexpected character)" },
        { "{'version':1,'device':{'program':'\xff'}}",
          "line 1, column 35: found broken JSON (invalid utf-8 string)" },
        { "\xef\xbb\xbf" SMALL, "line 1, column 1: found broken JSON (invalid utf-8 string)" },
        { "[[[[[[[[[]]]]]]]]]", "line 1, column 9: found broken JSON (nesting too deep)" },
        { "{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{}}}}}}}}}",
          "line 1, column 41: found broken JSON (nesting too deep)" },
    };
    char error[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(error, sizeof(error), "%s, wanted one object", cases[i].error);
        policy_expect_error(cases[i].text, error);
    }
}

static void test_deepest_nesting_is_a_wrong_value(void **state)
{
    policy_expect_error("[[[[[[[[]]]]]]]]", "found a list of 1, wanted an object");
}

static void test_nesting_as_deep_as_the_file_is_refused(void **state)
{
    char *text = malloc(FILE_MAX);

    memset(text, '[', FILE_MAX);
    expect_bytes_error(text, FILE_MAX,
                       "policy.json: line 1, column 9: found broken JSON (nesting "
                       "too deep), wanted one object");
    free(text);
}

static void test_key_given_twice_is_refused(void **state)
{
    policy_expect_error("{'version':1,'device':{'program':'p'},'version':1}",
                        "version: found twice, wanted once");
    policy_expect_error("{'version':1,'device':{'program':'p','program':'q'}}",
                        "device.program: found twice, wanted once");
    policy_expect_error("{'version':1,'device':{'program':'p','env':{'A':'{','B':'\\\\','A':''}}}",
                        "device.env.A: found twice, wanted once");
    policy_expect_error("{'version':1,'device':{'program':'p'},'resources':["
                        "{'name':'a','path':'/a'},{'name':'b','path':'/b','path':'/c'}]}",
                        "resources[1].path: found twice, wanted once");
}

static void test_key_given_twice_with_escapes_is_refused(void **state)
{
    policy_expect_error("{'version':1,'device':{'program':'p'},'\\u0076ersion':1}",
                        "version: found twice, wanted once");
    policy_expect_error("{'version':1,'device':{'program':'p','env':{'A':'\\'','\\u0041':''}}}",
                        "device.env.A: found twice, wanted once");
}

static void test_same_key_in_two_objects_is_fine(void **state)
{
    /* "memory" is a key of dma and of jail.limits, "max_regions" a value here. */
    policy_free(policy_expect("{'version':1,'device':{'program':'p','args':['a','a','a:','{a']},"
                              "'dma':{'memory':['memfd']},'jail':{'limits':{'memory':'1M'}},"
                              "'resources':[{'name':'a','path':'/a'},{'name':'b','path':'/a'}]}"));
}

static void test_key_in_single_quotes_is_refused(void **state)
{
    static const char text[] = "{\"version\":1,'device':{\"program\":\"p\"}}";

    expect_bytes_error(text, strlen(text), "policy.json: found a key in ', wanted keys in \"");
}

static void test_escaped_nul_is_refused(void **state)
{
    policy_expect_error("{'version':1,'device':{'program':'p\\u0000q'}}",
                        "device.program: found \\u0000 in a string, wanted text");
    policy_expect_error("{'version\\u0000':1,'device':{'program':'p'}}",
                        "found \\u0000 in a string, wanted text");
    policy_expect_error("{'version':1,'device':{'program':'p','args':['a','\\\\\\u0000']}}",
                        "device.args[1]: found \\u0000 in a string, wanted text");
    /* An escaped backslash, and then five plain characters. */
    struct policy *policy =
        policy_expect("{'version':1,'device':{'program':'p','args':['\\\\u0000']}}");
    assert_string_equal(policy->args[0], "\\u0000");
    policy_free(policy);
}

static void test_message_is_one_line_whatever_the_names(void **state)
{
    char error[1024] = "";

    scratch_write("a\nb\x1b.json", "{\"x\\ny\": 0, \"version\": 1}", 25);
    assert_null(policy_load("a\nb\x1b.json", error, sizeof(error)));
    assert_string_equal(error, "a?b?.json: x?y: unknown key, wanted one of version, device, "
                               "client, dma, irqs, resources, jail, restart, start_seconds, "
                               "poll_us, watchdog_seconds");
}

static void test_message_fits_any_buffer(void **state)
{
    char error[64];

    for (size_t size = 0; size <= sizeof(error); size++) {
        memset(error, '#', sizeof(error));
        assert_null(policy_load("absent.json", error, size));
        if (size > 0)
            assert_true(strnlen(error, size) < size);
        for (size_t i = size; i < sizeof(error); i++)
            assert_int_equal(error[i], '#');
    }
    assert_null(policy_load("absent.json", NULL, 0));
}

static void test_endless_key_is_cut(void **state)
{
    char text[2048] = "{\"version\":1,\"";
    char error[4096] = "";

    size_t length = strlen(text);
    memset(text + length, 'k', 1000);
    strcpy(text + length + 1000, "\":{}}");
    scratch_write("policy.json", text, strlen(text));
    assert_null(policy_load("policy.json", error, sizeof(error)));
    assert_memory_equal(error, "policy.json: kkk", 16);
    assert_non_null(strstr(error, "kkk: unknown key, wanted one of version, "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_file_is_enoent),
        cmocka_unit_test(test_fifo_is_refused_at_once),
        cmocka_unit_test(test_what_is_no_regular_file_is_refused),
        cmocka_unit_test(test_file_of_64k_is_the_largest),
        cmocka_unit_test(test_symbolic_link_to_a_policy_is_followed),
        cmocka_unit_test(test_nul_byte_is_refused),
        cmocka_unit_test(test_empty_file_is_refused),
        cmocka_unit_test(test_what_is_no_object_is_refused),
        cmocka_unit_test(test_what_is_no_json_is_refused),
        cmocka_unit_test(test_deepest_nesting_is_a_wrong_value),
        cmocka_unit_test(test_nesting_as_deep_as_the_file_is_refused),
        cmocka_unit_test(test_key_given_twice_is_refused),
        cmocka_unit_test(test_key_given_twice_with_escapes_is_refused),
        cmocka_unit_test(test_same_key_in_two_objects_is_fine),
        cmocka_unit_test(test_key_in_single_quotes_is_refused),
        cmocka_unit_test(test_escaped_nul_is_refused),
        cmocka_unit_test(test_message_is_one_line_whatever_the_names),
        cmocka_unit_test(test_message_fits_any_buffer),
        cmocka_unit_test(test_endless_key_is_cut),
    };

    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
