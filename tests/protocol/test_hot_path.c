/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a request costs in system calls of the device process, counted by strace: a peek, a read, a
 * write, and a wait where it had to sleep; a read and a write alone where the next request waits
 * already; and one message each way with the gate where there are descriptors. The devices sleep at
 * once (poll_us 0), so that the counts do not depend on time.
 */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"
#include "tests/protocol/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ROUNDS 100

/* As many reads of a register as one peek shows. */
#define DEPTH 64
#define BURSTS 10

/* A wait that the tracer interrupts when it comes and when it goes is made again; one that it finds
 * under way may not be counted. */
#define TRACER_WAITS 3

/* Traces the device processes: the one that serves, and under the broker the next one, which does
 * nothing. An ordinary user may not trace those of the broker: false then. */
static bool trace_devices(struct trace *trace, const struct fixture *fixture)
{
    pid_t pids[TRACE_MAX_PIDS];
    size_t total, count = 0;

    server_descriptors(&fixture->server); /* until the next session is ready */
    total = server_processes(&fixture->server, pids, TRACE_MAX_PIDS);
    for (size_t i = 0; i < total; i++) {
        if (server_is_device(pids[i])) {
            char path[64];
            AUTO_FD memory = -1;

            snprintf(path, sizeof(path), "/proc/%d/maps", (int)pids[i]);
            memory = open(path, O_RDONLY | O_CLOEXEC);
            if (memory < 0) {
                assert_int_not_equal(geteuid(), 0);
                return false;
            }
            pids[count++] = pids[i];
        }
    }
    assert_int_equal(count, harness_mode() == SERVER_BROKERED ? 2 : 1);
    trace_start(trace, &fixture->server, pids, count);
    return true;
}

/* Standalone a reply is sent so that it raises no signal; in a jail there is none to be raised. */
static size_t replies(const struct trace *trace)
{
    const char *call = harness_mode() == SERVER_BROKERED ? "write" : "sendto";

    return trace_count(trace, call);
}

static void show(const struct trace *trace, size_t total, const char *what)
{
    print_message(
        "    %s: %zu calls: %zu ppoll, %zu recvfrom, %zu read, %zu to reply, %zu sendmsg, "
        "%zu recvmsg\n",
        what, total, trace_count(trace, "ppoll"), trace_count(trace, "recvfrom"),
        trace_count(trace, "read"), replies(trace), trace_count(trace, "sendmsg"),
        trace_count(trace, "recvmsg"));
}

/* --- one by one --- */

static void access_registers(struct fixture *fixture)
{
    struct vfu_client *client = fixture->client;
    uint64_t value = 0;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(vfu_client_region_write(client, 0, i * 8 % 0x800, &value, 8), 0);
        assert_int_equal(vfu_client_region_read(client, 0, i * 8 % 0x800, &value, 8), 0);
        assert_int_equal(vfu_client_region_read(client, 7, 0, &value, 4), 0);
    }
}

static void test_access_is_a_wait_a_peek_a_read_and_a_write(void **state)
{
    struct trace trace;
    size_t total, waits;

    if (!trace_devices(&trace, *state)) {
        skip();
    }
    access_registers(*state);
    total = trace_stop(&trace);
    show(&trace, total, "one by one");
    waits = trace_count(&trace, "ppoll");
    assert_in_range(waits, 3 * ROUNDS - 1, 3 * ROUNDS + TRACER_WAITS);
    assert_int_equal(trace_count(&trace, "recvfrom"), 3 * ROUNDS);
    assert_int_equal(trace_count(&trace, "read"), 3 * ROUNDS);
    assert_int_equal(replies(&trace), 3 * ROUNDS);
    assert_int_equal(total, waits + 9 * ROUNDS);
    trace_forget(&trace);
}

/* --- queued --- */

/* One piece of the stream, so that it is there as a whole. */
static void access_registers_in_bursts(struct fixture *fixture)
{
    const struct vfio_user_region_access access = { .offset = 8, .region = 0, .count = 8 };
    struct wire burst = { .size = 0 };
    uint16_t id = 0;

    for (int i = 0; i < DEPTH; i++) {
        struct wire wire;

        wire_command(&wire, id++, VFIO_USER_REGION_READ, &access, sizeof(access));
        memcpy(burst.bytes + burst.size, wire.bytes, wire.size);
        burst.size += wire.size;
    }
    for (int i = 0; i < BURSTS; i++) {
        assert_int_equal(vfu_client_raw_send(fixture->client, burst.bytes, burst.size, NULL, 0), 0);
        for (id = 0; id < DEPTH; id++) {
            expect_reply(fixture->client, id, VFIO_USER_REGION_READ, 0, NULL);
        }
    }
}

