/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_REGION_IO_FDS: protocol.md section 3.6, api.md sections 2.4 and 4.12. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FULL (16 + 48 * TEST_DEVICE_IO_COUNT)
#define NONE UINT32_MAX

typedef vfio_user_sub_region_ioeventfd_t entry_t;

static void ask(struct vfu_client *client, uint32_t argsz, uint32_t index, int error,
                struct vfu_client_message *reply)
{
    const vfio_user_region_io_fds_request_t request = { .argsz = argsz, .index = index };
    struct wire wire;

    wire_command(&wire, 5, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &request, sizeof(request));
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(client, 5, VFIO_USER_DEVICE_GET_REGION_IO_FDS, error, reply);
}

static void expect_head(const struct vfu_client_message *reply, uint32_t argsz, uint32_t index,
                        uint32_t count)
{
    vfio_user_region_io_fds_reply_t head;

    assert_true(reply->size >= sizeof(head));
    memcpy(&head, reply->payload, sizeof(head));
    assert_int_equal(head.argsz, argsz);
    assert_int_equal(head.flags, 0);
    assert_int_equal(head.index, index);
    assert_int_equal(head.count, count);
}

/* What the device finds signalled since its last look. */
static uint64_t signalled(struct vfu_client *client, enum test_io which)
{
    device_set(client, TEST_REG_IO_READ, which);
    return device_get(client, TEST_REG_IO_VALUE);
}

/* --- bad requests: api.md 4.12 --- */

static void expect_einval(struct vfu_client *client, uint32_t argsz, uint32_t flags, uint32_t index,
                          uint32_t count)
{
    const vfio_user_region_io_fds_request_t request = { argsz, flags, index, count };

    expect_answer(client, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &request, sizeof(request), NULL, 0,
                  EINVAL);
}

static void test_bad_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t few[16] = { 64 };

    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_REGION_IO_FDS, few, 15, NULL, 0, EINVAL);
    expect_einval(fixture->client, FULL, 1, 0, 0);
    expect_einval(fixture->client, FULL, 0, 0, 1);
    expect_einval(fixture->client, FULL, 0, 9, 0);
    expect_einval(fixture->client, FULL, 0, UINT32_MAX, 0);
    expect_einval(fixture->client, 15, 0, 0, 0);
    expect_einval(fixture->client, 0, 0, 0, 0);
    expect_einval(fixture->client, 1048577, 0, 0, 0);
    /* Regions that the device does not have. */
    expect_einval(fixture->client, FULL, 0, 5, 0);
    expect_einval(fixture->client, FULL, 0, 6, 0);
}

/* --- answers: api.md 4.12 --- */

static void test_region_without_any_has_none(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t indexes[] = { 1, 2, 3, 4, 7, 8 };

    for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        ask(fixture->client, 4096, indexes[i], 0, &reply);
        assert_int_equal(reply.size, 16);
        assert_int_equal(reply.fds.count, 0);
        expect_head(&reply, 16, indexes[i], 0);
    }
}

/* All or nothing. */
static void test_too_little_room_gives_the_size_alone(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t rooms[] = { 16, 17, 64, FULL - 48, FULL - 1 };

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        ask(fixture->client, rooms[i], 0, 0, &reply);
        assert_int_equal(reply.size, 16);
        assert_int_equal(reply.fds.count, 0);
        expect_head(&reply, FULL, 0, TEST_DEVICE_IO_COUNT);
    }
}

static void expect_entry(const struct vfu_client_message *reply, size_t index,
                         const entry_t *expected)
{
    assert_memory_equal(reply->payload + 16 + 48 * index, expected, sizeof(*expected));
}

/* The newest first, each descriptor once and in the order of its first use. */
static void check_entries(const struct vfu_client_message *reply)
{
    const entry_t shadow = { 0x28, 4, 0, 2, 0, 1, TEST_DEVICE_SHADOW_OFFSET, 0 };
    const entry_t none = { 0x20, 1, NONE, 0, 0, 0, 0, 0 };
    const entry_t port = { 0x10, 2, 2, 0, 2, 0, 0, 0 };
    const entry_t match = { 8, 8, 3, 0, 1, 0, 0, TEST_DEVICE_IO_MATCH };
    const entry_t first = { 0, 4, 2, 0, 0, 0, 0, 0 };

    expect_head(reply, FULL, 0, TEST_DEVICE_IO_COUNT);
    assert_int_equal(reply->size, FULL);
    assert_int_equal(reply->fds.count, TEST_DEVICE_IO_FDS);
    expect_entry(reply, 0, &shadow);
    expect_entry(reply, 1, &none);
    expect_entry(reply, 2, &port);
    expect_entry(reply, 3, &match);
    expect_entry(reply, 4, &first);
}

