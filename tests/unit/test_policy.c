/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every key of a policy: default, good values, each kind of bad value with its message.
 */
#include "policy/keys.h"
#include "tests/unit/policy_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE_WANTED(range) "wanted bytes, or a string like \"64M\" with K, M, G or T, from " range
#define PROGRAM_WANTED "wanted a plain name, or an absolute path without '.', '..' and empty parts"

/* Everything that a policy can say, and nothing that is the default. */
static const char full_policy[] =
    "{'version': 1,\n"
    " 'device': {'program': '/usr/bin/card', 'args': ['-v', '--socket={socket}', ''],\n"
    "            'env': {'B': '2', 'A': 'x=y', '_c9': ''}},\n"
    " 'client': {'uids': [1000, 2000], 'gids': [3000, 4294967294], 'process': 'per-session',\n"
    "            'handshake_seconds': 1, 'stall_seconds': 3600},\n"
    " 'dma': {'access': 'rw', 'max_regions': 7, 'max_bytes': '3G', 'memory': ['memfd'],\n"
    "         'require_seals': ['shrink', 'grow', 'seal']},\n"
    " 'irqs': {'max_vectors': 3},\n"
    " 'resources': [{'name': 'disk.0', 'path': '/srv/disk', 'access': 'rw'},\n"
    "               {'name': 'rom', 'path': '/srv/..rom'}],\n"
    " 'jail': {'files': ['/etc/card.conf', '/usr/lib/.card'], 'syscalls': ['fsync', 'pread64'],\n"
    " 'threads': 7,\n"
    "          'optional': ['landlock', 'user-namespace'],\n"
    "          'limits': {'memory': 2097152, 'descriptors': 5,\n"
    "                     'requests_per_second': 17, 'cpu_percent': 150}},\n"
    " 'restart': {'on_crash': 'stop', 'max': 0, 'within_seconds': 9, 'on_hang': 'log'},\n"
    " 'start_seconds': 11, 'poll_us': 0, 'watchdog_seconds': 12}\n";

static void test_default_of_every_key(void **state)
{
    struct policy *policy = policy_expect("{'version':1,'device':{'program':'card'}}");

    assert_string_equal(policy->file, "policy.json");
    assert_string_equal(policy->program, "card");
    assert_string_equal(policy->args[0], "{socket}");
    assert_null(policy->args[1]);
    assert_null(policy->env[0]);
    assert_int_equal(policy->client_uids[0], getuid());
    assert_int_equal(policy->client_uid_count, getuid() == 0 ? 1 : 2);
    assert_int_equal(policy->client_uids[policy->client_uid_count - 1], 0);
    assert_int_equal(policy->client_gid_count, 0);
    assert_int_equal(policy->handshake_seconds, 10);
    assert_int_equal(policy->stall_seconds, 30);
    assert_int_equal(policy->dma_access, DMA_ACCESS_NONE);
    assert_int_equal(policy->dma_max_regions, 65535);
    assert_int_equal(policy->dma_max_bytes, UINT64_C(1) << 40);
    assert_int_equal(policy->dma_memory,
                     MEMORY_KIND_MEMFD | MEMORY_KIND_TMPFS | MEMORY_KIND_HUGETLBFS);
    assert_int_equal(policy->dma_seals, 0);
    assert_int_equal(policy->irq_max_vectors, 2048);
    assert_int_equal(policy->resource_count, 0);
    assert_null(policy->jail_files[0]);
    assert_null(policy->jail_syscalls[0]);
    assert_int_equal(policy->jail_threads, 0);
    assert_int_equal(policy->jail_optional, JAIL_LAYER_MDWE);
    assert_int_equal(policy->limit_memory, 64 << 20);
    assert_int_equal(policy->limit_descriptors, 32);
    assert_int_equal(policy->limit_requests_per_second, 20000);
    assert_int_equal(policy->limit_cpu_percent, 0);
    assert_int_equal(policy->on_crash, ON_CRASH_RESTART);
    assert_int_equal(policy->crash_max, 5);
    assert_int_equal(policy->crash_within_seconds, 60);
    assert_int_equal(policy->start_seconds, 10);
    assert_int_equal(policy->poll_us, 50);
    assert_int_equal(policy->on_hang, ON_HANG_RESTART);
    assert_int_equal(policy->watchdog_seconds, 0);
    policy_free(policy);
}

