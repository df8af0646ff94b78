/* SPDX-License-Identifier: BSD-3-Clause */
/* VERSION: protocol.md section 2.5, from the server's side. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The request of QEMU, to the letter. */
#define QEMU_JSON                                                                                  \
    "{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \"max_dma_maps\": 65535, "        \
    "\"max_data_xfer_size\": 1048576, \"migration\": {\"max_bitmap_size\": 268435456, "            \
    "\"pgsize\": 4096}, \"write_multiple\": true}}"
#define CLOUD_HYPERVISOR_JSON                                                                      \
    "{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,"                         \
    "\"migration\":{\"pgsize\":4096}}}"

/* @size bytes of @json follow the numbers; NULL for none. */
static void version(struct wire *wire, uint16_t major, uint16_t minor, const char *json,
                    size_t size)
{
    wire_begin(wire, 1, VFIO_USER_VERSION);
    wire_add(wire, &major, sizeof(major));
    wire_add(wire, &minor, sizeof(minor));
    if (json != NULL) {
        wire_add(wire, json, size);
    }
}

static void send_wire(struct vfu_client *client, const struct wire *wire)
{
    assert_int_equal(vfu_client_raw_send(client, wire->bytes, wire->size, NULL, 0), 0);
}

/* Nothing but the end of the connection. */
static void expect_end(struct vfu_client *client)
{
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };

    assert_int_equal(vfu_client_raw_receive(client, &message), 0);
}

/* A new client of the same server gets through. */
static void expect_next_client(struct fixture *fixture)
{
    struct vfu_client *client;

    fixture->client = vfu_client_free(fixture->client);
    client = server_negotiate(&fixture->server);
    expect_served(client);
    vfu_client_free(client);
}

static void expect_refused(struct fixture *fixture, const struct wire *wire)
{
    const struct vfio_user_header *header = (const struct vfio_user_header *)wire->bytes;

    send_wire(fixture->client, wire);
    expect_reply(fixture->client, header->msg_id, header->cmd, EINVAL, NULL);
    expect_end(fixture->client);
    expect_next_client(fixture);
}

static void check_capabilities(const char *text)
{
    struct json_object *top = json_tokener_parse(text);
    struct json_object *capabilities, *value;

    assert_non_null(top);
    assert_true(json_object_object_get_ex(top, "capabilities", &capabilities));
    assert_true(json_object_object_get_ex(capabilities, "max_msg_fds", &value));
    assert_int_equal(json_object_get_int(value), 8);
    assert_true(json_object_object_get_ex(capabilities, "max_data_xfer_size", &value));
    assert_int_equal(json_object_get_int(value), 1048576);
    /* This device cannot migrate, and nobody asked for these. */
    assert_false(json_object_object_get_ex(capabilities, "migration", &value));
    assert_false(json_object_object_get_ex(capabilities, "twin_socket", &value));
    json_object_put(top);
}

static void check_reply(const struct vfu_client_message *reply, uint16_t minor)
{
    struct vfio_user_version answer;

    assert_true(reply->size > sizeof(answer));
    assert_true(reply->size <= 198); /* QEMU's buffer */
    assert_int_equal(reply->fds.count, 0);
    memcpy(&answer, reply->payload, sizeof(answer));
    assert_int_equal(answer.major, 0);
    assert_int_equal(answer.minor, minor);
    assert_int_equal(reply->payload[reply->size - 1], '\0');
    assert_int_equal(strlen((char *)reply->payload + sizeof(answer)),
                     reply->size - sizeof(answer) - 1);
    check_capabilities((char *)reply->payload + sizeof(answer));
}

static void expect_accepted(struct fixture *fixture, const struct wire *wire, uint16_t minor)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    send_wire(fixture->client, wire);
    expect_reply(fixture->client, 1, VFIO_USER_VERSION, 0, &reply);
    check_reply(&reply, minor);
    expect_served(fixture->client);
}

static void accept_json(struct fixture *fixture, const char *json)
{
    struct wire wire;

    version(&wire, 0, 0, json, strlen(json) + 1);
    expect_accepted(fixture, &wire, 0);
}

static void refuse_json(void **state, const char *json)
{
    struct wire wire;

    version(&wire, 0, 0, json, strlen(json) + 1);
    expect_refused(*state, &wire);
}

/* --- good ones --- */