static void test_entries_are_complete(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t rooms[] = { FULL, FULL + 1, 4096, 1048576 };

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        ask(fixture->client, rooms[i], 0, 0, &reply);
        check_entries(&reply);
    }
}

static void test_eventfds_reach_the_device(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    ask(fixture->client, FULL, 0, 0, &reply);
    assert_int_equal(reply.fds.count, TEST_DEVICE_IO_FDS);
    assert_return_code(eventfd_write(reply.fds.fds[2], 3), errno);
    assert_return_code(eventfd_write(reply.fds.fds[3], 5), errno);
    assert_int_equal(signalled(fixture->client, TEST_IO_FIRST), 3);
    assert_int_equal(signalled(fixture->client, TEST_IO_MATCH), 5);
    assert_int_equal(signalled(fixture->client, TEST_IO_SHADOW), 0);
    assert_return_code(eventfd_write(reply.fds.fds[0], 1), errno);
    assert_int_equal(signalled(fixture->client, TEST_IO_SHADOW), 1);
    assert_int_equal(signalled(fixture->client, TEST_IO_FIRST), 0);
}

static void test_shadow_memory_is_shared_with_the_device(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct stat status;
    uint8_t *memory;
    const uint32_t value = 0x0badcafe;

    ask(fixture->client, FULL, 0, 0, &reply);
    assert_int_equal(reply.fds.count, TEST_DEVICE_IO_FDS);
    assert_return_code(fstat(reply.fds.fds[1], &status), errno);
    assert_int_equal(status.st_size, TEST_DEVICE_SHADOW_SIZE);
    memory = mmap(NULL, TEST_DEVICE_SHADOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  reply.fds.fds[1], 0);
    assert_true(memory != MAP_FAILED);
    memcpy(memory + TEST_DEVICE_SHADOW_OFFSET, &value, sizeof(value));
    assert_int_equal(signalled(fixture->client, TEST_IO_MEMORY), value);
    munmap(memory, TEST_DEVICE_SHADOW_SIZE);
}

/* Nobody can pull it away. */
static void test_shadow_memory_cannot_shrink(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int seals;

    ask(fixture->client, FULL, 0, 0, &reply);
    assert_int_equal(reply.fds.count, TEST_DEVICE_IO_FDS);
    seals = fcntl(reply.fds.fds[1], F_GET_SEALS);
    assert_true(seals >= 0 && (seals & F_SEAL_SHRINK));
    assert_int_equal(ftruncate(reply.fds.fds[1], 0), -1);
}

static void test_client_library_asks_for_all(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_IO_FDS io_fds = { .count = 0 };

    assert_int_equal(vfu_client_get_io_fds(fixture->client, 0, &io_fds), 0);
    assert_int_equal(io_fds.count, TEST_DEVICE_IO_COUNT);
    assert_int_equal(io_fds.fds.count, TEST_DEVICE_IO_FDS);
    assert_int_equal(io_fds.entries[3].datamatch, TEST_DEVICE_IO_MATCH);
    vfu_client_io_fds_release(&io_fds);
    assert_int_equal(vfu_client_get_io_fds(fixture->client, 1, &io_fds), 0);
    assert_int_equal(io_fds.count, 0);
    assert_int_equal(vfu_client_get_io_fds(fixture->client, 6, &io_fds), EINVAL);
}

static void test_asked_again_and_again_nothing_leaks(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);

    for (int i = 0; i < 300; i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        ask(fixture->client, FULL, 0, 0, &reply);
        assert_int_equal(reply.fds.count, TEST_DEVICE_IO_FDS);
    }
    server_expect_descriptors(&fixture->server, before);
}

/* Descriptors of the client's are closed, and the command executed: protocol.md 1.6. */
static void test_surplus_descriptors_are_closed(void **state)
{
    struct fixture *fixture = *state;
    const vfio_user_region_io_fds_request_t request = { .argsz = 16 };
    int pipe_fds[2];
    char byte;

    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &request, sizeof(request),
                  &pipe_fds[1], 1, 0);
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
}

