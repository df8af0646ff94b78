/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client library against a server that is played by the test: what it answers to one command
 * lies ready in the socket before the client asks. Where one call sends several commands a thread
 * answers them, because a reply that comes before its command is a reply to nobody.
 */
#include "client/client.h"

#include "ipc/socket.h"
#include "tests/unit/ipc_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY VFIO_USER_F_TYPE_REPLY
#define FAILURE (VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR)

struct session {
    int server;
    struct vfu_client *client;
};

static void session_open(struct session *session)
{
    int pair[2];

    make_pair(SOCK_STREAM | SOCK_NONBLOCK, pair);
    session->server = pair[0];
    assert_int_equal(vfu_client_adopt(pair[1], 10000, &session->client), 0);
}

static void session_close(struct session *session)
{
    vfu_client_free(session->client);
    close(session->server);
}

/* The server says this. The client's first command has id 1, the next one 2. */
static void say(struct session *session, uint16_t id, uint16_t command, uint32_t flags,
                uint32_t error, const void *payload, size_t size, int fd, size_t fd_count)
{
    const struct vfio_user_header header = {
        .msg_id = id,
        .cmd = command,
        .msg_size = (uint32_t)(sizeof(header) + size),
        .flags = flags,
        .error_no = error,
    };
    uint8_t *message = malloc(sizeof(header) + size);
    struct fd_list fds;

    assert_non_null(message);
    memcpy(message, &header, sizeof(header));
    if (size > 0) {
        memcpy(message + sizeof(header), payload, size);
    }
    borrow_many(&fds, fd, fd_count);
    assert_int_equal(socket_send(session->server, message, sizeof(header) + size, 0, &fds),
                     sizeof(header) + size);
    free(message);
}

static void say_plain(struct session *session, uint16_t id, uint16_t command, uint32_t flags,
                      uint32_t error)
{
    say(session, id, command, flags, error, NULL, 0, -1, 0);
}

/* What the client has said so far; returns how many bytes. */
static size_t hear(struct session *session, void *buffer, size_t size)
{
    ssize_t n = recv(session->server, buffer, size, MSG_DONTWAIT);

    return n > 0 ? (size_t)n : 0;
}

/* --- a server that answers by itself --- */

/* What it answers to one command, and what it was asked. */
struct turn {
    const void *payload;
    size_t size;
    int fd; /* -1: none */
    size_t fd_count;

    uint8_t command[256];
    ssize_t command_size;
    size_t command_fds;
};

struct player {
    pthread_t thread;
    int sock;
    struct turn *turns;
    size_t count;
};

static void answer(int sock, const struct turn *turn)
{
    uint8_t message[4096];
    struct vfio_user_header header;
    struct fd_list fds;

    memcpy(&header, turn->command, sizeof(header));
    header.flags = REPLY;
    header.msg_size = (uint32_t)(sizeof(header) + turn->size);
    memcpy(message, &header, sizeof(header));
    if (turn->size > 0) {
        memcpy(message + sizeof(header), turn->payload, turn->size);
    }
    borrow_many(&fds, turn->fd, turn->fd_count);
    socket_send(sock, message, header.msg_size, 0, &fds);
}

/* Assertions have no place in a thread: what it saw is checked by the test. */
static void *play(void *opaque)
{
    struct player *player = opaque;

    for (size_t i = 0; i < player->count; i++) {
        struct turn *turn = &player->turns[i];
        struct pollfd poll_fd = { .fd = player->sock, .events = POLLIN };
        AUTO_FD_LIST fds = { .count = 0 };

        poll(&poll_fd, 1, 10000);
        turn->command_size =
            socket_receive(player->sock, turn->command, sizeof(turn->command), MSG_DONTWAIT, &fds);
        turn->command_fds = fds.count;
        if (turn->command_size < (ssize_t)sizeof(struct vfio_user_header)) {
            break; /* the client has given up */
        }
        answer(player->sock, turn);
    }
    return NULL;
}

static void player_start(struct player *player, const struct session *session, struct turn *turns,
                         size_t count)
{
    *player = (struct player){ .sock = session->server, .turns = turns, .count = count };
    assert_int_equal(pthread_create(&player->thread, NULL, play, player), 0);
}

/* The client sends nothing more: a player that still waits is told by the end of the stream. */
static void player_stop(struct player *player, const struct session *session)
{
    shutdown(vfu_client_socket(session->client), SHUT_WR);
    assert_int_equal(pthread_join(player->thread, NULL), 0);
}

static const struct vfu_client_request reset = { .command = VFIO_USER_DEVICE_RESET };

/* --- requests and replies --- */

static void test_request_on_the_wire(void **state)
{
    struct session session;
    struct vfio_user_header header;

    session_open(&session);
    say_plain(&session, 1, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    assert_int_equal(hear(&session, &header, sizeof(header)), sizeof(header));
    assert_int_equal(header.msg_id, 1);
    assert_int_equal(header.cmd, VFIO_USER_DEVICE_RESET);
    assert_int_equal(header.msg_size, 16);
    assert_int_equal(header.flags, 0);
    assert_int_equal(header.error_no, 0);
    session_close(&session);
}

static void test_replies_in_another_order(void **state)
{
    struct session session;
    uint16_t ids[5];

    session_open(&session);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(vfu_client_submit(session.client, &reset, &ids[i]), 0);
    }
    for (size_t i = 5; i-- > 0;) {
        say_plain(&session, ids[i], VFIO_USER_DEVICE_RESET, FAILURE, 100 + (uint32_t)i);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(vfu_client_collect(session.client, ids[i], NULL), 100 + i);
    }
    assert_int_equal(vfu_client_collect(session.client, ids[0], NULL), -ENOENT);
    session_close(&session);
}

