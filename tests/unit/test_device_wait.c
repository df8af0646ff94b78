/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a device waits for the next message: the window of adaptive_wait.h, and what is served while
 * it does not come to sleep. Waits and peeks are counted: the linker leads them here (meson.build).
 * What takes time takes a window of hours.
 */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-user/vfu-broker.h>

#define US 1000ull
#define HOURS (10000ull * 1000000000ull)

/* --- the window --- */

static struct adaptive_wait wait_of(uint64_t limit_us)
{
    struct adaptive_wait wait;

    adaptive_wait_init(&wait, limit_us * US);
    return wait;
}

/* As many waits that sleep for @elapsed. */
static void sleeps(struct adaptive_wait *wait, unsigned count, uint64_t elapsed)
{
    for (unsigned i = 0; i < count; i++) {
        adaptive_wait_slept(wait, elapsed);
    }
}

static void test_window_opens_while_messages_come_soon(void **state)
{
    struct adaptive_wait wait = wait_of(50);
    const uint64_t windows[] = { 10 * US, 20 * US, 40 * US, 50 * US };

    assert_int_equal(wait.window, 0);
    for (size_t i = 0; i < 4; i++) {
        adaptive_wait_slept(&wait, 100 * US); /* twice the limit: being woken is in it */
        assert_int_equal(wait.window, windows[i]);
    }
    adaptive_wait_hit(&wait, 30 * US);
    assert_int_equal(wait.window, 50 * US);
}

static void test_window_is_never_wider_than_the_limit(void **state)
{
    struct adaptive_wait wait = wait_of(3);

    adaptive_wait_slept(&wait, 1 * US);
    assert_int_equal(wait.window, 3 * US);
}

static void test_window_stays_closed_for_messages_that_come_late(void **state)
{
    struct adaptive_wait wait = wait_of(50);

    sleeps(&wait, 1000, 100 * US + 1);
    assert_int_equal(wait.window, 0);
}

static void test_late_message_closes_the_window_at_once(void **state)
{
    struct adaptive_wait wait = wait_of(50);

    sleeps(&wait, 3, 30 * US);
    assert_int_equal(wait.window, 40 * US);
    adaptive_wait_slept(&wait, 101 * US);
    assert_int_equal(wait.window, 0);
    adaptive_wait_slept(&wait, 30 * US);
    assert_int_equal(wait.window, 10 * US);
}

/* Waits that it takes until the window is open again. */
static unsigned closed_for(struct adaptive_wait *wait)
{
    unsigned count = 0;

    while (wait->window == 0) {
        adaptive_wait_slept(wait, 60 * US);
        count++;
    }
    return count;
}

static void test_window_that_is_missed_stays_closed_longer_each_time(void **state)
{
    struct adaptive_wait wait = wait_of(50);
    unsigned last = 0;

    for (int i = 0; i < 20; i++) {
        unsigned wanted = last == 0 ? 2 : last * 2 > 16384 ? 16384 : last * 2;

        sleeps(&wait, i == 0 ? 5 : 4, 60 * US); /* wider, until it is missed at the limit */
        assert_int_equal(wait.window, 0);
        last = closed_for(&wait);
        assert_int_equal(last, wanted);
    }
}

/* At a pace that is just too slow, what is spun in vain is less than a thousandth of the time. */
static void test_pace_that_is_too_slow_costs_next_to_nothing(void **state)
{
    struct adaptive_wait wait = wait_of(50);
    uint64_t spun = 0, passed = 0;

    for (int i = 0; i < 1000000; i++) {
        spun += wait.window;
        passed += 60 * US;
        adaptive_wait_slept(&wait, 60 * US);
    }
    assert_true(spun < passed / 1000);
}

static void test_hits_make_up_for_misses(void **state)
{
    struct adaptive_wait wait = wait_of(50);

    sleeps(&wait, 5, 60 * US);
    closed_for(&wait);
    sleeps(&wait, 4, 60 * US);
    assert_int_equal(wait.window, 0);
    assert_int_equal(wait.penalty, 3);
    for (int i = 0; i < 4 + 8; i++) {
        adaptive_wait_hit(&wait, 30 * US);
    }
    assert_int_equal(wait.penalty, 0);
}

