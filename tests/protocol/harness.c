/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static enum server_mode mode;
static const char *name;
static FILE *transcript;
static FILE *by_twin; /* what came by a twin socket, or NULL; in @by_twin_text */
static char *by_twin_text;
static size_t by_twin_size;

/* Brokered, one broker serves all the tests of a program. */
static struct server shared_server;

void harness_start(int argc, char **argv)
{
    const char *file = getenv("PROTOCOL_TRANSCRIPT");

    if (argc != 2 || (strcmp(argv[1], "standalone") != 0 && strcmp(argv[1], "brokered") != 0)) {
        fprintf(stderr, "usage: %s standalone|brokered\n", argv[0]);
        exit(2);
    }
    mode = strcmp(argv[1], "brokered") == 0 ? SERVER_BROKERED : SERVER_STANDALONE;
    name = argv[1];
    if (file != NULL) {
        transcript = fopen(file, "we");
        if (transcript == NULL) {
            perror(file);
            exit(2);
        }
    }
}

static void stop_shared_server(void **state)
{
    server_stop(&shared_server);
}

int harness_finish(int failed)
{
    const struct CMUnitTest stop[] = { cmocka_unit_test(stop_shared_server) };

    if (shared_server.pid != 0) {
        failed += cmocka_run_group_tests_name("end", stop, NULL, NULL);
    }
    if (transcript != NULL && fclose(transcript) != 0) {
        perror("transcript");
        failed++;
    }
    return failed;
}

const char *harness_name(void)
{
    return name;
}

enum server_mode harness_mode(void)
{
    return mode;
}

/* --- transcript: what the server answered, byte for byte, for comparing the modes --- */

/*
 * Between the messages of two sockets there is no order: which one the client sees first is chance.
 * Each has its own.
 */
static FILE *transcript_of(const struct vfu_client *client, const struct vfio_user_header *header)
{
    if ((header->flags & VFIO_USER_F_TYPE_MASK) == VFIO_USER_F_TYPE_REPLY ||
        vfu_client_twin_socket(client) < 0) {
        return transcript;
    }
    if (by_twin == NULL) {
        by_twin = open_memstream(&by_twin_text, &by_twin_size);
        assert_non_null(by_twin);
    }
    return by_twin;
}

static void record(void *opaque, const struct vfu_client_message *message)
{
    const struct vfio_user_header *header = &message->header;
    FILE *file = transcript_of(opaque, header);

    fprintf(file, "id %u cmd %u size %u flags %#x errno %u fds %zu:", header->msg_id, header->cmd,
            header->msg_size, header->flags, header->error_no, message->fds.count);
    for (size_t i = 0; i < message->size; i++) {
        fprintf(file, " %02x", message->payload[i]);
    }
    fputc('\n', file);
}

/* The session is over: its second socket's messages follow. */
static void end_recording(void)
{
    if (by_twin != NULL) {
        fclose(by_twin);
        fprintf(transcript, "by its twin socket\n%s", by_twin_text);
        free(by_twin_text);
        by_twin = NULL;
    }
}

static void start_recording(struct vfu_client *client)
{
    if (transcript != NULL) {
        fputs("client\n", transcript);
        vfu_client_set_tap(client, record, client);
    }
}

/* --- fixtures --- */

static int set_up(void **state, bool negotiate)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const char *policy = getenv("TEST_POLICY");

    policy = policy != NULL ? policy : "plain";
    assert_non_null(fixture);
    if (mode == SERVER_STANDALONE) {
        server_start(&fixture->server, policy);
    } else {
        if (shared_server.pid == 0) {
            server_start(&shared_server, policy);
        }
        fixture->server = shared_server;
    }
    fixture->client = server_connect(&fixture->server);
    start_recording(fixture->client);
    if (negotiate) {
        assert_int_equal(vfu_client_negotiate(fixture->client), 0);
    }
    *state = fixture;
    return 0;
}

int fixture_setup(void **state)
{
    return set_up(state, true);
}

int fixture_setup_connected(void **state)
{
    return set_up(state, false);
}

