/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Users and groups in a policy: who the broker is decides what they come to mean, so that most of
 * these load the policy in a child with another identity.
 */
#include "tests/unit/policy_helper.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STRANGER 12345 /* no account has this number */
#define STRANGERS_GROUP 54321

/* What a child made of policy.json. */
struct outcome {
    bool changed; /* its identity */
    bool loaded;
    int error_number;
    char error[512];
    uid_t uids[2];
    size_t uid_count;
    gid_t gids[2];
    size_t gid_count;
    uid_t jail_uid;
    gid_t jail_gid;
};

static void load_here(struct outcome *outcome)
{
    struct policy *policy = policy_load("policy.json", outcome->error, sizeof(outcome->error));

    outcome->error_number = errno;
    outcome->loaded = policy != NULL;
    if (!policy)
        return;
    memcpy(outcome->uids, policy->client_uids, sizeof(outcome->uids));
    memcpy(outcome->gids, policy->client_gids, sizeof(outcome->gids));
    outcome->uid_count = policy->client_uid_count;
    outcome->gid_count = policy->client_gid_count;
    outcome->jail_uid = policy->jail_uid;
    outcome->jail_gid = policy->jail_gid;
    policy_free(policy);
}

static struct outcome load_as(bool (*change)(void))
{
    struct outcome outcome = {};
    int pipe_fds[2], status;

    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        outcome.changed = change();
        if (outcome.changed)
            load_here(&outcome);
        _exit(write(pipe_fds[1], &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
    }
    assert_int_equal(read(pipe_fds[0], &outcome, sizeof(outcome)), sizeof(outcome));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return outcome;
}

static bool become_ordinary(void)
{
    return geteuid() != 0 || (setgroups(0, NULL) == 0 &&
                              setresgid(STRANGERS_GROUP, STRANGERS_GROUP, STRANGERS_GROUP) == 0 &&
                              setresuid(STRANGER, STRANGER, STRANGER) == 0);
}

/* A namespace without a map: all ids are 65534. */
static bool become_unmapped(void)
{
    return unshare(CLONE_NEWUSER) == 0;
}

/* Of the child that become_ordinary() makes. */
static uid_t ordinary_uid(void)
{
    return geteuid() == 0 ? STRANGER : geteuid();
}

static gid_t ordinary_gid(void)
{
    return geteuid() == 0 ? STRANGERS_GROUP : getegid();
}

static void write_policy(const char *path, const char *value)
{
    char *text = policy_text_with(path, value);

    scratch_write("policy.json", text, strlen(text));
    free(text);
}

static void skip_unless_root(void)
{
    if (geteuid() != 0)
        skip();
}

static void test_clients_by_name_and_number(void **state)
{
    struct policy *policy = policy_expect_value("client.uids", "[7, 'root', 0, 4294967294, 8]");

    /* "root" and 0 are one. */
    assert_int_equal(policy->client_uid_count, 4);
    assert_int_equal(policy->client_uids[0], 7);
    assert_int_equal(policy->client_uids[1], 0);
    assert_int_equal(policy->client_uids[2], 4294967294);
    assert_int_equal(policy->client_uids[3], 8);
    policy_free(policy);

    policy = policy_expect_value("client.gids", "['root', 'self', 9]");
    assert_int_equal(policy->client_gids[0], 0);
    assert_int_equal(policy->client_gid_count, getgid() == 0 ? 2 : 3);
    assert_int_equal(policy->client_gids[policy->client_gid_count - 2], getgid());
    assert_int_equal(policy->client_gids[policy->client_gid_count - 1], 9);
    policy_free(policy);
}

static void test_client_that_does_not_exist_is_named(void **state)
{
    policy_expect_value_error("client.uids", "['root','no-such-user']",
                              "[1]: found \"no-such-user\", wanted a user that exists");
    policy_expect_value_error("client.gids", "['no-such-group']",
                              "[0]: found \"no-such-group\", wanted a group that exists");
    policy_expect_value_error("client.uids", "['1000']",
                              "[0]: found \"1000\", wanted a user that exists");
    policy_expect_value_error("client.uids", "['']", "[0]: found \"\", wanted text");
    policy_expect_value_error("client.gids", "['Self']",
                              "[0]: found \"Self\", wanted a group that exists");
}

static void test_client_of_a_wrong_kind_is_named(void **state)
{
    static const char wanted[] = "wanted the name of a user, or a number from 0 to 4294967294";
    static const char *const values[] = { "4294967295", "-1", "1.5", "null",
                                          "18446744073709551615" };
    char value[64], error[128];

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        snprintf(value, sizeof(value), "[%s]", values[i]);
        snprintf(error, sizeof(error), "[0]: found %s, %s", values[i], wanted);
        policy_expect_value_error("client.uids", value, error);
    }
    policy_expect_value_error("client.gids", "[4294967295]",
                              "[0]: found 4294967295, wanted the name of a group, or a number "
                              "from 0 to 4294967294");
    policy_expect_value_error("client.uids", "'self'",
                              "found \"self\", wanted a list of at most 64 items");
}

