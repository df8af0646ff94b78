/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_SET_IRQS: protocol.md section 3.8. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { INTX, MSI, MSIX, ERR, REQ };

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

static void create_events(int *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(events[i] >= 0);
    }
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
}

/* What was signalled since the last look. */
static uint64_t signalled(int event)
{
    eventfd_t value;

    return eventfd_read(event, &value) == 0 ? value : 0;
}

/* Each of @events was signalled as often as @expected says; all replies have been received. */
static void expect_signals(const int *events, const uint64_t *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(signalled(events[i]), expected[i]);
    }
}

/* Makes the device raise a vector; returns what vfu_irq_trigger() said. */
static int trigger(struct vfu_client *client, uint32_t vector)
{
    device_set(client, TEST_REG_TRIGGER, vector);
    return (int)device_get(client, TEST_REG_RESULT);
}

static int set_irqs(struct vfu_client *client, uint32_t flags, uint32_t index, uint32_t start,
                    uint32_t count)
{
    return vfu_client_set_irqs(client, flags, index, start, count, NULL, NULL, 0);
}

/* --- bad requests, in the order of the table --- */

static void raw_request(struct vfu_client *client, uint32_t argsz, uint32_t flags, size_t size,
                        uint32_t count)
{
    uint8_t payload[64] = { 0 };
    const struct vfio_irq_set set = {
        .argsz = argsz,
        .flags = flags,
        .index = MSIX,
        .count = count,
    };

    memcpy(payload, &set, 20);
    expect_answer(client, VFIO_USER_DEVICE_SET_IRQS, payload, size, NULL, 0, EINVAL);
}

static void test_short_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;

    raw_request(fixture->client, 20, NONE | TRIGGER, 19, 1);
    raw_request(fixture->client, 20, NONE | TRIGGER, 1, 1);
    raw_request(fixture->client, 19, NONE | TRIGGER, 20, 1);
    raw_request(fixture->client, 0, NONE | TRIGGER, 20, 1);
}

static void test_bool_data_of_another_size_is_einval(void **state)
{
    struct fixture *fixture = *state;

    raw_request(fixture->client, 20, BOOL | TRIGGER, 20, 1);
    raw_request(fixture->client, 20, BOOL | TRIGGER, 22, 1);
    raw_request(fixture->client, 20, BOOL | TRIGGER, 23, 4);
    raw_request(fixture->client, 20, BOOL | TRIGGER, 20, UINT32_MAX);
}

static void test_bad_index_is_einval(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, 5, 0, 1), EINVAL);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, UINT32_MAX, 0, 0), EINVAL);
}

static void test_not_one_action_is_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t actions[] = {
        0, MASK | UNMASK, MASK | TRIGGER, UNMASK | TRIGGER, MASK | UNMASK | TRIGGER, 64,
    };

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        assert_int_equal(set_irqs(fixture->client, NONE | actions[i], MSIX, 0, 1), EINVAL);
    }
}

static void test_not_one_data_type_is_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t types[] = { 0, NONE | BOOL, NONE | EVENTFD, BOOL | EVENTFD, 7, 64 };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        assert_int_equal(set_irqs(fixture->client, types[i] | TRIGGER, MSIX, 0, 1), EINVAL);
    }
}

static void test_other_flags_are_ignored(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(set_irqs(fixture->client, 0xffffffc0 | NONE | TRIGGER, MSIX, 0, 1), 0);
}

static void test_vectors_out_of_range_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint32_t index, start, count;
    } bad[] = {
        { INTX, 1, 1 },          { INTX, 0, 2 },
        { MSI, 4, 1 },           { MSI, 3, 2 },
        { MSIX, 8, 1 },          { MSIX, 7, 2 },
        { MSIX, 0, 9 },          { MSIX, 1, UINT32_MAX },
        { MSIX, UINT32_MAX, 1 }, { MSIX, UINT32_MAX, UINT32_MAX },
        { MSIX, 8, 0 },          { ERR, 1, 1 },
        { ERR, 0, 2 },           { REQ, 0, 2 },
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            set_irqs(fixture->client, NONE | TRIGGER, bad[i].index, bad[i].start, bad[i].count),
            EINVAL);
    }
}

static void test_masking_err_and_req_is_einval(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(set_irqs(fixture->client, NONE | MASK, ERR, 0, 1), EINVAL);
    assert_int_equal(set_irqs(fixture->client, NONE | UNMASK, ERR, 0, 1), EINVAL);
    assert_int_equal(set_irqs(fixture->client, NONE | MASK, REQ, 0, 1), EINVAL);
    assert_int_equal(set_irqs(fixture->client, NONE | UNMASK, REQ, 0, 1), EINVAL);
}