/* As where the client cannot run while the device spins. */
static void test_window_that_makes_messages_late_closes(void **state)
{
    struct adaptive_wait wait = wait_of(50);
    unsigned last = 0;

    for (int i = 0; i < 10; i++) {
        unsigned closed = 0;

        while (wait.window == 0) {
            adaptive_wait_slept(&wait, 8 * US);
            closed++;
        }
        assert_true(closed > last);
        last = closed;
        for (int hits = 0; wait.window > 0; hits++) {
            adaptive_wait_hit(&wait, hits % 2 > 0 ? 0 : 40 * US);
            assert_true(hits < 8);
        }
    }
}

static void test_single_late_message_closes_nothing(void **state)
{
    struct adaptive_wait wait = wait_of(50);

    sleeps(&wait, 4, 40 * US);
    for (int i = 0; i < 1000; i++) {
        adaptive_wait_hit(&wait, i % 10 == 9 ? 45 * US : 15 * US);
    }
    assert_int_equal(wait.window, 50 * US);
}

/* --- the limit --- */

static uint64_t limit_of(struct device *device)
{
    return device->ctx->connection.pace.limit;
}

static void test_standalone_waits_sleep(void **state)
{
    assert_int_equal(limit_of(*state), 0);
}

static void test_limit_that_is_set(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_set_poll_us(device->ctx, 70), 0);
    assert_int_equal(limit_of(device), 70 * US);
    assert_int_equal(vfu_set_poll_us(device->ctx, VFU_POLL_US_MAX), 0);
    assert_int_equal(limit_of(device), 1000 * US);
    errno = 0;
    assert_int_equal(vfu_set_poll_us(device->ctx, VFU_POLL_US_MAX + 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(limit_of(device), 1000 * US);
}

static void test_limit_that_is_set_before_the_client(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_set_poll_us(device->ctx, 7), 0);
    device_attach(device);
    assert_int_equal(limit_of(device), 7 * US);
}

static void test_limit_is_at_most_what_the_transport_grants(void **state)
{
    struct device *device = *state;

    device->ctx->transport->max_poll_us = 50;
    assert_int_equal(vfu_set_poll_us(device->ctx, 1000), 0);
    assert_int_equal(limit_of(device), 50 * US);
    assert_int_equal(vfu_set_poll_us(device->ctx, 20), 0);
    assert_int_equal(limit_of(device), 20 * US);
}

static void test_limit_of_the_environment(void **state)
{
    const char *const wrong[] = { "", " 5", "-1", "+1", "5us", "1001", "99999999999999999999" };
    struct device device = { .client = -1 };
    char path[64];

    setenv("VFU_POLL_US", "30", 1);
    device_create(&device);
    device_attach(&device);
    assert_int_equal(limit_of(&device), 30 * US);
    assert_int_equal(vfu_set_poll_us(device.ctx, 0), 0);
    assert_int_equal(limit_of(&device), 0);
    snprintf(path, sizeof(path), "%s/other", device.dir);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        size_t before = device_count_descriptors();

        setenv("VFU_POLL_US", wrong[i], 1);
        errno = 0;
        assert_null(vfu_create_ctx(VFU_TRANS_SOCK, path, 0, NULL, VFU_DEV_TYPE_PCI));
        assert_int_equal(errno, EINVAL);
        assert_int_equal(device_count_descriptors(), before);
    }
    unsetenv("VFU_POLL_US");
    device_destroy(&device);
}

/* --- waiting --- */

static unsigned polls;
static unsigned peeks;

int __real_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask);
ssize_t __real_socket_peek(int sock, void *buffer, size_t size);
ssize_t __wrap_socket_peek(int sock, void *buffer, size_t size);

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask)
{
    polls++;
    return __real_ppoll(fds, count, timeout, mask);
}

ssize_t __wrap_socket_peek(int sock, void *buffer, size_t size)
{
    peeks++;
    return __real_socket_peek(sock, buffer, size);
}