/* W17: a client that takes fewer descriptors than there are. */
static void expect_limited(struct fixture *fixture, uint32_t max_msg_fds, int error)
{
    const struct vfu_client_offer offer = {
        .max_msg_fds = max_msg_fds,
        .max_data_xfer_size = 1048576,
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    AUTO_VFU_CLIENT_MESSAGE size = { .size = 0 };

    assert_int_equal(vfu_client_negotiate_as(fixture->client, &offer), 0);
    ask(fixture->client, FULL, 0, error, &reply);
    assert_int_equal(reply.fds.count, error == 0 ? TEST_DEVICE_IO_FDS : 0);
    /* How much it would be can still be asked. */
    ask(fixture->client, 16, 0, 0, &size);
    expect_head(&size, FULL, 0, TEST_DEVICE_IO_COUNT);
}

static void test_client_that_takes_no_descriptors_gets_enospc(void **state)
{
    expect_limited(*state, 0, ENOSPC);
}

static void test_client_that_takes_one_less_gets_enospc(void **state)
{
    expect_limited(*state, TEST_DEVICE_IO_FDS - 1, ENOSPC);
}

static void test_client_that_takes_just_as_many_gets_them(void **state)
{
    expect_limited(*state, TEST_DEVICE_IO_FDS, 0);
}

/* api.md 2.4: allowed any time. A jailed device can only use what the gate has. */
static void test_creation_while_a_client_is_there(void **state)
{
    struct fixture *fixture = *state;
    bool jailed = harness_mode() == SERVER_BROKERED;
    AUTO_VFU_CLIENT_IO_FDS io_fds = { .count = 0 };

    device_set(fixture->client, TEST_REG_IO_CREATE, TEST_IO_CREATE_KNOWN);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESULT), 0);
    assert_int_equal(vfu_client_get_io_fds(fixture->client, 3, &io_fds), 0);
    assert_int_equal(io_fds.count, 1);
    assert_int_equal(io_fds.fds.count, 1);
    assert_return_code(eventfd_write(io_fds.fds.fds[0], 9), errno);
    assert_int_equal(signalled(fixture->client, TEST_IO_FIRST), 9);
    vfu_client_io_fds_release(&io_fds);
    fixture_stop_recording(fixture); /* the modes differ here, as the header says */
    device_set(fixture->client, TEST_REG_IO_CREATE, TEST_IO_CREATE_UNKNOWN);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESULT), jailed ? EPERM : 0);
    assert_int_equal(vfu_client_get_io_fds(fixture->client, 3, &io_fds), 0);
    assert_int_equal(io_fds.count, jailed ? 1 : 2);
}

/* api.md 2.4 and 4.1: they survive a client. Brokered the next one has a device of its own. */
static void test_next_client_gets_them_too(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    fixture->client = vfu_client_free(fixture->client);
    fixture->client = server_negotiate(&fixture->server);
    ask(fixture->client, FULL, 0, 0, &reply);
    check_entries(&reply);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_bad_requests_are_einval),
        PROTOCOL_TEST(test_region_without_any_has_none),
        PROTOCOL_TEST(test_too_little_room_gives_the_size_alone),
        PROTOCOL_TEST(test_entries_are_complete),
        PROTOCOL_TEST(test_eventfds_reach_the_device),
        PROTOCOL_TEST(test_shadow_memory_is_shared_with_the_device),
        PROTOCOL_TEST(test_shadow_memory_cannot_shrink),
        PROTOCOL_TEST(test_client_library_asks_for_all),
        PROTOCOL_TEST(test_asked_again_and_again_nothing_leaks),
        PROTOCOL_TEST(test_surplus_descriptors_are_closed),
        CONNECTED_TEST(test_client_that_takes_no_descriptors_gets_enospc),
        CONNECTED_TEST(test_client_that_takes_one_less_gets_enospc),
        CONNECTED_TEST(test_client_that_takes_just_as_many_gets_them),
        PROTOCOL_TEST(test_creation_while_a_client_is_there),
        PROTOCOL_TEST(test_next_client_gets_them_too),
    };

    return harness_run(argc, argv, tests);
}