static void test_count_0_but_for_disabling_is_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t flags[] = {
        NONE | MASK, NONE | UNMASK, BOOL | TRIGGER, BOOL | MASK, EVENTFD | TRIGGER, EVENTFD | MASK,
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        assert_int_equal(set_irqs(fixture->client, flags[i], MSIX, 0, 0), EINVAL);
    }
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 1, 0), EINVAL);
}

static void test_descriptors_without_eventfd_data_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t bools[1] = { 1 };
    int event;

    create_events(&event, 1);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 1, NULL, &event, 1), EINVAL);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 0, NULL, &event, 1), EINVAL);
    assert_int_equal(vfu_client_set_irqs(fixture->client, NONE | MASK, MSIX, 0, 1, NULL, &event, 1),
                     EINVAL);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, BOOL | TRIGGER, MSIX, 0, 1, bools, &event, 1), EINVAL);
    assert_int_equal(signalled(event), 0);
    close(event);
}

static void test_another_number_of_descriptors_is_einval(void **state)
{
    struct fixture *fixture = *state;
    int events[4];

    create_events(events, 4);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | TRIGGER, MSIX, 0, 4, NULL, events, 3),
        EINVAL);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | TRIGGER, MSIX, 0, 3, NULL, events, 4),
        EINVAL);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | UNMASK, MSIX, 0, 1, NULL, events, 2),
        EINVAL);
    /* None of them was taken. */
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    expect_signals(events, (uint64_t[4]){ 0 }, 4);
    close_all(events, 4);
}

/* Everything that is not an eventfd, and one good one with a bad one. */
static void test_other_descriptors_are_einval(void **state)
{
    struct fixture *fixture = *state;
    int pipe_fds[2], pair[2], others[8], event;

    create_events(&event, 1);
    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
    others[0] = pipe_fds[0];
    others[1] = pipe_fds[1];
    others[2] = pair[0];
    others[3] = memory_create(4096);
    others[4] = open("/dev/null", O_RDWR | O_CLOEXEC);
    others[5] = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    others[6] = epoll_create1(EPOLL_CLOEXEC); /* an anonymous inode, as eventfds are */
    others[7] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    for (size_t i = 0; i < 8; i++) {
        const int mixed[2] = { event, others[i] };

        assert_true(others[i] >= 0);
        assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, &others[i], 1), EINVAL);
        assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, mixed, 2), EINVAL);
    }
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    assert_int_equal(signalled(event), 0);
    close_all(others, 8);
    close(pair[1]);
    close(event);
}

/* --- what good ones do --- */

static void test_device_signals_the_assigned_vector(void **state)
{
    struct fixture *fixture = *state;
    int events[8];

    create_events(events, 8);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, events, 8), 0);
    assert_int_equal(trigger(fixture->client, 3), 0);
    expect_signals(events, (uint64_t[8]){ [3] = 1 }, 8);
    assert_int_equal(trigger(fixture->client, 0), 0);
    assert_int_equal(trigger(fixture->client, 7), 0);
    assert_int_equal(trigger(fixture->client, 7), 0);
    expect_signals(events, (uint64_t[8]){ [0] = 1, [7] = 2 }, 8);
    close_all(events, 8);
}

static void test_device_signals_intx_and_msi(void **state)
{
    struct fixture *fixture = *state;
    int events[4];

    create_events(events, 4);
    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, events, 1), 0);
    assert_int_equal(trigger(fixture->client, 0), 0);
    expect_signals(events, (uint64_t[4]){ 1 }, 4);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSI, 0, events, 4), 0);
    assert_int_equal(trigger(fixture->client, 2), 0);
    expect_signals(events, (uint64_t[4]){ [2] = 1 }, 4);
    close_all(events, 4);
}

static void test_a_waiting_client_is_woken(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t vector = 5;
    struct pollfd poll_fd = { .events = POLLIN };

    create_events(&poll_fd.fd, 1);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 5, &poll_fd.fd, 1), 0);
    assert_int_equal(
        vfu_client_region_post(fixture->client, 0, TEST_REG_TRIGGER, &vector, sizeof(vector)), 0);
    assert_int_equal(poll(&poll_fd, 1, HARNESS_DEADLINE_MS), 1);
    assert_int_equal(signalled(poll_fd.fd), 1);
    close(poll_fd.fd);
}

