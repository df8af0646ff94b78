/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_READ and DMA_WRITE: protocol.md sections 3.11 and 3.12, api.md section 2.7 (vfu_sgl_read,
 * vfu_sgl_write). Each good and bad answer, with a twin socket and without.
 */
#include "tests/protocol/harness.h"

#include "ipc/frame.h"
#include "ipc/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST 0x100000u
#define GUEST_SIZE (16u << 20)

#define READ VFIO_USER_DMA_READ
#define WRITE VFIO_USER_DMA_WRITE

typedef struct vfio_user_dma_region_access access_t;

/* --- a client that serves --- */

struct guest {
    uint8_t *memory;
    uint64_t iova[64]; /* of the first calls */
    uint64_t count[64];
    size_t calls;
    uint64_t largest;
    int error; /* answered to every call, if it is not 0 */
};

static int serve_guest(void *opaque, uint64_t iova, void *data, uint64_t count, bool is_write)
{
    struct guest *guest = opaque;

    if (guest->calls < 64) {
        guest->iova[guest->calls] = iova;
        guest->count[guest->calls] = count;
    }
    guest->calls++;
    guest->largest = count > guest->largest ? count : guest->largest;
    if (guest->error != 0) {
        return guest->error;
    }
    if (iova < GUEST || iova - GUEST > GUEST_SIZE || count > GUEST_SIZE - (iova - GUEST)) {
        return EFAULT;
    }
    if (is_write) {
        memcpy(guest->memory + (iova - GUEST), data, count);
    } else {
        memcpy(data, guest->memory + (iova - GUEST), count);
    }
    return 0;
}

static void guest_open(struct guest *guest, struct vfu_client *client)
{
    *guest = (struct guest){ .memory = malloc(GUEST_SIZE) };
    assert_non_null(guest->memory);
    for (size_t i = 0; i < GUEST_SIZE; i++) {
        guest->memory[i] = (uint8_t)(i * 5 + (i >> 9));
    }
    vfu_client_set_dma(client, serve_guest, guest);
}

static void guest_close(struct guest *guest)
{
    free(guest->memory);
}

static void negotiate(struct fixture *fixture, bool twin, uint64_t max_data_xfer_size)
{
    const struct vfu_client_offer offer = {
        .max_msg_fds = 8,
        .max_data_xfer_size = max_data_xfer_size,
        .twin_socket = twin,
    };

    assert_int_equal(vfu_client_negotiate_as(fixture->client, &offer), 0);
}

static void map_guest(struct vfu_client *client, uint32_t flags)
{
    assert_int_equal(vfu_client_dma_map(client, GUEST, GUEST_SIZE, flags, -1, 0), 0);
}

/* Makes the device copy; returns the errno that it got. */
static int transfer(struct vfu_client *client, uint16_t command, uint64_t address, uint64_t count,
                    uint64_t where)
{
    device_set(client, TEST_REG_GUEST_ADDRESS, address);
    device_set(client, TEST_REG_GUEST_COUNT, count);
    device_set(client, command == READ ? TEST_REG_DMA_READ : TEST_REG_DMA_WRITE, where);
    return (int)device_get(client, TEST_REG_RESULT);
}

static void copy_both_ways(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;
    uint8_t scratch[100];
    struct guest guest;

    negotiate(fixture, twin, 1048576);
    guest_open(&guest, client);
    map_guest(client, 3);
    assert_int_equal(transfer(client, READ, GUEST + 1000, 100, 0x40), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0x40, scratch, 100), 0);
    assert_memory_equal(scratch, guest.memory + 1000, 100);
    assert_int_equal(transfer(client, WRITE, GUEST + 5001, 77, 0x40), 0);
    assert_memory_equal(guest.memory + 5001, scratch, 77);
    assert_int_equal(guest.memory[5000], (uint8_t)(5000 * 5 + (5000 >> 9)));
    assert_int_equal(guest.memory[5078], (uint8_t)(5078 * 5 + (5078 >> 9)));
    assert_int_equal(guest.calls, 2);
    assert_int_equal(guest.iova[0], GUEST + 1000);
    assert_int_equal(guest.count[1], 77);
    guest_close(&guest);
}

static void test_read_and_write(void **state)
{
    copy_both_ways(*state, false);
}

static void test_read_and_write_by_twin_socket(void **state)
{
    copy_both_ways(*state, true);
}

