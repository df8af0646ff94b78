/* SPDX-License-Identifier: BSD-3-Clause */
/* The version exchange: its JSON, and vfu_attach_ctx() around it. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* --- JSON --- */

static int parse(const char *text, struct client_capabilities *client)
{
    memset(client, 0x55, sizeof(*client));
    return negotiation_parse(text, client);
}

static void test_parse_nothing_gives_defaults(void **state)
{
    struct client_capabilities client;

    assert_int_equal(parse(NULL, &client), 0);
    assert_int_equal(client.max_msg_fds, 1);
    assert_int_equal(client.max_data_xfer_size, 1 << 20);
    assert_false(client.twin_socket);
    assert_false(client.write_multiple);
}

static void test_parse_text_of_qemu(void **state)
{
    struct client_capabilities client;

    assert_int_equal(parse("{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, "
                           "\"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, "
                           "\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, "
                           "\"write_multiple\": true}}",
                           &client),
                     0);
    assert_int_equal(client.max_msg_fds, 16);
    assert_int_equal(client.max_data_xfer_size, 1 << 20);
    assert_true(client.write_multiple);
}

static void test_parse_all_members(void **state)
{
    struct client_capabilities client;

    assert_int_equal(parse("{\"capabilities\":{\"max_msg_fds\":0,\"max_data_xfer_size\":1,"
                           "\"twin_socket\":{\"supported\":true},\"write_multiple\":false}}",
                           &client),
                     0);
    assert_int_equal(client.max_msg_fds, 0);
    assert_int_equal(client.max_data_xfer_size, 1);
    assert_true(client.twin_socket);
    assert_false(client.write_multiple);
}

static void test_parse_large_transfer_size_is_clamped(void **state)
{
    struct client_capabilities client;

    assert_int_equal(parse("{\"capabilities\":{\"max_data_xfer_size\":67108864}}", &client), 0);
    assert_int_equal(client.max_data_xfer_size, 1 << 20);
}

static void test_parse_tolerates_what_it_does_not_know(void **state)
{
    static const char *const fine[] = {
        "{}",
        "[]",
        "5",
        "{\"capabilities\":{}} trailing",
        "{\"capabilities\":{\"pgsizes\":\"x\",\"max_dma_maps\":null,\"new\":[1]}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
        "{\"capabilities\":{\"migration\":{},\"twin_socket\":{}}}",
        "{\"capabilities\":{\"max_msg_fds\":1024}}",
    };
    struct client_capabilities client;

    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        assert_int_equal(parse(fine[i], &client), 0);
        assert_false(client.write_multiple);
    }
}

static void test_parse_wrong_values_are_einval(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "{",
        "{\"capabilities\":",
        "{\"capabilities\":5}",
        "{\"capabilities\":null}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"max_msg_fds\":1025}}",
        "{\"capabilities\":{\"max_msg_fds\":1.5}}",
        "{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
        "{\"capabilities\":{\"max_msg_fds\":18446744073709551616}}",
        "{\"capabilities\":{\"max_data_xfer_size\":0}}",
        "{\"capabilities\":{\"max_data_xfer_size\":-4096}}",
        "{\"capabilities\":{\"max_data_xfer_size\":true}}",
        "{\"capabilities\":{\"migration\":1}}",
        "{\"capabilities\":{\"migration\":{\"pgsize\":\"4096\"}}}",
        "{\"capabilities\":{\"twin_socket\":true}}",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
    };
    struct client_capabilities client;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], &client), -EINVAL);
    }
}

static void test_parse_deep_nesting_is_einval(void **state)
{
    struct client_capabilities client;
    char text[1001];

    memset(text, '[', 1000);
    text[1000] = '\0';
    assert_int_equal(parse(text, &client), -EINVAL);
}

static void test_reply_text_is_json_with_our_limits(void **state)
{
    const struct client_capabilities client = { .max_msg_fds = 1 };
    char text[194]; /* what QEMU has room for */
    int size = negotiation_describe(&client, text, sizeof(text));
    json_object *root;
    json_object *capabilities;
    json_object *value;

    assert_int_equal(size, strlen(text) + 1);
    root = json_tokener_parse(text);
    assert_true(json_object_object_get_ex(root, "capabilities", &capabilities));
    assert_true(json_object_object_get_ex(capabilities, "max_msg_fds", &value));
    assert_int_equal(json_object_get_int(value), 8);
    assert_true(json_object_object_get_ex(capabilities, "max_data_xfer_size", &value));
    assert_int_equal(json_object_get_int(value), 1048576);
    assert_int_equal(json_object_object_length(capabilities), 2);
    json_object_put(root);
}

