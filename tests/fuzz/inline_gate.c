/* SPDX-License-Identifier: BSD-3-Clause */
/* The real gate, from where the broker's headers are. */
#include "tests/fuzz/inline_gate.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void leave(int status);

#define _exit leave
#include "broker/gate.c" /* NOLINT: what it does for a device is what we are after */
#undef _exit

static struct policy policy = {
    .handshake_seconds = 3600,
    .dma_access = DMA_ACCESS_RW,
    .dma_memory = MEMORY_KIND_MEMFD | MEMORY_KIND_TMPFS | MEMORY_KIND_HUGETLBFS,
};
static struct gate gate;
static int reports = -1;
static jmp_buf over;

static _Noreturn void leave(int status)
{
    longjmp(over, 1);
}

static void ignore_reports(void)
{
    char packet[sizeof(struct control_message)];

    while (read(reports, packet, sizeof(packet)) > 0) {
    }
}

int inline_gate_start(int client)
{
    static struct vetting vetting = { .policy = NULL };
    int channel[2];
    int pipes[2];

    if ((vetting.policy == NULL && vetting_init(&vetting, &policy) < 0) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0 ||
        pipe2(pipes, O_CLOEXEC | O_DIRECT | O_NONBLOCK) < 0) {
        err(1, "gate");
    }
    reports = pipes[0];
    gate = (struct gate){
        .policy = &policy,
        .vetting = vetting,
        .supervisor = { .fd = -1,
                        .pipe = pipes[1],
                        .role = CONTROL_CHILD_END,
                        .state = CONTROL_STATE_BUSY },
        .device = { .fd = channel[0], .role = CONTROL_BROKER_END, .state = CONTROL_STATE_SERVING },
        .listener = -1,
        .client = fcntl(client, F_DUPFD_CLOEXEC, 0),
    };
    memset(gate.regions, 0xff, sizeof(gate.regions));
    return channel[1];
}

void inline_gate_declare_region(uint32_t index, int fd)
{
    gate.regions[index] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

void inline_gate_declare_io_fd(int fd)
{
    gate.io_fds[gate.io_fd_count++] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

void inline_gate_run(void)
{
    if (gate.device.fd < 0) {
        return;
    }
    if (setjmp(over) == 0) {
        from_device(&gate);
    } else {
        fd_close(&gate.device.fd);
    }
    ignore_reports();
}

void inline_gate_end(void)
{
    for (size_t i = 0; i < GATE_MAX_REGIONS; i++) {
        fd_close(&gate.regions[i]);
    }
    while (gate.io_fd_count > 0) {
        close(gate.io_fds[--gate.io_fd_count]);
    }
    fd_close(&gate.client);
    fd_close(&gate.device.fd);
    fd_close(&gate.supervisor.pipe);
    fd_close(&reports);
}