/* Outside of a callback: what has been promised for the next call is kept. */
static void test_read_outside_of_a_callback(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    struct guest guest;

    negotiate(fixture, false, 1048576);
    guest_open(&guest, client);
    map_guest(client, 3);
    device_set(client, TEST_REG_DMA_LATER, 1);
    for (uint32_t i = 0; i < 50; i++) {
        uint8_t byte = 0;

        transfer(client, READ, GUEST + 100 * i, 1, i);
        expect_eventually(vfu_client_region_read(client, 0, i, &byte, 1) == 0 &&
                          guest.calls == i + 1 && byte == guest.memory[100 * i]);
        assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    }
    guest_close(&guest);
}

/* api.md 2.7: chunks of the client's max_data_xfer_size. */
static void expect_pieces(struct fixture *fixture, bool twin)
{
    static const uint64_t sizes[] = { 7, 7, 6 };
    struct vfu_client *client = fixture->client;
    uint8_t scratch[20];
    struct guest guest;

    negotiate(fixture, twin, 7);
    guest_open(&guest, client);
    map_guest(client, 3);
    for (uint16_t command = READ; command <= WRITE; command++) {
        guest.calls = 0;
        assert_int_equal(transfer(client, command, GUEST + 50, 20, 0), 0);
        assert_int_equal(guest.calls, 3);
        for (uint64_t i = 0; i < 3; i++) {
            assert_int_equal(guest.iova[i], GUEST + 50 + 7 * i);
            assert_int_equal(guest.count[i], sizes[i]);
        }
    }
    assert_int_equal(vfu_client_region_read(client, 0, 0, scratch, 20), 0);
    assert_memory_equal(scratch, guest.memory + 50, 20);
    guest_close(&guest);
}

static void test_pieces_are_what_the_client_takes(void **state)
{
    expect_pieces(*state, false);
}

static void test_pieces_by_twin_socket(void **state)
{
    expect_pieces(*state, true);
}

/* W18: a client that takes more than our limit gets no more than that. */
static void expect_bulk(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;
    struct guest guest;

    negotiate(fixture, twin, 64u << 20);
    guest_open(&guest, client);
    map_guest(client, 3);
    assert_int_equal(transfer(client, READ, GUEST + 3, TEST_DMA_BULK_SIZE, TEST_DMA_BULK), 0);
    assert_true(device_get(client, TEST_REG_DMA_HASH) ==
                test_device_hash(guest.memory + 3, TEST_DMA_BULK_SIZE));
    assert_int_equal(transfer(client, WRITE, GUEST + 5, TEST_DMA_BULK_SIZE, TEST_DMA_BULK), 0);
    for (size_t i = 0; i < TEST_DMA_BULK_SIZE; i++) {
        assert_int_equal(guest.memory[5 + i], test_device_bulk_byte(i));
    }
    assert_int_equal(guest.calls, 6);
    assert_int_equal(guest.largest, 1u << 20);
    guest_close(&guest);
}

static void test_megabytes(void **state)
{
    expect_bulk(*state, false);
}

static void test_megabytes_by_twin_socket(void **state)
{
    expect_bulk(*state, true);
}

/* api.md 2.7: no flag asks the client even for memory that is here. */
static void test_memory_with_descriptor_is_asked_for_too(void **state)
{
    struct fixture *fixture = *state;
    struct guest guest;
    int memory = memory_create(4096);

    guest_open(&guest, fixture->client);
    assert_int_equal(vfu_client_dma_map(fixture->client, GUEST, 4096, 3, memory, 0), 0);
    assert_int_equal(transfer(fixture->client, READ, GUEST, 8, 0), 0);
    assert_int_equal(guest.calls, 1);
    guest_close(&guest);
    close(memory);
}

/* api.md 2.7: EPERM without a message. */
static void test_what_the_client_does_not_allow_is_not_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct guest guest;

    guest_open(&guest, fixture->client);
    map_guest(fixture->client, 2);
    assert_int_equal(transfer(fixture->client, READ, GUEST, 8, 0), EPERM);
    assert_int_equal(transfer(fixture->client, WRITE, GUEST, 8, 0), 0);
    assert_int_equal(vfu_client_dma_unmap_all(fixture->client), 0);
    map_guest(fixture->client, 1);
    assert_int_equal(transfer(fixture->client, READ, GUEST, 8, 0), 0);
    assert_int_equal(transfer(fixture->client, WRITE, GUEST, 8, 0), EACCES);
    assert_int_equal(transfer(fixture->client, READ, GUEST - 1, 8, 0), ENOENT);
    assert_int_equal(guest.calls, 2);
    guest_close(&guest);
}

static void test_client_that_serves_nothing(void **state)
{
    struct fixture *fixture = *state;

    map_guest(fixture->client, 3);
    assert_int_equal(transfer(fixture->client, READ, GUEST, 8, 0), ENOTSUP);
    assert_int_equal(transfer(fixture->client, WRITE, GUEST, 8, 0), ENOTSUP);
    expect_served(fixture->client);
}