static void check_full_device(const struct policy *policy)
{
    assert_string_equal(policy->program, "/usr/bin/card");
    assert_string_equal(policy->args[0], "-v");
    assert_string_equal(policy->args[1], "--socket={socket}");
    assert_string_equal(policy->args[2], "");
    assert_null(policy->args[3]);
    assert_string_equal(policy->env[0], "B=2");
    assert_string_equal(policy->env[1], "A=x=y");
    assert_string_equal(policy->env[2], "_c9=");
    assert_null(policy->env[3]);
}

static void check_full_client(const struct policy *policy)
{
    assert_int_equal(policy->client_uid_count, 2);
    assert_int_equal(policy->client_uids[0], 1000);
    assert_int_equal(policy->client_uids[1], 2000);
    assert_int_equal(policy->client_gid_count, 2);
    assert_int_equal(policy->client_gids[0], 3000);
    assert_int_equal(policy->client_gids[1], 4294967294);
    assert_int_equal(policy->handshake_seconds, 1);
    assert_int_equal(policy->stall_seconds, 3600);
}

static void check_full_resources(const struct policy *policy)
{
    assert_int_equal(policy->resource_count, 2);
    assert_string_equal(policy->resources[0].name, "disk.0");
    assert_string_equal(policy->resources[0].path, "/srv/disk");
    assert_true(policy->resources[0].writable);
    assert_string_equal(policy->resources[1].name, "rom");
    assert_string_equal(policy->resources[1].path, "/srv/..rom");
    assert_false(policy->resources[1].writable);
}

static void check_full_jail(const struct policy *policy)
{
    assert_string_equal(policy->jail_files[0], "/etc/card.conf");
    assert_string_equal(policy->jail_files[1], "/usr/lib/.card");
    assert_null(policy->jail_files[2]);
    assert_string_equal(policy->jail_syscalls[0], "fsync");
    assert_string_equal(policy->jail_syscalls[1], "pread64");
    assert_null(policy->jail_syscalls[2]);
    assert_int_equal(policy->jail_threads, 7);
    assert_int_equal(policy->jail_optional, JAIL_LAYER_LANDLOCK | JAIL_LAYER_USER_NAMESPACE);
    assert_int_equal(policy->limit_memory, 2097152);
    assert_int_equal(policy->limit_descriptors, 5);
    assert_int_equal(policy->limit_requests_per_second, 17);
    assert_int_equal(policy->limit_cpu_percent, 150);
}

