/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that keep a server waiting: they are cut off within the stated limits, of the policy
 * under the broker (here a second each), of the library standalone (10 and 30 seconds), and the
 * next client is served. All of them wait at the same time, each for a server of its own.
 */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u

typedef void start_fn(struct vfu_client *client);

static void send_bytes(struct vfu_client *client, const struct wire *wire, size_t size)
{
    assert_int_equal(vfu_client_raw_send(client, wire->bytes, size, NULL, 0), 0);
}

static void version_request(struct wire *wire)
{
    wire_begin(wire, 1, VFIO_USER_VERSION);
    wire_add(wire, &(uint32_t){ 0 }, 4);
    wire_add(wire, "{}", 3);
}

static void map_request(struct wire *wire)
{
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .size = PAGE };

    wire_command(wire, 1, VFIO_USER_DMA_MAP, &map, sizeof(map));
}

/* --- before negotiation --- */

static void say_nothing(struct vfu_client *client)
{
}

static void send_a_byte_of_version(struct vfu_client *client)
{
    struct wire wire;

    version_request(&wire);
    send_bytes(client, &wire, 1);
}

static void send_version_but_its_end(struct vfu_client *client)
{
    struct wire wire;

    version_request(&wire);
    send_bytes(client, &wire, wire.size - 1);
}

/* --- after negotiation --- */

static void send_a_byte(struct vfu_client *client)
{
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    map_request(&wire);
    send_bytes(client, &wire, 1);
}

static void send_a_byte_with_descriptors(struct vfu_client *client)
{
    int fds[16], fd = memory_create(PAGE);
    struct wire wire;

    for (size_t i = 0; i < 16; i++) {
        fds[i] = fd;
    }
    assert_int_equal(vfu_client_negotiate(client), 0);
    map_request(&wire);
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, 1, fds, 16), 0);
    close(fd);
}

static void send_a_header(struct vfu_client *client)
{
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    map_request(&wire);
    send_bytes(client, &wire, 16);
}

static void send_a_map_but_its_end(struct vfu_client *client)
{
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    map_request(&wire);
    send_bytes(client, &wire, wire.size - 1);
}

static void announce_a_large_write(struct vfu_client *client)
{
    const struct vfio_user_region_access access = { .region = 2, .count = 1048576 };
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    wire_command(&wire, 1, VFIO_USER_REGION_WRITE, &access, sizeof(access));
    wire_header(&wire)->msg_size = 32 + 1048576;
    send_bytes(client, &wire, wire.size);
}

/* As many of them as the socket takes; none of the replies is ever read. */
static void send_without_end(struct vfu_client *client, const struct wire *wire)
{
    int result;

    vfu_client_set_timeout(client, 100);
    do {
        result = vfu_client_raw_send(client, wire->bytes, wire->size, NULL, 0);
    } while (result == 0);
    assert_true(result == -ETIMEDOUT || result == -EPIPE || result == -ECONNRESET);
}

static void never_read_data(struct vfu_client *client)
{
    const struct vfio_user_region_access access = { .region = 1, .count = 65536 };
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    wire_command(&wire, 1, VFIO_USER_REGION_READ, &access, sizeof(access));
    send_without_end(client, &wire);
}

static void never_read_descriptors(struct vfu_client *client)
{
    const struct vfio_region_info info = { .argsz = 4096, .index = 4 };
    struct wire wire;

    assert_int_equal(vfu_client_negotiate(client), 0);
    wire_command(&wire, 1, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));
    send_without_end(client, &wire);
}

/* --- the test --- */

/* Whether the program waits for vfu_get_poll_fd() alone. */
static bool is_polling(void)
{
    const char *policy = getenv("TEST_POLICY");

    return policy != NULL && strcmp(policy, "polling") == 0;
}

static const struct {
    const char *what;
    start_fn *start;
} nuisances[] = {
    { "say nothing", say_nothing },
    { "send a byte of VERSION", send_a_byte_of_version },
    { "send VERSION but its end", send_version_but_its_end },
    { "send a byte", send_a_byte },
    { "send a byte with descriptors", send_a_byte_with_descriptors },
    { "send a header", send_a_header },
    { "send a map but its end", send_a_map_but_its_end },
    { "announce a large write", announce_a_large_write },
    { "never read data", never_read_data },
    { "never read descriptors", never_read_descriptors },
};

#define NUISANCES (sizeof(nuisances) / sizeof(nuisances[0]))

/* Hang-up is seen whatever lies unread in the socket. */
static bool is_closed(struct vfu_client *client)
{
    struct pollfd poll_fd = { .fd = vfu_client_socket(client) };

    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLHUP);
}

/*
 * The limits are for halves of messages: a client that has nothing to say may be silent for as
 * long as the others are waited for.
 */
static void test_clients_that_keep_a_server_waiting_are_cut_off(void **state)
{
    const char *policy = is_polling() ? "impatient-polling" : "impatient";
    static struct server servers[NUISANCES];
    struct vfu_client *clients[NUISANCES], *idle;
    struct server idle_server;

    server_start(&idle_server, policy);
    idle = server_negotiate(&idle_server);
    expect_served(idle);
    for (size_t i = 0; i < NUISANCES; i++) {
        server_start(&servers[i], policy);
        clients[i] = server_connect(&servers[i]);
        nuisances[i].start(clients[i]);
    }
    for (size_t i = 0; i < NUISANCES; i++) {
        struct vfu_client *next;

        print_message("    %s\n", nuisances[i].what);
        expect_eventually(is_closed(clients[i]));
        next = server_negotiate(&servers[i]);
        expect_served(next);
        vfu_client_free(next);
        vfu_client_free(clients[i]);
        server_stop(&servers[i]);
    }
    expect_served(idle);
    vfu_client_free(idle);
    server_stop(&idle_server);
}

/* A message may come slowly, as long as it comes. */
static void test_slow_client_is_not_cut_off(void **state)
{
    struct server server;
    struct vfu_client *client;
    struct wire wire;

    server_start(&server, is_polling() ? "polling" : "plain");
    client = server_negotiate(&server);
    map_request(&wire);
    for (size_t i = 0; i < wire.size; i++) {
        send_bytes(client, &(struct wire){ .bytes = { wire.bytes[i] } }, 1);
        harness_pause();
    }
    expect_reply(client, 1, VFIO_USER_DMA_MAP, 0, NULL);
    vfu_client_free(client);
    server_stop(&server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_that_keep_a_server_waiting_are_cut_off),
        cmocka_unit_test(test_slow_client_is_not_cut_off),
    };

    return harness_run(argc, argv, tests);
}