/* The first piece that fails ends it. */
static void test_error_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    struct guest guest;

    negotiate(fixture, false, 4096);
    guest_open(&guest, fixture->client);
    map_guest(fixture->client, 3);
    guest.error = EHOSTDOWN;
    assert_int_equal(transfer(fixture->client, WRITE, GUEST, 65536, TEST_DMA_BULK), EHOSTDOWN);
    assert_int_equal(guest.calls, 1);
    guest_close(&guest);
}

/* --- a client that answers by hand --- */

/* By the twin socket, if there is one. */
static int stream_of(struct vfu_client *client)
{
    int twin = vfu_client_twin_socket(client);

    return twin >= 0 ? twin : vfu_client_socket(client);
}

static void send_bytes(int sock, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        struct pollfd fd = { .fd = sock, .events = POLLOUT };
        ssize_t n;

        assert_int_equal(poll(&fd, 1, HARNESS_DEADLINE_MS), 1);
        n = send(sock, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

static void receive_bytes(int sock, void *buffer, size_t size)
{
    uint8_t *at = buffer;

    while (size > 0) {
        struct pollfd fd = { .fd = sock, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&fd, 1, HARNESS_DEADLINE_MS), 1);
        n = recv(sock, at, size, MSG_DONTWAIT);
        assert_true(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

struct question {
    struct vfio_user_header header;
    access_t access;
    uint8_t data[64];
};

/* Tells the device to ask, and receives what it asks. */
static void provoke(struct vfu_client *client, uint16_t command, uint64_t count,
                    struct question *question)
{
    const uint64_t where = 0;
    const struct vfio_user_region_access access = {
        .offset = command == READ ? TEST_REG_DMA_READ : TEST_REG_DMA_WRITE,
        .count = 8,
    };
    struct wire wire;

    device_set(client, TEST_REG_GUEST_ADDRESS, GUEST + 16);
    device_set(client, TEST_REG_GUEST_COUNT, count);
    wire_begin(&wire, 7, VFIO_USER_REGION_WRITE);
    wire_add(&wire, &access, sizeof(access));
    wire_add(&wire, &where, sizeof(where));
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    receive_bytes(stream_of(client), &question->header, sizeof(question->header));
    assert_int_equal(question->header.cmd, command);
    assert_int_equal(question->header.flags, VFIO_USER_F_TYPE_COMMAND);
    assert_int_equal(question->header.error_no, 0);
    assert_int_equal(question->header.msg_size, 32 + (command == WRITE ? count : 0));
    receive_bytes(stream_of(client), &question->access, question->header.msg_size - 16);
    assert_int_equal(question->access.addr, GUEST + 16);
    assert_int_equal(question->access.count, count);
}

/* The right answer to it, for a test to spoil. Returns its size. */
static size_t compose(const struct question *question, struct question *answer)
{
    bool is_read = question->header.cmd == READ;

    memset(answer, 0, sizeof(*answer));
    answer->header = question->header;
    answer->header.flags = VFIO_USER_F_TYPE_REPLY;
    answer->header.msg_size = (uint32_t)(32 + (is_read ? question->access.count : 0));
    answer->access = question->access;
    memset(answer->data, 0x5a, sizeof(answer->data));
    return answer->header.msg_size;
}

/* The device's call is over, with this errno, and the command is answered. */
static void expect_result(struct vfu_client *client, int error)
{
    expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
    assert_int_equal(device_get(client, TEST_REG_RESULT), error);
}

struct spoiled {
    uint16_t command;
    int result;
    void (*spoil)(struct question *answer);
};

static void as_it_is(struct question *answer)
{
}

static void without_payload(struct question *answer)
{
    answer->header.msg_size = 16;
}

static void with_a_short_count(struct question *answer)
{
    answer->header.msg_size = 28;
}

static void one_byte_short(struct question *answer)
{
    answer->header.msg_size--;
}

static void one_byte_long(struct question *answer)
{
    answer->header.msg_size++;
}

static void of_another_address(struct question *answer)
{
    answer->access.addr++;
}

static void of_another_count(struct question *answer)
{
    answer->access.count--;
}

static void of_a_huge_count(struct question *answer)
{
    answer->access.count |= 1ull << 32;
}

static void to_another_command(struct question *answer)
{
    answer->header.cmd = answer->header.cmd == READ ? WRITE : READ;
}

static void failed(struct question *answer, uint32_t error)
{
    answer->header.flags |= VFIO_USER_F_ERROR;
    answer->header.error_no = error;
}

static void with_eio(struct question *answer)
{
    failed(answer, EIO);
    answer->header.msg_size = 16;
}

/* Its payload has to be drained. */
static void with_eio_and_payload(struct question *answer)
{
    failed(answer, EIO);
}

static void with_errno_0(struct question *answer)
{
    failed(answer, 0);
}

static void with_errno_4096(struct question *answer)
{
    failed(answer, 4096);
}

static void with_errno_4097(struct question *answer)
{
    failed(answer, 4097);
}

static void with_errno_4g(struct question *answer)
{
    failed(answer, UINT32_MAX);
}

/* api.md 2.7, "Message errors". */
static const struct spoiled all_answers[] = {
    { READ, 0, as_it_is },
    { READ, EINVAL, without_payload },
    { READ, EINVAL, with_a_short_count },
    { READ, EINVAL, one_byte_short },
    { READ, EINVAL, one_byte_long },
    { READ, EINVAL, of_another_address },
    { READ, EINVAL, of_another_count },
    { READ, EINVAL, of_a_huge_count },
    { READ, EINVAL, to_another_command },
    { READ, EIO, with_eio },
    { READ, EIO, with_eio_and_payload },
    { READ, EINVAL, with_errno_0 },
    { READ, 4096, with_errno_4096 },
    { READ, EINVAL, with_errno_4097 },
    { READ, EINVAL, with_errno_4g },
    { WRITE, 0, as_it_is },
    { WRITE, 0, without_payload },    /* QEMU 10.1 */
    { WRITE, 0, with_a_short_count }, /* an older text of the protocol */
    { WRITE, EINVAL, one_byte_short },
    { WRITE, EINVAL, one_byte_long },
    { WRITE, EINVAL, of_another_address },
    { WRITE, EINVAL, of_another_count },
    { WRITE, EINVAL, of_a_huge_count },
    { WRITE, EINVAL, to_another_command },
    { WRITE, EIO, with_eio },
    { WRITE, EIO, with_eio_and_payload },
    { WRITE, EINVAL, with_errno_0 },
    { WRITE, 4096, with_errno_4096 },
    { WRITE, EINVAL, with_errno_4097 },
    { WRITE, EINVAL, with_errno_4g },
};

static void expect_all_answers(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;

    negotiate(fixture, twin, 1048576);
    map_guest(client, 3);
    for (size_t i = 0; i < sizeof(all_answers) / sizeof(all_answers[0]); i++) {
        struct question question, answer;

        provoke(client, all_answers[i].command, 20, &question);
        compose(&question, &answer);
        all_answers[i].spoil(&answer);
        send_bytes(stream_of(client), &answer, answer.header.msg_size);
        expect_result(client, all_answers[i].result);
    }
    expect_served(client);
}

static void test_each_answer_has_its_errno(void **state)
{
    expect_all_answers(*state, false);
}

static void test_each_answer_by_twin_socket_has_its_errno(void **state)
{
    expect_all_answers(*state, true);
}

static void answer_in_bytes(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;
    struct question question, answer;
    uint8_t scratch[20];
    size_t size;

    negotiate(fixture, twin, 1048576);
    map_guest(client, 3);
    provoke(client, READ, 20, &question);
    size = compose(&question, &answer);
    for (size_t i = 0; i < size; i++) {
        send_bytes(stream_of(client), (uint8_t *)&answer + i, 1);
    }
    expect_result(client, 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0, scratch, 20), 0);
    assert_memory_equal(scratch, answer.data, 20);
}

static void test_answer_in_single_bytes(void **state)
{
    answer_in_bytes(*state, false);
}

static void test_answer_by_twin_socket_in_single_bytes(void **state)
{
    answer_in_bytes(*state, true);
}

/* api.md 2.7: a reply of another id is EPROTO; what is owed after that is dropped when it comes. */
static void answer_another_id(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;
    struct question question, answer;
    size_t size;

    negotiate(fixture, twin, 1048576);
    map_guest(client, 3);
    for (int i = 0; i < 5; i++) {
        provoke(client, READ, 20, &question);
        size = compose(&question, &answer);
        answer.header.msg_id ^= 0x4000;
        send_bytes(stream_of(client), &answer, size);
        expect_result(client, EPROTO);
        /* Now the right one, that nobody waits for. */
        answer.header.msg_id ^= 0x4000;
        send_bytes(stream_of(client), &answer, size);
        provoke(client, READ, 20, &question);
        size = compose(&question, &answer);
        send_bytes(stream_of(client), &answer, size);
        expect_result(client, 0);
    }
    expect_served(client);
}

static void test_answer_of_another_id_is_eproto(void **state)
{
    answer_another_id(*state, false);
}

static void test_answer_of_another_id_by_twin_socket_is_eproto(void **state)
{
    answer_another_id(*state, true);
}

static void test_ids_count_up(void **state)
{
    struct fixture *fixture = *state;

    map_guest(fixture->client, 3);
    for (uint16_t i = 0; i < 10; i++) {
        struct question question, answer;

        provoke(fixture->client, WRITE, 1, &question);
        assert_int_equal(question.header.msg_id, i);
        send_bytes(stream_of(fixture->client), &answer, compose(&question, &answer));
        expect_result(fixture->client, 0);
    }
}

/* --- commands that come in between: W40 --- */

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

static void send_wire(struct vfu_client *client, const struct wire *wire, const int *fds,
                      size_t count)
{
    assert_int_equal(vfu_client_raw_send(client, wire->bytes, wire->size, fds, count), 0);
}

static void expect_scratch(struct vfu_client *client, uint16_t id, uint32_t value)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    uint32_t got;

    expect_reply(client, id, VFIO_USER_REGION_READ, 0, &reply);
    assert_int_equal(reply.size, 20);
    memcpy(&got, reply.payload + 16, sizeof(got));
    assert_int_equal(got, value);
}

static void commands_in_between(struct fixture *fixture, bool twin)
{
    struct vfu_client *client = fixture->client;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = 0, .size = 4096 };
    const struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = 2,
        .start = 3,
        .count = 1,
    };
    int memory = memory_create(4096);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct question question, answer;
    struct wire wire;
    eventfd_t signalled = 0;

    negotiate(fixture, twin, 1048576);
    map_guest(client, 3);
    for (uint16_t round = 0; round < 5; round++) {
        provoke(client, READ, 20, &question);
        for (uint16_t i = 0; i < 20; i++) {
            write_scratch(&wire, (uint16_t)(100 + 2 * i), 0x100, 1000u * round + i);
            send_wire(client, &wire, NULL, 0);
            read_scratch(&wire, (uint16_t)(101 + 2 * i), 0x100);
            send_wire(client, &wire, NULL, 0);
        }
        if (round == 0) {
            wire_command(&wire, 200, VFIO_USER_DMA_MAP, &map, sizeof(map));
            send_wire(client, &wire, &memory, 1);
            wire_command(&wire, 201, VFIO_USER_DEVICE_SET_IRQS, &set, 20);
            send_wire(client, &wire, &event, 1);
        }
        send_bytes(stream_of(client), &answer, compose(&question, &answer));
        expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
        for (uint16_t i = 0; i < 20; i++) {
            expect_reply(client, (uint16_t)(100 + 2 * i), VFIO_USER_REGION_WRITE, 0, NULL);
            expect_scratch(client, (uint16_t)(101 + 2 * i), 1000u * round + i);
        }
        if (round == 0) {
            expect_reply(client, 200, VFIO_USER_DMA_MAP, 0, NULL);
            expect_reply(client, 201, VFIO_USER_DEVICE_SET_IRQS, 0, NULL);
        }
    }
    /* Their descriptors are what they were sent as. */
    device_set(client, TEST_REG_TRIGGER, 3);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    assert_int_equal(eventfd_read(event, &signalled), 0);
    assert_int_equal(signalled, 1);
    assert_int_equal(device_get(client, TEST_REG_MAPS), 2);
    close(memory);
    close(event);
}