static void test_unassigned_vector_is_enoent_for_the_device(void **state)
{
    struct fixture *fixture = *state;
    int event;

    create_events(&event, 1);
    assert_int_equal(trigger(fixture->client, 0), ENOENT);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 2, &event, 1), 0);
    assert_int_equal(trigger(fixture->client, 1), ENOENT);
    assert_int_equal(trigger(fixture->client, 3), ENOENT);
    assert_int_equal(trigger(fixture->client, TEST_DEVICE_MSIX_COUNT), EINVAL);
    assert_int_equal(trigger(fixture->client, 2), 0);
    assert_int_equal(signalled(event), 1);
    close(event);
}

static void test_assigning_again_replaces(void **state)
{
    struct fixture *fixture = *state;
    int events[2];
    size_t before;

    create_events(events, 2);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 1, &events[0], 1), 0);
    before = server_descriptors(&fixture->server);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 1, &events[1], 1), 0);
    }
    assert_int_equal(trigger(fixture->client, 1), 0);
    expect_signals(events, (uint64_t[2]){ 0, 1 }, 2);
    server_expect_descriptors(&fixture->server, before);
    close_all(events, 2);
}

static void test_one_eventfd_for_all_vectors(void **state)
{
    struct fixture *fixture = *state;
    int event, same[8];

    create_events(&event, 1);
    for (size_t i = 0; i < 8; i++) {
        same[i] = event;
    }
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, same, 8), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    assert_int_equal(signalled(event), 8);
    close(event);
}

/* W24: the range ends at start + count, not at count. */
static void test_deassigning_takes_the_range(void **state)
{
    struct fixture *fixture = *state;
    int events[8];

    create_events(events, 8);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, events, 8), 0);
    assert_int_equal(vfu_client_irq_deassign(fixture->client, MSIX, 4, 2), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    expect_signals(events, (uint64_t[8]){ 1, 1, 1, 1, 0, 0, 1, 1 }, 8);
    assert_int_equal(vfu_client_irq_deassign(fixture->client, MSIX, 1, 3), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    expect_signals(events, (uint64_t[8]){ 1, 0, 0, 0, 0, 0, 1, 1 }, 8);
    assert_int_equal(trigger(fixture->client, 4), ENOENT);
    assert_int_equal(trigger(fixture->client, 6), 0);
    close_all(events, 8);
}

/* QEMU enables MSI-X in this way: no vector yet, which is no error. */
static void test_deassigning_what_is_not_assigned_succeeds(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(vfu_client_irq_deassign(fixture->client, MSIX, 0, 1), 0);
    assert_int_equal(vfu_client_irq_deassign(fixture->client, ERR, 0, 1), 0);
}

static void test_disabling_closes_all(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int events[8];

    create_events(events, 8);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, events, 8), 0);
    server_expect_descriptors(&fixture->server, before + 8);
    assert_int_equal(vfu_client_irq_disable(fixture->client, MSIX), 0);
    server_expect_descriptors(&fixture->server, before);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8), 0);
    expect_signals(events, (uint64_t[8]){ 0 }, 8);
    assert_int_equal(trigger(fixture->client, 0), ENOENT);
    assert_int_equal(vfu_client_irq_disable(fixture->client, MSIX), 0);
    close_all(events, 8);
}

static void test_loop_back_of_none_signals_the_range(void **state)
{
    struct fixture *fixture = *state;
    int events[8];

    create_events(events, 8);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, events, 4), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 6, events + 6, 1), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 2, 6), 0);
    expect_signals(events, (uint64_t[8]){ 0, 0, 1, 1, 0, 0, 1, 0 }, 8);
    close_all(events, 8);
}

static void test_loop_back_of_bools_signals_the_set_ones(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t bools[4] = { 1, 0, 0, 1 };
    int events[8];

    create_events(events, 8);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, events, 8), 0);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, BOOL | TRIGGER, MSIX, 2, 4, bools, NULL, 0), 0);
    expect_signals(events, (uint64_t[8]){ 0, 0, 1, 0, 0, 1, 0, 0 }, 8);
    close_all(events, 8);
}

