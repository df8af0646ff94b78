/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Processes that die, each in its way. Standalone the program is gone, and its client sees that.
 * Under the broker the session is gone, the log says why, and the next client gets a new process.
 */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PROCESSES 64

/* Asks for a crash; the reply to that is not awaited. */
static void ask_for(struct vfu_client *client, uint64_t crash)
{
    assert_int_equal(vfu_client_region_post(client, 0, TEST_REG_CRASH, &crash, sizeof(crash)), 0);
}

static void expect_next_client_and_stop(struct server *server)
{
    struct vfu_client *client = server_negotiate(server);

    expect_served(client);
    vfu_client_free(client);
    server_stop(server);
}

/*
 * The device crashes. @status is what a standalone program leaves behind, as waitpid(2) has it;
 * @cause is in the broker's log.
 */
static void crash(enum test_crash how, int status, const char *cause)
{
    struct server server;
    struct vfu_client *client;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    ask_for(client, how);
    expect_closed(client);
    vfu_client_free(client);
    if (server.mode == SERVER_STANDALONE) {
        /* Core dumps depend on the machine's settings, sanitizers exit instead of dying. */
        int got = server_wait(&server);

        assert_true((got & ~0x80) == status || (status != 0 && WIFEXITED(got)));
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(got), WEXITSTATUS(status));
        }
        server_stop(&server);
    } else {
        server_expect_either_log(&server, "device-died", "blocked-call");
        server_expect_log(&server, cause);
        expect_next_client_and_stop(&server);
    }
}

static void test_segmentation_fault(void **state)
{
    crash(TEST_CRASH_SEGV, SIGSEGV, "SIGSEGV");
}

/*
 * Before abort(3) raises its signal, which does nothing to the first process of a namespace, it
 * changes the signal mask: the filter may stop it there, or it faults in the end.
 */
static void test_abort(void **state)
{
    crash(TEST_CRASH_ABORT, SIGABRT, "session=1");
}

static void test_exit(void **state)
{
    crash(TEST_CRASH_EXIT, TEST_DEVICE_EXIT_STATUS << 8, "status=3");
}

/* Standalone is the control: the same call succeeds there. */
static void test_blocked_call(void **state)
{
    struct server server;
    struct vfu_client *client;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    ask_for(client, TEST_CRASH_FORBIDDEN);
    if (server.mode == SERVER_STANDALONE) {
        assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
        vfu_client_free(client);
        server_stop(&server);
    } else {
        expect_closed(client);
        vfu_client_free(client);
        server_expect_log(&server, "blocked-call");
        server_expect_log(&server, "call=socket");
        expect_next_client_and_stop(&server);
    }
}

/* --- killed from outside --- */

/* The two processes that serve the current client, as the broker's log names them. */
static void find_session(const struct server *server, pid_t *device, pid_t *gate)
{
    FILE *log = fopen(server->log, "re");
    unsigned session = 0, started;
    char line[1024];
    int pid;

    assert_non_null(log);
    while (fgets(line, sizeof(line), log) != NULL) {
        const char *accepted = strstr(line, "client-accepted session=");

        if (accepted != NULL) {
            sscanf(accepted, "client-accepted session=%u", &session);
        }
    }
    rewind(log);
    while (fgets(line, sizeof(line), log) != NULL) {
        const char *start = strstr(line, "session-start session=");

        if (start != NULL &&
            sscanf(start, "session-start session=%u device=%d gate=%d", &started, device, &pid) ==
                3 &&
            started == session) {
            *gate = pid;
            break;
        }
    }
    fclose(log);
    assert_true(session > 0 && *gate > 0);
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static void test_device_killed(void **state)
{
    pid_t device = 0, gate = 0;
    struct server server;
    struct vfu_client *client;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    if (server.mode == SERVER_STANDALONE) {
        kill(server.pid, SIGKILL);
        expect_closed(client);
        assert_int_equal(server_wait(&server), SIGKILL);
        vfu_client_free(client);
        server_stop(&server);
    } else {
        find_session(&server, &device, &gate);
        kill(device, SIGKILL);
        expect_closed(client);
        vfu_client_free(client);
        server_expect_log(&server, "device-died");
        server_expect_log(&server, "SIGKILL");
        expect_eventually(is_gone(gate));
        expect_next_client_and_stop(&server);
    }
}

/* The other half of a session; standalone there is none. */
static void test_gate_killed(void **state)
{
    pid_t device = 0, gate = 0;
    struct server server;
    struct vfu_client *client;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    if (server.mode == SERVER_BROKERED) {
        find_session(&server, &device, &gate);
        kill(gate, SIGKILL);
        expect_closed(client);
        /* Its device notices and leaves: either end may be the one that is logged. */
        server_expect_log(&server, "session-end session=1");
        expect_eventually(is_gone(device));
    }
    vfu_client_free(client);
    expect_next_client_and_stop(&server);
}

/* Whoever is killed takes everything along: no process stays, and the next server starts. */
static void test_server_killed(void **state)
{
    pid_t pids[MAX_PROCESSES];
    struct server server;
    struct vfu_client *client;
    size_t count;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    expect_served(client);
    count = server_processes(&server, pids, MAX_PROCESSES);
    assert_true(count >= (server.mode == SERVER_BROKERED ? 3 : 1));
    kill(server.pid, SIGKILL);
    assert_int_equal(server_wait(&server), SIGKILL);
    expect_closed(client);
    vfu_client_free(client);
    for (size_t i = 0; i < count; i++) {
        expect_eventually(is_gone(pids[i]));
    }
    server_stop(&server);
}

/* --- a device that never comes back --- */

static void test_device_that_spins(void **state)
{
    pid_t device = 0, gate = 0;
    struct server server;
    struct vfu_client *client;
    uint64_t value;

    server_start(&server, "plain");
    client = server_negotiate(&server);
    ask_for(client, TEST_CRASH_SPIN);
    vfu_client_set_timeout(client, 200);
    assert_int_equal(vfu_client_region_read(client, 0, 0, &value, sizeof(value)), -ETIMEDOUT);
    if (server.mode == SERVER_STANDALONE) {
        vfu_client_free(client);
        kill(server.pid, SIGKILL);
        assert_int_equal(server_wait(&server), SIGKILL);
        server_stop(&server);
    } else {
        find_session(&server, &device, &gate);
        vfu_client_free(client);
        client = server_negotiate(&server);
        expect_served(client);
        vfu_client_free(client);
        expect_eventually(is_gone(device));
        expect_eventually(is_gone(gate));
        server_stop(&server);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segmentation_fault),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_exit),
        cmocka_unit_test(test_blocked_call),
        cmocka_unit_test(test_device_killed),
        cmocka_unit_test(test_gate_killed),
        cmocka_unit_test(test_server_killed),
        cmocka_unit_test(test_device_that_spins),
    };

    return harness_run(argc, argv, tests);
}