/* Whether its reply is here already, comes later, or never. */
static void test_forgotten_commands_leave_nothing(void **state)
{
    struct session session;
    uint16_t ids[3], other;

    session_open(&session);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(vfu_client_submit(session.client, &reset, &ids[i]), 0);
    }
    assert_int_equal(vfu_client_submit(session.client, &reset, &other), 0);
    say_plain(&session, ids[0], VFIO_USER_DEVICE_RESET, REPLY, 0);
    say_plain(&session, other, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_collect(session.client, other, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        vfu_client_forget(session.client, ids[i]);
        assert_int_equal(vfu_client_collect(session.client, ids[i], NULL), -ENOENT);
    }
    vfu_client_forget(session.client, ids[0]); /* twice is fine */
    say_plain(&session, ids[1], VFIO_USER_DEVICE_RESET, REPLY, 0);
    say_plain(&session, 5, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    session_close(&session);
}

static void test_error_payload_is_drained(void **state)
{
    const uint8_t payload[100] = { 1 };
    struct session session;

    session_open(&session);
    say(&session, 1, VFIO_USER_DEVICE_RESET, FAILURE, EBUSY, payload, sizeof(payload), -1, 0);
    assert_int_equal(vfu_client_reset_device(session.client), EBUSY);
    say_plain(&session, 2, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    session_close(&session);
}

static void test_error_without_errno_is_einval(void **state)
{
    const uint32_t errors[] = { 0, 5000, UINT32_MAX };
    struct session session;

    session_open(&session);
    for (uint16_t i = 0; i < 3; i++) {
        say_plain(&session, (uint16_t)(1 + i), VFIO_USER_DEVICE_RESET, FAILURE, errors[i]);
        assert_int_equal(vfu_client_reset_device(session.client), EINVAL);
    }
    session_close(&session);
}

static void test_descriptors_of_an_error_are_closed(void **state)
{
    struct session session;
    int fd = make_descriptor();

    session_open(&session);
    say(&session, 1, VFIO_USER_DEVICE_RESET, FAILURE, EIO, NULL, 0, fd, 20);
    assert_int_equal(vfu_client_reset_device(session.client), EIO);
    session_close(&session);
    close(fd);
}

static void test_descriptors_that_nobody_wants_are_eproto(void **state)
{
    struct session session;
    int fd = make_descriptor();

    session_open(&session);
    say(&session, 1, VFIO_USER_DEVICE_RESET, REPLY, 0, NULL, 0, fd, 253);
    assert_int_equal(vfu_client_reset_device(session.client), -EPROTO);
    session_close(&session);
    close(fd);
}

static void test_reply_of_another_size_is_eproto(void **state)
{
    const uint8_t payload[24] = { 0 };
    struct vfio_user_device_info info;
    struct session session;

    session_open(&session);
    say(&session, 1, VFIO_USER_DEVICE_GET_INFO, REPLY, 0, payload, 15, -1, 0);
    assert_int_equal(vfu_client_get_device_info(session.client, &info), -EPROTO);
    say(&session, 2, VFIO_USER_DEVICE_GET_INFO, REPLY, 0, payload, 17, -1, 0);
    assert_int_equal(vfu_client_get_device_info(session.client, &info), -EPROTO);
    say(&session, 3, VFIO_USER_DEVICE_GET_INFO, REPLY, 0, payload, 16, -1, 0);
    assert_int_equal(vfu_client_get_device_info(session.client, &info), 0);
    session_close(&session);
}

/* The stream makes no sense any more: this call and all later ones say so. */
static void expect_broken(struct session *session)
{
    assert_int_equal(vfu_client_reset_device(session->client), -EPROTO);
    assert_int_equal(vfu_client_reset_device(session->client), -EPROTO);
    session_close(session);
}

static void test_reply_to_nobody_is_eproto(void **state)
{
    struct session session;
    int fd = make_descriptor();

    session_open(&session);
    say(&session, 9, VFIO_USER_DEVICE_RESET, REPLY, 0, NULL, 0, fd, 3);
    expect_broken(&session);
    close(fd);
}

static void test_reply_to_another_command_is_eproto(void **state)
{
    struct session session;

    session_open(&session);
    say_plain(&session, 1, VFIO_USER_DMA_MAP, REPLY, 0);
    expect_broken(&session);
}

static void test_unknown_type_is_eproto(void **state)
{
    struct session session;

    session_open(&session);
    say_plain(&session, 1, VFIO_USER_DEVICE_RESET, 2, 0);
    expect_broken(&session);
}

static void test_bad_sizes_are_eproto(void **state)
{
    const uint32_t sizes[] = { 0, 15, 0x10000000, UINT32_MAX };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct vfio_user_header header = {
            .msg_id = 1,
            .cmd = VFIO_USER_DEVICE_RESET,
            .msg_size = sizes[i],
            .flags = REPLY,
        };
        struct session session;

        session_open(&session);
        assert_int_equal(send(session.server, &header, sizeof(header), 0), sizeof(header));
        expect_broken(&session);
    }
}

static void test_reply_in_single_bytes(void **state)
{
    struct vfio_user_device_info info = { 16, 3, 9, 5 }, got;
    const struct vfio_user_header header = {
        .msg_id = 1,
        .cmd = VFIO_USER_DEVICE_GET_INFO,
        .msg_size = sizeof(header) + sizeof(info),
        .flags = REPLY,
    };
    uint8_t message[sizeof(header) + sizeof(info)];
    struct session session;

    session_open(&session);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), &info, sizeof(info));
    for (size_t i = 0; i < sizeof(message); i++) {
        assert_int_equal(send(session.server, message + i, 1, 0), 1);
    }
    assert_int_equal(vfu_client_get_device_info(session.client, &got), 0);
    assert_memory_equal(&got, &info, sizeof(info));
    session_close(&session);
}

/* --- time, and the end --- */

