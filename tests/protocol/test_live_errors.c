/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A live migration in which a device's callbacks fail, each call of them on either side in turn,
 * and one in which a connection ends after each message in turn: issue 5, "It must hold". The
 * source runs on or is said to be stopped, and can be resumed; the destination does not run;
 * afterwards both migrate all the same.
 */
#include "client/live.h"
#include "tests/protocol/harness.h"
#include "tests/protocol/test-device-migration.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define STATE_SIZE (5u << 19) /* several pieces */
#define CALLS_MAX 100

struct pair {
    struct server servers[2];
    struct vfu_client *from;
    struct vfu_client *to;
};

static uint64_t get(struct vfu_client *client, enum migration_register reg)
{
    return device_get(client, (enum test_register)reg);
}

static void set(struct vfu_client *client, enum migration_register reg, uint64_t value)
{
    device_set(client, (enum test_register)reg, value);
}

static uint32_t state_of(struct vfu_client *client)
{
    uint32_t state = 0;

    assert_int_equal(vfu_client_migration_get_state(client, &state), 0);
    return state;
}

static int pair_setup(void **state)
{
    static struct pair pair;

    for (int i = 0; i < 2; i++) {
        server_start(&pair.servers[i], "migration");
    }
    pair.from = server_negotiate(&pair.servers[0]);
    pair.to = server_negotiate(&pair.servers[1]);
    *state = &pair;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *pair = *state;

    vfu_client_free(pair->from);
    vfu_client_free(pair->to);
    server_stop(&pair->servers[0]);
    server_stop(&pair->servers[1]);
    return 0;
}

/* Half of the state goes while the source runs. */
static int on_pause(void *opaque)
{
    set(opaque, MIG_REG_LEFT, STATE_SIZE);
    return 0;
}

static int migrate(const struct pair *pair, struct vfu_client_live *live)
{
    *live = (struct vfu_client_live){
        .from = pair->from,
        .to = pair->to,
        .max_rounds = 1,
        .on_pause = on_pause,
        .opaque = pair->from,
    };
    set(pair->from, MIG_REG_LEFT, STATE_SIZE);
    return vfu_client_live_migrate(live);
}

/* Both begin anew: the source has stopped, the destination runs. */
static void start_over(const struct pair *pair)
{
    assert_int_equal(vfu_client_reset_device(pair->to), 0);
    assert_int_equal(vfu_client_migration_set_state(pair->from, VFIO_USER_DEVICE_STATE_RUNNING), 0);
}

static void expect_to_migrate(const struct pair *pair)
{
    struct vfu_client_live live;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < STATE_SIZE; i++) {
        sum += migration_byte(i);
    }
    assert_int_equal(migrate(pair, &live), 0);
    assert_int_equal(live.end, VFU_CLIENT_LIVE_DONE);
    assert_int_equal(state_of(pair->from), VFIO_USER_DEVICE_STATE_STOP);
    assert_int_equal(state_of(pair->to), VFIO_USER_DEVICE_STATE_RUNNING);
    assert_int_equal(get(pair->to, MIG_REG_STATE), VFU_MIGR_STATE_RUNNING);
    assert_int_equal(get(pair->to, MIG_REG_TAKEN), 2 * STATE_SIZE);
    assert_int_equal(get(pair->to, MIG_REG_SUM), 2 * sum);
    start_over(pair);
}

/* What was said of the source is true, and it runs in the end. */
static void expect_source(const struct pair *pair, enum vfu_client_live_end end)
{
    uint32_t state = state_of(pair->from);
    bool runs = state == VFIO_USER_DEVICE_STATE_RUNNING || state == VFIO_USER_DEVICE_STATE_PRE_COPY;

    assert_int_equal(end, runs ? VFU_CLIENT_LIVE_SOURCE_RUNS : VFU_CLIENT_LIVE_SOURCE_STOPPED);
    assert_int_equal(vfu_client_migration_set_state(pair->from, VFIO_USER_DEVICE_STATE_RUNNING), 0);
    assert_int_equal(state_of(pair->from), VFIO_USER_DEVICE_STATE_RUNNING);
}

/* It has been reset, and was not told to run before. */
static void expect_destination(const struct pair *pair, uint64_t arcs_before)
{
    assert_int_equal(state_of(pair->to), VFIO_USER_DEVICE_STATE_RUNNING);
    if (get(pair->to, MIG_REG_ARCS) != arcs_before) {
        assert_int_not_equal(get(pair->to, MIG_REG_STATE), VFU_MIGR_STATE_RUNNING);
    }
}

/* Lets call number @spare of @device's callbacks fail, and @again more. Returns how it ended. */
static enum vfu_client_live_end fail_at(const struct pair *pair, struct vfu_client *device,
                                        uint64_t spare, uint64_t again)
{
    uint64_t arcs = get(pair->to, MIG_REG_ARCS);
    struct vfu_client_live live;
    int result;

    set(device, MIG_REG_SPARE, spare);
    set(device, MIG_REG_AGAIN, again);
    set(device, MIG_REG_FAIL, EIO);
    result = migrate(pair, &live);
    if (result == 0) {
        set(device, MIG_REG_FAIL, 0);
        start_over(pair);
        return live.end;
    }
    assert_int_equal(result, EIO);
    expect_source(pair, live.end);
    expect_destination(pair, arcs);
    set(device, MIG_REG_FAIL, 0);
    expect_to_migrate(pair);
    return live.end;
}