static void test_value_of_every_key(void **state)
{
    struct policy *policy = policy_expect(full_policy);

    check_full_device(policy);
    check_full_client(policy);
    assert_int_equal(policy->dma_access, DMA_ACCESS_RW);
    assert_int_equal(policy->dma_max_regions, 7);
    assert_int_equal(policy->dma_max_bytes, UINT64_C(3) << 30);
    assert_int_equal(policy->dma_memory, MEMORY_KIND_MEMFD);
    assert_int_equal(policy->dma_seals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(policy->irq_max_vectors, 3);
    check_full_resources(policy);
    check_full_jail(policy);
    assert_int_equal(policy->on_crash, ON_CRASH_STOP);
    assert_int_equal(policy->crash_max, 0);
    assert_int_equal(policy->crash_within_seconds, 9);
    assert_int_equal(policy->start_seconds, 11);
    assert_int_equal(policy->poll_us, 0);
    assert_int_equal(policy->on_hang, ON_HANG_LOG);
    assert_int_equal(policy->watchdog_seconds, 12);
    policy_free(policy);
}

static void test_shipped_policies_load(void **state)
{
    char error[1024] = "";
    struct policy *card = policy_load(POLICY_DIR "/gpio.json", error, sizeof(error));

    assert_string_equal(error, "");
    assert_string_equal(card->program, "gpio-pci-idio-16");
    assert_string_equal(card->args[0], "{socket}");
    assert_int_equal(card->dma_access, DMA_ACCESS_NONE);
    assert_int_equal(card->irq_max_vectors, 1);
    policy_free(card);

    struct policy *loopback = policy_load(POLICY_DIR "/gpio-loopback.json", error, sizeof(error));
    assert_string_equal(error, "");
    assert_string_equal(loopback->args[0], "--loopback");
    assert_string_equal(loopback->args[1], "{socket}");
    assert_null(loopback->args[2]);
    assert_int_equal(loopback->dma_access, DMA_ACCESS_NONE);
    assert_int_equal(loopback->irq_max_vectors, 1);
    policy_free(loopback);
}

static void test_unknown_key_is_named(void **state)
{
    policy_expect_value_error("devices", "{}",
                              "unknown key, wanted one of version, device, client, dma, irqs, "
                              "resources, jail, restart, start_seconds, poll_us, watchdog_seconds");
    policy_expect_value_error("device.arg", "[]", "unknown key, wanted one of program, args, env");
    policy_expect_value_error("client.uid", "0",
                              "unknown key, wanted one of uids, gids, process, "
                              "handshake_seconds, stall_seconds");
    policy_expect_value_error("dma.acess", "'rw'",
                              "unknown key, wanted one of access, max_regions, max_bytes, memory, "
                              "require_seals");
    policy_expect_value_error("irqs.max", "1", "unknown key, wanted one of max_vectors");
    policy_expect_value_error(
        "jail.limits.cpu", "1",
        "unknown key, wanted one of memory, descriptors, requests_per_second, "
        "cpu_percent");
    policy_expect_value_error(
        "jail.limit", "{}",
        "unknown key, wanted one of user, files, syscalls, threads, optional, limits");
    policy_expect_value_error("restart.on-crash", "'stop'",
                              "unknown key, wanted one of on_crash, max, within_seconds, on_hang");
    policy_expect_error("{'version':1,'device':{'program':'p'},"
                        "'resources':[{'name':'a','path':'/a'},{'nam':'b'}]}",
                        "resources[1].nam: unknown key, wanted one of name, path, access");
    policy_expect_error("{'version':1,'device':{'program':'p'},'':0,'a':{}}",
                        "\"\": unknown key, wanted one of version, device, client, dma, irqs, "
                        "resources, jail, restart, start_seconds, poll_us, watchdog_seconds");
}

static void test_choice_not_built_yet_is_refused(void **state)
{
    policy_expect_value_error("client.process", "'shared'",
                              "found \"shared\", not supported by this version (not built yet), "
                              "wanted \"per-session\"");
}

static void test_missing_key_is_named(void **state)
{
    policy_expect_error("{}", "version: missing, wanted 1");
    policy_expect_error("{'version':1}", "device.program: missing, " PROGRAM_WANTED);
    policy_expect_error("{'version':1,'device':{'args':[]}}",
                        "device.program: missing, " PROGRAM_WANTED);
}

static void test_version_is_judged_first(void **state)
{
    policy_expect_error("{'what':0,'version':2}", "version: found 2, wanted 1");
    policy_expect_error("{'version':'1'}", "version: found \"1\", wanted 1");
    policy_expect_error("{'what':0}", "version: missing, wanted 1");
}

/* Calls @visit for every key, with its path. */
static void for_each_key(const struct policy_key *keys, const char *prefix,
                         void (*visit)(const struct policy_key *key, const char *path))
{
    for (const struct policy_key *key = keys; key->name; key++) {
        char *path;
        assert_true(asprintf(&path, "%s%s%s", prefix, *prefix ? "." : "", key->name) > 0);
        visit(key, path);
        if (key->type == POLICY_KEY_OBJECT)
            for_each_key(key->keys, path, visit);
        free(path);
    }
}

static void accept_number(const char *path, uint64_t number)
{
    char value[32];

    snprintf(value, sizeof(value), "%" PRIu64, number);
    policy_free(policy_expect_value(path, value));
}

static void refuse_number(const char *path, const char *sign, uint64_t number, const char *wanted)
{
    char value[32], error[128];

    snprintf(value, sizeof(value), "%s%" PRIu64, sign, number);
    snprintf(error, sizeof(error), "found %s, %s", value, wanted);
    policy_expect_value_error(path, value, error);
}

static void check_integer(const struct policy_key *key, const char *path)
{
    char wanted[64];

    if (key->type != POLICY_KEY_INTEGER)
        return;
    snprintf(wanted, sizeof(wanted),
             key->min == key->max ? "wanted %" PRIu64
                                  : "wanted an integer from %" PRIu64 " to %" PRIu64,
             key->min, key->max);
    accept_number(path, key->min);
    accept_number(path, key->max);
    refuse_number(path, "", key->max + 1, wanted);
    refuse_number(path, "-", 1, wanted);
    if (key->min > 0)
        refuse_number(path, "", key->min - 1, wanted);
    refuse_number(path, "", UINT64_MAX, wanted);
    refuse_number(path, "", (uint64_t)UINT32_MAX + 1 + key->min, wanted);
}

static void test_integers_have_limits(void **state)
{
    for_each_key(policy_root.keys, "", check_integer);
    policy_expect_value_error("irqs.max_vectors", "2049",
                              "found 2049, wanted an integer from 0 to 2048");
    policy_expect_value_error("client.handshake_seconds", "0",
                              "found 0, wanted an integer from 1 to 3600");
    policy_expect_value_error("client.stall_seconds", "3601",
                              "found 3601, wanted an integer from 1 to 3600");
    policy_expect_value_error("dma.max_regions", "1000001",
                              "found 1000001, wanted an integer from 1 to 1000000");
    policy_expect_value_error("restart.max", "1001",
                              "found 1001, wanted an integer from 0 to 1000");
    policy_expect_value_error("restart.within_seconds", "0",
                              "found 0, wanted an integer from 1 to 3600");
    policy_expect_value_error("start_seconds", "0", "found 0, wanted an integer from 1 to 3600");
    policy_expect_value_error("poll_us", "1001", "found 1001, wanted an integer from 0 to 1000");
    policy_expect_value_error("jail.limits.descriptors", "0",
                              "found 0, wanted an integer from 1 to 65536");
}

static void test_number_that_is_no_integer_is_refused(void **state)
{
    static const char wanted[] = "wanted an integer from 1 to 3600";
    static const char *const values[] = { "1.0", "1e1", "'10'", "true", "NaN", "-Infinity" };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[128], error[128];
        bool quoted = values[i][0] == '\'';
        snprintf(text, sizeof(text), "{'version':1,'device':{'program':'p'},'start_seconds':%s}",
                 values[i]);
        snprintf(error, sizeof(error), "start_seconds: found %s, %s", quoted ? "\"10\"" : values[i],
                 wanted);
        policy_expect_error(text, error);
    }
    /* What json-c makes of numbers beyond 64 bits is out of range as well. */
    policy_expect_error("{'version':1,'device':{'program':'p'},'start_seconds':1" /* 2^64 + 1 */
                        "8446744073709551617}",
                        "start_seconds: found 18446744073709551615, "
                        "wanted an integer from 1 to 3600");
}