static void test_silent_server_is_etimedout(void **state)
{
    struct session session;

    session_open(&session);
    vfu_client_set_timeout(session.client, 20);
    assert_int_equal(vfu_client_reset_device(session.client), -ETIMEDOUT);
    /* Its answer comes late and is nobody's; the connection goes on. */
    say_plain(&session, 1, VFIO_USER_DEVICE_RESET, FAILURE, EIO);
    say_plain(&session, 2, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    session_close(&session);
}

/* It cannot be received, and would keep the client awake until its time is over. */
static void test_out_of_band_data_is_eproto(void **state)
{
    struct session session;

    session_open(&session);
    assert_int_equal(send(session.server, "!", 1, MSG_OOB), 1);
    assert_int_equal(vfu_client_reset_device(session.client), -EPROTO);
    session_close(&session);
}

static void test_server_that_does_not_read_is_etimedout(void **state)
{
    static uint8_t data[1 << 20];
    struct session session;
    int result;

    session_open(&session);
    vfu_client_set_timeout(session.client, 20);
    do {
        result = vfu_client_region_post(session.client, 0, 0, data, sizeof(data));
    } while (result == 0);
    assert_int_equal(result, -ETIMEDOUT);
    /* Half a message is out: nothing can follow. */
    assert_int_equal(vfu_client_reset_device(session.client), -ETIMEDOUT);
    session_close(&session);
}

static void test_server_that_leaves_is_enotconn(void **state)
{
    struct session session;

    session_open(&session);
    assert_return_code(shutdown(session.server, SHUT_RDWR), errno);
    assert_int_equal(vfu_client_reset_device(session.client), -ENOTCONN);
    assert_int_equal(vfu_client_reset_device(session.client), -ENOTCONN);
    session_close(&session);
}

/* As after a refused VERSION: the answer, and the end. */
static void test_last_words_are_heard(void **state)
{
    struct session session;

    session_open(&session);
    say_plain(&session, 1, VFIO_USER_VERSION, FAILURE, EINVAL);
    assert_return_code(shutdown(session.server, SHUT_RDWR), errno);
    assert_int_equal(vfu_client_negotiate(session.client), EINVAL);
    assert_int_equal(vfu_client_reset_device(session.client), -ENOTCONN);
    session_close(&session);
}

static void test_nobody_listens(void **state)
{
    struct vfu_client *client;

    assert_int_equal(vfu_client_connect("/nonexistent/socket", 100, &client), -ENOENT);
    assert_int_equal(vfu_client_connect("", 100, &client), -ECONNREFUSED);
    assert_int_equal(
        vfu_client_connect("/a/path/that/is/longer/than/the/hundred/and/eight/bytes/that/a/socket/"
                           "address/has/room/for/in/its/one/member",
                           100, &client),
        -ENAMETOOLONG);
}

/* --- commands of the server --- */

static void test_commands_of_the_server_are_refused(void **state)
{
    const uint64_t range[2] = { 0x1000, 64 };
    struct vfio_user_header heard[2];
    struct session session;

    session_open(&session);
    say(&session, 500, VFIO_USER_DMA_READ, 0, 0, range, sizeof(range), -1, 0);
    say_plain(&session, 1, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    say_plain(&session, 2, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);

    assert_int_equal(hear(&session, heard, sizeof(heard)), sizeof(heard));
    assert_int_equal(heard[0].cmd, VFIO_USER_DEVICE_RESET);
    assert_int_equal(heard[1].msg_id, 500);
    assert_int_equal(heard[1].cmd, VFIO_USER_DMA_READ);
    assert_int_equal(heard[1].flags, FAILURE);
    assert_int_equal(heard[1].error_no, ENOTSUP);
    session_close(&session);
}

static void test_no_reply_command_of_the_server_is_dropped(void **state)
{
    const uint64_t range[2] = { 0x1000, 0 };
    struct vfio_user_header heard[4];
    struct session session;
    int fd = make_descriptor();

    session_open(&session);
    say(&session, 500, VFIO_USER_DMA_WRITE, VFIO_USER_F_NO_REPLY, 0, range, sizeof(range), fd, 2);
    say_plain(&session, 1, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    assert_int_equal(hear(&session, heard, sizeof(heard)), sizeof(heard[0]));
    session_close(&session);
    close(fd);
}

static void test_endless_commands_of_the_server_are_cut_off(void **state)
{
    struct session session;
    int result = 0;

    session_open(&session);
    /* It never reads the refusals: they pile up until the client has had enough. */
    vfu_client_set_timeout(session.client, 20);
    for (size_t i = 0; i < 100 && (result == 0 || result == -ETIMEDOUT); i++) {
        struct vfio_user_header header = { .msg_size = 16, .cmd = VFIO_USER_DMA_READ };

        while (send(session.server, &header, sizeof(header), MSG_DONTWAIT) > 0) {
        }
        result = vfu_client_reset_device(session.client);
    }
    assert_true(result == -ENOBUFS || result == -ETIMEDOUT);
    assert_true(vfu_client_reset_device(session.client) < 0);
    session_close(&session);
}

/* --- negotiation --- */

static int negotiate_with(struct session *session, const void *payload, size_t size)
{
    session_open(session);
    say(session, 1, VFIO_USER_VERSION, REPLY, 0, payload, size, -1, 0);
    return vfu_client_negotiate(session->client);
}

static int negotiate(uint16_t major, uint16_t minor, const char *json,
                     struct vfu_client_capabilities *server)
{
    uint8_t payload[1024];
    size_t size = json != NULL ? strlen(json) + 1 : 0;
    struct session session;
    int result;

    memcpy(payload, &major, 2);
    memcpy(payload + 2, &minor, 2);
    if (json != NULL) {
        memcpy(payload + 4, json, size);
    }
    result = negotiate_with(&session, payload, 4 + size);
    if (server != NULL) {
        *server = *vfu_client_server_capabilities(session.client);
    }
    session_close(&session);
    return result;
}

static void test_capabilities_of_the_server(void **state)
{
    struct vfu_client_capabilities server;

    assert_int_equal(negotiate(0, 1,
                               "{\"capabilities\":{\"max_msg_fds\":16,\"max_dma_maps\":77,"
                               "\"max_data_xfer_size\":65536,\"pgsizes\":8192,"
                               "\"migration\":{\"pgsize\":16384},\"write_multiple\":true,"
                               "\"colour\":\"blue\"}}",
                               &server),
                     0);
    assert_int_equal(server.minor, 1);
    assert_int_equal(server.max_msg_fds, 16);
    assert_int_equal(server.max_dma_maps, 77);
    assert_int_equal(server.max_data_xfer_size, 65536);
    assert_int_equal(server.pgsizes, 8192);
    assert_int_equal(server.migration_pgsize, 16384);
    assert_true(server.write_multiple);
}

static void test_missing_capabilities_have_their_defaults(void **state)
{
    const char *const texts[] = { NULL, "{}", "{\"capabilities\":{}}" };

    for (size_t i = 0; i < 3; i++) {
        struct vfu_client_capabilities server;

        assert_int_equal(negotiate(0, 0, texts[i], &server), 0);
        assert_int_equal(server.max_msg_fds, 1);
        assert_int_equal(server.max_data_xfer_size, 1048576);
        assert_int_equal(server.max_dma_maps, 65535);
        assert_int_equal(server.migration_pgsize, 0);
        assert_false(server.write_multiple);
    }
}

static void test_bad_answers_to_version_are_eproto(void **state)
{
    const char *const texts[] = {
        "",
        "null",
        "[]",
        "{",
        "{\"capabilities\":[]}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"max_msg_fds\":\"1\"}}",
        "{\"capabilities\":{\"max_data_xfer_size\":0}}",
        "{\"capabilities\":{\"max_data_xfer_size\":1e9}}",
        "{\"capabilities\":{\"max_data_xfer_size\":99999999999}}",
        "{\"capabilities\":{\"max_dma_maps\":null}}",
        "{\"capabilities\":{\"pgsizes\":{}}}",
        "{\"capabilities\":{\"migration\":true}}",
        "{\"capabilities\":{\"migration\":{\"pgsize\":1}}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
    };
    struct session session;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(negotiate(0, 0, texts[i], NULL), -EPROTO);
    }
    assert_int_equal(negotiate(1, 0, "{}", NULL), -EPROTO);
    assert_int_equal(negotiate(0, 3, "{}", NULL), -EPROTO);
    assert_int_equal(negotiate_with(&session, "\0\0\0", 3), -EPROTO);
    session_close(&session);
    assert_int_equal(negotiate_with(&session, NULL, 0), -EPROTO);
    session_close(&session);
    assert_int_equal(negotiate_with(&session, "\0\0\0\0{}", 6), -EPROTO); /* no NUL */
    session_close(&session);
}

/* --- twin socket --- */

static int negotiate_twin(struct session *session, bool offered, const char *capability, int fd,
                          size_t fd_count)
{
    const struct vfu_client_offer offer = {
        .max_msg_fds = 8,
        .max_data_xfer_size = 1048576,
        .twin_socket = offered,
    };
    char payload[256] = { 0 };
    int n = snprintf(payload + 4, sizeof(payload) - 4, "{\"capabilities\":{%s}}", capability);

    session_open(session);
    say(session, 1, VFIO_USER_VERSION, REPLY, 0, payload, 4 + (size_t)n + 1, fd, fd_count);
    return vfu_client_negotiate_as(session->client, &offer);
}

/* protocol.md 2.6, "wrong grant" */
static void test_bad_twin_sockets_are_eproto(void **state)
{
    static const struct {
        bool offered;
        const char *capability;
        size_t fds;
    } bad[] = {
        { false, "\"twin_socket\":{\"supported\":true,\"fd_index\":0}", 1 },
        { false, "", 1 },
        { true, "", 1 },
        { true, "\"twin_socket\":{\"supported\":false}", 1 },
        { true, "\"twin_socket\":{\"supported\":true}", 1 },
        { true, "\"twin_socket\":{\"supported\":true,\"fd_index\":0}", 0 },
        { true, "\"twin_socket\":{\"supported\":true,\"fd_index\":1}", 1 },
        { true, "\"twin_socket\":{\"supported\":true,\"fd_index\":-1}", 1 },
        { true, "\"twin_socket\":{\"supported\":true,\"fd_index\":4294967296}", 1 },
        { true, "\"twin_socket\":{\"supported\":true,\"fd_index\":\"0\"}", 1 },
        { true, "\"twin_socket\":{\"supported\":1,\"fd_index\":0}", 1 },
        { true, "\"twin_socket\":true", 1 },
    };
    int fd = make_descriptor();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct session session;

        assert_int_equal(
            negotiate_twin(&session, bad[i].offered, bad[i].capability, fd, bad[i].fds), -EPROTO);
        assert_int_equal(vfu_client_twin_socket(session.client), -1);
        session_close(&session);
    }
    close(fd);
}

static void test_commands_on_the_twin_socket_are_answered_there(void **state)
{
    const struct vfio_user_header command = { .msg_id = 9, .cmd = 11, .msg_size = 16 };
    struct vfio_user_header heard;
    struct session session;
    int pair[2];

    make_pair(SOCK_STREAM, pair);
    assert_int_equal(negotiate_twin(&session, true,
                                    "\"twin_socket\":{\"supported\":true,\"fd_index\":0}", pair[1],
                                    1),
                     0);
    assert_int_equal(send(pair[0], &command, sizeof(command), 0), sizeof(command));
    assert_int_equal(vfu_client_serve(session.client), 0);
    assert_int_equal(recv(pair[0], &heard, sizeof(heard), 0), sizeof(heard));
    assert_int_equal(heard.msg_id, 9);
    assert_int_equal(heard.error_no, ENOTSUP);
    /* Our commands do not go there, so no reply can come from there. */
    heard.flags = REPLY;
    assert_int_equal(send(pair[0], &heard, sizeof(heard), 0), sizeof(heard));
    assert_int_equal(vfu_client_reset_device(session.client), -EPROTO);
    session_close(&session);
    close_pair(pair);
}

/* --- serving DMA --- */

static int remember(void *opaque, uint64_t iova, void *data, uint64_t count, bool is_write)
{
    uint64_t *calls = opaque;

    ++*calls;
    if (!is_write) {
        memset(data, 0x77, count);
    }
    return 0;
}

/* What a server may ask for, and what it is told. */
static void test_bad_commands_of_the_server_have_their_errno(void **state)
{
    const struct {
        uint16_t command;
        uint64_t count;
        size_t size;
        size_t fds;
        uint32_t error;
    } asked[] = {
        { VFIO_USER_DMA_READ, 8, 16, 0, 0 },
        { VFIO_USER_DMA_READ, 8, 15, 0, EINVAL },
        { VFIO_USER_DMA_READ, 8, 0, 0, EINVAL },
        { VFIO_USER_DMA_READ, 8, 17, 0, EINVAL },
        { VFIO_USER_DMA_READ, 1048577, 16, 0, E2BIG },
        { VFIO_USER_DMA_READ, UINT64_MAX, 16, 0, E2BIG },
        { VFIO_USER_DMA_READ, 8, 16, 1, EINVAL },
        { VFIO_USER_DMA_WRITE, 8, 24, 0, 0 },
        { VFIO_USER_DMA_WRITE, 8, 23, 0, EINVAL },
        { VFIO_USER_DMA_WRITE, 9, 24, 0, EINVAL },
        { VFIO_USER_DMA_WRITE, UINT64_MAX, 24, 0, E2BIG },
        { VFIO_USER_REGION_READ, 8, 16, 0, ENOSYS },
        { 99, 8, 16, 0, ENOSYS },
    };
    int fd = make_descriptor();

    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        const uint64_t payload[3] = { 0x1000, asked[i].count, 0 };
        struct vfio_user_header heard;
        struct session session;
        uint64_t calls = 0;

        session_open(&session);
        vfu_client_set_dma(session.client, remember, &calls);
        say(&session, 77, asked[i].command, 0, 0, payload, asked[i].size, fd, asked[i].fds);
        assert_int_equal(vfu_client_serve(session.client), 0);
        assert_int_equal(hear(&session, &heard, sizeof(heard)), sizeof(heard));
        assert_int_equal(heard.msg_id, 77);
        assert_int_equal(heard.cmd, asked[i].command);
        assert_int_equal(heard.error_no, asked[i].error);
        assert_int_equal(calls, asked[i].error == 0);
        session_close(&session);
    }
    close(fd);
}

