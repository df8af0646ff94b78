/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device of a fuzzer under a broker in the same process: its end of the control channel is the
 * real one, and so is the gate. In between answers can be changed.
 */
#include "tests/fuzz/inline_gate.h"
#include "tests/fuzz/surroundings.h"

#include "device/ioeventfds.h"
#include "device/memory_guard.h"
#include "device/seal.h"
#include "ipc/control.h"

static int seal_nothing(const struct seal_party *parties, size_t count, struct control_seal *seal);
static int send_and_relay(struct control_channel *channel, const struct control_message *message,
                          const struct fd_list *fds, int flags);

#define seal_process(...) seal_nothing(__VA_ARGS__)
#define control_send(...) send_and_relay(__VA_ARGS__)
#include "device/transport_broker.c" /* NOLINT: with the hooks above */
#undef seal_process
#undef control_send
#include "device/channels.c" /* NOLINT: each device has its channel anew */

#include "ipc/socket.h"

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define CHANNEL 200 /* descriptor: nobody else has so many */

char surroundings_path[SURROUNDINGS_PATH_SIZE] = "unused";

static int to_device = -1; /* the broker's end of its channel */
static int to_gate = -1;
static struct {
    const uint8_t *changes;
    size_t size;
} lie;

/* --- the seal ------------------------------------------------------------------------------ */

static int seal_nothing(const struct seal_party *parties, size_t count, struct control_seal *seal)
{
    int result = ioeventfds_collect(parties[0].ctx->ioeventfds, parties[0].io_fds);

    if (result < 0 || memory_guard_begin(&parties[0].ctx->session.dma) < 0) {
        errx(1, "seal");
    }
    for (uint32_t i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        if (parties[0].ctx->regions[i].fd >= 0) {
            inline_gate_declare_region(i, parties[0].ctx->regions[i].fd);
        }
    }
    for (uint32_t i = 0; i < parties[0].io_fds->count; i++) {
        inline_gate_declare_io_fd(parties[0].io_fds->fds[i]);
    }
    parties[0].channel->state = CONTROL_STATE_READY;
    *seal = (struct control_seal){
        .dma_max_bytes = UINT64_MAX,
        .dma_max_regions = UINT32_MAX,
        .irq_max_vectors = UINT32_MAX,
        .stall_seconds = 3600,
    };
    return 0;
}

/* --- the way between device and gate ------------------------------------------------------- */

static ssize_t receive(int sock, uint8_t *packet, struct fd_list *fds)
{
    return socket_receive(sock, packet, sizeof(struct control_message), MSG_DONTWAIT, fds);
}

static void tell_lie(uint8_t *packet, size_t size, struct fd_list *fds)
{
    size_t left_out = lie.size > 0 ? lie.changes[0] : 0;

    for (; left_out > 0 && fds->count > 0; left_out--) {
        close(fds->fds[--fds->count]);
    }
    for (size_t i = 1; i + 3 <= lie.size; i += 3) {
        packet[(lie.changes[i] | (size_t)lie.changes[i + 1] << 8) % size] = lie.changes[i + 2];
    }
    lie.size = 0;
}

/* What the gate has to say to it; that it has ended. */
static void relay_to_device(void)
{
    uint8_t packet[sizeof(struct control_message)];
    AUTO_FD_LIST fds = { .count = 0 };
    ssize_t n = receive(to_gate, packet, &fds);

    if (n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        fd_close(&to_device);
        return;
    }
    tell_lie(packet, (size_t)n, &fds);
    if (socket_send(to_device, packet, (size_t)n, MSG_DONTWAIT, &fds) < 0) {
        err(1, "relay");
    }
}

static int send_and_relay(struct control_channel *channel, const struct control_message *message,
                          const struct fd_list *fds, int flags)
{
    uint8_t packet[sizeof(*message)];
    struct fd_list none = { .count = 0 };
    int result = control_send(channel, message, fds, flags);
    ssize_t n;

    if (result < 0 || to_device < 0) {
        return result;
    }
    while ((n = receive(to_device, packet, &none)) > 0) {
        (void)socket_send(to_gate, packet, (size_t)n, MSG_DONTWAIT, NULL);
        inline_gate_run();
        relay_to_device();
    }
    return result;
}

/* --- for the fuzzer ------------------------------------------------------------------------ */

void surroundings_begin(void)
{
    char text[16];
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
        dup3(pair[1], CHANNEL, O_CLOEXEC) < 0) {
        err(1, "channel");
    }
    close(pair[1]);
    to_device = pair[0];
    snprintf(text, sizeof(text), "%d", CHANNEL);
    setenv(CONTROL_ENV, text, 1);
    signal(SIGPIPE, SIG_IGN); /* as in the jail */
    process.channels[0].claimed = false;
    lie.size = 0;
}

void surroundings_end(void)
{
    inline_gate_end();
    fd_close(&to_gate);
    fd_close(&to_device);
    close(CHANNEL);
}

int surroundings_connect(void)
{
    struct control_channel channel = { .fd = to_device,
                                       .role = CONTROL_BROKER_END,
                                       .state = CONTROL_STATE_READY };
    const struct control_message message = { .type = CONTROL_CLIENT };
    struct fd_list fds = { .count = 0 };
    int pair[2];

    if (to_gate >= 0) {
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        err(1, "client");
    }
    fd_list_add(&fds, pair[1]);
    to_gate = inline_gate_start(pair[1]);
    if (control_send(&channel, &message, &fds, 0) < 0) {
        err(1, "client");
    }
    close(pair[1]);
    return pair[0];
}

void surroundings_lie(const uint8_t *changes, size_t size)
{
    lie.changes = changes;
    lie.size = size;
}