/* Commands of 32 bytes that nobody reads the answers of: none is answered. */
static void queue(struct device *device, unsigned count)
{
    const uint8_t payload[16] = { 16 };

    for (unsigned i = 0; i < count; i++) {
        device_send_command(device, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_F_NO_REPLY, payload,
                            sizeof(payload), NULL, 0);
    }
}

/* Waits as vfu_run_ctx() does. */
static int receive(struct device *device)
{
    int result = connection_receive(&device->ctx->connection, true);

    connection_message_done(&device->ctx->connection);
    return result;
}

static void receive_many(struct device *device, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(receive(device), FRAME_COMPLETE);
    }
}

static void forget_calls(void)
{
    polls = 0;
    peeks = 0;
}

static void expect_calls(unsigned wanted_polls, unsigned wanted_peeks)
{
    assert_int_equal(polls, wanted_polls);
    assert_int_equal(peeks, wanted_peeks);
    forget_calls();
}

static void test_one_message_takes_a_wait_and_a_peek(void **state)
{
    forget_calls();
    for (int i = 0; i < 3; i++) {
        queue(*state, 1);
        receive_many(*state, 1);
        expect_calls(1, 1);
    }
}

static void test_queued_messages_take_one_wait_and_one_peek(void **state)
{
    forget_calls();
    queue(*state, LOOKAHEAD_SIZE / 32);
    receive_many(*state, LOOKAHEAD_SIZE / 32);
    expect_calls(1, 1);
}

/* More of them are looked for before there is a wait, as long as there are. */
static void test_messages_in_a_row_take_no_wait(void **state)
{
    forget_calls();
    queue(*state, 2);
    receive_many(*state, 2);
    expect_calls(1, 1);
    for (int i = 0; i < 10; i++) {
        queue(*state, 1);
        receive_many(*state, 1);
        expect_calls(0, 1);
    }
}

/* The client sends when the device has begun to look. */
static void *send_late(void *opaque)
{
    while (__atomic_load_n(&peeks, __ATOMIC_RELAXED) < 100) {
    }
    queue(opaque, 1);
    return NULL;
}

static void test_window_is_spent_awake(void **state)
{
    struct device *device = *state;
    struct adaptive_wait *pace = &device->ctx->connection.pace;
    pthread_t client;

    forget_calls();
    pace->limit = HOURS;
    pace->window = HOURS;
    assert_int_equal(pthread_create(&client, NULL, send_late, device), 0);
    receive_many(device, 1);
    assert_int_equal(pthread_join(client, NULL), 0);
    assert_int_equal(polls, 0);
    assert_true(peeks > 100);
}

static void test_window_ends_with_sleep(void **state)
{
    struct device *device = *state;
    struct adaptive_wait *pace = &device->ctx->connection.pace;

    forget_calls();
    pace->limit = 1;
    pace->window = 1;
    device->ctx->connection.deadline = 1; /* long ago: the sleep ends at once */
    assert_int_equal(receive(device), -ETIMEDOUT);
    expect_calls(1, 1);
}

static void test_sleep_that_was_short_opens_the_window(void **state)
{
    struct device *device = *state;
    struct adaptive_wait *pace = &device->ctx->connection.pace;

    pace->limit = HOURS;
    queue(device, 1);
    receive_many(device, 1);
    assert_int_equal(pace->window, 10 * US);
}

static void test_sleep_that_was_long_leaves_it_closed(void **state)
{
    struct device *device = *state;
    struct adaptive_wait *pace = &device->ctx->connection.pace;

    pace->limit = 1;
    queue(device, 1);
    receive_many(device, 1);
    assert_int_equal(pace->window, 0);
}

/* --- what else there is, while messages come without end --- */

/* How many messages are received until @result comes instead. */
static unsigned received_until(struct device *device, int result)
{
    for (unsigned i = 0; i < 1000; i++) {
        int err;

        queue(device, 2);
        err = receive(device);
        if (err == result) {
            return i;
        }
        assert_int_equal(err, FRAME_COMPLETE);
    }
    fail();
    return 0;
}

