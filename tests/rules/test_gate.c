/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No idle rule in the gate's filter. A gate refuses one client, serves the next one with everything
 * that a device can ask for, and ends: it can under all rules, and cannot without any one of them.
 */
#define filter_gate_rules product_rules
#define filter_gate_rule_count product_rule_count
#include "broker/filter_rules.c" /* NOLINT: the tables themselves */
#undef filter_gate_rules
#undef filter_gate_rule_count

#include "broker/filter.h"
#include "broker/gate.h"
#include "ipc/fd.h"
#include "ipc/socket.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <vfio-user/vfio-user.h>

#define SECONDS 60 /* only a gate that hangs takes so long */

/* What the header promises not to change: it does not while a filter is compiled. */
struct filter_rule other_rules[ARRAY_SIZE(product_rules)] __asm__("filter_gate_rules");
size_t other_rule_count __asm__("filter_gate_rule_count");

/* Those around the gate. */
struct scene {
    struct control_channel supervisor;
    struct control_channel device;
    struct control_message message;
    int listener;
    int client;
};

/* As where the vDSO cannot answer; in the gate too, which is a fork of this process. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* Waits for a message of @type, with @fds descriptors. */
static bool hear(struct scene *scene, struct control_channel *channel, enum control_type type,
                 size_t count, struct fd_list *fds)
{
    return control_receive(channel, &scene->message, fds, 0) == 1 && scene->message.type == type &&
           fds->count == count;
}

static bool hear_plain(struct scene *scene, struct control_channel *channel, enum control_type type)
{
    AUTO_FD_LIST fds = { .count = 0 };

    return hear(scene, channel, type, 0, &fds);
}

static bool tell(struct control_channel *channel, enum control_type type, int fd)
{
    struct control_message message = { .type = type };
    struct fd_list fds = { .count = 0 };

    if (fd >= 0) {
        fd_list_add(&fds, fd);
    }
    return control_send(channel, &message, &fds, 0) == 0;
}

static bool judge(struct scene *scene, bool admit)
{
    struct control_message message = { .type = CONTROL_VERDICT, .body.verdict.admit = admit };

    return hear_plain(scene, &scene->supervisor, CONTROL_CANDIDATE) &&
           scene->message.body.candidate.uid == getuid() &&
           control_send(&scene->supervisor, &message, NULL, 0) == 0;
}

static int make_listener(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* Without a name the kernel gives it one that nobody else has. */
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
        listen(sock, 1) < 0) {
        err(1, "listener");
    }
    return sock;
}

static void connect_client(struct scene *scene)
{
    struct sockaddr_un address;
    socklen_t size = sizeof(address);

    fd_close(&scene->client);
    scene->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (scene->client < 0 || getsockname(scene->listener, (struct sockaddr *)&address, &size) < 0 ||
        connect(scene->client, (struct sockaddr *)&address, size) < 0) {
        err(1, "connect");
    }
}

static bool start(struct scene *scene)
{
    return hear_plain(scene, &scene->supervisor, CONTROL_WAITING) &&
           tell(&scene->supervisor, CONTROL_LISTEN, scene->listener);
}

static bool refuse_one(struct scene *scene)
{
    char byte;

    connect_client(scene);
    return judge(scene, false) && hear_plain(scene, &scene->supervisor, CONTROL_REFUSED) &&
           read(scene->client, &byte, 1) == 0;
}

static bool admit_one(struct scene *scene)
{
    AUTO_FD_LIST fds = { .count = 0 };

    connect_client(scene);
    return judge(scene, true) && hear(scene, &scene->device, CONTROL_CLIENT, 1, &fds);
}

/* A message of the client's with a descriptor, which the device has the gate take. */
static bool take(struct scene *scene, uint16_t command, int fd, enum descriptor_kind kind)
{
    struct vfio_user_header header = { .cmd = command, .msg_size = sizeof(header) };
    struct control_message request = {
        .type = CONTROL_TAKE,
        .body.take = { .size = sizeof(header), .command = command },
    };
    struct fd_list sent = { .count = 0 };
    AUTO_FD_LIST fds = { .count = 0 };

    fd_list_add(&sent, fd);
    return socket_send(scene->client, &header, sizeof(header), 0, &sent) == sizeof(header) &&
           control_send(&scene->device, &request, NULL, 0) == 0 &&
           hear(scene, &scene->device, CONTROL_TAKEN, 1, &fds) &&
           scene->message.body.taken.kind[0] == kind;
}

static bool take_descriptors(struct scene *scene)
{
    AUTO_FD memory = memfd_create("memory", MFD_CLOEXEC);
    AUTO_FD interrupt = eventfd(0, EFD_CLOEXEC);

    return take(scene, VFIO_USER_DMA_MAP, memory, DESCRIPTOR_READ_ONLY) &&
           take(scene, VFIO_USER_DEVICE_SET_IRQS, interrupt, DESCRIPTOR_EVENTFD);
}