static void test_commands_in_between_are_served_afterwards_in_order(void **state)
{
    commands_in_between(*state, false);
}

static void test_commands_during_a_twin_exchange_are_served_afterwards(void **state)
{
    commands_in_between(*state, true);
}

/* Descriptors of another message than the one that is being served do not get mixed up. */
static void test_map_is_served_with_its_own_descriptor(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = 0, .size = 4096 };
    int memory = memory_create(4096);
    const uint64_t content = 0x1234567890abcdef;
    struct question question, answer;
    struct wire wire;
    uint64_t value = 0;

    assert_int_equal(pwrite(memory, &content, sizeof(content), 0), sizeof(content));
    map_guest(client, 3);
    provoke(client, WRITE, 20, &question);
    wire_command(&wire, 200, VFIO_USER_DMA_MAP, &map, sizeof(map));
    send_wire(client, &wire, &memory, 1);
    send_bytes(stream_of(client), &answer, compose(&question, &answer));
    expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
    expect_reply(client, 200, VFIO_USER_DMA_MAP, 0, NULL);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    device_set(client, TEST_REG_GUEST_ADDRESS, 0);
    device_set(client, TEST_REG_GUEST_COUNT, 8);
    device_set(client, TEST_REG_GUEST_READ, 0x200);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0x200, &value, 8), 0);
    assert_true(value == content);
    close(memory);
}

