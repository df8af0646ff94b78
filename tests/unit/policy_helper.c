/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/policy_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <json-c/json_tokener.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/vfu-policy-XXXXXX";

int scratch_enter(void **state)
{
    /* Tests load policies as other users too. */
    umask(022);
    if (!mkdtemp(scratch) || chmod(scratch, 0755) < 0 || chdir(scratch) < 0)
        return -1;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int scratch_leave(void **state)
{
    if (chdir("/") < 0)
        return -1;
    return nftw(scratch, remove_entry, 4, FTW_DEPTH | FTW_PHYS);
}

void scratch_write(const char *name, const void *bytes, size_t length)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    close(fd);
}

static char *double_quotes(const char *text)
{
    char *copy = strdup(text);

    assert_non_null(copy);
    for (char *c = copy; *c; c++) {
        if (*c == '\'')
            *c = '"';
    }
    return copy;
}

static struct json_object *parse(const char *text)
{
    char *json = double_quotes(text);
    enum json_tokener_error error;
    struct json_object *object = json_tokener_parse_verbose(json, &error);

    assert_int_equal(error, json_tokener_success);
    free(json);
    return object;
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *found;

    if (!json_object_object_get_ex(object, name, &found)) {
        found = json_object_new_object();
        json_object_object_add(object, name, found);
    }
    return found;
}

char *policy_text_with(const char *path, const char *value)
{
    struct json_object *root = parse("{'version':1,'device':{'program':'p'}}");
    struct json_object *object = root;
    char *names = strdup(path), *rest = names, *name;

    while ((name = strsep(&rest, ".")) && rest)
        object = member(object, name);
    json_object_object_add(object, name, parse(value));
    char *text = strdup(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN));
    assert_non_null(text);
    free(names);
    json_object_put(root);
    return text;
}

static struct policy *load(const char *text, char *error, size_t size)
{
    char *json = double_quotes(text);

    scratch_write("policy.json", json, strlen(json));
    free(json);
    return policy_load("policy.json", error, size);
}

struct policy *policy_expect(const char *text)
{
    char error[1024] = "";
    struct policy *policy = load(text, error, sizeof(error));

    assert_string_equal(error, "");
    assert_non_null(policy);
    return policy;
}

struct policy *policy_expect_value(const char *path, const char *value)
{
    char *text = policy_text_with(path, value);
    struct policy *policy = policy_expect(text);

    free(text);
    return policy;
}

void policy_expect_error(const char *text, const char *wanted)
{
    static const char file[] = "policy.json: ";
    char error[1024] = "";

    errno = 0;
    struct policy *policy = load(text, error, sizeof(error));
    if (policy)
        print_error("loaded, not refused with: %s\n", wanted);
    assert_null(policy);
    assert_int_equal(errno, EINVAL);
    assert_memory_equal(error, file, strlen(file));
    assert_string_equal(error + strlen(file), wanted);
}

void policy_expect_value_error(const char *path, const char *value, const char *error)
{
    char *text = policy_text_with(path, value);
    char *line;

    assert_true(asprintf(&line, "%s%s%s", path, *error == '[' ? "" : ": ", error) > 0);
    policy_expect_error(text, line);
    free(line);
    free(text);
}
