/* SPDX-License-Identifier: BSD-3-Clause */
/* Reset, the end of a connection, and who is served next: protocol.md 3.13, 5.8; design.md 1. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE 4096u

static void connect_next(struct fixture *fixture)
{
    fixture->client = vfu_client_free(fixture->client);
    fixture->client = server_negotiate(&fixture->server);
}

/* --- reset --- */

static void test_reset_reaches_the_device(void **state)
{
    struct fixture *fixture = *state;
    uint64_t value = 7;

    assert_int_equal(vfu_client_region_write(fixture->client, 0, 0x40, &value, sizeof(value)), 0);
    assert_int_equal(vfu_client_reset_device(fixture->client), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESETS), 1);
    assert_int_equal(vfu_client_region_read(fixture->client, 0, 0x40, &value, sizeof(value)), 0);
    assert_int_equal(value, 0);
}

static void test_reset_with_a_payload_is_a_reset(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t payload[100] = { 1 };

    expect_answer(fixture->client, VFIO_USER_DEVICE_RESET, payload, sizeof(payload), NULL, 0, 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESETS), 1);
}

static void test_failed_reset_is_the_errno_of_the_device(void **state)
{
    struct fixture *fixture = *state;

    device_set(fixture->client, TEST_REG_RESET_ERRNO, EBUSY);
    assert_int_equal(vfu_client_reset_device(fixture->client), EBUSY);
    device_set(fixture->client, TEST_REG_RESET_ERRNO, EIO);
    assert_int_equal(vfu_client_reset_device(fixture->client), EIO);
    device_set(fixture->client, TEST_REG_RESET_ERRNO, 0);
    assert_int_equal(vfu_client_reset_device(fixture->client), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESETS), 3);
}

static void test_reset_keeps_what_the_client_set_up(void **state)
{
    struct fixture *fixture = *state;
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fd = memory_create(PAGE);
    uint8_t line = 11;
    eventfd_t count;

    assert_int_equal(vfu_client_irq_assign(fixture->client, 2, 0, &event, 1), 0);
    assert_int_equal(vfu_client_dma_map(fixture->client, 0, PAGE, 3, fd, 0), 0);
    assert_int_equal(vfu_client_region_write(fixture->client, 7, PCI_INTERRUPT_LINE, &line, 1), 0);
    assert_int_equal(vfu_client_reset_device(fixture->client), 0);

    device_set(fixture->client, TEST_REG_TRIGGER, 0);
    assert_int_equal(eventfd_read(event, &count), 0);
    device_set(fixture->client, TEST_REG_GUEST_COUNT, 16);
    device_set(fixture->client, TEST_REG_GUEST_READ, 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESULT), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAPS), 0);
    line = 0;
    assert_int_equal(vfu_client_region_read(fixture->client, 7, PCI_INTERRUPT_LINE, &line, 1), 0);
    assert_int_equal(line, 11);
    close(event);
    close(fd);
}

/* --- the client leaves --- */

/*
 * Standalone the same process goes on: its device was told of the loss, and everything of the
 * client's is gone. Under the broker the next client finds a process that has never seen one.
 */
static void test_what_the_next_client_finds(void **state)
{
    struct fixture *fixture = *state;
    bool same_process = harness_mode() == SERVER_STANDALONE;
    size_t before = server_descriptors(&fixture->server);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fd = memory_create(4 * PAGE);
    uint64_t value = 0x1122334455667788;

    assert_int_equal(vfu_client_region_write(fixture->client, 0, 0, &value, sizeof(value)), 0);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(vfu_client_dma_map(fixture->client, i * PAGE, PAGE, 3, fd, i * PAGE), 0);
    }
    for (uint32_t index = 0; index < 5; index++) {
        assert_int_equal(vfu_client_irq_assign(fixture->client, index, 0, &event, 1), 0);
    }
    connect_next(fixture);

    assert_int_equal(device_get(fixture->client, TEST_REG_LOST), same_process ? 1 : 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAPS), same_process ? 4 : 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAPS), same_process ? 4 : 0);
    assert_int_equal(vfu_client_region_read(fixture->client, 0, 0, &value, sizeof(value)), 0);
    assert_true(value == (same_process ? 0x1122334455667788 : 0));

    /* Neither has the interrupts or the memory of the first one. */
    device_set(fixture->client, TEST_REG_TRIGGER, 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_RESULT), ENOENT);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, 0, PAGE), ENOENT);
    server_expect_descriptors(&fixture->server, before);
    close(event);
    close(fd);
}