static void expect_size(const char *value, uint64_t size)
{
    struct policy *policy = policy_expect_value("dma.max_bytes", value);

    assert_int_equal(policy->dma_max_bytes, size);
    policy_free(policy);
}

static void test_size_takes_bytes_and_units(void **state)
{
    expect_size("4096", 4096);
    expect_size("'4K'", 4096);
    expect_size("'5M'", 5 * UINT64_C(1048576));
    expect_size("'6G'", 6 * UINT64_C(1073741824));
    expect_size("'7T'", 7 * UINT64_C(1099511627776));
    expect_size("'0008K'", 8192);
    expect_size("'1048576T'", UINT64_C(1) << 60);
    expect_size("1152921504606846976", UINT64_C(1) << 60);
}

static void test_size_that_is_none_is_refused(void **state)
{
    static const char *const values[] = {
        "''",
        "'K'",
        "'4k'",
        "'4096'",
        "'4KB'",
        "' 4K'",
        "'4 K'",
        "'4K '",
        "'-4K'",
        "'+4K'",
        "'4.5K'",
        "'0x4K'",
        "'4P'",
        "'1048577T'",
        "'16777216T'",
        "'3K'",
        "'0K'",
        "4095",
        "0",
        "-4096",
        "5000.5",
        "[]",
        "null",
        "'4\xc3\xa4'",
        "1152921504606846977",
        "'18446744073709551616K'",
        "'18014398509481985K'",
        "'99999999999999999999999999T'",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char error[256], found[64];
        snprintf(found, sizeof(found), "%s", values[i]);
        for (char *c = found; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        if (strcmp(found, "[]") == 0)
            snprintf(found, sizeof(found), "a list of 0");
        snprintf(error, sizeof(error), "found %s, " SIZE_WANTED("4K to 1048576T"), found);
        policy_expect_value_error("dma.max_bytes", values[i], error);
    }
    policy_expect_value_error("jail.limits.memory", "'1023K'",
                              "found \"1023K\", " SIZE_WANTED("1M to 256T"));
    policy_expect_value_error("jail.limits.memory", "'257T'",
                              "found \"257T\", " SIZE_WANTED("1M to 256T"));
}

static void test_choice_takes_its_words_only(void **state)
{
    policy_expect_value_error("dma.access", "'RW'",
                              "found \"RW\", wanted one of \"none\", \"ro\", \"rw\"");
    policy_expect_value_error("dma.access", "''",
                              "found \"\", wanted one of \"none\", \"ro\", \"rw\"");
    policy_expect_value_error("client.process", "1", "found 1, wanted \"per-session\"");
    policy_expect_value_error("restart.on_crash", "true",
                              "found true, wanted one of \"restart\", \"stop\"");
    policy_expect_value_error("resources", "[{'name':'a','path':'/a','access':'wo'}]",
                              "[0].access: found \"wo\", wanted one of \"ro\", \"rw\"");
}

static void test_set_takes_its_words_once(void **state)
{
    policy_expect_value_error("dma.memory", "[]",
                              "found a list of 0, wanted at least one of "
                              "\"memfd\", \"tmpfs\", \"hugetlbfs\"");
    policy_expect_value_error("dma.memory", "['memfd','ext4']",
                              "[1]: found \"ext4\", wanted one of "
                              "\"memfd\", \"tmpfs\", \"hugetlbfs\"");
    policy_expect_value_error("dma.memory", "'memfd'",
                              "found \"memfd\", wanted a list of "
                              "\"memfd\", \"tmpfs\", \"hugetlbfs\"");
    policy_expect_value_error("dma.require_seals", "['grow','shrink','grow']",
                              "[2]: found \"grow\", wanted it once in the list");
    policy_expect_value_error("dma.require_seals", "[7]",
                              "[0]: found 7, wanted one of \"seal\", \"shrink\", \"grow\", "
                              "\"write\", \"future-write\"");
    policy_expect_value_error("jail.optional", "['seccomp']",
                              "[0]: found \"seccomp\", wanted one of \"user-namespace\", "
                              "\"cgroup-namespace\", \"landlock\", \"mdwe\", \"cgroup\"");
}

static void test_explicit_list_replaces_the_default(void **state)
{
    struct policy *policy = policy_expect_value("jail.optional", "[]");
    assert_int_equal(policy->jail_optional, 0);
    policy_free(policy);

    policy = policy_expect_value("jail.optional", "['cgroup-namespace']");
    assert_int_equal(policy->jail_optional, JAIL_LAYER_CGROUP_NAMESPACE);
    policy_free(policy);

    policy = policy_expect_value("device.args", "[]");
    assert_null(policy->args[0]);
    policy_free(policy);
}

static void test_every_seal_is_read(void **state)
{
    static const struct {
        const char *word;
        unsigned seal;
    } seals[] = { { "['seal']", F_SEAL_SEAL },
                  { "['shrink']", F_SEAL_SHRINK },
                  { "['grow']", F_SEAL_GROW },
                  { "['write']", F_SEAL_WRITE },
                  { "['future-write']", F_SEAL_FUTURE_WRITE } };

    for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
        struct policy *policy = policy_expect_value("dma.require_seals", seals[i].word);
        assert_int_equal(policy->dma_seals, seals[i].seal);
        policy_free(policy);
    }
}

