/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that mean harm: whatever they send is answered or ends their own connection, nothing of
 * it is kept, and the next client is served. Clients that send nothing: test_patience.c.
 */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define REPEAT 1000

static void expect_next_client(struct fixture *fixture)
{
    fixture->client = vfu_client_free(fixture->client);
    fixture->client = server_negotiate(&fixture->server);
    expect_served(fixture->client);
}

static void map_request(struct wire *wire, uint16_t id)
{
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = PAGE, .size = PAGE };

    wire_command(wire, id, VFIO_USER_DMA_MAP, &map, sizeof(map));
}

static void set_irqs_request(struct wire *wire, uint16_t id, uint32_t count)
{
    const struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = 2,
        .count = count,
    };

    wire_command(wire, id, VFIO_USER_DEVICE_SET_IRQS, &set, 20);
}

/* Sends @wire cut in two after @cut bytes, each part with descriptors of its own. */
static void send_cut(struct vfu_client *client, const struct wire *wire, size_t cut,
                     const int *first, size_t first_count, const int *second, size_t second_count)
{
    assert_int_equal(vfu_client_raw_send(client, wire->bytes, cut, first, first_count), 0);
    assert_int_equal(
        vfu_client_raw_send(client, wire->bytes + cut, wire->size - cut, second, second_count), 0);
}

/* --- pieces --- */

static void expect_device_sees(struct vfu_client *client, const uint8_t *memory)
{
    uint8_t got[16];

    device_set(client, TEST_REG_GUEST_ADDRESS, PAGE);
    device_set(client, TEST_REG_GUEST_COUNT, sizeof(got));
    device_set(client, TEST_REG_GUEST_READ, 0);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0, got, sizeof(got)), 0);
    assert_memory_equal(got, memory, sizeof(got));
}

/* A normal command, cut anywhere: the descriptor came with its first byte. */
static void test_map_in_pieces_with_its_descriptor_on_the_first(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(PAGE);
    uint8_t *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct wire wire;

    assert_ptr_not_equal(memory, MAP_FAILED);
    map_request(&wire, 1);
    for (size_t cut = 1; cut < wire.size; cut++) {
        memset(memory, (int)cut, 16);
        send_cut(fixture->client, &wire, cut, &fd, 1, NULL, 0);
        expect_reply(fixture->client, 1, VFIO_USER_DMA_MAP, 0, NULL);
        assert_int_equal(device_get(fixture->client, TEST_REG_MAP_MAPPED), 1);
        expect_device_sees(fixture->client, memory);
        assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    }
    munmap(memory, PAGE);
    close(fd);
}

static void test_map_in_single_bytes(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(PAGE);
    struct wire wire;

    map_request(&wire, 1);
    for (size_t i = 0; i < wire.size; i++) {
        assert_int_equal(
            vfu_client_raw_send(fixture->client, wire.bytes + i, 1, &fd, i == 0 ? 1 : 0), 0);
    }
    expect_reply(fixture->client, 1, VFIO_USER_DMA_MAP, 0, NULL);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_MAPPED), 1);
    close(fd);
}

static void test_set_irqs_in_pieces_with_its_descriptors_on_the_first(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;
    int events[4];
    eventfd_t count;

    for (size_t i = 0; i < 4; i++) {
        events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    set_irqs_request(&wire, 2, 4);
    for (size_t cut = 1; cut < wire.size; cut++) {
        send_cut(fixture->client, &wire, cut, events, 4, NULL, 0);
        expect_reply(fixture->client, 2, VFIO_USER_DEVICE_SET_IRQS, 0, NULL);
        for (uint32_t i = 0; i < 4; i++) {
            device_set(fixture->client, TEST_REG_TRIGGER, i);
            assert_int_equal(eventfd_read(events[i], &count), 0);
            assert_int_equal(count, 1);
        }
        assert_int_equal(vfu_client_irq_disable(fixture->client, 2), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        close(events[i]);
    }
}

/*
 * Descriptors belong to the first byte of a header. Where they come later the kernel may still
 * hand them over with it; either way they are not kept.
 */
static void test_descriptor_on_a_later_byte_is_not_kept(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(PAGE);
    struct wire wire;

    map_request(&wire, 1);
    for (size_t cut = 1; cut < wire.size; cut++) {
        send_cut(fixture->client, &wire, cut, NULL, 0, &fd, 1);
        expect_reply(fixture->client, 1, VFIO_USER_DMA_MAP, 0, NULL);
        assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    }
    server_expect_descriptors(&fixture->server, before);
    close(fd);
}

static void test_plain_command_in_pieces_with_descriptors_throughout(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_access access = { .region = 1, .count = 4 };
    int fds[2] = { memory_create(PAGE), eventfd(0, EFD_CLOEXEC) };
    size_t before = server_descriptors(&fixture->server);
    struct wire wire;

    wire_command(&wire, 9, VFIO_USER_REGION_READ, &access, sizeof(access));
    for (size_t cut = 1; cut < wire.size; cut++) {
        send_cut(fixture->client, &wire, cut, fds, 2, fds, 2);
        expect_reply(fixture->client, 9, VFIO_USER_REGION_READ, 0, NULL);
    }
    server_expect_descriptors(&fixture->server, before);
    close(fds[0]);
    close(fds[1]);
}

/* --- many descriptors --- */

/*
 * @count copies of @fd with a command. The reply is @error, or the connection ends: a process may
 * have no room for what is sent.
 */
static void send_many(struct fixture *fixture, const struct wire *wire, int fd, size_t count,
                      int error)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    int fds[FD_LIST_MAX];

    for (size_t i = 0; i < count; i++) {
        fds[i] = fd;
    }
    assert_int_equal(vfu_client_raw_send(fixture->client, wire->bytes, wire->size, fds, count), 0);
    if (vfu_client_raw_receive(fixture->client, &reply) == 1) {
        assert_int_equal(reply.header.error_no, error);
        expect_served(fixture->client);
    } else {
        expect_next_client(fixture);
    }
}

static void many_descriptors(void **state, size_t count)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int event = eventfd(0, EFD_CLOEXEC), fd = memory_create(PAGE);
    struct wire wire;

    for (size_t i = 0; i < 5; i++) {
        map_request(&wire, 1);
        send_many(fixture, &wire, fd, count, 0);
        assert_true(vfu_client_dma_unmap_all(fixture->client) == 0);
        set_irqs_request(&wire, 1, TEST_DEVICE_MSIX_COUNT);
        send_many(fixture, &wire, event, count, EINVAL);
        set_irqs_request(&wire, 1, (uint32_t)count);
        send_many(fixture, &wire, event, count, EINVAL);
        wire_begin(&wire, 1, VFIO_USER_DEVICE_RESET);
        send_many(fixture, &wire, fd, count, 0);
    }
    server_expect_descriptors(&fixture->server, before);
    close(event);
    close(fd);
}