static void test_client_given_twice_is_refused(void **state)
{
    policy_expect_value_error("client.uids", "[5,6,5]", "[2]: found 5, wanted it once in the list");
    policy_expect_value_error("client.gids", "['self','self']",
                              "[1]: found \"self\", wanted it once in the list");
}

static void test_nobody_who_may_connect_is_refused(void **state)
{
    policy_expect_error("{'version':1,'device':{'program':'p'},'client':{'uids':[]}}",
                        "client: found nobody who may connect, wanted one or more in uids or gids");
    policy_free(policy_expect("{'version':1,'device':{'program':'p'},"
                              "'client':{'uids':[],'gids':[5]}}"));
}

static void test_self_is_the_ordinary_user(void **state)
{
    write_policy("client.gids", "['self']");
    struct outcome outcome = load_as(become_ordinary);

    assert_true(outcome.changed);
    assert_string_equal(outcome.error, "");
    assert_int_equal(outcome.uid_count, 2);
    assert_int_equal(outcome.uids[0], ordinary_uid());
    assert_int_equal(outcome.uids[1], 0);
    assert_int_equal(outcome.gid_count, 1);
    assert_int_equal(outcome.gids[0], ordinary_gid());
}

static void test_jail_user_of_an_ordinary_user_is_its_own(void **state)
{
    char value[32];

    write_policy("irqs.max_vectors", "1");
    struct outcome outcome = load_as(become_ordinary);
    assert_string_equal(outcome.error, "");
    assert_int_equal(outcome.jail_uid, ordinary_uid());
    assert_int_equal(outcome.jail_gid, ordinary_gid());

    snprintf(value, sizeof(value), "%u", (unsigned)ordinary_uid());
    write_policy("jail.user", value);
    outcome = load_as(become_ordinary);
    assert_string_equal(outcome.error, "");
    assert_int_equal(outcome.jail_uid, ordinary_uid());
    assert_int_equal(outcome.jail_gid, ordinary_gid());
}

static void test_jail_user_of_an_ordinary_user_is_no_other(void **state)
{
    static const char *const values[] = { "\"root\"", "0", "\"nobody\"", "4711" };
    char error[256];

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        write_policy("jail.user", values[i]);
        struct outcome outcome = load_as(become_ordinary);
        snprintf(error, sizeof(error),
                 "policy.json: jail.user: found %s, wanted %u or no such key: only root can have "
                 "another user",
                 values[i], (unsigned)ordinary_uid());
        assert_false(outcome.loaded);
        assert_int_equal(outcome.error_number, EINVAL);
        assert_string_equal(outcome.error, error);
    }
}

static void test_jail_user_of_root_is_nobody_by_default(void **state)
{
    skip_unless_root();
    const struct passwd *nobody = getpwnam("nobody");
    struct policy *policy = policy_expect_value("irqs.max_vectors", "1");

    assert_non_null(nobody);
    assert_int_equal(policy->jail_uid, nobody->pw_uid);
    assert_int_equal(policy->jail_gid, nobody->pw_gid);
    policy_free(policy);
}

static void test_jail_user_brings_the_primary_group(void **state)
{
    skip_unless_root();
    const struct passwd *mail = getpwnam("mail"); /* in Debian's base-passwd */
    assert_non_null(mail);
    uid_t uid = mail->pw_uid;
    gid_t gid = mail->pw_gid;
    char value[32];

    struct policy *policy = policy_expect_value("jail.user", "'mail'");
    assert_int_equal(policy->jail_uid, uid);
    assert_int_equal(policy->jail_gid, gid);
    policy_free(policy);

    snprintf(value, sizeof(value), "%u", (unsigned)uid);
    policy = policy_expect_value("jail.user", value);
    assert_int_equal(policy->jail_uid, uid);
    assert_int_equal(policy->jail_gid, gid);
    policy_free(policy);
}