static void test_write_seal_with_writable_dma_is_refused(void **state)
{
    static const char error[] = "dma.require_seals: found \"write\" or \"future-write\" with "
                                "dma.access \"rw\", wanted only \"seal\", \"shrink\", \"grow\"";

    policy_expect_error("{'version':1,'device':{'program':'p'},"
                        "'dma':{'access':'rw','require_seals':['grow','write']}}",
                        error);
    policy_expect_error("{'version':1,'device':{'program':'p'},"
                        "'dma':{'access':'rw','require_seals':['future-write']}}",
                        error);
}

static struct json_object *parse_full_policy(void)
{
    char *text = strdup(full_policy);

    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct json_object *root = json_tokener_parse(text);
    assert_non_null(root);
    free(text);
    return root;
}

/* Replaces the value at @pointer of a fresh full policy; the message must name its @path. */
static void check_replaced(struct json_object *root, const char *path, struct json_object *bad)
{
    const char *text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
    char error[1024] = "", wanted[256];

    scratch_write("policy.json", text, strlen(text));
    snprintf(wanted, sizeof(wanted), "policy.json: %s: found %s, wanted ", path,
             json_object_to_json_string(bad));
    assert_null(policy_load("policy.json", error, sizeof(error)));
    assert_memory_equal(error, wanted, strlen(wanted));
}