/* --- ioeventfds --- */

typedef vfio_user_sub_region_ioeventfd_t entry_t;

struct io_answer {
    vfio_user_region_io_fds_reply_t head;
    uint8_t entries[2 * sizeof(entry_t)];
} __attribute__((packed));

static int io_fds(uint32_t argsz, uint32_t count, const void *entries, size_t size, size_t fd_count,
                  struct vfu_client_io_fds *result)
{
    struct io_answer whole = { .head = { .argsz = argsz, .index = 3, .count = count } };
    struct turn turns[2] = {
        { .payload = &whole, .size = sizeof(whole.head), .fd = -1 },
        { .payload = &whole, .size = sizeof(whole.head) + size, .fd_count = fd_count },
    };
    struct session session;
    struct player player;
    int err;

    if (size > 0) {
        memcpy(whole.entries, entries, size);
    }
    turns[1].fd = make_descriptor();
    session_open(&session);
    player_start(&player, &session, turns, 2);
    err = vfu_client_get_io_fds(session.client, 3, result);
    player_stop(&player, &session);
    session_close(&session);
    close(turns[1].fd);
    return err;
}

static void test_io_fds_of_both_layouts(void **state)
{
    const entry_t large[2] = {
        { .gpa_offset = 4, .size = 4, .fd_index = 1, .datamatch = 7 },
        { .gpa_offset = 8, .size = 2, .fd_index = 0, .type = 2, .shadow_mem_fd_index = 1 },
    };
    const vfio_user_sub_region_ioregionfd_t small[2] = {
        { .offset = 4, .size = 4, .fd_index = 1, .user_data = 7 },
        { .offset = 8, .size = 2, .fd_index = UINT32_MAX },
    };
    struct vfu_client_io_fds got;

    assert_int_equal(io_fds(16 + 96, 2, large, 96, 2, &got), 0);
    assert_int_equal(got.count, 2);
    assert_int_equal(got.fds.count, 2);
    assert_int_equal(got.entries[0].datamatch, 7);
    vfu_client_io_fds_release(&got);
    assert_int_equal(io_fds(16 + 80, 2, small, 80, 2, &got), 0);
    assert_int_equal(got.entries[0].datamatch, 7);
    assert_int_equal(got.entries[1].gpa_offset, 8);
    vfu_client_io_fds_release(&got);
}