static void test_request_of_qemu_is_accepted(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    version(&wire, 0, 0, QEMU_JSON, sizeof(QEMU_JSON));
    assert_int_equal(wire.size, 214);
    expect_accepted(fixture, &wire, 0);
}

static void test_request_of_cloud_hypervisor_is_accepted(void **state)
{
    struct wire wire;

    version(&wire, 0, 1, CLOUD_HYPERVISOR_JSON, sizeof(CLOUD_HYPERVISOR_JSON));
    expect_accepted(*state, &wire, 1);
}

static void test_request_without_json_is_accepted(void **state)
{
    struct wire wire;

    version(&wire, 0, 1, NULL, 0);
    expect_accepted(*state, &wire, 1);
}

static void test_client_library_negotiates(void **state)
{
    struct fixture *fixture = *state;
    const struct vfu_client_capabilities *server;

    assert_int_equal(vfu_client_negotiate(fixture->client), 0);
    server = vfu_client_server_capabilities(fixture->client);
    assert_int_equal(server->minor, 2);
    assert_int_equal(server->max_msg_fds, 8);
    assert_int_equal(server->max_data_xfer_size, 1048576);
    assert_int_equal(server->migration_pgsize, 0);
    assert_true(server->write_multiple);
    expect_served(fixture->client);
}

/* Who wants no reply gets none, and is a client all the same. */
static void test_version_without_reply_is_accepted_silently(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    version(&wire, 0, 1, "{}", sizeof("{}"));
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    expect_served(fixture->client);
}

static void test_bad_version_without_reply_closes_silently(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    version(&wire, 1, 0, "{}", sizeof("{}"));
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    expect_end(fixture->client);
    expect_next_client(fixture);
}

static void test_minor_is_the_smaller_one(void **state)
{
    struct fixture *fixture = *state;
    const uint16_t minors[] = { 0, 1, 2, 3, 7, UINT16_MAX };

    for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
        struct wire wire;

        version(&wire, 0, minors[i], "{}", sizeof("{}"));
        expect_accepted(fixture, &wire, minors[i] < 2 ? minors[i] : 2);
        vfu_client_free(fixture->client);
        fixture->client = server_connect(&fixture->server);
    }
}

static void test_empty_object_is_accepted(void **state)
{
    accept_json(*state, "{}");
}

static void test_empty_capabilities_are_accepted(void **state)
{
    accept_json(*state, "{\"capabilities\":{}}");
}

/* LV takes a top level that is no object for one without capabilities. */
static void test_top_level_array_is_accepted(void **state)
{
    accept_json(*state, "[]");
}

static void test_text_after_the_value_is_accepted(void **state)
{
    accept_json(*state, "{} and more");
}

static void test_unknown_members_are_ignored(void **state)
{
    accept_json(*state, "{\"colour\":1,\"capabilities\":{\"max_msg_fds\":4,\"colour\":[{}]}}");
}

static void test_wrong_types_of_other_capabilities_are_ignored(void **state)
{
    accept_json(*state, "{\"capabilities\":{\"pgsizes\":\"x\",\"max_dma_maps\":[],"
                        "\"write_multiple\":7}}");
}

static void test_extreme_max_msg_fds_are_accepted(void **state)
{
    struct fixture *fixture = *state;

    accept_json(fixture, "{\"capabilities\":{\"max_msg_fds\":0}}");
    vfu_client_free(fixture->client);
    fixture->client = server_connect(&fixture->server);
    accept_json(fixture, "{\"capabilities\":{\"max_msg_fds\":1024}}");
}

static void test_twin_socket_not_supported_is_accepted(void **state)
{
    accept_json(*state, "{\"capabilities\":{\"twin_socket\":{\"supported\":false}}}");
}

static void test_request_in_single_bytes_is_accepted(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct wire wire;

    version(&wire, 0, 0, QEMU_JSON, sizeof(QEMU_JSON));
    for (size_t i = 0; i < wire.size; i++) {
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes + i, 1, NULL, 0), 0);
    }
    expect_reply(fixture->client, 1, VFIO_USER_VERSION, 0, &reply);
    check_reply(&reply, 0);
    expect_served(fixture->client);
}

static void test_command_behind_version_is_answered(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    struct wire wire, second;
    size_t size;

    version(&wire, 0, 0, "{}", sizeof("{}"));
    size = wire.size;
    wire_command(&second, 2, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
    memcpy(wire.bytes + size, second.bytes, second.size);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, size + second.size, NULL, 0),
                     0);
    expect_reply(fixture->client, 1, VFIO_USER_VERSION, 0, NULL);
    expect_reply(fixture->client, 2, VFIO_USER_DEVICE_GET_INFO, 0, NULL);
}