/* The bound: the device's call fails, nothing else does. */
static void test_too_many_commands_before_the_answer_are_enobufs(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    const size_t count = 1100; /* the limit is 1024 */
    struct question question, answer;
    struct wire wire;
    uint8_t *stream = malloc(count * 64);
    uint64_t before;
    size_t size = 0;

    assert_non_null(stream);
    map_guest(client, 3);
    before = device_get(client, TEST_REG_ACCESSES);
    for (uint32_t round = 1; round <= 3; round++) {
        size = 0;
        provoke(client, READ, 20, &question);
        for (uint32_t i = 0; i < count; i++) {
            write_scratch(&wire, 0, 0x300, round * 10000 + i);
            wire_header(&wire)->flags = VFIO_USER_F_NO_REPLY;
            memcpy(stream + size, wire.bytes, wire.size);
            size += wire.size;
        }
        send_bytes(vfu_client_socket(client), stream, size);
        expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
        /* Too late now: nobody waits for it. */
        send_bytes(vfu_client_socket(client), &answer, compose(&question, &answer));
        assert_int_equal(device_get(client, TEST_REG_RESULT), ENOBUFS);
        read_scratch(&wire, 9, 0x300);
        send_wire(client, &wire, NULL, 0);
        expect_scratch(client, 9, round * 10000 + (uint32_t)count - 1);
    }
    /* Not one of them is lost; 5 more for each round are those of this test. */
    assert_int_equal(device_get(client, TEST_REG_ACCESSES), before + 3 * (count + 5) + 1);
    free(stream);
}

