/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One gate serves one session, then ends.
 *
 *  1. It gives up every right: ids, capabilities, files (Landlock), and all system calls but a
 *     dozen and a half. It keeps the supervisor's user namespace, because SO_PEERCRED tells the
 *     client's uid as the caller's namespace sees it.
 *  2. It gets the device channel of a verified device process, and hears which memory and which
 *     ioeventfds that shares.
 *  3. The supervisor has verified the gate itself, and gives it the listening socket. A client
 *     connects; the supervisor judges its credentials, and whether another one is being served.
 *  4. The client's socket goes to the device process; from then on the gate only acts when asked:
 *     to receive what may carry descriptors, and to send replies that do. While a device reads and
 *     writes registers, the gate sleeps, and does not even watch the socket.
 *
 * Whatever breaks the rules of a channel ends the session, and with it this process.
 */
#include "broker/gate.h"

#include "broker/isolate.h"
#include "broker/rate.h"
#include "broker/vetting.h"
#include "ipc/control.h"
#include "ipc/fd.h"
#include "ipc/frame.h"
#include "ipc/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define GATE_MAX_REGIONS 64
/* One message's descriptors, received and passed on, what is declared, and some room. */
#define GATE_MAX_DESCRIPTORS 1024

struct gate {
    const struct policy *policy;
    struct vetting vetting;
    struct control_channel supervisor;
    struct control_channel device;
    int listener;
    int client;
    int regions[GATE_MAX_REGIONS];
    int io_fds[CONTROL_IO_FDS_MAX];
    uint32_t io_fd_count;
    bool twin_made;
    bool negotiated;
    int64_t deadline;     /* of the handshake, rate_clock() */
    struct rate requests; /* of the device, each of which is work for us */
    bool slowed;
    struct control_message in;
    struct control_message out;
};

static _Noreturn void end(struct gate *gate, enum control_end reason, uint32_t detail)
{
    struct control_message *message = &gate->out;

    message->type = CONTROL_ENDED;
    message->tail_size = 0;
    message->body.ended = (struct control_ended){ .reason = reason, .detail = detail };
    control_send(&gate->supervisor, message, NULL, MSG_DONTWAIT);
    _exit(0);
}

/* The supervisor is gone or mad: nothing to report to. */
static void to_supervisor(struct gate *gate, const struct control_message *message)
{
    if (control_send(&gate->supervisor, message, NULL, 0) < 0) {
        _exit(1);
    }
}

static void to_device(struct gate *gate, const struct control_message *message,
                      const struct fd_list *fds)
{
    int err = control_send(&gate->device, message, fds, MSG_DONTWAIT);

    if (err == -EPIPE || err == -ECONNRESET) {
        end(gate, CONTROL_END_DEVICE_GONE, 0);
    }
    if (err == -ETOOMANYREFS) {
        end(gate, CONTROL_END_CLIENT_PROTOCOL, ETOOMANYREFS);
    }
    if (err < 0) {
        end(gate, CONTROL_END_DEVICE_PROTOCOL, (uint32_t)-err);
    }
}

static void report(struct gate *gate, enum control_event event, uint32_t a, uint32_t b, uint32_t c)
{
    struct control_message message = {
        .type = CONTROL_REPORT,
        .body.report = { .event = event, .detail = { a, b, c } },
    };

    to_supervisor(gate, &message);
}

/* --- for the device ------------------------------------------------------------------------ */