static void test_err_and_req_have_an_eventfd_each(void **state)
{
    struct fixture *fixture = *state;
    int events[2];

    create_events(events, 2);
    assert_int_equal(vfu_client_irq_assign(fixture->client, ERR, 0, &events[0], 1), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, REQ, 0, &events[1], 1), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, ERR, 0, 1), 0);
    expect_signals(events, (uint64_t[2]){ 1, 0 }, 2);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, REQ, 0, 1), 0);
    expect_signals(events, (uint64_t[2]){ 0, 1 }, 2);
    assert_int_equal(vfu_client_irq_disable(fixture->client, ERR), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, ERR, 0, 1), 0);
    expect_signals(events, (uint64_t[2]){ 0, 0 }, 2);
    close_all(events, 2);
}

/* --- one table for each type (W25, I4) --- */

static void test_types_have_tables_of_their_own(void **state)
{
    struct fixture *fixture = *state;
    int events[5];

    create_events(events, 5);
    for (uint32_t index = INTX; index <= REQ; index++) {
        assert_int_equal(vfu_client_irq_assign(fixture->client, index, 0, &events[index], 1), 0);
    }
    for (uint32_t index = INTX; index <= REQ; index++) {
        uint64_t expected[5] = { 0 };

        expected[index] = 1;
        assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, index, 0, 1), 0);
        expect_signals(events, expected, 5);
    }
    close_all(events, 5);
}

/* The order in which QEMU changes from INTx to MSI-X, and one in which others do. */
static void test_disabling_intx_keeps_msix(void **state)
{
    struct fixture *fixture = *state;
    int intx, msix;

    create_events(&intx, 1);
    create_events(&msix, 1);
    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, &intx, 1), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, &msix, 1), 0);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    assert_int_equal(trigger(fixture->client, 0), 0);
    assert_int_equal(signalled(msix), 1);
    assert_int_equal(signalled(intx), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 1), 0);
    assert_int_equal(signalled(msix), 1);
    close(intx);
    close(msix);
}

static void test_trigger_follows_the_type_that_the_client_chose(void **state)
{
    struct fixture *fixture = *state;
    int intx, msix;

    create_events(&intx, 1);
    create_events(&msix, 1);
    /* 5.4 of protocol.md: INTx, then MSI-X, then INTx again. */
    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, &intx, 1), 0);
    assert_int_equal(trigger(fixture->client, 0), 0);
    assert_int_equal(signalled(intx), 1);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    assert_int_equal(vfu_client_irq_deassign(fixture->client, MSIX, 0, 1), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, &msix, 1), 0);
    assert_int_equal(trigger(fixture->client, 0), 0);
    assert_int_equal(signalled(msix), 1);
    assert_int_equal(vfu_client_irq_disable(fixture->client, MSIX), 0);
    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, &intx, 1), 0);
    assert_int_equal(trigger(fixture->client, 0), 0);
    assert_int_equal(signalled(intx), 1);
    assert_int_equal(signalled(msix), 0);
    close(intx);
    close(msix);
}

/* --- masking --- */

static void expect_irq_state(struct vfu_client *client, uint64_t calls, uint64_t type,
                             uint64_t start, uint64_t count, uint64_t mask)
{
    assert_int_equal(device_get(client, TEST_REG_IRQ_CALLS), calls);
    assert_int_equal(device_get(client, TEST_REG_IRQ_TYPE), type);
    assert_int_equal(device_get(client, TEST_REG_IRQ_START), start);
    assert_int_equal(device_get(client, TEST_REG_IRQ_COUNT), count);
    assert_int_equal(device_get(client, TEST_REG_IRQ_MASK), mask);
}

static void test_device_is_told_of_masking(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t all[3] = { 1, 1, 1 };

    assert_int_equal(set_irqs(fixture->client, NONE | MASK, INTX, 0, 1), 0);
    expect_irq_state(fixture->client, 1, INTX, 0, 1, 1);
    assert_int_equal(set_irqs(fixture->client, NONE | UNMASK, INTX, 0, 1), 0);
    expect_irq_state(fixture->client, 2, INTX, 0, 1, 0);
    assert_int_equal(set_irqs(fixture->client, NONE | MASK, MSIX, 2, 5), 0);
    expect_irq_state(fixture->client, 3, MSIX, 2, 5, 1);
    assert_int_equal(vfu_client_set_irqs(fixture->client, BOOL | UNMASK, MSI, 1, 3, all, NULL, 0),
                     0);
    expect_irq_state(fixture->client, 4, MSI, 1, 3, 0);
}

static void test_triggering_is_not_masking(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 1), 0);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_IRQ_CALLS), 0);
}