static void test_too_many_bytes_before_the_answer_are_enobufs(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    const size_t count = 1u << 20;
    const struct vfio_user_region_access access = { .region = 2, .count = (uint32_t)count };
    struct vfio_user_header header = {
        .cmd = VFIO_USER_REGION_WRITE,
        .msg_size = (uint32_t)(32 + count),
        .flags = VFIO_USER_F_NO_REPLY,
    };
    struct question question, answer;
    uint8_t *data = calloc(1, count);

    assert_non_null(data);
    map_guest(client, 3);
    provoke(client, READ, 20, &question);
    for (int i = 0; i < 6; i++) {
        send_bytes(vfu_client_socket(client), &header, sizeof(header));
        send_bytes(vfu_client_socket(client), &access, sizeof(access));
        send_bytes(vfu_client_socket(client), data, count);
    }
    expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
    send_bytes(vfu_client_socket(client), &answer, compose(&question, &answer));
    assert_int_equal(device_get(client, TEST_REG_RESULT), ENOBUFS);
    assert_int_equal(device_get(client, TEST_REG_WRITES), 6);
    free(data);
}

static void test_too_many_descriptors_before_the_answer_are_enobufs(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    const struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = 2,
        .count = 8,
    };
    size_t before = server_descriptors(&fixture->server);
    struct question question, answer;
    struct wire wire;
    int events[8];

    for (size_t i = 0; i < 8; i++) {
        events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    map_guest(client, 3);
    provoke(client, READ, 20, &question);
    wire_command(&wire, 30, VFIO_USER_DEVICE_SET_IRQS, &set, 20);
    for (int i = 0; i < 40; i++) {
        send_wire(client, &wire, events, 8);
    }
    expect_reply(client, 7, VFIO_USER_REGION_WRITE, 0, NULL);
    for (int i = 0; i < 40; i++) {
        expect_reply(client, 30, VFIO_USER_DEVICE_SET_IRQS, 0, NULL);
    }
    send_bytes(vfu_client_socket(client), &answer, compose(&question, &answer));
    assert_int_equal(device_get(client, TEST_REG_RESULT), ENOBUFS);
    assert_int_equal(vfu_client_irq_disable(client, 2), 0);
    server_expect_descriptors(&fixture->server, before);
    for (size_t i = 0; i < 8; i++) {
        close(events[i]);
    }
}

/* --- the end of the connection: W41 --- */

/* The session is over, in order, and the next client is served. Standalone it asks the same device.
 */
static void expect_session_end(struct fixture *fixture, int error)
{
    struct vfu_client *next;

    fixture->client = vfu_client_free(fixture->client);
    next = server_negotiate(&fixture->server);
    if (harness_mode() == SERVER_STANDALONE) {
        expect_eventually(device_get(next, TEST_REG_LOST) == 1);
        assert_int_equal(device_get(next, TEST_REG_RESULT), error);
        assert_int_equal(device_get(next, TEST_REG_UNMAPS), 1);
    }
    expect_served(next);
    vfu_client_free(next);
}