/* Receives a piece of the client's stream with its descriptors, and passes on what is allowed. */
static void take(struct gate *gate)
{
    struct control_take request = gate->in.body.take;
    struct control_message *reply = &gate->out;
    size_t size = request.size < FRAME_TAKE_MAX ? request.size : FRAME_TAKE_MAX;
    AUTO_FD_LIST fds = { .count = 0 };
    struct verdict verdict = { .error = 0 };
    ssize_t n = socket_receive(gate->client, reply->tail, size, MSG_DONTWAIT, &fds);

    if (n >= 0) {
        vetting_judge(&gate->vetting, request.command, &fds, &verdict);
    }
    reply->type = CONTROL_TAKEN;
    reply->tail_size = n > 0 ? (uint32_t)n : 0;
    reply->body.taken = (struct control_taken){
        .result = (int32_t)n,
        .fds_error = verdict.error,
        .fds_count = verdict.count,
    };
    for (uint32_t i = 0; i < verdict.count; i++) {
        reply->body.taken.kind[i] = verdict.kind[i];
    }
    if (verdict.error != 0) {
        report(gate, CONTROL_EVENT_DESCRIPTOR_REFUSED, request.command, (uint32_t)verdict.error,
               verdict.reason);
    }
    to_device(gate, reply, &fds);
}

/* What the device wants to go along, of what it declared before it had a client. Returns 0, -EINVAL
 * if it declared no such thing. */
static int find_declared(const struct gate *gate, const struct control_send *send,
                         struct fd_list *fds)
{
    bool regions = send->what == CONTROL_SEND_REGION;
    uint32_t limit = regions ? GATE_MAX_REGIONS : gate->io_fd_count;

    if ((!regions && send->what != CONTROL_SEND_IO_FDS) || send->count == 0 ||
        send->count > (regions ? 1 : FD_LIST_MAX)) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < send->count; i++) {
        uint32_t index = send->index[i];

        if (index >= limit || (regions && gate->regions[index] < 0)) {
            return -EINVAL;
        }
        fd_list_add(fds, regions ? gate->regions[index] : gate->io_fds[index]);
    }
    return 0;
}

/* The device's end of a pair must not block; the client's is as it would have made it itself. */
static int make_pair(int pair[2])
{
    int err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    if (fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        err = -errno;
        fd_close(&pair[0]);
        fd_close(&pair[1]);
        return err;
    }
    return 0;
}

/* Sends the start of a reply with one end of a new pair. The other one goes to the device, if that
 * could be done. */
static ssize_t send_with_twin(struct gate *gate, struct fd_list *device_end)
{
    AUTO_FD_LIST client_end = { .count = 0 };
    int pair[2];
    ssize_t n = make_pair(pair);

    if (n < 0) {
        return n;
    }
    fd_list_add(device_end, pair[0]);
    fd_list_add(&client_end, pair[1]);
    n = socket_send(gate->client, gate->in.tail, gate->in.tail_size, MSG_DONTWAIT, &client_end);
    if (n > 0) {
        gate->twin_made = true;
    } else {
        fd_list_close(device_end);
    }
    return n;
}

/* Sends the start of a reply with descriptors. */
static void send_reply(struct gate *gate)
{
    const struct control_send *send = &gate->in.body.send;
    struct control_message *reply = &gate->out;
    AUTO_FD_LIST device_end = { .count = 0 };
    struct fd_list fds = { .count = 0 };
    bool twin = send->what == CONTROL_SEND_TWIN && !gate->twin_made && !gate->negotiated;
    ssize_t n;

    if (gate->in.tail_size == 0 || (!twin && find_declared(gate, send, &fds) < 0)) {
        end(gate, CONTROL_END_DEVICE_PROTOCOL, EINVAL);
    }
    n = twin ? send_with_twin(gate, &device_end)
             : socket_send(gate->client, gate->in.tail, gate->in.tail_size, MSG_DONTWAIT, &fds);
    if (n == -ETOOMANYREFS) {
        end(gate, CONTROL_END_CLIENT_PROTOCOL, ETOOMANYREFS);
    }
    reply->type = CONTROL_SENT;
    reply->tail_size = 0;
    reply->body.sent = (struct control_sent){ .result = (int32_t)n };
    to_device(gate, reply, &device_end);
}

static void declare_region(struct gate *gate, struct fd_list *fds)
{
    uint32_t index = gate->in.body.region.index;

    /* Seals tell memory from all other files: nothing else is ever given to a client. */
    if (index >= GATE_MAX_REGIONS || gate->regions[index] >= 0 ||
        fcntl(fds->fds[0], F_GET_SEALS) < 0) {
        end(gate, CONTROL_END_DEVICE_PROTOCOL, EINVAL);
    }
    gate->regions[index] = fd_list_take(fds, 0);
}