static void test_16_descriptors(void **state)
{
    many_descriptors(state, 16);
}

static void test_253_descriptors(void **state)
{
    many_descriptors(state, 253);
}

/* --- nothing is kept, a thousand times --- */

static void test_bad_descriptors_on_one_connection_are_not_kept(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    char fifo_path[sizeof(fixture->server.dir) + 8];
    int pipe_fds[2], fifo, event = eventfd(0, EFD_CLOEXEC), memory = memory_create(PAGE);
    struct wire map, irqs, unmap, info;
    const struct vfio_user_dma_unmap nothing = { .argsz = 24, .addr = 64 * PAGE, .size = PAGE };
    const struct vfio_user_device_info ask = { .argsz = 16 };

    snprintf(fifo_path, sizeof(fifo_path), "%s/fifo", fixture->server.dir);
    assert_return_code(mkfifo(fifo_path, 0600), errno);
    fifo = open(fifo_path, O_RDWR | O_CLOEXEC);
    assert_true(fifo >= 0);
    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    map_request(&map, 1);
    set_irqs_request(&irqs, 2, 1);
    wire_command(&unmap, 3, VFIO_USER_DMA_UNMAP, &nothing, sizeof(nothing));
    wire_command(&info, 4, VFIO_USER_DEVICE_GET_INFO, &ask, sizeof(ask));
    for (size_t i = 0; i < REPEAT; i++) {
        const int mixed[3] = { event, pipe_fds[1], memory };

        wire_expect(fixture->client, &map, &fifo, 1, ENODEV);
        wire_expect(fixture->client, &irqs, &pipe_fds[1], 1, EINVAL);
        wire_expect(fixture->client, &irqs, mixed, 3, EINVAL);
        wire_expect(fixture->client, &unmap, &memory, 1, ENOENT);
        wire_expect(fixture->client, &info, mixed, 3, 0);
    }
    server_expect_descriptors(&fixture->server, before);
    expect_served(fixture->client);
    unlink(fifo_path);
    close(fifo);
    close(event);
    close(memory);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* What a client sends before it disappears, by turns. */
static void leave_something(struct vfu_client *client, size_t turn, int pipe_fd, int memory)
{
    int fds[FD_LIST_MAX];
    struct wire wire;

    for (size_t i = 0; i < FD_LIST_MAX; i++) {
        fds[i] = i % 2 ? pipe_fd : memory;
    }
    map_request(&wire, 1);
    switch (turn % 6) {
    case 0: /* a byte of a header, with descriptors */
        vfu_client_raw_send(client, wire.bytes, 1, fds, 16);
        break;
    case 1: /* VERSION with descriptors */
        wire_begin(&wire, 1, VFIO_USER_VERSION);
        wire_add(&wire, &(uint32_t){ 0 }, 4);
        vfu_client_raw_send(client, wire.bytes, wire.size, fds, FD_LIST_MAX);
        break;
    case 2: /* half a command, after negotiation */
        assert_int_equal(vfu_client_negotiate(client), 0);
        vfu_client_raw_send(client, wire.bytes, 20, fds, 3);
        break;
    case 3: /* whole ones, unanswered */
        assert_int_equal(vfu_client_negotiate(client), 0);
        for (size_t i = 0; i < 8; i++) {
            vfu_client_raw_send(client, wire.bytes, wire.size, fds, 16);
        }
        break;
    case 4: /* garbage with descriptors */
        memset(wire.bytes, 0xee, 64);
        vfu_client_raw_send(client, wire.bytes, 64, fds, FD_LIST_MAX);
        break;
    default: /* nothing */
        break;
    }
}

static void test_clients_that_disappear_leave_nothing(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int pipe_fds[2], memory = memory_create(PAGE);
    size_t own;
    char byte;

    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    fixture->client = vfu_client_free(fixture->client);
    own = own_descriptors();
    for (size_t i = 0; i < REPEAT; i++) {
        struct vfu_client *client = server_connect(&fixture->server);

        leave_something(client, i, pipe_fds[1], memory);
        vfu_client_free(client);
    }
    assert_int_equal(own_descriptors(), own);
    fixture->client = server_negotiate(&fixture->server);
    expect_served(fixture->client);
    server_expect_descriptors(&fixture->server, before);
    /* End of file: nobody has the writing end any more. */
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
    close(memory);
}

/* --- nonsense --- */

/* A generator of its own, so that every run sends the same. */
static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void fill_random(uint8_t *bytes, size_t size, uint32_t *seed)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)next_random(seed);
    }
}