static void test_watched_descriptor_is_served_in_between(void **state)
{
    struct device *device = *state;
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t value = 1;

    queue(device, 2);
    receive_many(device, 1);
    connection_watch(&device->ctx->connection, event);
    assert_int_equal(write(event, &value, sizeof(value)), sizeof(value));
    assert_in_range(received_until(device, CONNECTION_WATCHED), 1, 64);
    connection_watch(&device->ctx->connection, -1);
    close(event);
}

static void test_end_of_the_session_is_noticed_in_between(void **state)
{
    struct device *device = *state;
    int event = eventfd(1, EFD_CLOEXEC);

    queue(device, 2);
    receive_many(device, 1);
    device->ctx->transport->watch_fd = event;
    assert_in_range(received_until(device, -ESHUTDOWN), 1, 64);
    device->ctx->transport->watch_fd = -1;
    close(event);
}

/* As after a reply that could not be sent at once, for which the caller does not wait either. */
static void test_attempts_count_as_messages(void **state)
{
    struct device *device = *state;
    int event = eventfd(1, EFD_CLOEXEC);

    queue(device, 2);
    receive_many(device, 2);
    while (device->ctx->connection.unwatched < 64) {
        assert_int_equal(connection_receive(&device->ctx->connection, false), -EAGAIN);
    }
    device->ctx->transport->watch_fd = event;
    assert_in_range(received_until(device, -ESHUTDOWN), 0, 64);
    device->ctx->transport->watch_fd = -1;
    close(event);
}

static void test_end_of_the_session_is_noticed_in_a_window(void **state)
{
    struct device *device = *state;
    int event = eventfd(1, EFD_CLOEXEC);

    device->ctx->connection.pace.limit = 1;
    device->ctx->connection.pace.window = 1;
    device->ctx->transport->watch_fd = event;
    assert_int_equal(receive(device), -ESHUTDOWN);
    device->ctx->transport->watch_fd = -1;
    close(event);
}

static void test_client_that_goes_ends_a_window(void **state)
{
    struct device *device = *state;

    device->ctx->connection.pace.limit = HOURS;
    device->ctx->connection.pace.window = HOURS;
    assert_return_code(shutdown(device->client, SHUT_WR), errno);
    assert_int_equal(receive(device), -ENOTCONN);
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_opens_while_messages_come_soon),
        cmocka_unit_test(test_window_is_never_wider_than_the_limit),
        cmocka_unit_test(test_window_stays_closed_for_messages_that_come_late),
        cmocka_unit_test(test_late_message_closes_the_window_at_once),
        cmocka_unit_test(test_window_that_is_missed_stays_closed_longer_each_time),
        cmocka_unit_test(test_pace_that_is_too_slow_costs_next_to_nothing),
        cmocka_unit_test(test_hits_make_up_for_misses),
        cmocka_unit_test(test_window_that_makes_messages_late_closes),
        cmocka_unit_test(test_single_late_message_closes_nothing),
        ATTACHED(test_standalone_waits_sleep),
        ATTACHED(test_limit_that_is_set),
        CREATED(test_limit_that_is_set_before_the_client),
        ATTACHED(test_limit_is_at_most_what_the_transport_grants),
        cmocka_unit_test(test_limit_of_the_environment),
        ATTACHED(test_one_message_takes_a_wait_and_a_peek),
        ATTACHED(test_queued_messages_take_one_wait_and_one_peek),
        ATTACHED(test_messages_in_a_row_take_no_wait),
        ATTACHED(test_window_is_spent_awake),
        ATTACHED(test_window_ends_with_sleep),
        ATTACHED(test_sleep_that_was_short_opens_the_window),
        ATTACHED(test_sleep_that_was_long_leaves_it_closed),
        ATTACHED(test_watched_descriptor_is_served_in_between),
        ATTACHED(test_end_of_the_session_is_noticed_in_between),
        ATTACHED(test_attempts_count_as_messages),
        ATTACHED(test_end_of_the_session_is_noticed_in_a_window),
        ATTACHED(test_client_that_goes_ends_a_window),
    };

    return cmocka_run_group_tests_name("device_wait", tests, NULL, NULL);
}