static void declare_io_fd(struct gate *gate, struct fd_list *fds)
{
    uint32_t kind = gate->in.body.io_fd.kind;

    if (gate->io_fd_count == CONTROL_IO_FDS_MAX) {
        end(gate, CONTROL_END_DEVICE_PROTOCOL, EINVAL);
    }
    if (!vetting_judge_io_fd(&gate->vetting, fds->fds[0], (enum descriptor_kind)kind)) {
        end(gate, CONTROL_END_DEVICE_DESCRIPTOR, kind);
    }
    gate->io_fds[gate->io_fd_count++] = fd_list_take(fds, 0);
}

/* Whatever is asked for beyond the rate waits in the channel; the log says so once. */
static void count_request(struct gate *gate)
{
    rate_take(&gate->requests);
    if (!gate->slowed && rate_wait(&gate->requests) > 0) {
        gate->slowed = true;
        report(gate, CONTROL_EVENT_SLOWED, 0, 0, 0);
    }
}

static void from_device(struct gate *gate)
{
    AUTO_FD_LIST fds = { .count = 0 };
    int result = control_receive(&gate->device, &gate->in, &fds, MSG_DONTWAIT);

    if (result == -EAGAIN) {
        return;
    }
    if (result == 0 || result == -ECONNRESET) {
        end(gate, CONTROL_END_DEVICE_GONE, 0);
    }
    if (result < 0) {
        end(gate, CONTROL_END_DEVICE_PROTOCOL, (uint32_t)-result);
    }
    switch (gate->in.type) {
    case CONTROL_REGION:
        declare_region(gate, &fds);
        break;
    case CONTROL_IO_FD:
        declare_io_fd(gate, &fds);
        break;
    case CONTROL_READY:
        gate->out.type = CONTROL_WAITING;
        gate->out.tail_size = 0;
        to_supervisor(gate, &gate->out);
        break;
    case CONTROL_TAKE:
        count_request(gate);
        take(gate);
        break;
    case CONTROL_SEND:
        count_request(gate);
        send_reply(gate);
        break;
    case CONTROL_NEGOTIATED:
        gate->negotiated = true;
        report(gate, CONTROL_EVENT_NEGOTIATED, 0, 0, 0);
        break;
    default: /* DETACHED: the table lets nothing else through */
        end(gate, CONTROL_END_CLIENT_GONE, 0);
    }
}

/* --- for the supervisor -------------------------------------------------------------------- */

static void serve(struct gate *gate)
{
    struct fd_list fds = { .count = 0 };

    fd_close(&gate->listener);
    gate->deadline = rate_clock() + gate->policy->handshake_seconds * RATE_SECOND;
    fd_list_add(&fds, gate->client);
    gate->out.type = CONTROL_CLIENT;
    gate->out.tail_size = 0;
    to_device(gate, &gate->out, &fds);
}

static void refuse(struct gate *gate)
{
    /* May hang: what the client sent already is dropped with its descriptors. */
    fd_close(&gate->client);
    gate->out.type = CONTROL_REFUSED;
    gate->out.tail_size = 0;
    to_supervisor(gate, &gate->out);
}

static void answer_probe(struct gate *gate)
{
    struct pollfd client = { .fd = gate->client, .events = POLLRDHUP };
    struct control_message reply = { .type = CONTROL_PROBED };

    if (ppoll(&client, 1, &(struct timespec){ 0, 0 }, NULL) < 0) {
        end(gate, CONTROL_END_ERROR, (uint32_t)errno);
    }
    reply.body.probed.gone = client.revents != 0;
    to_supervisor(gate, &reply);
}

