/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the protocol tests share: a server process with the test device in one of two modes, and
 * clients of it.
 *
 *   standalone  the device program itself listens on the socket
 *   brokered    vfu-broker does, and runs the same program in its jail
 *
 * Every test gets a fresh device process in both modes, so that what it may expect is the same:
 * standalone by starting the program anew, brokered because each client gets a process of its own.
 */
#pragma once

#include "client/client.h"
#include "tests/protocol/test-device.h"

#include <setjmp.h>
#include <stdarg.h> /* what cmocka.h needs before it */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

/* Long enough for any machine; nothing waits that long unless it fails. */
#define HARNESS_DEADLINE_MS 60000

enum server_mode {
    SERVER_STANDALONE,
    SERVER_BROKERED,
};

struct server {
    enum server_mode mode;
    pid_t pid;
    char dir[128];
    char socket[160];
    char log[160]; /* file with what the server wrote to stderr */
};

/* State of a test: the server it talks to, and a client that has negotiated. */
struct fixture {
    struct server server;
    struct vfu_client *client;
};

/*
 * Runs the tests of a program in the mode that its first argument names. Returns main's result.
 * The environment names TEST_DEVICE, TEST_BROKER and TEST_POLICIES (a directory), and may name
 * TEST_POLICY, the policy of the fixtures' servers, and PROTOCOL_TRANSCRIPT, a file for what the
 * servers answer to the fixtures' clients.
 */
#define harness_run(argc, argv, tests)                                                             \
    (harness_start((argc), (argv)),                                                                \
     harness_finish(cmocka_run_group_tests_name(harness_name(), (tests), NULL, NULL)))

void harness_start(int argc, char **argv);
int harness_finish(int failed);
const char *harness_name(void);
enum server_mode harness_mode(void);

/* Fixtures for cmocka_unit_test_setup_teardown(): connected and negotiated, or only connected. */
int fixture_setup(void **state);
int fixture_setup_connected(void **state);
int fixture_teardown(void **state);

/* From here on the answers may differ between the modes; the test says why. */
void fixture_stop_recording(struct fixture *fixture);

#define PROTOCOL_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define CONNECTED_TEST(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, fixture_setup_connected, fixture_teardown)

/* --- servers --- */

/*
 * Starts a server of the mode under test, without waiting for it: server_connect() does. @policy
 * names a file of TEST_POLICIES, without ".json"; it matters under the broker alone.
 */
void server_start(struct server *server, const char *policy);

/* The same in either mode; @device: the program standalone, NULL for TEST_DEVICE. */
void server_start_as(struct server *server, enum server_mode mode, const char *device,
                     const char *policy);

/* Ends it as an operator does; fails the test unless it ends cleanly and leaves nothing behind. */
void server_stop(struct server *server);

/* Waits until it ends by itself; returns its wait status. server_stop() then only tidies up. */
int server_wait(struct server *server);

/* A new client of it, not negotiated; fails the test if nobody accepts. */
struct vfu_client *server_connect(struct server *server);

/* The same, negotiated. */
struct vfu_client *server_negotiate(struct server *server);

/* True if @text is in what the server has logged so far. */
bool server_logged(const struct server *server, const char *text);

/* Waits until it is; in the second form, until one of the two is. */
void server_expect_log(const struct server *server, const char *text);
void server_expect_either_log(const struct server *server, const char *text, const char *other);

/* Processes of the server: itself and its descendants. Returns how many there are. */
size_t server_processes(const struct server *server, pid_t *pids, size_t max);

/* Whether that is a process of the test device, else of the broker. */
bool server_is_device(pid_t pid);

/* Descriptors open in all processes of the server, once they have come to rest. */
size_t server_descriptors(const struct server *server);

/* Waits until there are exactly @count; fails the test if there never are. */
void server_expect_descriptors(const struct server *server, size_t count);

/* --- small things --- */

/* Polls @condition until it holds; fails the test if it does not in time. */
#define expect_eventually(condition)                                                               \
    do {                                                                                           \
        int64_t deadline_ = harness_now_ms() + HARNESS_DEADLINE_MS;                                \
        while (!(condition)) {                                                                     \
            if (harness_now_ms() > deadline_) {                                                    \
                fail_msg("never came true: %s", #condition);                                       \
            }                                                                                      \
            harness_pause();                                                                       \
        }                                                                                          \
    } while (0)

int64_t harness_now_ms(void);

/* A moment, between two looks at a condition. */
void harness_pause(void);

/* Descriptors open in this process. */
size_t own_descriptors(void);

/* A memfd of @size bytes, all zero. */
int memory_create(size_t size);

/* The device's registers. */
uint64_t device_get(struct vfu_client *client, enum test_register reg);
void device_set(struct vfu_client *client, enum test_register reg, uint64_t value);

/* One message as a test writes it down, with a header made to fit. */
struct wire {
    size_t size;
    uint8_t bytes[4096];
};

/* Starts a command whose payload follows with wire_add(); msg_size is kept right. */
void wire_begin(struct wire *wire, uint16_t id, uint16_t command);
void wire_add(struct wire *wire, const void *bytes, size_t size);

/* The command with one payload. */
void wire_command(struct wire *wire, uint16_t id, uint16_t command, const void *payload,
                  size_t size);

/* The header inside @wire. */
struct vfio_user_header *wire_header(struct wire *wire);

/* Sends @wire and expects a reply: a success, or an error with this errno and no payload. */
void wire_expect(struct vfu_client *client, const struct wire *wire, const int *fds,
                 size_t fd_count, int error);

/* Expects the next message to be the reply to @id and @command, with this errno (0: success). */
void expect_reply(struct vfu_client *client, uint16_t id, uint16_t command, int error,
                  struct vfu_client_message *reply);

/* Expects the server to close the connection, after any number of messages. */
void expect_closed(struct vfu_client *client);

/* A command with this payload and these descriptors is answered with this errno (0: success). */
void expect_answer(struct vfu_client *client, uint16_t command, const void *payload, size_t size,
                   const int *fds, size_t fd_count, int error);

/* The client is served: a register can be written and read back. */
void expect_served(struct vfu_client *client);