/* As QEMU does under KVM; an eventfd for MASK means nothing, and is not kept. */
static void test_eventfds_for_masking_are_accepted(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int event;

    create_events(&event, 1);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | UNMASK, INTX, 0, 1, NULL, &event, 1), 0);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(
            vfu_client_set_irqs(fixture->client, EVENTFD | MASK, MSIX, 1, 1, NULL, &event, 1), 0);
    }
    server_expect_descriptors(&fixture->server, before);
    assert_int_equal(signalled(event), 0);
    close(event);
}

static void expect_readable(int event)
{
    struct pollfd fd = { .fd = event, .events = POLLIN };

    assert_int_equal(poll(&fd, 1, HARNESS_DEADLINE_MS), 1);
}

static void resample_with(struct vfu_client *client, const int *event)
{
    assert_int_equal(vfu_client_set_irqs(client, EVENTFD | UNMASK, INTX, 0, 1, NULL, event,
                                         event != NULL ? 1 : 0),
                     0);
}

/* The guest has dealt with a level interrupt whose cause persists: protocol.md 6.5 I3. */
static void test_resample_eventfd_is_an_unmask(void **state)
{
    struct fixture *fixture = *state;
    int events[2];

    create_events(events, 2);
    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, &events[0], 1), 0);
    assert_int_equal(set_irqs(fixture->client, NONE | MASK, INTX, 0, 1), 0);
    resample_with(fixture->client, &events[1]);
    assert_int_equal(set_irqs(fixture->client, NONE | UNMASK, INTX, 0, 1), 0);
    expect_irq_state(fixture->client, 3, INTX, 0, 1, 0);
    device_set(fixture->client, TEST_REG_INTX_LEVEL, 1);
    for (uint64_t i = 1; i <= 50; i++) {
        /* Nothing else wakes the device. */
        assert_return_code(eventfd_write(events[1], 1), errno);
        expect_readable(events[0]);
        assert_int_equal(signalled(events[0]), 1);
        assert_int_equal(device_get(fixture->client, TEST_REG_IRQ_CALLS), 3 + i);
    }
    /* What it held has been taken. */
    assert_int_equal(signalled(events[1]), 0);
    close_all(events, 2);
}

/* A blocking one must not stop the device. */
static void test_resample_eventfd_may_block(void **state)
{
    struct fixture *fixture = *state;
    int events[2] = { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC) };

    assert_int_equal(vfu_client_irq_assign(fixture->client, INTX, 0, &events[0], 1), 0);
    resample_with(fixture->client, &events[1]);
    device_set(fixture->client, TEST_REG_INTX_LEVEL, 1);
    for (int i = 0; i < 10; i++) {
        assert_return_code(eventfd_write(events[1], 5), errno);
        expect_readable(events[0]);
        assert_int_equal(signalled(events[0]), 1);
        expect_served(fixture->client);
    }
    close_all(events, 2);
}

static void test_resample_eventfd_is_replaced_and_taken_away(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int events[3];

    create_events(events, 3);
    for (int i = 0; i < 20; i++) {
        resample_with(fixture->client, &events[i % 2]);
    }
    resample_with(fixture->client, &events[2]);
    server_expect_descriptors(&fixture->server, before + 1);
    assert_return_code(eventfd_write(events[0], 1), errno);
    assert_return_code(eventfd_write(events[1], 1), errno);
    expect_served(fixture->client);
    assert_int_equal(device_get(fixture->client, TEST_REG_IRQ_CALLS), 21);
    fixture_stop_recording(fixture); /* asked again and again until it has come */
    assert_return_code(eventfd_write(events[2], 1), errno);
    expect_eventually(device_get(fixture->client, TEST_REG_IRQ_CALLS) == 22);
    /* As eventfds of interrupts are: by none, and with all of the type. */
    resample_with(fixture->client, NULL);
    server_expect_descriptors(&fixture->server, before);
    resample_with(fixture->client, &events[2]);
    assert_int_equal(vfu_client_irq_disable(fixture->client, INTX), 0);
    server_expect_descriptors(&fixture->server, before);
    assert_return_code(eventfd_write(events[2], 1), errno);
    expect_served(fixture->client);
    assert_int_equal(device_get(fixture->client, TEST_REG_IRQ_CALLS), 24);
    close_all(events, 3);
}