/* QEMU's room: 194 bytes with the NUL. */
static void test_reply_text_with_all_that_a_client_can_ask_for_fits(void **state)
{
    const struct client_capabilities client = {
        .max_msg_fds = 16,
        .write_multiple = true,
    };
    char text[194];

    assert_true(negotiation_describe(&client, text, sizeof(text)) > 0);
    assert_non_null(strstr(text, "\"write_multiple\":true"));
}

/* --- attach --- */

static void send_version(struct device *device, uint16_t major, uint16_t minor, const char *text,
                         size_t size)
{
    uint8_t payload[8192];

    memcpy(payload, &major, 2);
    memcpy(payload + 2, &minor, 2);
    if (size > 0) {
        memcpy(payload + 4, text, size);
    }
    device_send_command(device, VFIO_USER_VERSION, 0, payload, 4 + size, NULL, 0);
}

static int attach(struct device *device)
{
    errno = 0;
    return vfu_attach_ctx(device->ctx) == 0 ? 0 : errno;
}

/* After a failed exchange the device serves the next client. */
static void expect_refused(struct device *device, int error_no)
{
    if (error_no != 0) {
        assert_true(device_receive(device, &device_answer));
        assert_int_equal(device_answer.header.flags, 0x21);
        assert_int_equal(device_answer.header.error_no, error_no);
        assert_int_equal(device_answer.size, 0);
    }
    assert_true(device_closed_connection(device));
    device_attach(device);
}

static void test_attach_without_client_is_eagain(void **state)
{
    assert_int_equal(attach(*state), EAGAIN);
}

static void test_attach_agrees_on_the_lower_minor(void **state)
{
    static const struct {
        uint16_t client, agreed;
    } minors[] = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { 3, 2 }, { 65535, 2 } };
    struct device *device = *state;
    const struct vfio_user_version *reply = (const void *)device_answer.payload;

    for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
        device_connect(device);
        send_version(device, 0, minors[i].client, NULL, 0);
        assert_int_equal(attach(device), 0);
        assert_true(device_receive(device, &device_answer));
        assert_int_equal(reply->major, 0);
        assert_int_equal(reply->minor, minors[i].agreed);
        assert_true(device_answer.size <= 198);
        assert_int_equal(device_answer.payload[device_answer.size - 1], '\0');
        close(device->client);
        device->client = -1;
        vfu_realize_ctx(device->ctx);
        assert_int_equal(vfu_run_ctx(device->ctx), -1);
    }
}

static void test_attach_twice_is_einval(void **state)
{
    struct device *device = *state;

    device_attach(device);
    assert_int_equal(attach(device), EINVAL);
    assert_int_equal(vfu_run_ctx(device->ctx), 0); /* and did no harm */
}

static void test_attach_in_pieces_is_eagain_until_complete(void **state)
{
    struct device *device = *state;
    const struct {
        struct vfio_user_header header;
        uint16_t version[2];
    } message = { .header = { .msg_id = 0, .cmd = VFIO_USER_VERSION, .msg_size = 20 } };
    const uint8_t *bytes = (const uint8_t *)&message;

    device_connect(device);
    for (size_t i = 0; i < sizeof(message); i++) {
        assert_int_equal(attach(device), EAGAIN);
        assert_int_equal(vfu_run_ctx(device->ctx), -1);
        device_send(device, bytes + i, 1, NULL, 0);
    }
    assert_int_equal(attach(device), 0);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.flags, 1);
}

static void test_attach_other_command_is_einval(void **state)
{
    struct device *device = *state;
    const uint32_t payload[4] = { 16 };

    device_connect(device);
    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, payload, sizeof(payload), NULL, 0);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, EINVAL);
}

static void test_attach_wrong_major_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    send_version(device, 1, 0, NULL, 0);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, EINVAL);
}

static void test_attach_without_version_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, 0, "abc", 3, NULL, 0);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, EINVAL);
}

static void test_attach_text_without_nul_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    send_version(device, 0, 1, "{}", 2);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, EINVAL);
}

static void test_attach_bad_text_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    send_version(device, 0, 1, "{", 2);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, EINVAL);
}

static void test_attach_oversized_message_is_einval(void **state)
{
    struct device *device = *state;
    char text[5000];

    memset(text, ' ', sizeof(text));
    device_connect(device);
    send_version(device, 0, 1, text, sizeof(text));
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, 0);
}

static void test_attach_reply_instead_of_command_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, VFIO_USER_F_TYPE_REPLY, "\0\0\0", 4, NULL, 0);
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, 0);
}

static void test_attach_with_descriptors_is_efault(void **state)
{
    struct device *device = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    size_t before;

    device_connect(device);
    before = device_count_descriptors();
    device_send_command(device, VFIO_USER_VERSION, 0, "\0\0\0", 4, &fd, 1);
    assert_int_equal(attach(device), EFAULT);
    assert_int_equal(device_count_descriptors(), before);
    expect_refused(device, EINVAL);
    close(fd);
}