int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;

    vfu_client_free(fixture->client);
    end_recording();
    if (mode == SERVER_STANDALONE) {
        server_stop(&fixture->server);
    }
    free(fixture);
    return 0;
}

void fixture_stop_recording(struct fixture *fixture)
{
    vfu_client_set_tap(fixture->client, NULL, NULL);
}

/* --- small things --- */

int64_t harness_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void harness_pause(void)
{
    poll(NULL, 0, 2);
}

int memory_create(size_t size)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_return_code(ftruncate(fd, (off_t)size), errno);
    return fd;
}

uint64_t device_get(struct vfu_client *client, enum test_register reg)
{
    uint64_t value = 0;

    assert_int_equal(vfu_client_region_read(client, 0, reg, &value, sizeof(value)), 0);
    return value;
}

void device_set(struct vfu_client *client, enum test_register reg, uint64_t value)
{
    assert_int_equal(vfu_client_region_write(client, 0, reg, &value, sizeof(value)), 0);
}

/* --- messages --- */

struct vfio_user_header *wire_header(struct wire *wire)
{
    return (struct vfio_user_header *)wire->bytes;
}

void wire_begin(struct wire *wire, uint16_t id, uint16_t command)
{
    const struct vfio_user_header header = {
        .msg_id = id,
        .cmd = command,
        .msg_size = sizeof(header),
    };

    memcpy(wire->bytes, &header, sizeof(header));
    wire->size = sizeof(header);
}

void wire_add(struct wire *wire, const void *bytes, size_t size)
{
    assert_true(size <= sizeof(wire->bytes) - wire->size);
    if (size > 0) {
        memcpy(wire->bytes + wire->size, bytes, size);
    }
    wire->size += size;
    wire_header(wire)->msg_size = (uint32_t)wire->size;
}

void wire_command(struct wire *wire, uint16_t id, uint16_t command, const void *payload,
                  size_t size)
{
    wire_begin(wire, id, command);
    wire_add(wire, payload, size);
}

void expect_reply(struct vfu_client *client, uint16_t id, uint16_t command, int error,
                  struct vfu_client_message *reply)
{
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };

    assert_int_equal(vfu_client_raw_receive(client, &message), 1);
    assert_int_equal(message.header.msg_id, id);
    assert_int_equal(message.header.cmd, command);
    assert_int_equal(message.header.flags, error == 0 ? VFIO_USER_F_TYPE_REPLY
                                                      : VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_equal(message.header.error_no, error);
    if (error != 0) {
        assert_int_equal(message.header.msg_size, sizeof(message.header));
        assert_int_equal(message.fds.count, 0);
    }
    if (reply != NULL) {
        *reply = message;
        message = (struct vfu_client_message){ .size = 0 };
    }
}

void wire_expect(struct vfu_client *client, const struct wire *wire, const int *fds,
                 size_t fd_count, int error)
{
    const struct vfio_user_header *header = (const struct vfio_user_header *)wire->bytes;

    assert_int_equal(vfu_client_raw_send(client, wire->bytes, wire->size, fds, fd_count), 0);
    expect_reply(client, header->msg_id, header->cmd, error, NULL);
}

void expect_closed(struct vfu_client *client)
{
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };
    int result;

    while ((result = vfu_client_raw_receive(client, &message)) > 0) {
        vfu_client_message_release(&message);
    }
    assert_int_equal(result, 0);
}

void expect_answer(struct vfu_client *client, uint16_t command, const void *payload, size_t size,
                   const int *fds, size_t fd_count, int error)
{
    static uint16_t id = 1000;
    struct wire wire;

    wire_command(&wire, id++, command, payload, size);
    wire_expect(client, &wire, fds, fd_count, error);
}

void expect_served(struct vfu_client *client)
{
    static uint64_t number;
    uint64_t value = ++number, back = 0;

    assert_int_equal(vfu_client_region_write(client, 0, 0, &value, sizeof(value)), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0, &back, sizeof(back)), 0);
    assert_int_equal(back, value);
}