/* INTx alone has one. */
static void test_resample_eventfd_of_other_types_is_closed(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int event;

    create_events(&event, 1);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | UNMASK, MSIX, 2, 1, NULL, &event, 1), 0);
    assert_int_equal(
        vfu_client_set_irqs(fixture->client, EVENTFD | MASK, INTX, 0, 1, NULL, &event, 1), 0);
    server_expect_descriptors(&fixture->server, before);
    assert_return_code(eventfd_write(event, 1), errno);
    expect_served(fixture->client);
    assert_int_equal(device_get(fixture->client, TEST_REG_IRQ_CALLS), 2);
    close(event);
}

static void test_resample_eventfd_goes_with_the_client(void **state)
{
    struct fixture *fixture = *state;
    size_t before;
    int event;

    create_events(&event, 1);
    expect_served(fixture->client);
    before = server_descriptors(&fixture->server);
    for (int i = 0; i < 3; i++) {
        resample_with(fixture->client, &event);
        vfu_client_free(fixture->client);
        fixture->client = server_negotiate(&fixture->server);
        expect_served(fixture->client);
    }
    server_expect_descriptors(&fixture->server, before);
    assert_return_code(eventfd_write(event, 1), errno);
    expect_served(fixture->client);
    close(event);
}

static void test_bad_requests_keep_no_descriptor(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int events[8], pipe_fds[2];

    create_events(events, 8);
    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(
            vfu_client_set_irqs(fixture->client, EVENTFD | TRIGGER, MSIX, 1, 8, NULL, events, 8),
            EINVAL);
        assert_int_equal(
            vfu_client_set_irqs(fixture->client, NONE | TRIGGER, MSIX, 0, 8, NULL, events, 8),
            EINVAL);
        assert_int_equal(vfu_client_irq_assign(fixture->client, MSIX, 0, pipe_fds, 2), EINVAL);
    }
    server_expect_descriptors(&fixture->server, before);
    close_all(events, 8);
    close_all(pipe_fds, 2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_short_requests_are_einval),
        PROTOCOL_TEST(test_bool_data_of_another_size_is_einval),
        PROTOCOL_TEST(test_bad_index_is_einval),
        PROTOCOL_TEST(test_not_one_action_is_einval),
        PROTOCOL_TEST(test_not_one_data_type_is_einval),
        PROTOCOL_TEST(test_other_flags_are_ignored),
        PROTOCOL_TEST(test_vectors_out_of_range_are_einval),
        PROTOCOL_TEST(test_masking_err_and_req_is_einval),
        PROTOCOL_TEST(test_count_0_but_for_disabling_is_einval),
        PROTOCOL_TEST(test_descriptors_without_eventfd_data_are_einval),
        PROTOCOL_TEST(test_another_number_of_descriptors_is_einval),
        PROTOCOL_TEST(test_other_descriptors_are_einval),
        PROTOCOL_TEST(test_device_signals_the_assigned_vector),
        PROTOCOL_TEST(test_device_signals_intx_and_msi),
        PROTOCOL_TEST(test_a_waiting_client_is_woken),
        PROTOCOL_TEST(test_unassigned_vector_is_enoent_for_the_device),
        PROTOCOL_TEST(test_assigning_again_replaces),
        PROTOCOL_TEST(test_one_eventfd_for_all_vectors),
        PROTOCOL_TEST(test_deassigning_takes_the_range),
        PROTOCOL_TEST(test_deassigning_what_is_not_assigned_succeeds),
        PROTOCOL_TEST(test_disabling_closes_all),
        PROTOCOL_TEST(test_loop_back_of_none_signals_the_range),
        PROTOCOL_TEST(test_loop_back_of_bools_signals_the_set_ones),
        PROTOCOL_TEST(test_err_and_req_have_an_eventfd_each),
        PROTOCOL_TEST(test_types_have_tables_of_their_own),
        PROTOCOL_TEST(test_disabling_intx_keeps_msix),
        PROTOCOL_TEST(test_trigger_follows_the_type_that_the_client_chose),
        PROTOCOL_TEST(test_device_is_told_of_masking),
        PROTOCOL_TEST(test_triggering_is_not_masking),
        PROTOCOL_TEST(test_eventfds_for_masking_are_accepted),
        PROTOCOL_TEST(test_resample_eventfd_is_an_unmask),
        PROTOCOL_TEST(test_resample_eventfd_may_block),
        PROTOCOL_TEST(test_resample_eventfd_is_replaced_and_taken_away),
        PROTOCOL_TEST(test_resample_eventfd_of_other_types_is_closed),
        PROTOCOL_TEST(test_resample_eventfd_goes_with_the_client),
        PROTOCOL_TEST(test_bad_requests_keep_no_descriptor),
    };

    return harness_run(argc, argv, tests);
}