static void test_client_that_leaves_instead_of_an_answer(void **state)
{
    struct fixture *fixture = *state;
    struct question question;

    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    expect_session_end(fixture, ENOTCONN);
}

static void test_client_that_leaves_inside_its_answer(void **state)
{
    struct fixture *fixture = *state;
    struct question question, answer;

    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    compose(&question, &answer);
    send_bytes(stream_of(fixture->client), &answer, 30);
    expect_session_end(fixture, ENOTCONN);
}

static void test_client_that_leaves_with_commands_in_between(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    struct wire wire;

    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    for (int i = 0; i < 10; i++) {
        write_scratch(&wire, 1, 0, 1);
        send_wire(fixture->client, &wire, NULL, 0);
    }
    expect_session_end(fixture, ENOTCONN);
}

static void test_client_that_leaves_by_twin_socket(void **state)
{
    struct fixture *fixture = *state;
    struct question question;

    negotiate(fixture, true, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    expect_session_end(fixture, ENOTCONN);
}

/* Without its twin socket a client that keeps the main one is lost as well. */
static void test_client_that_shuts_its_twin_socket(void **state)
{
    struct fixture *fixture = *state;
    struct question question;

    negotiate(fixture, true, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    assert_return_code(shutdown(vfu_client_twin_socket(fixture->client), SHUT_RDWR), errno);
    expect_closed(fixture->client);
    expect_session_end(fixture, ENOTCONN);
}

static void test_client_that_shuts_its_main_socket(void **state)
{
    struct fixture *fixture = *state;
    struct question question;

    negotiate(fixture, true, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    assert_return_code(shutdown(vfu_client_socket(fixture->client), SHUT_WR), errno);
    expect_session_end(fixture, ENOTCONN);
}

/* What is no message: api.md 2.7 has EINVAL, and the stream is lost. */
static void answer_nonsense(struct fixture *fixture, bool twin, uint32_t msg_size, uint32_t flags)
{
    struct question question, answer;

    negotiate(fixture, twin, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    compose(&question, &answer);
    answer.header.msg_size = msg_size;
    answer.header.flags = flags;
    send_bytes(stream_of(fixture->client), &answer, 52);
    expect_closed(fixture->client);
    expect_session_end(fixture, EINVAL);
}

static void test_answer_of_no_size_ends_it(void **state)
{
    answer_nonsense(*state, false, 15, VFIO_USER_F_TYPE_REPLY);
}

static void test_answer_of_too_much_ends_it(void **state)
{
    answer_nonsense(*state, false, 1048576 + 33, VFIO_USER_F_TYPE_REPLY);
}

static void test_answer_of_no_type_ends_it(void **state)
{
    answer_nonsense(*state, false, 52, 2);
}

static void test_answer_of_no_size_by_twin_socket_ends_it(void **state)
{
    answer_nonsense(*state, true, 15, VFIO_USER_F_TYPE_REPLY);
}

static void test_answer_of_too_much_by_twin_socket_ends_it(void **state)
{
    answer_nonsense(*state, true, UINT32_MAX, VFIO_USER_F_TYPE_REPLY);
}

static void test_answer_of_no_type_by_twin_socket_ends_it(void **state)
{
    answer_nonsense(*state, true, 52, 15);
}

/* --- the twin socket alone --- */

static void test_commands_on_the_twin_socket_are_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct question question, answer;
    struct wire wire;

    negotiate(fixture, true, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    for (uint32_t i = 0; i < 100; i++) {
        write_scratch(&wire, 1, 0x300, i);
        send_bytes(vfu_client_twin_socket(fixture->client), wire.bytes, wire.size);
    }
    send_bytes(vfu_client_twin_socket(fixture->client), &answer, compose(&question, &answer));
    expect_result(fixture->client, 0);
    read_scratch(&wire, 9, 0x300);
    send_wire(fixture->client, &wire, NULL, 0);
    expect_scratch(fixture->client, 9, 0);
}

static void test_descriptors_on_the_twin_socket_are_not_kept(void **state)
{
    struct fixture *fixture = *state;
    struct fd_list fds = { .count = 0 };
    struct question question, answer;
    int pipe_fds[2];
    size_t size;
    char byte;

    negotiate(fixture, true, 1048576);
    map_guest(fixture->client, 3);
    provoke(fixture->client, READ, 20, &question);
    assert_return_code(pipe(pipe_fds), errno);
    fd_list_add(&fds, pipe_fds[1]);
    size = compose(&question, &answer);
    assert_int_equal(
        socket_send(vfu_client_twin_socket(fixture->client), &answer, size, MSG_DONTWAIT, &fds),
        size);
    close(pipe_fds[1]);
    expect_result(fixture->client, 0);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
}

/* --- time --- */

/* W13: a client that never answers holds nobody up for longer than client.stall_seconds. */
static void test_client_that_does_not_answer_is_etimedout(void **state)
{
    struct server server;
    struct vfu_client *client;
    struct question question, answer;

    if (harness_mode() == SERVER_STANDALONE) {
        return; /* 30 seconds are long */
    }
    server_start(&server, "impatient");
    client = server_negotiate(&server);
    map_guest(client, 3);
    for (int i = 0; i < 2; i++) {
        provoke(client, READ, 20, &question);
        expect_result(client, ETIMEDOUT);
        send_bytes(vfu_client_socket(client), &answer, compose(&question, &answer));
        provoke(client, READ, 20, &question);
        send_bytes(vfu_client_socket(client), &answer, compose(&question, &answer));
        expect_result(client, 0);
    }
    /* Half an answer leaves nothing to go on with. */
    provoke(client, READ, 20, &question);
    compose(&question, &answer);
    send_bytes(vfu_client_socket(client), &answer, 20);
    expect_closed(client);
    vfu_client_free(client);
    server_stop(&server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONNECTED_TEST(test_read_and_write),
        CONNECTED_TEST(test_read_and_write_by_twin_socket),
        CONNECTED_TEST(test_read_outside_of_a_callback),
        CONNECTED_TEST(test_pieces_are_what_the_client_takes),
        CONNECTED_TEST(test_pieces_by_twin_socket),
        CONNECTED_TEST(test_megabytes),
        CONNECTED_TEST(test_megabytes_by_twin_socket),
        PROTOCOL_TEST(test_memory_with_descriptor_is_asked_for_too),
        PROTOCOL_TEST(test_what_the_client_does_not_allow_is_not_asked_for),
        PROTOCOL_TEST(test_client_that_serves_nothing),
        CONNECTED_TEST(test_error_in_the_middle),
        CONNECTED_TEST(test_each_answer_has_its_errno),
        CONNECTED_TEST(test_each_answer_by_twin_socket_has_its_errno),
        CONNECTED_TEST(test_answer_in_single_bytes),
        CONNECTED_TEST(test_answer_by_twin_socket_in_single_bytes),
        CONNECTED_TEST(test_answer_of_another_id_is_eproto),
        CONNECTED_TEST(test_answer_of_another_id_by_twin_socket_is_eproto),
        PROTOCOL_TEST(test_ids_count_up),
        CONNECTED_TEST(test_commands_in_between_are_served_afterwards_in_order),
        CONNECTED_TEST(test_commands_during_a_twin_exchange_are_served_afterwards),
        PROTOCOL_TEST(test_map_is_served_with_its_own_descriptor),
        PROTOCOL_TEST(test_too_many_commands_before_the_answer_are_enobufs),
        PROTOCOL_TEST(test_too_many_bytes_before_the_answer_are_enobufs),
        PROTOCOL_TEST(test_too_many_descriptors_before_the_answer_are_enobufs),
        PROTOCOL_TEST(test_client_that_leaves_instead_of_an_answer),
        PROTOCOL_TEST(test_client_that_leaves_inside_its_answer),
        PROTOCOL_TEST(test_client_that_leaves_with_commands_in_between),
        CONNECTED_TEST(test_client_that_leaves_by_twin_socket),
        CONNECTED_TEST(test_client_that_shuts_its_twin_socket),
        CONNECTED_TEST(test_client_that_shuts_its_main_socket),
        CONNECTED_TEST(test_answer_of_no_size_ends_it),
        CONNECTED_TEST(test_answer_of_too_much_ends_it),
        CONNECTED_TEST(test_answer_of_no_type_ends_it),
        CONNECTED_TEST(test_answer_of_no_size_by_twin_socket_ends_it),
        CONNECTED_TEST(test_answer_of_too_much_by_twin_socket_ends_it),
        CONNECTED_TEST(test_answer_of_no_type_by_twin_socket_ends_it),
        CONNECTED_TEST(test_commands_on_the_twin_socket_are_dropped),
        CONNECTED_TEST(test_descriptors_on_the_twin_socket_are_not_kept),
        PROTOCOL_TEST(test_client_that_does_not_answer_is_etimedout),
    };

    return harness_run(argc, argv, tests);
}
