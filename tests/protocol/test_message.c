/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers, replies, pipelining: protocol.md sections 1.2 to 1.9, after negotiation. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST_MESSAGE (1048576u + 32u)

static void send_wire(struct vfu_client *client, const struct wire *wire)
{
    assert_int_equal(vfu_client_raw_send(client, wire->bytes, wire->size, NULL, 0), 0);
}

static void get_info(struct wire *wire, uint16_t id)
{
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };

    wire_command(wire, id, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
}

static void write_scratch(struct wire *wire, uint16_t id, uint64_t offset, uint32_t value)
{
    const struct vfio_user_region_access access = { .offset = offset, .count = sizeof(value) };

    wire_begin(wire, id, VFIO_USER_REGION_WRITE);
    wire_add(wire, &access, sizeof(access));
    wire_add(wire, &value, sizeof(value));
}

static void read_scratch(struct wire *wire, uint16_t id, uint64_t offset)
{
    const struct vfio_user_region_access access = { .offset = offset, .count = 4 };

    wire_command(wire, id, VFIO_USER_REGION_READ, &access, sizeof(access));
}

static void expect_register(struct vfu_client *client, uint16_t id, uint32_t value)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    uint32_t got;

    expect_reply(client, id, VFIO_USER_REGION_READ, 0, &reply);
    assert_int_equal(reply.size, 20);
    memcpy(&got, reply.payload + 16, sizeof(got));
    assert_int_equal(got, value);
}

/* No reply to what was sent before: the next answer belongs to this command. */
static void expect_silence(struct vfu_client *client)
{
    struct wire wire;

    get_info(&wire, 999);
    wire_expect(client, &wire, NULL, 0, 0);
}

/* --- the header --- */

static void test_ids_are_echoed(void **state)
{
    struct fixture *fixture = *state;
    const uint16_t ids[] = { 0, 1, 0x8000, UINT16_MAX, 0, 0 };

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct wire wire;

        get_info(&wire, ids[i]);
        wire_expect(fixture->client, &wire, NULL, 0, 0);
    }
}

/* api.md 4.2: clients insist on the sizes of replies. */
static void test_replies_have_exact_sizes(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = 4096, .size = 4096 };
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .addr = 4096, .size = 4096 };
    const struct vfio_user_device_info info = { .argsz = 64 };
    const struct vfio_region_info plain = { .argsz = 4096, .index = 0 };
    const struct vfio_region_info small = { .argsz = 40, .index = 4 };
    const struct vfio_region_info mappable = { .argsz = 4096, .index = 4 };
    const struct vfio_irq_info irq = { .argsz = 4096, .index = 2 };
    const vfio_user_region_io_fds_request_t io_fds = { .argsz = 4096 };
    const vfio_user_region_io_fds_request_t no_io_fds = { .argsz = 4096, .index = 1 };
    const struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = 2,
    };
    const struct vfio_user_region_access reading = { .count = 24 };
    const struct vfio_user_region_access nothing = { .count = 0 };
    const struct {
        struct vfio_user_region_access access;
        uint64_t data;
    } writing = { .access = { .count = 8 } };
    const uint64_t no_writes = 0;
    const struct {
        uint16_t command;
        const void *payload;
        size_t size;
        size_t reply;
    } all[] = {
        { VFIO_USER_DMA_MAP, &map, 32, 0 },
        { VFIO_USER_DMA_UNMAP, &unmap, 24, 24 },
        { VFIO_USER_DEVICE_GET_INFO, &info, 16, 16 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, &plain, 32, 32 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, &small, 32, 40 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, &mappable, 32, 80 },
        { VFIO_USER_DEVICE_GET_REGION_IO_FDS, &io_fds, 16, 16 + 48 * TEST_DEVICE_IO_COUNT },
        { VFIO_USER_DEVICE_GET_REGION_IO_FDS, &no_io_fds, 16, 16 },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, 16, 16 },
        { VFIO_USER_DEVICE_SET_IRQS, &set, 20, 0 },
        { VFIO_USER_REGION_READ, &reading, 16, 16 + 24 },
        { VFIO_USER_REGION_READ, &nothing, 16, 0 },
        { VFIO_USER_REGION_WRITE, &writing, 24, 16 },
        { VFIO_USER_REGION_WRITE, &nothing, 16, 0 },
        { VFIO_USER_REGION_WRITE_MULTI, &no_writes, 8, 8 },
        { VFIO_USER_DEVICE_RESET, NULL, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        struct wire wire;

        wire_begin(&wire, (uint16_t)i, all[i].command);
        if (all[i].size > 0) {
            wire_add(&wire, all[i].payload, all[i].size);
        }
        send_wire(fixture->client, &wire);
        expect_reply(fixture->client, (uint16_t)i, all[i].command, 0, &reply);
        assert_int_equal(reply.size, all[i].reply);
    }
}