static bool make_twin(struct scene *scene)
{
    struct control_message request = {
        .type = CONTROL_SEND,
        .tail_size = 1,
        .body.send = { .what = CONTROL_SEND_TWIN },
    };
    AUTO_FD_LIST fds = { .count = 0 };

    return control_send(&scene->device, &request, NULL, 0) == 0 &&
           hear(scene, &scene->device, CONTROL_SENT, 1, &fds) &&
           (fcntl(fds.fds[0], F_GETFL) & O_NONBLOCK);
}

static bool end(struct scene *scene)
{
    return tell(&scene->device, CONTROL_NEGOTIATED, -1) &&
           hear_plain(scene, &scene->supervisor, CONTROL_REPORT) &&
           tell(&scene->device, CONTROL_DETACHED, -1) &&
           hear_plain(scene, &scene->supervisor, CONTROL_ENDED) &&
           scene->message.body.ended.reason == CONTROL_END_CLIENT_GONE;
}

static bool play(struct scene *scene)
{
    return start(scene) && refuse_one(scene) && admit_one(scene) && take_descriptors(scene) &&
           make_twin(scene) && end(scene);
}

/* Whether a gate under this filter does all of it, and ends well. */
static bool serves(const struct jail_plan *plan, const struct filter *filter)
{
    struct scene scene = { .listener = make_listener(), .client = -1 };
    struct gate_process gate;
    siginfo_t info = { .si_pid = 0 };
    int device[2];
    bool good;

    if (gate_spawn(plan, filter, &gate) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, device) < 0 ||
        fcntl(gate.reports, F_SETFL, 0) < 0) {
        err(1, "gate");
    }
    scene.supervisor = (struct control_channel){ .fd = gate.control,
                                                 .pipe = gate.reports,
                                                 .role = CONTROL_BROKER_END,
                                                 .state = CONTROL_STATE_IDLE };
    scene.device = (struct control_channel){ .fd = device[0],
                                             .role = CONTROL_CHILD_END,
                                             .state = CONTROL_STATE_SEALED };
    good = tell(&scene.device, CONTROL_READY, -1) &&
           tell(&scene.supervisor, CONTROL_DEVICE, device[1]);
    close(device[1]);
    good = good && play(&scene);
    fd_close(&scene.client);
    close(scene.listener);
    close(device[0]);
    close(gate.control);
    if (waitid(P_PIDFD, (id_t)gate.pidfd, &info, WEXITED) < 0) {
        err(1, "waitid");
    }
    close(gate.reports);
    close(gate.pidfd);
    return good && info.si_code == CLD_EXITED && info.si_status == 0;
}

/* The same without rule @without; the one behind the table's last is that of dma.access "ro". */
static bool serves_without(struct jail_plan *plan, size_t without)
{
    struct policy policy = *plan->policy;
    struct filter filter;
    bool good;

    other_rule_count = 0;
    for (size_t i = 0; i < product_rule_count; i++) {
        if (i != without) {
            other_rules[other_rule_count++] = product_rules[i];
        }
    }
    if (without == product_rule_count) {
        policy.dma_access = DMA_ACCESS_RW;
    }
    if (filter_compile_gate(&filter, &policy) < 0) {
        errx(1, "the filter cannot be compiled");
    }
    good = serves(plan, &filter);
    filter_free(&filter);
    return good;
}

int main(void)
{
    const struct policy policy = {
        .handshake_seconds = SECONDS,
        .dma_access = DMA_ACCESS_RO,
        .dma_memory = MEMORY_KIND_MEMFD,
        .jail_uid = getuid(),
        .jail_gid = getgid(),
        .limit_requests_per_second = 1000,
    };
    struct jail_plan plan = {
        .policy = &policy,
        .null = open("/dev/null", O_RDWR | O_CLOEXEC),
        .supervisor = (int)syscall(SYS_pidfd_open, getpid(), 0),
        .cgroup = -1,
    };
    unsigned idle = 0;

    alarm(SECONDS);
    signal(SIGPIPE, SIG_IGN);
    if (!serves_without(&plan, product_rule_count + 1)) {
        errx(1, "cannot be done under all rules");
    }
    for (size_t i = 0; i <= product_rule_count; i++) {
        const struct filter_rule *rule =
            i < product_rule_count ? &product_rules[i] : &filter_gate_reopen_rule;
        bool good = serves_without(&plan, i);

        printf("%s %s: %s\n", rule->syscall, rule->condition, good ? "idle" : "needed");
        idle += good;
    }
    return idle > 0;
}