static void test_second_version_is_einval_and_not_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(fixture->client), 0);
    version(&wire, 0, 0, "{}", sizeof("{}"));
    wire_expect(fixture->client, &wire, NULL, 0, EINVAL);
    expect_served(fixture->client);
}

/* --- bad ones, in the order of the table --- */

static void bad_header(void **state, uint32_t msg_size, uint32_t flags)
{
    struct fixture *fixture = *state;
    struct wire wire;

    version(&wire, 0, 0, "{}", sizeof("{}"));
    wire_header(&wire)->flags = flags;
    if (msg_size != 0) {
        wire_header(&wire)->msg_size = msg_size;
    }
    send_wire(fixture->client, &wire);
    expect_closed(fixture->client);
    expect_next_client(fixture);
}

static void test_msg_size_below_a_header_closes(void **state)
{
    bad_header(state, 15, 0);
}

static void test_oversized_msg_size_closes(void **state)
{
    bad_header(state, UINT32_MAX, 0);
}

static void test_reply_instead_of_a_command_closes(void **state)
{
    bad_header(state, 0, VFIO_USER_F_TYPE_REPLY);
}

static void test_unknown_type_closes(void **state)
{
    bad_header(state, 0, 7);
}

static void test_garbage_closes(void **state)
{
    struct fixture *fixture = *state;
    uint8_t garbage[64];

    memset(garbage, 0xa5, sizeof(garbage));
    assert_int_equal(vfu_client_raw_send(fixture->client, garbage, sizeof(garbage), NULL, 0), 0);
    expect_closed(fixture->client);
    expect_next_client(fixture);
}

static void test_text_of_another_protocol_closes(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct fixture *fixture = *state;

    assert_int_equal(vfu_client_raw_send(fixture->client, text, sizeof(text) - 1, NULL, 0), 0);
    /* Four letters of it announce a message of a length that is never sent, or too long. */
    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_WR), errno);
    expect_closed(fixture->client);
    expect_next_client(fixture);
}

static void test_descriptor_on_version_closes_and_is_not_kept(void **state)
{
    struct fixture *fixture = *state;
    int pipe_fds[2];
    struct wire wire;
    char byte;

    assert_return_code(pipe(pipe_fds), errno);
    version(&wire, 0, 0, "{}", sizeof("{}"));
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, &pipe_fds[1], 1),
                     0);
    close(pipe_fds[1]);
    expect_closed(fixture->client);
    /* End of file: nobody has the writing end any more. */
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
    expect_next_client(fixture);
}

static void test_other_command_first_is_einval(void **state)
{
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    struct wire wire;

    wire_command(&wire, 1, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
    expect_refused(*state, &wire);
}

static void test_reset_first_is_einval(void **state)
{
    struct wire wire;

    wire_begin(&wire, 1, VFIO_USER_DEVICE_RESET);
    expect_refused(*state, &wire);
}

static void test_short_payload_is_einval(void **state)
{
    const uint8_t three[3] = { 0 };
    struct wire wire;

    wire_command(&wire, 1, VFIO_USER_VERSION, three, sizeof(three));
    expect_refused(*state, &wire);
}

static void test_no_payload_is_einval(void **state)
{
    struct wire wire;

    wire_begin(&wire, 1, VFIO_USER_VERSION);
    expect_refused(*state, &wire);
}

static void test_major_1_is_einval(void **state)
{
    struct wire wire;

    version(&wire, 1, 0, QEMU_JSON, sizeof(QEMU_JSON));
    expect_refused(*state, &wire);
}

static void test_json_without_nul_is_einval(void **state)
{
    struct wire wire;

    version(&wire, 0, 0, "{}", 2);
    expect_refused(*state, &wire);
}

static void test_bad_json_is_einval(void **state)
{
    const char *const bad[] = {
        "",
        "null",
        "{",
        "{\"capabilities\":",
        "nonsense",
        "{\"capabilities\":[]}",
        "{\"capabilities\":1}",
        "{\"capabilities\":null}",
        "{\"capabilities\":\"x\"}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"max_msg_fds\":1025}}",
        "{\"capabilities\":{\"max_msg_fds\":\"1\"}}",
        "{\"capabilities\":{\"max_msg_fds\":1.5}}",
        "{\"capabilities\":{\"max_msg_fds\":null}}",
        "{\"capabilities\":{\"max_data_xfer_size\":\"1\"}}",
        "{\"capabilities\":{\"max_data_xfer_size\":{}}}",
        "{\"capabilities\":{\"max_data_xfer_size\":0}}",
        "{\"capabilities\":{\"max_data_xfer_size\":-1}}",
        "{\"capabilities\":{\"migration\":1}}",
        "{\"capabilities\":{\"migration\":{\"pgsize\":\"x\"}}}",
        "{\"capabilities\":{\"twin_socket\":1}}",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fixture *fixture = *state;

        print_message("    %s\n", bad[i]);
        refuse_json(state, bad[i]);
        fixture->client = server_connect(&fixture->server);
    }
}

static void test_deeply_nested_json_is_einval(void **state)
{
    char json[2001];

    memset(json, '[', sizeof(json) - 1);
    json[sizeof(json) - 1] = '\0';
    refuse_json(state, json);
}

/* --- the client goes away --- */

static void test_silent_client_that_leaves_does_no_harm(void **state)
{
    expect_next_client(*state);
}

static void test_client_that_leaves_inside_version_does_no_harm(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    version(&wire, 0, 0, QEMU_JSON, sizeof(QEMU_JSON));
    for (size_t size = 1; size < wire.size; size += 13) {
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, size, NULL, 0), 0);
        vfu_client_free(fixture->client);
        fixture->client = server_connect(&fixture->server);
    }
    expect_next_client(fixture);
}