static void test_errno_and_reserved_bits_of_a_command_are_ignored(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t flags[] = { 0x20, 0x40, 0x80000000, 0xffffffe0 };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct wire wire;

        get_info(&wire, 1);
        wire_header(&wire)->flags = flags[i];
        wire_header(&wire)->error_no = 77;
        wire_expect(fixture->client, &wire, NULL, 0, 0);
    }
}

static void test_reply_that_nobody_awaits_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    get_info(&wire, 1);
    wire_header(&wire)->flags = VFIO_USER_F_TYPE_REPLY;
    send_wire(fixture->client, &wire);
    wire_header(&wire)->cmd = VFIO_USER_DMA_READ;
    send_wire(fixture->client, &wire);
    expect_silence(fixture->client);
    expect_served(fixture->client);
}

static void unknown_type(void **state, uint32_t type)
{
    struct fixture *fixture = *state;
    struct vfu_client *next;
    struct wire wire;

    get_info(&wire, 1);
    wire_header(&wire)->flags = type;
    send_wire(fixture->client, &wire);
    expect_closed(fixture->client);
    fixture->client = vfu_client_free(fixture->client);
    next = server_negotiate(&fixture->server);
    expect_served(next);
    vfu_client_free(next);
}

static void test_type_2_closes(void **state)
{
    unknown_type(state, 2);
}

static void test_type_15_closes(void **state)
{
    unknown_type(state, 15);
}

/* The framing is lost: EINVAL, and the end. */
static void bad_size(void **state, uint32_t msg_size)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };
    struct vfu_client *next;
    struct wire wire;

    get_info(&wire, 7);
    wire_header(&wire)->msg_size = msg_size;
    send_wire(fixture->client, &wire);
    expect_reply(fixture->client, 7, VFIO_USER_DEVICE_GET_INFO, EINVAL, NULL);
    assert_int_equal(vfu_client_raw_receive(fixture->client, &message), 0);
    fixture->client = vfu_client_free(fixture->client);
    next = server_negotiate(&fixture->server);
    expect_served(next);
    vfu_client_free(next);
}

static void test_msg_size_0_is_einval_and_closes(void **state)
{
    bad_size(state, 0);
}

static void test_msg_size_15_is_einval_and_closes(void **state)
{
    bad_size(state, 15);
}

static void test_msg_size_above_the_largest_is_einval_and_closes(void **state)
{
    bad_size(state, LARGEST_MESSAGE + 1);
}

static void test_msg_size_4g_is_einval_and_closes(void **state)
{
    bad_size(state, UINT32_MAX);
}

static void test_msg_size_of_a_header_is_einval_but_for_reset(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    for (uint16_t command = 0; command < 20; command++) {
        wire_begin(&wire, command, command);
        wire_expect(fixture->client, &wire, NULL, 0,
                    command == VFIO_USER_DEVICE_RESET ? 0 : EINVAL);
    }
    expect_served(fixture->client);
}

static void test_largest_message_is_executed(void **state)
{
    struct fixture *fixture = *state;
    const size_t count = 1048576;
    uint8_t *data = malloc(count);

    assert_non_null(data);
    for (size_t i = 0; i < count; i++) {
        data[i] = (uint8_t)(i * 13 + (i >> 9));
    }
    assert_int_equal(vfu_client_region_write(fixture->client, 2, 0, data, count), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_WRITES), 1);
    assert_true(device_get(fixture->client, TEST_REG_WRITTEN) == test_device_hash(data, count));
    free(data);
}