static void test_bad_io_fds_are_eproto(void **state)
{
    entry_t entries[2] = { { .fd_index = 0 }, { .fd_index = 1 } };
    struct vfu_client_io_fds got;

    assert_int_equal(io_fds(16 + 96, 3, entries, 96, 2, &got), -EPROTO);
    assert_int_equal(io_fds(16 + 96, 2, entries, 95, 2, &got), -EPROTO);
    assert_int_equal(io_fds(16 + 96, UINT32_MAX, entries, 96, 2, &got), -EPROTO);
    assert_int_equal(io_fds(16 + 96, 0, entries, 96, 0, &got), -EPROTO);
    assert_int_equal(io_fds(16 + 96, 0, NULL, 0, 1, &got), -EPROTO);
    assert_int_equal(io_fds(UINT32_MAX, 2, entries, 96, 2, &got), -EPROTO);
    assert_int_equal(io_fds(15, 2, entries, 96, 2, &got), -EPROTO);
    /* An index that names no descriptor. */
    assert_int_equal(io_fds(16 + 96, 2, entries, 96, 1, &got), -EPROTO);
    entries[1].type = 2;
    entries[1].shadow_mem_fd_index = 2;
    assert_int_equal(io_fds(16 + 96, 2, entries, 96, 2, &got), -EPROTO);
}

/* --- regions --- */

/* What the test puts into the second, whole answer. */
struct region_answer {
    struct vfio_region_info info;
    struct vfio_info_cap_header header;
    uint32_t nr_areas;
    uint32_t reserved;
    struct vfio_region_sparse_mmap_area areas[2];
} __attribute__((packed));

static const struct region_answer good_answer = {
    .info = {
        .argsz = sizeof(struct region_answer),
        .flags = 3 | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS,
        .index = 4,
        .cap_offset = 32,
        .size = 0x10000,
        .offset = 0x1000,
    },
    .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
    .nr_areas = 2,
    .areas = { { 0, 0x1000 }, { 0x8000, 0x8000 } },
};

static int region_info(const struct region_answer *whole, size_t size, int fd, size_t fd_count,
                       struct vfu_client_region *region)
{
    struct vfio_region_info truncated = whole->info;
    struct turn turns[2] = {
        { .payload = &truncated, .size = sizeof(truncated), .fd = -1 },
        { .payload = whole, .size = size, .fd = fd, .fd_count = fd_count },
    };
    struct session session;
    struct player player;
    int result;

    truncated.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_CAPS;
    truncated.cap_offset = 0;
    session_open(&session);
    player_start(&player, &session, turns, 2);
    result = vfu_client_get_region_info(session.client, 4, region);
    player_stop(&player, &session);
    session_close(&session);
    return result;
}

static void test_region_with_areas(void **state)
{
    struct vfu_client_region region;
    int fd = make_descriptor();

    assert_int_equal(region_info(&good_answer, sizeof(good_answer), fd, 1, &region), 0);
    assert_int_equal(region.index, 4);
    assert_int_equal(region.flags, good_answer.info.flags);
    assert_int_equal(region.size, 0x10000);
    assert_int_equal(region.offset, 0x1000);
    assert_true(region.fd >= 0);
    assert_int_equal(region.area_count, 2);
    assert_int_equal(region.areas[1].offset, 0x8000);
    assert_int_equal(region.areas[1].size, 0x8000);
    vfu_client_region_release(&region);
    vfu_client_region_release(&region);
    close(fd);
}

static void test_region_without_areas_is_mapped_as_a_whole(void **state)
{
    struct region_answer answer = good_answer;
    struct vfu_client_region region;
    int fd = make_descriptor();

    answer.info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_CAPS;
    answer.info.argsz = 33; /* so that there is a second answer */
    assert_int_equal(region_info(&answer, 33, fd, 1, &region), 0);
    assert_int_equal(region.area_count, 1);
    assert_int_equal(region.areas[0].offset, 0);
    assert_int_equal(region.areas[0].size, 0x10000);
    vfu_client_region_release(&region);
    close(fd);
}