/* Returns how often the source was said to be stopped. */
static unsigned fail_everywhere(const struct pair *pair, struct vfu_client *device, uint64_t again)
{
    enum vfu_client_live_end end = VFU_CLIENT_LIVE_SOURCE_RUNS;
    unsigned stopped = 0;
    uint64_t spare;

    for (spare = 0; end != VFU_CLIENT_LIVE_DONE; spare++) {
        assert_true(spare < CALLS_MAX);
        end = fail_at(pair, device, spare, again);
        stopped += end == VFU_CLIENT_LIVE_SOURCE_STOPPED;
    }
    assert_true(spare > 8); /* states, and pieces of data in two rounds */
    return stopped;
}

static void test_source_that_fails_once_runs_on(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(fail_everywhere(pair, pair->from, 0), 0);
}

/* When it is told to run again too. */
static void test_source_that_fails_twice_is_said_to_be_stopped(void **state)
{
    struct pair *pair = *state;

    assert_true(fail_everywhere(pair, pair->from, 1) > 0);
}

static void test_destination_that_fails_does_not_run(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(fail_everywhere(pair, pair->to, 0), 0);
    assert_int_equal(fail_everywhere(pair, pair->to, 1), 0);
}

/* --- connections that end --- */

struct countdown {
    struct vfu_client *client;
    unsigned left; /* messages from the server */
};

static void count_down(void *opaque, const struct vfu_client_message *message)
{
    struct countdown *countdown = opaque;

    if (countdown->left-- == 0) {
        shutdown(vfu_client_socket(countdown->client), SHUT_RDWR);
    }
}

/* Returns how it ended. */
static enum vfu_client_live_end leave_after(struct pair *pair, struct vfu_client **leaving,
                                            unsigned messages)
{
    struct countdown countdown = { *leaving, messages };
    struct vfu_client_live live;
    int result;

    set(pair->from, MIG_REG_LEFT, STATE_SIZE);
    live = (struct vfu_client_live){ .from = pair->from, .to = pair->to, .max_rounds = 1 };
    vfu_client_set_tap(*leaving, count_down, &countdown);
    result = vfu_client_live_migrate(&live);
    vfu_client_set_tap(*leaving, NULL, NULL);
    if (result != 0) {
        assert_true(result < 0);
        assert_int_not_equal(live.end, VFU_CLIENT_LIVE_DONE);
    }
    return live.end;
}

static void come_back(struct pair *pair, struct vfu_client **left)
{
    int which = left == &pair->to;

    vfu_client_free(*left);
    *left = server_negotiate(&pair->servers[which]);
}

static void test_source_runs_on_without_the_destination(void **state)
{
    struct pair *pair = *state;
    enum vfu_client_live_end end = VFU_CLIENT_LIVE_SOURCE_RUNS;
    unsigned messages;

    for (messages = 0; end != VFU_CLIENT_LIVE_DONE; messages++) {
        assert_true(messages < CALLS_MAX);
        end = leave_after(pair, &pair->to, messages);
        come_back(pair, &pair->to);
        if (end != VFU_CLIENT_LIVE_DONE) {
            assert_int_equal(end, VFU_CLIENT_LIVE_SOURCE_RUNS);
            expect_source(pair, end);
            expect_to_migrate(pair);
        }
    }
    assert_true(messages > 6);
}

/* It has all of the state when its source goes, or does not run. */
static void test_destination_without_the_source_runs_with_everything_or_not_at_all(void **state)
{
    struct pair *pair = *state;
    enum vfu_client_live_end end = VFU_CLIENT_LIVE_SOURCE_LOST;
    unsigned messages;

    for (messages = 0; end != VFU_CLIENT_LIVE_DONE; messages++) {
        uint64_t arcs = get(pair->to, MIG_REG_ARCS);

        assert_true(messages < CALLS_MAX);
        end = leave_after(pair, &pair->from, messages);
        come_back(pair, &pair->from);
        if (end == VFU_CLIENT_LIVE_DONE) {
            assert_int_equal(get(pair->to, MIG_REG_TAKEN), STATE_SIZE);
        } else {
            assert_int_equal(end, VFU_CLIENT_LIVE_SOURCE_LOST);
            expect_destination(pair, arcs);
            expect_to_migrate(pair);
        }
    }
    assert_true(messages > 6);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_source_that_fails_once_runs_on, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(test_source_that_fails_twice_is_said_to_be_stopped,
                                        pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(test_source_runs_on_without_the_destination, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(
            test_destination_without_the_source_runs_with_everything_or_not_at_all, pair_setup,
            pair_teardown),
        cmocka_unit_test_setup_teardown(test_destination_that_fails_does_not_run, pair_setup,
                                        pair_teardown),
    };

    return harness_run(argc, argv, tests);
}