static void from_supervisor(struct gate *gate)
{
    AUTO_FD_LIST fds = { .count = 0 };
    int result = control_receive(&gate->supervisor, &gate->in, &fds, MSG_DONTWAIT);

    if (result == -EAGAIN) {
        return;
    }
    if (result <= 0) {
        _exit(1);
    }
    switch (gate->in.type) {
    case CONTROL_DEVICE:
        gate->device.fd = fd_list_take(&fds, 0);
        break;
    case CONTROL_LISTEN:
        gate->listener = fd_list_take(&fds, 0);
        break;
    case CONTROL_VERDICT:
        if (gate->in.body.verdict.admit) {
            serve(gate);
        } else {
            refuse(gate);
        }
        break;
    default: /* PROBE */
        answer_probe(gate);
    }
}

static void accept_client(struct gate *gate)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    gate->client = accept4(gate->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (gate->client < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
            end(gate, CONTROL_END_ERROR, (uint32_t)errno);
        }
        return;
    }
    if (getsockopt(gate->client, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        end(gate, CONTROL_END_ERROR, (uint32_t)errno);
    }
    gate->out.type = CONTROL_CANDIDATE;
    gate->out.tail_size = 0;
    gate->out.body.candidate = (struct control_candidate){
        .uid = peer.uid,
        .gid = peer.gid,
        .pid = (uint32_t)peer.pid,
    };
    to_supervisor(gate, &gate->out);
}

/* --- the loop ------------------------------------------------------------------------------ */

static bool handshaking(const struct gate *gate)
{
    return gate->client >= 0 && gate->listener < 0 && !gate->negotiated;
}

/* Nanoseconds until there is something to do unasked, at the end of @pause at the latest if that is
 * not 0; -1: never. Ends a handshake that takes too long. */
static int64_t time_left(struct gate *gate, int64_t pause)
{
    int64_t left = gate->deadline - rate_clock();

    if (!handshaking(gate)) {
        return pause > 0 ? pause : -1;
    }
    if (left < 0) {
        end(gate, CONTROL_END_HANDSHAKE_TIMEOUT, 0);
    }
    return pause > 0 && pause < left ? pause : left;
}

static void loop(struct gate *gate)
{
    for (;;) {
        bool accepting = gate->supervisor.state == CONTROL_STATE_ACCEPTING;
        int64_t pause = rate_wait(&gate->requests);
        int64_t left = time_left(gate, pause);
        struct timespec timeout = { left / RATE_SECOND, left % RATE_SECOND };
        struct pollfd fds[] = {
            { .fd = gate->supervisor.fd, .events = POLLIN },
            { .fd = pause == 0 ? gate->device.fd : -1, .events = POLLIN },
            { .fd = accepting ? gate->listener : -1, .events = POLLIN },
        };

        if (ppoll(fds, 3, left >= 0 ? &timeout : NULL, NULL) < 0) {
            if (errno != EINTR) {
                end(gate, CONTROL_END_ERROR, (uint32_t)errno);
            }
            continue;
        }
        if (fds[0].revents) {
            from_supervisor(gate);
        }
        if (fds[1].revents) {
            from_device(gate);
        }
        if (fds[2].revents && gate->supervisor.state == CONTROL_STATE_ACCEPTING) {
            accept_client(gate);
        }
    }
}

/* --- becoming a gate ----------------------------------------------------------------------- */

static int set_limits(void)
{
    struct rlimit descriptors = { GATE_MAX_DESCRIPTORS, GATE_MAX_DESCRIPTORS };
    struct rlimit none = { 0, 0 };
    struct rlimit old;

    if (getrlimit(RLIMIT_NOFILE, &old) < 0) {
        return -errno;
    }
    if (old.rlim_max < descriptors.rlim_max) {
        descriptors = (struct rlimit){ old.rlim_max, old.rlim_max };
    }
    return setrlimit(RLIMIT_NOFILE, &descriptors) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ? -errno
                                                                                           : 0;
}

enum {
    CONTROL_NUMBER = 3,
    REPORTS_NUMBER = 5,
};