/* A burst takes a peek that shows all of it, and then at most one that shows nothing more, and a
 * wait. */
static void test_queued_access_is_a_read_and_a_write(void **state)
{
    struct trace trace;
    size_t total, waits, peeks;

    if (!trace_devices(&trace, *state)) {
        skip();
    }
    access_registers_in_bursts(*state);
    total = trace_stop(&trace);
    show(&trace, total, "queued");
    waits = trace_count(&trace, "ppoll");
    peeks = trace_count(&trace, "recvfrom");
    assert_int_equal(trace_count(&trace, "read"), DEPTH * BURSTS);
    assert_int_equal(replies(&trace), DEPTH * BURSTS);
    assert_in_range(peeks, BURSTS, 2 * BURSTS);
    /* And now and then a look at everything else; see connection.c. */
    assert_true(waits <= BURSTS + DEPTH * BURSTS / 64 + TRACER_WAITS);
    assert_int_equal(total, waits + peeks + 2 * DEPTH * BURSTS);
    trace_forget(&trace);
}

/* --- with descriptors --- */

static void pass_descriptors(struct fixture *fixture)
{
    AUTO_FD memory = memory_create(4096);
    AUTO_FD event = eventfd(0, EFD_CLOEXEC);

    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(vfu_client_dma_map(fixture->client, 0, 4096, 3, memory, 0), 0);
        assert_int_equal(vfu_client_dma_unmap(fixture->client, 0, 4096), 0);
        assert_int_equal(
            vfu_client_irq_assign(fixture->client, VFIO_PCI_MSIX_IRQ_INDEX, 0, &event, 1), 0);
    }
}

/* What the gate does for a message: it is asked once and answers once. */
static void test_message_with_descriptors_is_one_round_trip_to_the_gate(void **state)
{
    struct trace trace;
    size_t total;

    if (!trace_devices(&trace, *state)) {
        skip();
    }
    pass_descriptors(*state);
    total = trace_stop(&trace);
    show(&trace, total, "with descriptors");
    assert_int_equal(trace_count(&trace, "recvmsg"), 2 * ROUNDS);
    assert_int_equal(trace_count(&trace, "sendmsg"),
                     harness_mode() == SERVER_BROKERED ? 2 * ROUNDS : 0);
    assert_int_equal(trace_count(&trace, "recvfrom"), 3 * ROUNDS);
    assert_int_equal(replies(&trace), 3 * ROUNDS);
    trace_forget(&trace);
}

static void ask_for_regions(struct fixture *fixture)
{
    for (int i = 0; i < ROUNDS; i++) {
        AUTO_VFU_CLIENT_REGION region;

        assert_int_equal(vfu_client_get_region_info(fixture->client, 4, &region), 0);
        assert_true(region.fd >= 0);
    }
    expect_served(fixture->client); /* the gate answers the client before it answers the device */
}

static void test_reply_with_descriptors_is_one_round_trip_to_the_gate(void **state)
{
    struct trace trace;
    size_t total;

    if (!trace_devices(&trace, *state)) {
        skip();
    }
    ask_for_regions(*state);
    total = trace_stop(&trace);
    show(&trace, total, "replies with descriptors");
    assert_int_equal(trace_count(&trace, "sendmsg"), ROUNDS);
    assert_int_equal(trace_count(&trace, "recvmsg"),
                     harness_mode() == SERVER_BROKERED ? ROUNDS : 0);
    trace_forget(&trace);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_access_is_a_wait_a_peek_a_read_and_a_write),
        PROTOCOL_TEST(test_queued_access_is_a_read_and_a_write),
        PROTOCOL_TEST(test_message_with_descriptors_is_one_round_trip_to_the_gate),
        PROTOCOL_TEST(test_reply_with_descriptors_is_one_round_trip_to_the_gate),
    };

    return harness_run(argc, argv, tests);
}
