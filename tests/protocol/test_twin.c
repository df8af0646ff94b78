/* SPDX-License-Identifier: BSD-3-Clause */
/* The twin socket: protocol.md section 2.6. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void negotiate_with(struct vfu_client *client, const char *json,
                           struct vfu_client_message *reply)
{
    const uint16_t numbers[2] = { 0, 1 };
    struct wire wire;

    wire_begin(&wire, 1, VFIO_USER_VERSION);
    wire_add(&wire, numbers, sizeof(numbers));
    wire_add(&wire, json, strlen(json) + 1);
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(client, 1, VFIO_USER_VERSION, 0, reply);
}

static bool says(const struct vfu_client_message *reply, const char *text)
{
    return memmem(reply->payload, reply->size, text, strlen(text)) != NULL;
}

static void expect_no_grant(struct vfu_client *client, const char *json)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    negotiate_with(client, json, &reply);
    assert_int_equal(reply.fds.count, 0);
    assert_false(says(&reply, "twin_socket"));
    expect_served(client);
}

static void test_not_asked_for_it_is_not_granted(void **state)
{
    struct fixture *fixture = *state;

    expect_no_grant(fixture->client, "{\"capabilities\":{\"max_msg_fds\":8}}");
}

static void test_not_supported_it_is_not_granted(void **state)
{
    struct fixture *fixture = *state;

    expect_no_grant(fixture->client,
                    "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":false}}}");
}

/* api.md 4.1: max_msg_fds has to be more than 0. */
static void test_client_that_takes_no_descriptors_is_granted_none(void **state)
{
    struct fixture *fixture = *state;

    expect_no_grant(fixture->client,
                    "{\"capabilities\":{\"max_msg_fds\":0,\"twin_socket\":{\"supported\":true}}}");
}

#define ASKING                                                                                     \
    "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"                         \
    "\"migration\":{\"pgsize\":4096},\"twin_socket\":{\"supported\":true},"                        \
    "\"write_multiple\":true}}"

static void test_granted_it_comes_with_the_reply(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct stat status;
    int flags;

    negotiate_with(fixture->client, ASKING, &reply);
    assert_true(says(&reply, "\"twin_socket\":{\"supported\":true,\"fd_index\":0}"));
    assert_true(reply.size <= 198); /* QEMU's room */
    assert_int_equal(reply.fds.count, 1);
    assert_return_code(fstat(reply.fds.fds[0], &status), errno);
    assert_true(S_ISSOCK(status.st_mode));
    /* As any socket is that a client makes for itself. */
    flags = fcntl(reply.fds.fds[0], F_GETFL);
    assert_true(flags >= 0 && !(flags & O_NONBLOCK));
    expect_served(fixture->client);
}

static void test_client_library_takes_it(void **state)
{
    struct fixture *fixture = *state;
    const struct vfu_client_offer offer = {
        .max_msg_fds = 1,
        .max_data_xfer_size = 1048576,
        .twin_socket = true,
    };

    assert_int_equal(vfu_client_twin_socket(fixture->client), -1);
    assert_int_equal(vfu_client_negotiate_as(fixture->client, &offer), 0);
    assert_true(vfu_client_twin_socket(fixture->client) >= 0);
    expect_served(fixture->client);
}

/* Nobody gets what nobody can be told of. */
static void test_version_without_reply_leaves_none_behind(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    const uint16_t numbers[2] = { 0, 1 };
    struct wire wire;

    wire_begin(&wire, 1, VFIO_USER_VERSION);
    wire_add(&wire, numbers, sizeof(numbers));
    wire_add(&wire, ASKING, sizeof(ASKING));
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    expect_served(fixture->client);
    assert_true(server_descriptors(&fixture->server) <= before);
}

static bool has_hung_up(int sock)
{
    struct pollfd fd = { .fd = sock, .events = POLLIN };

    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

/* Closed together with the main socket: protocol.md 2.6. */
static void test_it_is_closed_with_the_connection(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    negotiate_with(fixture->client, ASKING, &reply);
    assert_int_equal(reply.fds.count, 1);
    assert_false(has_hung_up(reply.fds.fds[0]));
    fixture->client = vfu_client_free(fixture->client);
    expect_eventually(has_hung_up(reply.fds.fds[0]));
    fixture->client = server_negotiate(&fixture->server);
    expect_served(fixture->client);
}

static void test_each_client_gets_its_own(void **state)
{
    struct fixture *fixture = *state;
    size_t before;

    for (int i = 0; i < 20; i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        negotiate_with(fixture->client, ASKING, &reply);
        assert_int_equal(reply.fds.count, 1);
        vfu_client_free(fixture->client);
        fixture->client = server_connect(&fixture->server);
        if (i == 0) {
            before = server_descriptors(&fixture->server);
        }
    }
    server_expect_descriptors(&fixture->server, before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONNECTED_TEST(test_not_asked_for_it_is_not_granted),
        CONNECTED_TEST(test_not_supported_it_is_not_granted),
        CONNECTED_TEST(test_client_that_takes_no_descriptors_is_granted_none),
        CONNECTED_TEST(test_granted_it_comes_with_the_reply),
        CONNECTED_TEST(test_client_library_takes_it),
        CONNECTED_TEST(test_version_without_reply_leaves_none_behind),
        CONNECTED_TEST(test_it_is_closed_with_the_connection),
        CONNECTED_TEST(test_each_client_gets_its_own),
    };

    return harness_run(argc, argv, tests);
}