/* Each of them is an answer that would lead a trusting client astray. */
static void test_bad_region_answers_are_eproto(void **state)
{
    struct region_answer bad[12];
    struct vfu_client_region region;
    int fd = make_descriptor();

    for (size_t i = 0; i < 12; i++) {
        bad[i] = good_answer;
    }
    bad[0].info.index = 3;
    bad[1].info.cap_offset = 8;                                /* inside the fixed part */
    bad[2].info.cap_offset = sizeof(struct region_answer) - 4; /* no room for a header */
    bad[3].info.cap_offset = UINT32_MAX;
    bad[4].nr_areas = 3; /* more than there are */
    bad[5].nr_areas = UINT32_MAX;
    bad[6].nr_areas = 0x10000001; /* times 16 is 16 in 32 bits */
    bad[7].header.next = 32;      /* for ever */
    bad[8].header.next = 16;
    bad[9].areas[1].offset = 0x10001; /* outside the region */
    bad[10].areas[0].size = UINT64_MAX;
    bad[11].info.argsz = 65537; /* that much nobody needs */
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(region_info(&bad[i], sizeof(bad[i]), fd, 1, &region), -EPROTO);
    }
    /* Two descriptors, and an answer that is cut off. */
    assert_int_equal(region_info(&good_answer, sizeof(good_answer), fd, 2, &region), -EPROTO);
    assert_int_equal(region_info(&good_answer, 31, fd, 1, &region), -EPROTO);
    assert_int_equal(region_info(&good_answer, 40, fd, 1, &region), -EPROTO);
    close(fd);
}

/* --- migration and dirty pages --- */

static void test_bad_feature_replies_are_eproto(void **state)
{
    struct {
        struct vfio_user_device_feature head;
        struct vfio_user_device_feature_mig_state state;
    } reply = {
        .head = { .argsz = 16,
                  .flags = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_GET },
        .state = { VFIO_USER_DEVICE_STATE_STOP, 0 },
    };
    struct session session;
    uint32_t now = 77;

    session_open(&session);
    say(&session, 1, VFIO_USER_DEVICE_FEATURE, REPLY, 0, &reply, 15, -1, 0);
    assert_int_equal(vfu_client_migration_get_state(session.client, &now), -EPROTO);
    reply.head.argsz = 17;
    say(&session, 2, VFIO_USER_DEVICE_FEATURE, REPLY, 0, &reply, 16, -1, 0);
    assert_int_equal(vfu_client_migration_get_state(session.client, &now), -EPROTO);
    assert_int_equal(now, 77);
    reply.head.argsz = 16;
    say(&session, 3, VFIO_USER_DEVICE_FEATURE, REPLY, 0, &reply, 16, -1, 0);
    assert_int_equal(vfu_client_migration_get_state(session.client, &now), 0);
    assert_int_equal(now, VFIO_USER_DEVICE_STATE_STOP);
    /* The answer to SET is the request. */
    say(&session, 4, VFIO_USER_DEVICE_FEATURE, REPLY, 0, &reply, 16, -1, 0);
    assert_int_equal(vfu_client_migration_set_state(session.client, VFIO_USER_DEVICE_STATE_STOP),
                     -EPROTO);
    session_close(&session);
}

static void test_bad_data_replies_are_eproto(void **state)
{
    const uint32_t sizes[][2] = { { 9, 16 }, { 5, 12 }, { UINT32_MAX, 16 }, { 0, 7 } };
    uint32_t payload[4] = { 16 };
    struct session session;
    uint8_t data[8];
    uint32_t n;

    session_open(&session);
    for (uint16_t i = 0; i < 4; i++) {
        payload[1] = sizes[i][0];
        say(&session, (uint16_t)(1 + i), VFIO_USER_MIG_DATA_READ, REPLY, 0, payload, sizes[i][1],
            -1, 0);
        assert_int_equal(vfu_client_migration_read(session.client, data, 8, &n), -EPROTO);
    }
    /* Longer than the number in it is fine. */
    payload[1] = 2;
    say(&session, 5, VFIO_USER_MIG_DATA_READ, REPLY, 0, payload, 16, -1, 0);
    assert_int_equal(vfu_client_migration_read(session.client, data, 8, &n), 0);
    assert_int_equal(n, 2);
    session_close(&session);
}

/* Pieces of all sizes, long ones in the memory of those before, and always the right bytes. */
static void test_pieces_of_data_on_their_way_together(void **state)
{
    static const uint32_t sizes[] = { 5000, 100000, 3, 8000, 100000, 0, 100000 };
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
    struct vfio_user_mig_data *data = calloc(1, sizeof(*data) + 100000);
    struct session session;
    uint16_t ids[COUNT];

    assert_non_null(data);
    session_open(&session);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(vfu_client_migration_submit_read(session.client, 100000, &ids[i]), 0);
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct vfu_client_message reply = { .size = 0 };
        const uint8_t *bytes;
        uint32_t n;

        data->size = sizes[i];
        memset(data->data, (int)i + 1, sizes[i]);
        say(&session, ids[i], VFIO_USER_MIG_DATA_READ, REPLY, 0, data, sizeof(*data) + sizes[i], -1,
            0);
        assert_int_equal(
            vfu_client_migration_collect_read(session.client, ids[i], 100000, &reply, &bytes, &n),
            0);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(bytes, data->data, n);
        vfu_client_message_recycle(session.client, &reply);
        assert_null(reply.payload);
    }
    session_close(&session);
    free(data);
}

static void test_bad_bitmaps_are_eproto(void **state)
{
    struct {
        struct vfio_user_device_feature head;
        struct vfio_user_device_feature_dma_logging_report report;
    } reply = {
        .head = { .argsz = 40,
                  .flags = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET },
        .report = { .length = 4096, .page_size = 4096 },
    };
    const struct vfio_user_dma_unmap unmap = {
        .argsz = 48,
        .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
        .size = 4096,
    };
    uint64_t answer[6] = { 0 };
    struct session session;
    uint64_t bitmap = 0;

    session_open(&session);
    memcpy(answer, &reply, sizeof(reply));
    answer[4] = 1;
    say(&session, 1, VFIO_USER_DEVICE_FEATURE, REPLY, 0, answer, 32, -1, 0);
    assert_int_equal(vfu_client_dirty_report(session.client, 0, 4096, 4096, &bitmap), -EPROTO);
    say(&session, 2, VFIO_USER_DEVICE_FEATURE, REPLY, 0, answer, 40, -1, 0);
    assert_int_equal(vfu_client_dirty_report(session.client, 4096, 4096, 4096, &bitmap), -EPROTO);
    assert_int_equal(bitmap, 0);
    say(&session, 3, VFIO_USER_DEVICE_FEATURE, REPLY, 0, answer, 40, -1, 0);
    assert_int_equal(vfu_client_dirty_report(session.client, 0, 4096, 4096, &bitmap), 0);
    assert_int_equal(bitmap, 1);
    memcpy(answer, &unmap, sizeof(unmap));
    answer[3] = 4096;
    answer[4] = 16; /* not what was asked for */
    say(&session, 4, VFIO_USER_DMA_UNMAP, REPLY, 0, answer, 48, -1, 0);
    assert_int_equal(vfu_client_dma_unmap_dirty(session.client, 0, 4096, 4096, &bitmap), -EPROTO);
    say(&session, 5, VFIO_USER_DMA_UNMAP, REPLY, 0, answer, 24, -1, 0);
    assert_int_equal(vfu_client_dma_unmap_dirty(session.client, 0, 4096, 4096, &bitmap), -EPROTO);
    session_close(&session);
}