static void test_unknown_commands_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint16_t commands[] = { 0, 11, 12, 14, 15, 19, 20, 255, 256, UINT16_MAX };
    const uint8_t payload[64] = { 32 };

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        expect_answer(fixture->client, commands[i], payload, sizeof(payload), NULL, 0, EINVAL);
    }
    expect_served(fixture->client);
}

/* A device that cannot migrate: features and migration data are EINVAL, whatever they say. */
static void test_migration_commands_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t feature[] = { 64, 0x10001, 0, 0 };
    const uint32_t data[] = { 16, 8, 0, 0 };

    expect_answer(fixture->client, VFIO_USER_DEVICE_FEATURE, feature, sizeof(feature), NULL, 0,
                  EINVAL);
    expect_answer(fixture->client, VFIO_USER_MIG_DATA_READ, data, sizeof(data), NULL, 0, EINVAL);
    expect_answer(fixture->client, VFIO_USER_MIG_DATA_WRITE, data, sizeof(data), NULL, 0, EINVAL);
    expect_served(fixture->client);
}

static void test_unknown_command_drains_its_payload(void **state)
{
    struct fixture *fixture = *state;
    const size_t size = 500000;
    uint8_t *message = calloc(1, size);
    const struct vfio_user_header header = { .msg_id = 3, .cmd = 14, .msg_size = (uint32_t)size };

    assert_non_null(message);
    memset(message, 0xff, size);
    memcpy(message, &header, sizeof(header));
    assert_int_equal(vfu_client_raw_send(fixture->client, message, size, NULL, 0), 0);
    expect_reply(fixture->client, 3, 14, EINVAL, NULL);
    expect_served(fixture->client);
    free(message);
}

/* --- NO_REPLY --- */

static void test_no_reply_write_is_executed_and_not_answered(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    write_scratch(&wire, 1, 0x10, 0x12345678);
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    read_scratch(&wire, 2, 0x10);
    send_wire(fixture->client, &wire);
    expect_register(fixture->client, 2, 0x12345678);
}

static void test_no_reply_is_silent_on_failure(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;

    write_scratch(&wire, 1, TEST_DEVICE_BAR0_SIZE, 1); /* beyond the region */
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    write_scratch(&wire, 1, TEST_REG_FAILS, 1); /* refused by the device */
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    wire_begin(&wire, 1, 14); /* no such command */
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    send_wire(fixture->client, &wire);
    expect_silence(fixture->client);
    expect_served(fixture->client);
}

static void test_no_reply_holds_for_every_command(void **state)
{
    struct fixture *fixture = *state;
    /* To some a good question, to others a bad one. */
    const uint32_t ask[8] = { 32 };
    int memory = memory_create(4096);
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .size = 4096 };
    struct wire wire;

    for (uint16_t command = 0; command < VFIO_USER_MAX + 1; command++) {
        wire_command(&wire, 1, command, ask, sizeof(ask));
        wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
        send_wire(fixture->client, &wire);
    }
    wire_command(&wire, 1, VFIO_USER_DMA_MAP, &map, sizeof(map));
    wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, &memory, 1), 0);
    expect_silence(fixture->client);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESETS), 1);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAPS), 1);
    close(memory);
}

static void test_posted_writes_come_before_the_next_reply(void **state)
{
    struct fixture *fixture = *state;
    uint32_t value = 0;

    for (uint32_t i = 1; i <= 1000; i++) {
        assert_int_equal(vfu_client_region_post(fixture->client, 0, 0x20, &i, sizeof(i)), 0);
    }
    assert_int_equal(vfu_client_region_read(fixture->client, 0, 0x20, &value, sizeof(value)), 0);
    assert_int_equal(value, 1000);
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 1002);
}

/* --- many at once --- */

static void append(uint8_t *stream, size_t *size, const struct wire *wire)
{
    memcpy(stream + *size, wire->bytes, wire->size);
    *size += wire->size;
}