static void test_half_close_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;

    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_WR), errno);
    expect_end(fixture->client);
    expect_next_client(fixture);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONNECTED_TEST(test_request_of_qemu_is_accepted),
        CONNECTED_TEST(test_request_of_cloud_hypervisor_is_accepted),
        CONNECTED_TEST(test_request_without_json_is_accepted),
        CONNECTED_TEST(test_client_library_negotiates),
        CONNECTED_TEST(test_version_without_reply_is_accepted_silently),
        CONNECTED_TEST(test_bad_version_without_reply_closes_silently),
        CONNECTED_TEST(test_minor_is_the_smaller_one),
        CONNECTED_TEST(test_empty_object_is_accepted),
        CONNECTED_TEST(test_empty_capabilities_are_accepted),
        CONNECTED_TEST(test_top_level_array_is_accepted),
        CONNECTED_TEST(test_text_after_the_value_is_accepted),
        CONNECTED_TEST(test_unknown_members_are_ignored),
        CONNECTED_TEST(test_wrong_types_of_other_capabilities_are_ignored),
        CONNECTED_TEST(test_extreme_max_msg_fds_are_accepted),
        CONNECTED_TEST(test_twin_socket_not_supported_is_accepted),
        CONNECTED_TEST(test_request_in_single_bytes_is_accepted),
        CONNECTED_TEST(test_command_behind_version_is_answered),
        CONNECTED_TEST(test_second_version_is_einval_and_not_the_end),
        CONNECTED_TEST(test_msg_size_below_a_header_closes),
        CONNECTED_TEST(test_oversized_msg_size_closes),
        CONNECTED_TEST(test_reply_instead_of_a_command_closes),
        CONNECTED_TEST(test_unknown_type_closes),
        CONNECTED_TEST(test_garbage_closes),
        CONNECTED_TEST(test_text_of_another_protocol_closes),
        CONNECTED_TEST(test_descriptor_on_version_closes_and_is_not_kept),
        CONNECTED_TEST(test_other_command_first_is_einval),
        CONNECTED_TEST(test_reset_first_is_einval),
        CONNECTED_TEST(test_short_payload_is_einval),
        CONNECTED_TEST(test_no_payload_is_einval),
        CONNECTED_TEST(test_major_1_is_einval),
        CONNECTED_TEST(test_json_without_nul_is_einval),
        CONNECTED_TEST(test_bad_json_is_einval),
        CONNECTED_TEST(test_deeply_nested_json_is_einval),
        CONNECTED_TEST(test_silent_client_that_leaves_does_no_harm),
        CONNECTED_TEST(test_client_that_leaves_inside_version_does_no_harm),
        CONNECTED_TEST(test_half_close_ends_the_connection),
    };

    return harness_run(argc, argv, tests);
}