static size_t break_values(struct json_object *root, struct json_object *at, const char *path);

static size_t break_value(struct json_object *root, struct json_object *parent, const char *name,
                          size_t index, const char *path)
{
    bool is_member = json_object_is_type(parent, json_type_object);
    struct json_object *value =
        is_member ? json_object_object_get(parent, name) : json_object_array_get_idx(parent, index);
    struct json_object *bad[] = { NULL, json_object_new_boolean(true),
                                  json_object_new_double(1.5) };
    size_t count = break_values(root, value, path);

    json_object_get(value);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++, count++) {
        struct json_object *taken = json_object_get(bad[i]);
        if (is_member)
            json_object_object_add(parent, name, taken);
        else
            json_object_array_put_idx(parent, index, taken);
        check_replaced(root, path, bad[i]);
    }
    if (is_member)
        json_object_object_add(parent, name, value);
    else
        json_object_array_put_idx(parent, index, value);
    json_object_put(bad[1]);
    json_object_put(bad[2]);
    return count;
}

/* Gives every value below @at a type that it cannot have. Returns how many were tried. */
static size_t break_values(struct json_object *root, struct json_object *at, const char *path)
{
    char below[256];
    size_t count = 0;

    if (json_object_is_type(at, json_type_object)) {
        json_object_object_foreach(at, name, value)
        {
            (void)value;
            snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", name);
            count += break_value(root, at, name, 0, below);
        }
    } else if (json_object_is_type(at, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(at); i++) {
            snprintf(below, sizeof(below), "%s[%zu]", path, i);
            count += break_value(root, at, NULL, i, below);
        }
    }
    return count;
}