static void test_client_that_leaves_inside_a_message(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .size = PAGE };
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(PAGE);
    struct wire wire;

    wire_command(&wire, 1, VFIO_USER_DMA_MAP, &map, sizeof(map));
    for (size_t size = 1; size < wire.size; size += 5) {
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, size, &fd, 1), 0);
        connect_next(fixture);
        assert_int_equal(device_get(fixture->client, TEST_REG_MAPS), 0);
    }
    server_expect_descriptors(&fixture->server, before);
    close(fd);
}

static void test_client_that_leaves_without_reading_its_replies(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_access access = { .region = 1, .count = 65536 };
    struct wire wire;

    wire_command(&wire, 1, VFIO_USER_REGION_READ, &access, sizeof(access));
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    }
    connect_next(fixture);
    expect_served(fixture->client);
}

/* What came before the end of the stream is answered. */
static void test_half_close_after_a_command(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };
    struct wire wire;

    wire_command(&wire, 4, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_WR), errno);
    expect_reply(fixture->client, 4, VFIO_USER_DEVICE_GET_INFO, 0, NULL);
    assert_int_equal(vfu_client_raw_receive(fixture->client, &message), 0);
    connect_next(fixture);
    expect_served(fixture->client);
}

static void test_half_close_inside_a_message(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_access access = { .count = 4 };
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };
    struct wire wire;

    wire_command(&wire, 4, VFIO_USER_REGION_READ, &access, sizeof(access));
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size - 1, NULL, 0), 0);
    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_WR), errno);
    assert_int_equal(vfu_client_raw_receive(fixture->client, &message), 0);
    connect_next(fixture);
    expect_served(fixture->client);
}

static void test_client_that_shuts_its_receiving_side(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };
    struct wire wire;

    wire_command(&wire, 4, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_RD), errno);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    connect_next(fixture);
    expect_served(fixture->client);
}

static void test_a_hundred_clients_one_after_the_other(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < 100; i++) {
        expect_served(fixture->client);
        connect_next(fixture);
    }
}

/* --- two clients --- */

/*
 * Standalone the second one waits for its turn, in the backlog. Under the broker it is told at
 * once, by the end of the connection, and the operator by the log.
 */
static void test_second_client(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *second = server_connect(&fixture->server);

    fixture_stop_recording(fixture);
    if (harness_mode() == SERVER_BROKERED) {
        AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };

        assert_int_equal(vfu_client_raw_receive(second, &message), 0);
        server_expect_log(&fixture->server, "client-refused");
        expect_served(fixture->client);
    } else {
        expect_served(fixture->client);
        fixture->client = vfu_client_free(fixture->client);
        assert_int_equal(vfu_client_negotiate(second), 0);
        expect_served(second);
    }
    vfu_client_free(second);
}

static void test_many_second_clients_cost_nothing(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);

    fixture_stop_recording(fixture);
    /* Standalone nobody accepts them: one fits into the backlog, and leaves again. */
    for (size_t i = 0; i < 100; i++) {
        vfu_client_free(server_connect(&fixture->server));
        expect_served(fixture->client);
        if (harness_mode() == SERVER_STANDALONE) {
            break;
        }
    }
    server_expect_descriptors(&fixture->server, before);
    connect_next(fixture);
    expect_served(fixture->client);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_reset_reaches_the_device),
        PROTOCOL_TEST(test_reset_with_a_payload_is_a_reset),
        PROTOCOL_TEST(test_failed_reset_is_the_errno_of_the_device),
        PROTOCOL_TEST(test_reset_keeps_what_the_client_set_up),
        PROTOCOL_TEST(test_what_the_next_client_finds),
        PROTOCOL_TEST(test_client_that_leaves_inside_a_message),
        PROTOCOL_TEST(test_client_that_leaves_without_reading_its_replies),
        PROTOCOL_TEST(test_half_close_after_a_command),
        PROTOCOL_TEST(test_half_close_inside_a_message),
        PROTOCOL_TEST(test_client_that_shuts_its_receiving_side),
        PROTOCOL_TEST(test_a_hundred_clients_one_after_the_other),
        PROTOCOL_TEST(test_second_client),
        PROTOCOL_TEST(test_many_second_clients_cost_nothing),
    };

    return harness_run(argc, argv, tests);
}