static void test_hundred_commands_in_one_sendmsg(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t stream[100 * 64];
    size_t size = 0;
    struct wire wire;

    for (uint16_t i = 0; i < 50; i++) {
        write_scratch(&wire, (uint16_t)(2 * i), i * 4u, i * 1000u);
        append(stream, &size, &wire);
        read_scratch(&wire, (uint16_t)(2 * i + 1), i * 4u);
        append(stream, &size, &wire);
    }
    assert_int_equal(vfu_client_raw_send(fixture->client, stream, size, NULL, 0), 0);
    for (uint16_t i = 0; i < 50; i++) {
        expect_reply(fixture->client, (uint16_t)(2 * i), VFIO_USER_REGION_WRITE, 0, NULL);
        expect_register(fixture->client, (uint16_t)(2 * i + 1), i * 1000u);
    }
}

static void test_hundred_commands_in_single_bytes(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t stream[100 * 64];
    size_t size = 0;
    struct wire wire;

    for (uint16_t i = 0; i < 50; i++) {
        write_scratch(&wire, i, i * 4u, i);
        append(stream, &size, &wire);
    }
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(vfu_client_raw_send(fixture->client, stream + i, 1, NULL, 0), 0);
    }
    for (uint16_t i = 0; i < 50; i++) {
        expect_reply(fixture->client, i, VFIO_USER_REGION_WRITE, 0, NULL);
    }
}

static void test_pieces_of_every_size(void **state)
{
    struct fixture *fixture = *state;

    for (size_t piece = 1; piece < 40; piece++) {
        struct wire wire, second;

        write_scratch(&wire, 1, 0, (uint32_t)piece);
        read_scratch(&second, 2, 0);
        memcpy(wire.bytes + wire.size, second.bytes, second.size);
        wire.size += second.size;
        for (size_t at = 0; at < wire.size; at += piece) {
            size_t n = wire.size - at < piece ? wire.size - at : piece;

            assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes + at, n, NULL, 0), 0);
        }
        expect_reply(fixture->client, 1, VFIO_USER_REGION_WRITE, 0, NULL);
        expect_register(fixture->client, 2, (uint32_t)piece);
    }
}

/* What has descriptors goes another way through the broker: the order must not suffer. */
static void test_commands_with_and_without_descriptors_keep_their_order(void **state)
{
    struct fixture *fixture = *state;
    uint16_t ids[64][4];
    int memory = memory_create(64 * 4096);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    for (uint32_t i = 0; i < 64; i++) {
        const struct vfio_user_dma_map map = {
            .argsz = sizeof(map),
            .flags = 3,
            .offset = i * 4096,
            .addr = i * 4096,
            .size = 4096,
        };
        const struct vfio_irq_set set = {
            .argsz = 20,
            .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
            .index = 2,
            .start = i % TEST_DEVICE_MSIX_COUNT,
            .count = 1,
        };
        const struct vfio_user_region_access access = { .offset = i * 4, .count = 4 };
        const struct vfu_client_request requests[4] = {
            { VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0, &memory, 1 },
            { VFIO_USER_REGION_WRITE, &access, sizeof(access), &i, 4, NULL, 0 },
            { VFIO_USER_DEVICE_SET_IRQS, &set, 20, NULL, 0, &event, 1 },
            { VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0, NULL, 0 },
        };
        for (size_t j = 0; j < 4; j++) {
            assert_int_equal(vfu_client_submit(fixture->client, &requests[j], &ids[i][j]), 0);
        }
    }
    /* Collected in another order than they were sent in. */
    for (uint32_t i = 64; i-- > 0;) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        uint32_t value;

        assert_int_equal(vfu_client_collect(fixture->client, ids[i][3], &reply), 0);
        memcpy(&value, reply.payload + 16, sizeof(value));
        assert_int_equal(value, i);
        for (size_t j = 0; j < 3; j++) {
            assert_int_equal(vfu_client_collect(fixture->client, ids[i][j], NULL), 0);
        }
    }
    assert_int_equal(device_get(fixture->client, TEST_REG_MAPS), 64);
    close(memory);
    close(event);
}