static void test_wrong_type_of_every_value_is_named(void **state)
{
    struct json_object *root = parse_full_policy();

    assert_int_equal(break_values(root, root, ""), 3 * 65);
    json_object_put(root);
}

static void test_layers_have_the_words_of_the_policy(void **state)
{
    assert_string_equal(policy_layer_name(JAIL_LAYER_USER_NAMESPACE), "user-namespace");
    assert_string_equal(policy_layer_name(JAIL_LAYER_CGROUP_NAMESPACE), "cgroup-namespace");
    assert_string_equal(policy_layer_name(JAIL_LAYER_LANDLOCK), "landlock");
    assert_string_equal(policy_layer_name(JAIL_LAYER_MDWE), "mdwe");
}

static void test_free_of_nothing_returns_null(void **state)
{
    assert_null(policy_free(NULL));
    assert_null(policy_free(policy_expect(full_policy)));
}

/* Every beginning of a policy, and every byte replaced: no crash, no leak, one line. */
static void expect_no_surprise(const char *text, size_t length, bool may_load)
{
    static const char file[] = "policy.json: ";
    char error[1024] = "";

    scratch_write("policy.json", text, length);
    struct policy *policy = policy_load("policy.json", error, sizeof(error));
    if (policy) {
        assert_true(may_load);
        policy_free(policy);
        return;
    }
    assert_memory_equal(error, file, strlen(file));
    for (const char *c = error; *c; c++)
        assert_true((unsigned char)*c >= 0x20);
}

static void test_broken_policies_are_refused(void **state)
{
    static const char others[] = { '\0', '\n', '"', '{', '}', ']', ',', '0', '\xff' };
    struct json_object *root = parse_full_policy();
    char *text = strdup(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN));
    size_t length = strlen(text);

    json_object_put(root);
    expect_no_surprise(text, length, true);
    for (size_t end = 0; end < length; end++)
        expect_no_surprise(text, end, false);
    for (size_t at = 0; at < length; at++) {
        char byte = text[at];
        for (size_t i = 0; i < sizeof(others); i++) {
            text[at] = others[i];
            expect_no_surprise(text, length, true);
        }
        text[at] = byte;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_of_every_key),
        cmocka_unit_test(test_value_of_every_key),
        cmocka_unit_test(test_shipped_policies_load),
        cmocka_unit_test(test_unknown_key_is_named),
        cmocka_unit_test(test_choice_not_built_yet_is_refused),
        cmocka_unit_test(test_missing_key_is_named),
        cmocka_unit_test(test_version_is_judged_first),
        cmocka_unit_test(test_integers_have_limits),
        cmocka_unit_test(test_number_that_is_no_integer_is_refused),
        cmocka_unit_test(test_size_takes_bytes_and_units),
        cmocka_unit_test(test_size_that_is_none_is_refused),
        cmocka_unit_test(test_choice_takes_its_words_only),
        cmocka_unit_test(test_set_takes_its_words_once),
        cmocka_unit_test(test_explicit_list_replaces_the_default),
        cmocka_unit_test(test_every_seal_is_read),
        cmocka_unit_test(test_write_seal_with_writable_dma_is_refused),
        cmocka_unit_test(test_wrong_type_of_every_value_is_named),
        cmocka_unit_test(test_layers_have_the_words_of_the_policy),
        cmocka_unit_test(test_free_of_nothing_returns_null),
        cmocka_unit_test(test_broken_policies_are_refused),
    };

    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
