/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "While 10,000 register accesses run the broker makes no system call that their number causes."
 * The broker is every process of it but the device: the supervisor and the gates. Two witnesses:
 * the kernel's count of context switches, since none of them can make a call without being woken
 * first, and strace. Each has a control that it does see calls.
 */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"
#include "tests/protocol/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEW 1000
#define MANY 10000

/* Timers, the log, a look at a client: not one of them for each access. */
#define TOLERANCE 30

/* The broker's processes: all but the devices. */
static size_t broker_processes(const struct server *server, pid_t *found)
{
    pid_t pids[TRACE_MAX_PIDS];
    size_t total = server_processes(server, pids, TRACE_MAX_PIDS);
    size_t count = 0;

    for (size_t i = 0; i < total; i++) {
        if (!server_is_device(pids[i])) {
            found[count++] = pids[i];
        }
    }
    /* The supervisor, the gate in use, the gate that is next. */
    assert_int_equal(count, 3);
    return count;
}

/* Reads and writes of all kinds that need no descriptor. */
static void access_registers(struct fixture *fixture, uint32_t count)
{
    struct vfu_client *client = fixture->client;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = i * 8 % TEST_DEVICE_SCRATCH_SIZE;
        uint64_t value = i;

        switch (i % 4) {
        case 0:
            assert_int_equal(vfu_client_region_write(client, 0, offset, &value, sizeof(value)), 0);
            break;
        case 1:
            assert_int_equal(vfu_client_region_post(client, 0, offset, &value, sizeof(value)), 0);
            break;
        case 2:
            assert_int_equal(vfu_client_region_read(client, 7, 0, &value, 4), 0);
            break;
        default:
            assert_int_equal(vfu_client_region_read(client, 0, offset, &value, sizeof(value)), 0);
        }
    }
}

/* What the gate has to do with, for the controls, */
static void pass_descriptors(struct fixture *fixture, uint32_t count)
{
    int fd = memory_create(4096);

    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(vfu_client_dma_map(fixture->client, 0, 4096, 3, fd, 0), 0);
        assert_int_equal(vfu_client_dma_unmap(fixture->client, 0, 4096), 0);
    }
    close(fd);
}

/* and what the supervisor has. */
static void be_refused(struct fixture *fixture, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct vfu_client *second = server_connect(&fixture->server);

        expect_closed(second);
        vfu_client_free(second);
    }
}

/* --- context switches --- */

static long switches_of(pid_t pid)
{
    char path[64], line[256];
    long total = 0, value;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &value) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %ld", &value) == 1) {
            total += value;
        }
    }
    fclose(file);
    return total;
}

static long total_switches(const pid_t *pids, size_t count)
{
    long total = 0;

    for (size_t i = 0; i < count; i++) {
        total += switches_of(pids[i]);
    }
    return total;
}

static void test_accesses_do_not_wake_the_broker(void **state)
{
    struct fixture *fixture = *state;
    pid_t pids[TRACE_MAX_PIDS];
    size_t count;
    long before, quiet, control;

    server_descriptors(&fixture->server); /* until the next session is ready */
    count = broker_processes(&fixture->server, pids);
    before = total_switches(pids, count);
    access_registers(fixture, MANY);
    quiet = total_switches(pids, count) - before;
    pass_descriptors(fixture, FEW);
    control = total_switches(pids, count) - before - quiet;
    print_message("    %ld switches in %d accesses, %ld in %d maps\n", quiet, MANY, control, FEW);
    assert_true(quiet <= TOLERANCE);
    assert_true(control > TOLERANCE);
}

/* --- strace --- */

/*
 * The kernel lets root trace every process, an ordinary user the supervisor alone: the gates' part
 * is then left to the other witness.
 */
static size_t keep_traceable(pid_t *pids, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        char path[64];
        AUTO_FD fd = -1;

        snprintf(path, sizeof(path), "/proc/%d/maps", (int)pids[i]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            pids[kept++] = pids[i];
        }
    }
    assert_true(kept > 0);
    assert_true(geteuid() != 0 || kept == count);
    return kept;
}

typedef void load_fn(struct fixture *fixture, uint32_t count);

static size_t calls_during(struct fixture *fixture, load_fn *load, uint32_t count)
{
    struct trace trace;
    pid_t pids[TRACE_MAX_PIDS];
    size_t processes = broker_processes(&fixture->server, pids);
    size_t calls;

    processes = keep_traceable(pids, processes);
    trace_start(&trace, &fixture->server, pids, processes);
    load(fixture, count);
    calls = trace_stop(&trace);
    trace_forget(&trace);
    return calls;
}

static void test_accesses_cause_no_system_call(void **state)
{
    struct fixture *fixture = *state;
    size_t few, many, control;

    server_descriptors(&fixture->server);
    few = calls_during(fixture, access_registers, FEW);
    many = calls_during(fixture, access_registers, MANY);
    control = calls_during(fixture, be_refused, FEW / 10);
    print_message("    %zu calls in %d accesses, %zu in %d; %zu for %d refused clients\n", few, FEW,
                  many, MANY, control, FEW / 10);
    assert_true(few <= TOLERANCE);
    assert_true(many <= few + TOLERANCE);
    assert_true(control >= FEW / 10);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_accesses_do_not_wake_the_broker),
        PROTOCOL_TEST(test_accesses_cause_no_system_call),
    };

    return harness_run(argc, argv, tests);
}