static void test_more_replies_than_the_socket_holds(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_access access = { .region = 1, .count = 65536 };
    static uint8_t stream[200 * 32];
    size_t size = 0;

    for (uint16_t i = 0; i < 200; i++) {
        struct wire wire;

        wire_command(&wire, i, VFIO_USER_REGION_READ, &access, sizeof(access));
        append(stream, &size, &wire);
    }
    /* 13 MB of replies to them: the server has to wait in the middle. */
    assert_int_equal(vfu_client_raw_send(fixture->client, stream, size, NULL, 0), 0);
    for (uint16_t i = 0; i < 200; i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

        expect_reply(fixture->client, i, VFIO_USER_REGION_READ, 0, &reply);
        assert_int_equal(reply.size, 16 + 65536);
        assert_int_equal(reply.payload[16], test_device_bar1_byte(0));
        assert_int_equal(reply.payload[16 + 65535], test_device_bar1_byte(65535));
    }
}

/* --- descriptors that nobody asked for --- */

static void test_surplus_descriptors_are_closed_and_the_command_executed(void **state)
{
    struct fixture *fixture = *state;
    int pipe_fds[2], fds[8];
    struct wire wire;
    char byte;

    assert_return_code(pipe(pipe_fds), errno);
    for (size_t i = 0; i < 8; i++) {
        fds[i] = pipe_fds[1];
    }
    get_info(&wire, 1);
    wire_expect(fixture->client, &wire, fds, 8, 0);
    write_scratch(&wire, 2, 0, 5);
    wire_expect(fixture->client, &wire, fds, 8, 0);
    wire_begin(&wire, 3, VFIO_USER_DEVICE_RESET);
    wire_expect(fixture->client, &wire, fds, 1, 0);
    close(pipe_fds[1]);
    /* End of file: nobody has the writing end any more. */
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
    expect_served(fixture->client);
}

static void test_no_reply_carries_descriptors_but_region_info(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    get_info(&wire, 1);
    send_wire(fixture->client, &wire);
    expect_reply(fixture->client, 1, VFIO_USER_DEVICE_GET_INFO, 0, &reply);
    assert_int_equal(reply.fds.count, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_ids_are_echoed),
        PROTOCOL_TEST(test_replies_have_exact_sizes),
        PROTOCOL_TEST(test_errno_and_reserved_bits_of_a_command_are_ignored),
        PROTOCOL_TEST(test_reply_that_nobody_awaits_is_dropped),
        PROTOCOL_TEST(test_type_2_closes),
        PROTOCOL_TEST(test_type_15_closes),
        PROTOCOL_TEST(test_msg_size_0_is_einval_and_closes),
        PROTOCOL_TEST(test_msg_size_15_is_einval_and_closes),
        PROTOCOL_TEST(test_msg_size_above_the_largest_is_einval_and_closes),
        PROTOCOL_TEST(test_msg_size_4g_is_einval_and_closes),
        PROTOCOL_TEST(test_msg_size_of_a_header_is_einval_but_for_reset),
        PROTOCOL_TEST(test_largest_message_is_executed),
        PROTOCOL_TEST(test_unknown_commands_are_einval),
        PROTOCOL_TEST(test_migration_commands_are_einval),
        PROTOCOL_TEST(test_unknown_command_drains_its_payload),
        PROTOCOL_TEST(test_no_reply_write_is_executed_and_not_answered),
        PROTOCOL_TEST(test_no_reply_is_silent_on_failure),
        PROTOCOL_TEST(test_no_reply_holds_for_every_command),
        PROTOCOL_TEST(test_posted_writes_come_before_the_next_reply),
        PROTOCOL_TEST(test_hundred_commands_in_one_sendmsg),
        PROTOCOL_TEST(test_hundred_commands_in_single_bytes),
        PROTOCOL_TEST(test_pieces_of_every_size),
        PROTOCOL_TEST(test_commands_with_and_without_descriptors_keep_their_order),
        PROTOCOL_TEST(test_more_replies_than_the_socket_holds),
        PROTOCOL_TEST(test_surplus_descriptors_are_closed_and_the_command_executed),
        PROTOCOL_TEST(test_no_reply_carries_descriptors_but_region_info),
    };

    return harness_run(argc, argv, tests);
}