static void test_attach_client_gone_silently_is_enomsg(void **state)
{
    struct device *device = *state;

    device_connect(device);
    shutdown(device->client, SHUT_WR);
    assert_int_equal(attach(device), ENOMSG);
    expect_refused(device, 0);
}

static void test_attach_client_gone_inside_is_econnreset(void **state)
{
    struct device *device = *state;

    device_connect(device);
    device_send(device, "\0\0\1", 3, NULL, 0);
    shutdown(device->client, SHUT_WR);
    assert_int_equal(attach(device), ECONNRESET);
    expect_refused(device, 0);
}

/* api.md 2.2: the peer vanished before the reply. */
static void test_attach_client_gone_before_its_reply_is_econnreset(void **state)
{
    struct device *device = *state;

    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, 0, "\0\0\1", 4, NULL, 0);
    close(device->client);
    device->client = -1;
    assert_int_equal(attach(device), ECONNRESET);
    device_attach(device);
}

/* EPROTO would tell the program that it cannot go on at all. */
static void test_attach_client_sends_out_of_band_is_einval(void **state)
{
    struct device *device = *state;

    device_connect(device);
    device_send(device, "\0\0\1", 3, NULL, 0);
    assert_int_equal(attach(device), EAGAIN);
    if (send(device->client, "!", 1, MSG_OOB) < 0) {
        assert_int_equal(errno, EOPNOTSUPP);
        skip(); /* a kernel without it */
    }
    assert_int_equal(attach(device), EINVAL);
    expect_refused(device, 0);
}

static void test_attach_silent_client_times_out(void **state)
{
    struct device *device = *state;

    device->ctx->transport->handshake_seconds = 1;
    device_connect(device);
    assert_int_equal(attach(device), EAGAIN);
    usleep(1100 * 1000);
    assert_int_equal(attach(device), ETIMEDOUT);
    expect_refused(device, 0);
}

static void test_attach_dripping_client_times_out(void **state)
{
    struct device *device = *state;

    device->ctx->transport->handshake_seconds = 1;
    device_connect(device);
    for (int i = 0; i < 12; i++) {
        int err = attach(device);

        assert_true(err == EAGAIN || (err == ETIMEDOUT && i >= 9));
        if (err == ETIMEDOUT) {
            expect_refused(device, 0);
            return;
        }
        device_send(device, "\0", 1, NULL, 0);
        usleep(100 * 1000);
    }
    fail();
}

static void test_second_version_is_einval(void **state)
{
    struct device *device = *state;

    device_attach(device);
    assert_int_equal(device_request(device, VFIO_USER_VERSION, "\0\0\0", 4, NULL, 0), EINVAL);
    assert_int_equal(vfu_run_ctx(device->ctx), 0);
}

#define PLAIN(test) cmocka_unit_test(test)
#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(test_parse_nothing_gives_defaults),
        PLAIN(test_parse_text_of_qemu),
        PLAIN(test_parse_all_members),
        PLAIN(test_parse_large_transfer_size_is_clamped),
        PLAIN(test_parse_tolerates_what_it_does_not_know),
        PLAIN(test_parse_wrong_values_are_einval),
        PLAIN(test_parse_deep_nesting_is_einval),
        PLAIN(test_reply_text_is_json_with_our_limits),
        PLAIN(test_reply_text_with_all_that_a_client_can_ask_for_fits),
        CREATED(test_attach_without_client_is_eagain),
        CREATED(test_attach_agrees_on_the_lower_minor),
        CREATED(test_attach_twice_is_einval),
        CREATED(test_attach_in_pieces_is_eagain_until_complete),
        CREATED(test_attach_other_command_is_einval),
        CREATED(test_attach_wrong_major_is_einval),
        CREATED(test_attach_without_version_is_einval),
        CREATED(test_attach_text_without_nul_is_einval),
        CREATED(test_attach_bad_text_is_einval),
        CREATED(test_attach_oversized_message_is_einval),
        CREATED(test_attach_reply_instead_of_command_is_einval),
        CREATED(test_attach_with_descriptors_is_efault),
        CREATED(test_attach_client_gone_silently_is_enomsg),
        CREATED(test_attach_client_gone_inside_is_econnreset),
        CREATED(test_attach_client_gone_before_its_reply_is_econnreset),
        CREATED(test_attach_client_sends_out_of_band_is_einval),
        CREATED(test_attach_silent_client_times_out),
        CREATED(test_attach_dripping_client_times_out),
        CREATED(test_second_version_is_einval),
    };

    return cmocka_run_group_tests_name("device_negotiation", tests, NULL, NULL);
}