static void test_jail_user_without_an_account_is_its_own_group(void **state)
{
    skip_unless_root();
    assert_null(getpwuid(STRANGER));
    struct policy *policy = policy_expect_value("jail.user", "12345");

    assert_int_equal(policy->jail_uid, STRANGER);
    assert_int_equal(policy->jail_gid, STRANGER);
    policy_free(policy);
}

static void test_jail_user_is_never_root(void **state)
{
    static const char wanted[] = "wanted a user that is neither root nor in root's group";
    char error[128];

    skip_unless_root();
    snprintf(error, sizeof(error), "found \"root\", %s", wanted);
    policy_expect_value_error("jail.user", "'root'", error);
    snprintf(error, sizeof(error), "found 0, %s", wanted);
    policy_expect_value_error("jail.user", "0", error);
}

static void test_jail_user_that_does_not_exist_is_named(void **state)
{
    policy_expect_value_error("jail.user", "'no-such-user'",
                              "found \"no-such-user\", wanted a user that exists");
    policy_expect_value_error("jail.user", "4294967295",
                              "found 4294967295, wanted the name of a user, or a number from 0 to "
                              "4294967294");
    policy_expect_value_error("jail.user", "['nobody']",
                              "found a list of 1, wanted the name of a user, or a number from 0 to "
                              "4294967294");
}

static void test_overflow_id_in_a_user_namespace_is_refused(void **state)
{
    static const char wanted[] = "in this user namespace it may be anybody";
    char error[256];

    write_policy("irqs.max_vectors", "1");
    struct outcome outcome = load_as(become_unmapped);
    if (!outcome.changed)
        skip(); /* this host gives us no user namespace */
    snprintf(error, sizeof(error),
             "policy.json: client.uids[0]: found \"self\" (the default), wanted no user 65534: %s",
             wanted);
    assert_string_equal(outcome.error, error);

    write_policy("client", "{'uids':[1000],'gids':[65534]}");
    outcome = load_as(become_unmapped);
    snprintf(error, sizeof(error),
             "policy.json: client.gids[0]: found 65534, wanted no group 65534: %s", wanted);
    assert_string_equal(outcome.error, error);
}

static void test_overflow_id_outside_a_user_namespace_is_a_user(void **state)
{
    char map[64] = "";
    FILE *file = fopen("/proc/self/uid_map", "re");

    assert_non_null(file);
    assert_non_null(fgets(map, sizeof(map), file));
    fclose(file);
    if (!strstr(map, " 4294967295\n"))
        skip(); /* the tests are in such a namespace themselves */
    struct policy *policy = policy_expect_value("client.uids", "[65534]");
    assert_int_equal(policy->client_uids[0], 65534);
    policy_free(policy);
}

static void test_unreadable_file_is_eacces_for_an_ordinary_user(void **state)
{
    write_policy("irqs.max_vectors", "1");
    assert_int_equal(chmod("policy.json", 0), 0);
    struct outcome outcome = load_as(become_ordinary);
    assert_int_equal(chmod("policy.json", 0644), 0);

    assert_true(outcome.changed);
    assert_false(outcome.loaded);
    assert_int_equal(outcome.error_number, EACCES);
    assert_string_equal(outcome.error, "policy.json: cannot be opened: Permission denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_by_name_and_number),
        cmocka_unit_test(test_client_that_does_not_exist_is_named),
        cmocka_unit_test(test_client_of_a_wrong_kind_is_named),
        cmocka_unit_test(test_client_given_twice_is_refused),
        cmocka_unit_test(test_nobody_who_may_connect_is_refused),
        cmocka_unit_test(test_self_is_the_ordinary_user),
        cmocka_unit_test(test_jail_user_of_an_ordinary_user_is_its_own),
        cmocka_unit_test(test_jail_user_of_an_ordinary_user_is_no_other),
        cmocka_unit_test(test_jail_user_of_root_is_nobody_by_default),
        cmocka_unit_test(test_jail_user_brings_the_primary_group),
        cmocka_unit_test(test_jail_user_without_an_account_is_its_own_group),
        cmocka_unit_test(test_jail_user_is_never_root),
        cmocka_unit_test(test_jail_user_that_does_not_exist_is_named),
        cmocka_unit_test(test_overflow_id_in_a_user_namespace_is_refused),
        cmocka_unit_test(test_overflow_id_outside_a_user_namespace_is_a_user),
        cmocka_unit_test(test_unreadable_file_is_eacces_for_an_ordinary_user),
    };

    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