/* 0-2 null, 3 and 5 the channel to the supervisor, 4 /proc/self/fd; nothing else. */
static int arrange_descriptors(const struct jail_plan *plan, int control, int reports,
                               struct vetting *vetting)
{
    int sources[] = { plan->null, plan->null, plan->null, control, vetting->proc_fds, reports };
    const int count = sizeof(sources) / sizeof(sources[0]);

    for (int i = 0; i < count; i++) {
        sources[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, count);
        if (sources[i] < 0) {
            return -errno;
        }
    }
    for (int i = 0; i < count; i++) {
        if (dup2(sources[i], i) < 0) {
            return -errno;
        }
    }
    vetting->proc_fds = VETTING_PROC_FDS;
    return close_range((unsigned)count, ~0u, 0) < 0 ? -errno : 0;
}

static int give_up_rights(struct gate *gate, const struct jail_plan *plan, int control, int reports)
{
    const struct policy *policy = plan->policy;
    bool privileged = plan->maps_ids;
    int err = vetting_init(&gate->vetting, policy);

    setsid();
    err = err == 0 && privileged ? isolate_drop_bounding() : err;
    err = err == 0 ? isolate_change_ids(policy->jail_uid, policy->jail_gid, privileged) : err;
    err = err == 0 ? isolate_drop_capabilities() : err;
    err = err == 0 ? isolate_no_new_privs() : err;
    err = err == 0 ? isolate_die_with_parent(plan->supervisor) : err;
    err = err == 0 && plan->layers.landlock ? isolate_landlock(NULL) : err;
    err = err == 0 && prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : err;
    err = err == 0 ? arrange_descriptors(plan, control, reports, &gate->vetting) : err;
    return err == 0 ? set_limits() : err;
}

static _Noreturn void become_gate(const struct jail_plan *plan, const struct filter *filter,
                                  int control, int reports)
{
    struct gate gate = {
        .policy = plan->policy,
        .supervisor = { .fd = CONTROL_NUMBER,
                        .pipe = REPORTS_NUMBER,
                        .role = CONTROL_CHILD_END,
                        .state = CONTROL_STATE_IDLE },
        .device = { .fd = -1, .role = CONTROL_BROKER_END, .state = CONTROL_STATE_SEALED },
        .listener = -1,
        .client = -1,
        .requests =
            RATE(plan->policy->limit_requests_per_second, plan->policy->limit_requests_per_second),
    };
    sigset_t all;
    int err;

    for (size_t i = 0; i < GATE_MAX_REGIONS; i++) {
        gate.regions[i] = -1;
    }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    err = give_up_rights(&gate, plan, control, reports);
    err = err == 0 ? isolate_load_filter(filter) : err;
    if (err < 0) {
        _exit(-err);
    }
    loop(&gate);
    _exit(1);
}

/*
 * A gate that was taken over could send what its client gave it, and whoever drops that may hang.
 * So the supervisor can send to its gate on a socket, but only hears of it through a pipe.
 */
static int make_channel(int control[2], int reports[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0 ||
                   shutdown(control[0], SHUT_RD) < 0 || pipe2(reports, O_CLOEXEC | O_DIRECT) < 0 ||
                   fcntl(reports[0], F_SETFL, O_NONBLOCK) < 0
               ? -errno
               : 0;
}

int gate_spawn(const struct jail_plan *plan, const struct filter *filter,
               struct gate_process *process)
{
    int control[2] = { -1, -1 };
    int reports[2] = { -1, -1 };
    int pidfd = -1;
    struct clone_args args = { .flags = CLONE_PIDFD,
                               .pidfd = (uintptr_t)&pidfd,
                               .exit_signal = SIGCHLD };
    long pid = -1;
    int err = make_channel(control, reports);

    if (err == 0) {
        pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid == 0) {
            become_gate(plan, filter, control[1], reports[1]);
        }
        err = pid < 0 ? -errno : 0;
    }
    fd_close(&control[1]);
    fd_close(&reports[1]);
    *process = (struct gate_process){
        .pid = (pid_t)pid, .pidfd = pidfd, .control = control[0], .reports = reports[0]
    };
    return err;
}