/* --- access --- */

static void test_bad_read_replies_are_eproto(void **state)
{
    struct vfio_user_region_access access = { .count = 8 };
    uint8_t payload[24] = { 0 };
    struct session session;
    uint64_t value = 0;

    session_open(&session);
    memcpy(payload, &access, sizeof(access));
    say(&session, 1, VFIO_USER_REGION_READ, REPLY, 0, payload, 23, -1, 0);
    assert_int_equal(vfu_client_region_read(session.client, 0, 0, &value, 8), -EPROTO);
    access.count = 7;
    memcpy(payload, &access, sizeof(access));
    say(&session, 2, VFIO_USER_REGION_READ, REPLY, 0, payload, 24, -1, 0);
    assert_int_equal(vfu_client_region_read(session.client, 0, 0, &value, 8), -EPROTO);
    access.count = 9;
    say(&session, 3, VFIO_USER_REGION_WRITE, REPLY, 0, &access, 16, -1, 0);
    assert_int_equal(vfu_client_region_write(session.client, 0, 0, &value, 8), -EPROTO);
    session_close(&session);
}

static void test_posted_write_wants_no_reply(void **state)
{
    const struct vfio_user_header *header;
    struct vfio_user_region_access access;
    _Alignas(16) uint8_t heard[64];
    struct session session;
    uint32_t value = 0x01020304;

    session_open(&session);
    assert_int_equal(vfu_client_region_post(session.client, 2, 64, &value, sizeof(value)), 0);
    assert_int_equal(hear(&session, heard, sizeof(heard)), 36);
    header = (const struct vfio_user_header *)heard;
    assert_int_equal(header->flags, VFIO_USER_F_NO_REPLY);
    assert_int_equal(header->msg_size, 36);
    memcpy(&access, heard + 16, sizeof(access));
    assert_int_equal(access.offset, 64);
    assert_int_equal(access.region, 2);
    assert_int_equal(access.count, 4);
    assert_memory_equal(heard + 32, &value, 4);
    session_close(&session);
}

static void test_several_writes_that_the_server_does_not_offer_are_refused_here(void **state)
{
    const struct vfio_user_region_write one = { .count = 4 };
    struct session session;
    uint8_t byte;

    session_open(&session);
    assert_int_equal(vfu_client_region_write_multi(session.client, &one, 1, NULL), -EOPNOTSUPP);
    assert_int_equal(vfu_client_region_post_multi(session.client, &one, 1), -EOPNOTSUPP);
    assert_int_equal(hear(&session, &byte, 1), 0);
    session_close(&session);
}

/* A server that claims to have done more than it was told. */
static void test_several_writes_with_a_bad_answer_are_eproto(void **state)
{
    const char json[] = "\0\0\0\0{\"capabilities\":{\"write_multiple\":true}}";
    const struct vfio_user_region_write two[2] = { { .count = 4 }, { .count = 8 } };
    const uint64_t answers[] = { 2, 1, 3 };
    struct session session;
    uint64_t done = 0;

    session_open(&session);
    say(&session, 1, VFIO_USER_VERSION, REPLY, 0, json, sizeof(json), -1, 0);
    assert_int_equal(vfu_client_negotiate(session.client), 0);
    for (uint16_t i = 0; i < 3; i++) {
        say(&session, (uint16_t)(2 + i), VFIO_USER_REGION_WRITE_MULTI, REPLY, 0, &answers[i], 8, -1,
            0);
        assert_int_equal(vfu_client_region_write_multi(session.client, two, 2, &done),
                         i == 2 ? -EPROTO : 0);
        assert_int_equal(done, i == 2 ? 0 : answers[i]);
    }
    assert_int_equal(
        vfu_client_region_write_multi(session.client, two, VFU_CLIENT_WRITES_MAX + 1, &done),
        -E2BIG);
    session_close(&session);
}

/* --- descriptors --- */

static void test_eventfds_are_sent_in_batches_the_server_takes(void **state)
{
    const char json[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":3}}";
    const size_t batches[] = { 3, 3, 1 };
    struct turn turns[4] = { { .payload = json, .size = sizeof(json), .fd = -1 } };
    struct session session;
    struct player player;
    int events[7], fd = make_descriptor();

    for (size_t i = 0; i < 7; i++) {
        events[i] = fd;
    }
    session_open(&session);
    player_start(&player, &session, turns, 4);
    assert_int_equal(vfu_client_negotiate(session.client), 0);
    assert_int_equal(vfu_client_irq_assign(session.client, 2, 10, events, 7), 0);
    player_stop(&player, &session);
    for (uint32_t i = 0; i < 3; i++) {
        const struct turn *turn = &turns[1 + i];
        struct vfio_irq_set set;

        assert_int_equal(turn->command_size, 36);
        assert_int_equal(turn->command_fds, batches[i]);
        memcpy(&set, turn->command + 16, 20);
        assert_int_equal(set.argsz, 20);
        assert_int_equal(set.index, 2);
        assert_int_equal(set.start, 10 + 3 * i);
        assert_int_equal(set.count, batches[i]);
    }
    session_close(&session);
    close(fd);
}

static void test_too_many_descriptors_are_e2big(void **state)
{
    int fds[FD_LIST_MAX + 1] = { 0 };
    const struct vfu_client_request request = {
        .command = VFIO_USER_DMA_MAP,
        .fds = fds,
        .fd_count = FD_LIST_MAX + 1,
    };
    struct session session;

    session_open(&session);
    assert_int_equal(vfu_client_command(session.client, &request, NULL), -E2BIG);
    assert_int_equal(vfu_client_raw_send(session.client, "x", 1, fds, FD_LIST_MAX + 1), -E2BIG);
    /* Nothing was sent: the connection is as it was. */
    say_plain(&session, 2, VFIO_USER_DEVICE_RESET, REPLY, 0);
    assert_int_equal(vfu_client_reset_device(session.client), 0);
    session_close(&session);
}

static void test_unread_replies_are_released(void **state)
{
    const uint8_t payload[64] = { 0 };
    struct session session;
    uint16_t ids[3];
    int fd = make_descriptor();

    session_open(&session);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(vfu_client_submit(session.client, &reset, &ids[i]), 0);
        say(&session, ids[i], VFIO_USER_DEVICE_RESET, REPLY, 0, payload, sizeof(payload), fd, 4);
    }
    /* The first two arrive with the third one, and nobody collects them. */
    assert_int_equal(vfu_client_collect(session.client, ids[2], NULL), 0);
    session_close(&session);
    close(fd);
}