static void test_garbage_ends_the_connection_alone(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 20240611;

    for (size_t i = 0; i < 100; i++) {
        uint8_t garbage[512];

        fill_random(garbage, sizeof(garbage), &seed);
        /* It may be cut off in the middle of the sending. */
        vfu_client_raw_send(fixture->client, garbage, sizeof(garbage), NULL, 0);
        shutdown(vfu_client_socket(fixture->client), SHUT_WR);
        expect_closed(fixture->client);
        expect_next_client(fixture);
    }
}

/* Good headers, random payloads of random sizes: one answer each. */
static void test_random_payloads_are_answered(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 1;

    for (uint16_t i = 0; i < 2000; i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        uint16_t command = (uint16_t)(next_random(&seed) % 20);
        size_t size = next_random(&seed) % 80;
        struct wire wire;
        uint8_t payload[80];

        fill_random(payload, sizeof(payload), &seed);
        /* Half of them with small numbers, which get further. */
        for (size_t j = 0; i % 2 && j < sizeof(payload); j++) {
            payload[j] = j % 4 ? 0 : payload[j] % 48;
        }
        wire_command(&wire, i, command, payload, size);
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
        assert_int_equal(vfu_client_raw_receive(fixture->client, &reply), 1);
        assert_int_equal(reply.header.msg_id, i);
        assert_int_equal(reply.header.cmd, command);
        if (reply.header.flags & VFIO_USER_F_ERROR) {
            assert_int_not_equal(reply.header.error_no, 0);
            assert_int_equal(reply.size, 0);
        }
    }
    expect_served(fixture->client);
}

/* Under the broker the end of the session; standalone at least nobody else's concern. */
static void test_out_of_band_data(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t byte = 1;
    ssize_t sent = send(vfu_client_socket(fixture->client), &byte, 1, MSG_OOB | MSG_NOSIGNAL);

    /* Kernels without CONFIG_AF_UNIX_OOB have no such thing. */
    assert_true(sent == 1 || errno == EOPNOTSUPP);
    if (sent == 1 && harness_mode() == SERVER_BROKERED) {
        expect_closed(fixture->client);
    }
    expect_next_client(fixture);
}

static void test_out_of_band_data_inside_a_message(void **state)
{
    struct fixture *fixture = *state;
    struct wire wire;
    ssize_t sent;

    map_request(&wire, 1);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, 8, NULL, 0), 0);
    sent = send(vfu_client_socket(fixture->client), wire.bytes + 8, 8, MSG_OOB | MSG_NOSIGNAL);
    assert_true(sent == 8 || errno == EOPNOTSUPP);
    if (sent == 8 && harness_mode() == SERVER_BROKERED) {
        expect_closed(fixture->client);
    }
    expect_next_client(fixture);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_map_in_pieces_with_its_descriptor_on_the_first),
        PROTOCOL_TEST(test_map_in_single_bytes),
        PROTOCOL_TEST(test_set_irqs_in_pieces_with_its_descriptors_on_the_first),
        PROTOCOL_TEST(test_descriptor_on_a_later_byte_is_not_kept),
        PROTOCOL_TEST(test_plain_command_in_pieces_with_descriptors_throughout),
        PROTOCOL_TEST(test_16_descriptors),
        PROTOCOL_TEST(test_253_descriptors),
        PROTOCOL_TEST(test_bad_descriptors_on_one_connection_are_not_kept),
        PROTOCOL_TEST(test_clients_that_disappear_leave_nothing),
        PROTOCOL_TEST(test_garbage_ends_the_connection_alone),
        PROTOCOL_TEST(test_random_payloads_are_answered),
        PROTOCOL_TEST(test_out_of_band_data),
        PROTOCOL_TEST(test_out_of_band_data_inside_a_message),
    };

    return harness_run(argc, argv, tests);
}