/* --- a server that sends without end --- */

static void *flood(void *opaque)
{
    const struct vfio_user_dma_region_access access = { .addr = 0x1000, .count = 1 };
    struct session *session = opaque;
    struct {
        struct vfio_user_header header;
        struct vfio_user_dma_region_access access;
    } __attribute__((packed)) command = {
        .header = {
            .cmd = VFIO_USER_DMA_READ,
            .msg_size = sizeof(command),
            .flags = VFIO_USER_F_NO_REPLY,
        },
        .access = access,
    };

    for (;;) {
        struct pollfd poll_fd = { .fd = session->server, .events = POLLOUT };

        /* Whole messages only: the socket takes one or none. */
        if (send(session->server, &command, sizeof(command), MSG_NOSIGNAL) < 0 &&
            (errno != EAGAIN || poll(&poll_fd, 1, -1) < 0)) {
            return NULL;
        }
        if (poll_fd.revents & (POLLHUP | POLLERR)) {
            return NULL;
        }
    }
}

static void test_endless_commands_of_the_server_do_not_outlast_the_timeout(void **state)
{
    struct vfio_user_device_info info;
    struct session session;
    pthread_t thread;

    session_open(&session);
    vfu_client_set_timeout(session.client, 50);
    assert_int_equal(pthread_create(&thread, NULL, flood, &session), 0);
    assert_int_equal(vfu_client_get_device_info(session.client, &info), -ETIMEDOUT);
    vfu_client_free(session.client);
    pthread_join(thread, NULL);
    close(session.server);
}

static void test_offer_names_every_capability(void **state)
{
    static const struct vfio_user_version version = { .minor = 2 };
    const struct vfu_client_offer offer = {
        .max_msg_fds = 3,
        .max_data_xfer_size = 65536,
        .max_dma_maps = 17,
        .pgsizes = 0x201000,
        .migration_pgsize = 65536,
        .write_multiple = true,
        .twin_socket = true,
    };
    char text[1024] = "";
    struct session session;

    session_open(&session);
    say(&session, 1, VFIO_USER_VERSION, REPLY, 0, &version, sizeof(version), -1, 0);
    /* A reply that comes before its command is one to nobody, but the command was sent. */
    vfu_client_negotiate_as(session.client, &offer);
    hear(&session, text, sizeof(text) - 1);
    assert_string_equal(text + sizeof(struct vfio_user_header) + sizeof(version),
                        "{\"capabilities\":{\"max_msg_fds\":3,\"max_data_xfer_size\":65536,"
                        "\"max_dma_maps\":17,\"pgsizes\":2101248,\"migration\":{\"pgsize\":65536},"
                        "\"write_multiple\":true,\"twin_socket\":{\"supported\":true}}}");
    session_close(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAK_TEST(test_request_on_the_wire),
        LEAK_TEST(test_replies_in_another_order),
        LEAK_TEST(test_forgotten_commands_leave_nothing),
        LEAK_TEST(test_error_payload_is_drained),
        LEAK_TEST(test_error_without_errno_is_einval),
        LEAK_TEST(test_descriptors_of_an_error_are_closed),
        LEAK_TEST(test_descriptors_that_nobody_wants_are_eproto),
        LEAK_TEST(test_reply_of_another_size_is_eproto),
        LEAK_TEST(test_reply_to_nobody_is_eproto),
        LEAK_TEST(test_reply_to_another_command_is_eproto),
        LEAK_TEST(test_unknown_type_is_eproto),
        LEAK_TEST(test_bad_sizes_are_eproto),
        LEAK_TEST(test_reply_in_single_bytes),
        LEAK_TEST(test_silent_server_is_etimedout),
        LEAK_TEST(test_out_of_band_data_is_eproto),
        LEAK_TEST(test_server_that_does_not_read_is_etimedout),
        LEAK_TEST(test_server_that_leaves_is_enotconn),
        LEAK_TEST(test_last_words_are_heard),
        LEAK_TEST(test_nobody_listens),
        LEAK_TEST(test_commands_of_the_server_are_refused),
        LEAK_TEST(test_no_reply_command_of_the_server_is_dropped),
        LEAK_TEST(test_endless_commands_of_the_server_are_cut_off),
        LEAK_TEST(test_capabilities_of_the_server),
        LEAK_TEST(test_missing_capabilities_have_their_defaults),
        LEAK_TEST(test_bad_answers_to_version_are_eproto),
        LEAK_TEST(test_bad_twin_sockets_are_eproto),
        LEAK_TEST(test_commands_on_the_twin_socket_are_answered_there),
        LEAK_TEST(test_bad_commands_of_the_server_have_their_errno),
        LEAK_TEST(test_io_fds_of_both_layouts),
        LEAK_TEST(test_bad_io_fds_are_eproto),
        LEAK_TEST(test_region_with_areas),
        LEAK_TEST(test_region_without_areas_is_mapped_as_a_whole),
        LEAK_TEST(test_bad_region_answers_are_eproto),
        LEAK_TEST(test_bad_read_replies_are_eproto),
        LEAK_TEST(test_bad_feature_replies_are_eproto),
        LEAK_TEST(test_bad_data_replies_are_eproto),
        LEAK_TEST(test_pieces_of_data_on_their_way_together),
        LEAK_TEST(test_bad_bitmaps_are_eproto),
        LEAK_TEST(test_posted_write_wants_no_reply),
        LEAK_TEST(test_several_writes_that_the_server_does_not_offer_are_refused_here),
        LEAK_TEST(test_several_writes_with_a_bad_answer_are_eproto),
        LEAK_TEST(test_eventfds_are_sent_in_batches_the_server_takes),
        LEAK_TEST(test_too_many_descriptors_are_e2big),
        LEAK_TEST(test_unread_replies_are_released),
        cmocka_unit_test(test_endless_commands_of_the_server_do_not_outlast_the_timeout),
        cmocka_unit_test(test_offer_names_every_capability),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
