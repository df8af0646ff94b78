/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/session.h"

#include "broker/log.h"
#include "broker/verify.h"
#include "broker/vetting.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long processes that were killed, or that have nothing left to do, may take to be gone. */
#define END_MS 1000
/* How long a gate may take to close a refused client, in which a hostile descriptor can hang. */
#define REFUSE_MS 1000

enum {
    POLL_DEVICE_CHANNEL,
    POLL_GATE_CHANNEL,
    POLL_DEVICE,
    POLL_GATE,
    POLL_NOTIFY,
    POLL_LOG,
};

int64_t session_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void kill_process(int pidfd)
{
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
}

static void finish_if_gone(struct session *session)
{
    if (session->state == SESSION_ENDING && session->device.pidfd < 0 && session->gate.pidfd < 0) {
        device_log_finish(&session->log);
        session->state = SESSION_GONE;
    }
}

void session_stop(struct session *session, enum session_outcome outcome)
{
    if (session->state >= SESSION_ENDING) {
        return;
    }
    session->state = SESSION_ENDING;
    session->outcome = outcome;
    session->deadline = session_clock() + END_MS;
    kill_process(session->device.pidfd);
    kill_process(session->gate.pidfd);
    finish_if_gone(session);
}

/* The session cannot go on, and it is the device's fault or the jail's. */
#define FAIL_SESSION(session, outcome, event, ...)                                                 \
    do {                                                                                           \
        if ((session)->state < SESSION_ENDING) {                                                   \
            log_error(event, __VA_ARGS__);                                                         \
        }                                                                                          \
        session_stop(session, outcome);                                                            \
    } while (0)

/* --- start --------------------------------------------------------------------------------- */

/*
 * What a device puts in place of guest memory that its client takes away: device/memory_guard.h.
 * It cannot make one itself, because its RLIMIT_FSIZE is small.
 */
static int make_zeros(void)
{
    AUTO_FD fd = memfd_create("zeros", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)CONTROL_ZEROS_SIZE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return -errno;
    }
    return fd_take(&fd);
}

static int send_seal(struct session *session, const struct jail_plan *plan)
{
    const struct policy *policy = plan->policy;
    struct control_message message = {
        .type = CONTROL_SEAL,
        .tail_size = (uint32_t)(plan->final.count * sizeof(struct sock_filter)),
        .body.seal = {
            .version = CONTROL_VERSION,
            .filter_count = plan->final.count,
            .dma_max_bytes = policy->dma_max_bytes,
            .dma_max_regions = policy->dma_max_regions,
            .irq_max_vectors = policy->irq_max_vectors,
            .stall_seconds = policy->stall_seconds,
        },
    };

    AUTO_FD_LIST fds = { .count = 0 };

    memcpy(message.tail, plan->final.code, message.tail_size);
    if (policy->dma_access != DMA_ACCESS_NONE) {
        int zeros = make_zeros();

        if (zeros < 0) {
            return zeros;
        }
        fd_list_add(&fds, zeros);
    }
    return control_send(&session->device_channel, &message, &fds, MSG_DONTWAIT);
}

struct session *session_start(unsigned id, const struct jail_plan *plan,
                              const struct filter *gate_filter)
{
    struct session *session = calloc(1, sizeof(*session));
    int err;

    if (session == NULL) {
        log_error("session-failed", "session=%u cause=\"out of memory\"", id);
        return NULL;
    }
    session->id = id;
    session->notify = -1;
    session->device = (struct jail_process){ .pidfd = -1, .control = -1, .log = -1, .status = -1 };
    session->gate = (struct gate_process){ .pidfd = -1, .control = -1, .reports = -1 };
    session->deadline = session_clock() + (int64_t)plan->policy->start_seconds * 1000;
    err = jail_spawn(plan, &session->device);
    device_log_init(&session->log, session->device.log, id);
    log_limit_init(&session->reports);
    session->log_open = session->device.log >= 0;
    session->device_channel = (struct control_channel){ .fd = session->device.control,
                                                        .role = CONTROL_BROKER_END,
                                                        .state = CONTROL_STATE_START };
    err = err == 0 ? gate_spawn(plan, gate_filter, &session->gate) : err;
    session->gate_channel = (struct control_channel){ .fd = session->gate.control,
                                                      .pipe = session->gate.reports,
                                                      .role = CONTROL_BROKER_END,
                                                      .state = CONTROL_STATE_IDLE };
    err = err == 0 ? send_seal(session, plan) : err;
    if (err < 0) {
        log_error("session-failed", "session=%u cause=\"%s\"", id, strerror(-err));
        session_stop(session, SESSION_OUTCOME_JAIL);
        return session;
    }
    log_session_info("session-start", "session=%u device=%d gate=%d", id, session->device.pid,
                     session->gate.pid);
    return session;
}

struct session *session_free(struct session *session)
{
    if (session != NULL) {
        fd_close(&session->device.pidfd);
        fd_close(&session->device.control);
        fd_close(&session->device.log);
        fd_close(&session->device.status);
        fd_close(&session->gate.pidfd);
        fd_close(&session->gate.control);
        fd_close(&session->gate.reports);
        fd_close(&session->notify);
        free(session);
    }
    return NULL;
}

/* --- seal and hand-over -------------------------------------------------------------------- */

/* The gate gets the supervisor's end of the device channel: from now on they talk directly. */
static int hand_over(struct session *session)
{
    struct control_message message = { .type = CONTROL_DEVICE };
    struct fd_list fds = { .count = 0 };
    int err;

    fd_list_add(&fds, session->device.control);
    err = control_send(&session->gate_channel, &message, &fds, MSG_DONTWAIT);
    fd_close(&session->device.control);
    session->device_channel.fd = -1;
    return err;
}

static void on_device_channel(struct session *session, const struct jail_plan *plan)
{
    struct control_message message;
    AUTO_FD_LIST fds = { .count = 0 };
    char error[256];
    int result = control_receive(&session->device_channel, &message, &fds, MSG_DONTWAIT);

    if (result == -EAGAIN || (result > 0 && session->state != SESSION_STARTING)) {
        return;
    }
    if (result == 0 || result == -ECONNRESET) {
        /* It is ending: what its pidfd tells will say more. */
        session->device_channel.fd = -1;
        return;
    }
    if (result < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "device-protocol", "session=%u cause=\"%s\"",
                     session->id, strerror(-result));
        return;
    }
    if (message.type == CONTROL_NOTIFY) {
        session->notify = fd_list_take(&fds, 0);
        return;
    }
    if (verify_device(plan, &session->device, error, sizeof(error)) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_JAIL, "verification-failed",
                     "session=%u process=device cause=\"%s\"", session->id, error);
        return;
    }
    log_debug("device-verified", "session=%u device=%d", session->id, session->device.pid);
    if (hand_over(session) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u", session->id);
    }
}

/* --- messages of the gate ------------------------------------------------------------------ */

static void on_waiting(struct session *session, const struct jail_plan *plan)
{
    char error[256];

    if (verify_gate(plan, session->gate.pid, error, sizeof(error)) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_JAIL, "verification-failed",
                     "session=%u process=gate cause=\"%s\"", session->id, error);
        return;
    }
    session->state = SESSION_WAITING;
    session->deadline = 0;
}

static void on_report(struct session *session, const struct control_report *report)
{
    if (!log_limit_take(&session->reports, session->id)) {
        return;
    }
    if (report->event == CONTROL_EVENT_DESCRIPTOR_REFUSED) {
        log_warning("descriptor-refused", "session=%u command=%u errno=%u reason=%s", session->id,
                    report->detail[0], report->detail[1], vetting_reason_name(report->detail[2]));
    } else if (report->event == CONTROL_EVENT_NEGOTIATED) {
        log_info("client-negotiated", "session=%u", session->id);
    }
}

static void fail_device(struct session *session)
{
    FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "device-died", "session=%u device=%d %s",
                 session->id, session->device.pid, session->device_end);
}

static void on_ended(struct session *session, const struct control_ended *ended)
{
    session->ended = true;
    switch (ended->reason) {
    case CONTROL_END_CLIENT_GONE:
        log_session_info("client-gone", "session=%u", session->id);
        session_stop(session, SESSION_OUTCOME_CLIENT);
        break;
    case CONTROL_END_HANDSHAKE_TIMEOUT:
        log_warning("handshake-timeout", "session=%u", session->id);
        session_stop(session, SESSION_OUTCOME_CLIENT);
        break;
    case CONTROL_END_CLIENT_PROTOCOL:
        if (log_limit_take(&session->reports, session->id)) {
            log_warning("client-protocol", "session=%u errno=%u", session->id, ended->detail);
        }
        session_stop(session, SESSION_OUTCOME_CLIENT);
        break;
    case CONTROL_END_DEVICE_GONE:
        if (session->device_end[0] != '\0') {
            fail_device(session);
        } else {
            /* Its pidfd will tell how. It may also live on without its channel: not for long. */
            session->deadline = session_clock() + END_MS;
        }
        break;
    case CONTROL_END_DEVICE_PROTOCOL:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "device-protocol", "session=%u errno=%u",
                     session->id, ended->detail);
        break;
    case CONTROL_END_DEVICE_DESCRIPTOR:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "ioeventfd-refused",
                     "session=%u cause=\"its %s\"", session->id,
                     ended->detail == DESCRIPTOR_MEMORY
                         ? "shadow memory is not a memfd sealed against shrinking"
                         : "descriptor is not an eventfd");
        break;
    default:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-failed", "session=%u errno=%u",
                     session->id, ended->detail);
    }
}

static void on_gate_message(struct session *session, const struct jail_plan *plan,
                            const struct control_message *message)
{
    switch (message->type) {
    case CONTROL_WAITING:
        on_waiting(session, plan);
        break;
    case CONTROL_CANDIDATE:
        session->candidate = message->body.candidate;
        session->asked = false;
        session->state = SESSION_JUDGING;
        break;
    case CONTROL_REFUSED:
        session->state = SESSION_IDLE;
        session->deadline = 0;
        break;
    case CONTROL_PROBED:
        session->deadline = session->device_end[0] != '\0' ? session->deadline : 0;
        if (message->body.probed.gone) {
            log_session_info("client-gone", "session=%u", session->id);
            session_stop(session, SESSION_OUTCOME_CLIENT);
        }
        break;
    case CONTROL_REPORT:
        on_report(session, &message->body.report);
        break;
    default:
        on_ended(session, &message->body.ended);
    }
}

static void on_gate_channel(struct session *session, const struct jail_plan *plan)
{
    struct control_message message;
    AUTO_FD_LIST fds = { .count = 0 };
    int result = control_receive(&session->gate_channel, &message, &fds, MSG_DONTWAIT);

    if (result == -EAGAIN) {
        return;
    }
    if (result > 0) {
        if (session->state < SESSION_ENDING) {
            on_gate_message(session, plan, &message);
        }
        return;
    }
    /* It is ending, or had better: its pidfd tells how. */
    session->gate_channel.pipe = -1;
    kill_process(session->gate.pidfd);
}

/* --- ends ---------------------------------------------------------------------------------- */

/* For an audit the call is made after all, and taken down. */
static void let_through(struct session *session, const struct seccomp_notif *notif,
                        struct audit *audit)
{
    struct seccomp_notif_resp response = { .id = notif->id,
                                           .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
    char name[64];

    if (audit_note(audit, notif->data.nr)) {
        filter_syscall_name(notif->data.arch, notif->data.nr, name, sizeof(name));
        log_warning("audit-call", "session=%u call=%s nr=%d risk=\"%s\"", session->id, name,
                    notif->data.nr, audit_risk(name));
    }
    /* It fails when the process has died meanwhile. */
    (void)ioctl(session->notify, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/* A call that the final filter does not allow: named, then answered with death. */
static void on_notify(struct session *session, const struct jail_plan *plan)
{
    struct {
        struct seccomp_notif notif;
        uint8_t room[256]; /* later kernels may tell more */
    } request = { .room = { 0 } };
    char name[64];

    if (ioctl(session->notify, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
        if (errno != EINTR && errno != ENOENT) {
            fd_close(&session->notify);
        }
        return;
    }
    const struct seccomp_data *data = &request.notif.data;

    if (plan->audit != NULL && data->arch == filter_native() && data->nr < AUDIT_MAX_CALLS) {
        let_through(session, &request.notif, plan->audit);
        return;
    }
    filter_syscall_name(data->arch, data->nr, name, sizeof(name));
    FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "blocked-call",
                 "session=%u call=%s nr=%d args=%#llx,%#llx,%#llx,%#llx,%#llx,%#llx pc=%#llx "
                 "arch=%s",
                 session->id, name, data->nr, data->args[0], data->args[1], data->args[2],
                 data->args[3], data->args[4], data->args[5], data->instruction_pointer,
                 filter_arch_name(data->arch, data->nr));
}

static void describe_end(const siginfo_t *info, char *text, size_t size)
{
    if (info->si_code == CLD_EXITED) {
        snprintf(text, size, "status=%d", info->si_status);
    } else {
        const char *name = sigabbrev_np(info->si_status);

        snprintf(text, size, "signal=SIG%s", name != NULL ? name : "?");
    }
}

/* A process that never executed says what stage of its jail failed. */
static void explain_failed_start(struct session *session)
{
    struct jail_failure failure;

    if (jail_failure_read(&session->device, &failure)) {
        FAIL_SESSION(session, SESSION_OUTCOME_JAIL, "jail-failed",
                     "session=%u layer=\"%s\" cause=\"%s\"", session->id, failure.stage,
                     strerror(failure.error));
    }
}

/* What the gate still has to say may explain the end of the device: that the client left. */
static void drain_gate(struct session *session, const struct jail_plan *plan)
{
    for (unsigned i = 0; i < 64 && session->gate_channel.pipe >= 0; i++) {
        struct pollfd gate = { .fd = session->gate_channel.pipe, .events = POLLIN };

        if (poll(&gate, 1, 0) <= 0) {
            return;
        }
        on_gate_channel(session, plan);
    }
}

static void on_device_end(struct session *session, const struct jail_plan *plan)
{
    siginfo_t info = { .si_pid = 0 };

    if (waitid(P_PIDFD, (id_t)session->device.pidfd, &info, WEXITED | WNOHANG) < 0 ||
        info.si_pid == 0) {
        return;
    }
    fd_close(&session->device.pidfd);
    if (session->state == SESSION_STARTING) {
        explain_failed_start(session);
    }
    drain_gate(session, plan);
    describe_end(&info, session->device_end, sizeof(session->device_end));
    if (session->state == SESSION_SERVING && info.si_code == CLD_EXITED && info.si_status == 0) {
        log_session_info("device-exited", "session=%u device=%d", session->id, session->device.pid);
        session_stop(session, SESSION_OUTCOME_CLIENT);
    } else if (session->state == SESSION_SERVING && !session->ended) {
        /* The gate is about to tell whether the client left first: then this is no failure. */
        session->deadline = session_clock() + END_MS;
    } else {
        fail_device(session);
    }
}

static void on_gate_end(struct session *session, const struct jail_plan *plan)
{
    siginfo_t info = { .si_pid = 0 };
    char how[64];

    if (waitid(P_PIDFD, (id_t)session->gate.pidfd, &info, WEXITED | WNOHANG) < 0 ||
        info.si_pid == 0) {
        return;
    }
    fd_close(&session->gate.pidfd);
    drain_gate(session, plan);
    if (!session->ended) {
        session->ended = true;
        describe_end(&info, how, sizeof(how));
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u gate=%d %s",
                     session->id, session->gate.pid, how);
    }
}

/* --- time ---------------------------------------------------------------------------------- */

static void on_deadline(struct session *session)
{
    session->deadline = 0;
    switch (session->state) {
    case SESSION_STARTING:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "start-timeout",
                     "session=%u cause=\"not sealed within start_seconds\"", session->id);
        break;
    case SESSION_REFUSING:
    case SESSION_SERVING:
        if (session->device_end[0] != '\0') {
            fail_device(session);
            break;
        }
        /* Refusing, or asked for a sign of life: something that the client sent holds the gate.
         * Or the device closed its channel and lives on. */
        log_warning("gate-hung", "session=%u", session->id);
        session_stop(session, SESSION_OUTCOME_CLIENT);
        break;
    case SESSION_ENDING:
        log_error("session-written-off", "session=%u device=%d gate=%d", session->id,
                  session->device.pidfd >= 0 ? session->device.pid : 0,
                  session->gate.pidfd >= 0 ? session->gate.pid : 0);
        break;
    default:
        break;
    }
}

/* --- what the supervisor calls ------------------------------------------------------------- */

void session_listen(struct session *session, int listener)
{
    struct control_message message = { .type = CONTROL_LISTEN };
    struct fd_list fds = { .count = 0 };

    fd_list_add(&fds, listener);
    if (control_send(&session->gate_channel, &message, &fds, MSG_DONTWAIT) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u", session->id);
        return;
    }
    session->state = SESSION_IDLE;
}

static void send_verdict(struct session *session, bool admit)
{
    struct control_message message = { .type = CONTROL_VERDICT, .body.verdict.admit = admit };

    if (control_send(&session->gate_channel, &message, NULL, MSG_DONTWAIT) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u", session->id);
    }
}

void session_admit(struct session *session)
{
    const struct control_candidate *client = &session->candidate;

    log_session_info("client-accepted", "session=%u uid=%u gid=%u pid=%u device=%d", session->id,
                     client->uid, client->gid, client->pid, session->device.pid);
    session->state = SESSION_SERVING;
    send_verdict(session, true);
}

void session_refuse(struct session *session, const char *reason, struct log_limit *limit)
{
    const struct control_candidate *client = &session->candidate;

    if (log_limit_take(limit, session->id)) {
        log_warning("client-refused", "session=%u reason=%s uid=%u gid=%u pid=%u", session->id,
                    reason, client->uid, client->gid, client->pid);
    }
    session->state = SESSION_REFUSING;
    session->deadline = session_clock() + REFUSE_MS;
    send_verdict(session, false);
}

void session_probe(struct session *session, int64_t deadline)
{
    if (control_send_plain(&session->gate_channel, CONTROL_PROBE, MSG_DONTWAIT) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u", session->id);
        return;
    }
    session->deadline = deadline;
}

void session_poll(struct session *session, struct pollfd *fds)
{
    /* What a process writes beyond its limit stays in the pipe, which is small. */
    bool reads_log = session->log_open && !log_limit_reached(&session->log.limit);
    const int wanted[SESSION_POLL_FDS] = {
        [POLL_DEVICE_CHANNEL] = session->device_channel.fd,
        [POLL_GATE_CHANNEL] = session->gate_channel.pipe,
        [POLL_DEVICE] = session->device.pidfd,
        [POLL_GATE] = session->gate.pidfd,
        [POLL_NOTIFY] = session->notify,
        [POLL_LOG] = reads_log ? session->device.log : -1,
    };

    for (size_t i = 0; i < SESSION_POLL_FDS; i++) {
        fds[i] = (struct pollfd){ .fd = wanted[i], .events = POLLIN };
    }
}

void session_handle(struct session *session, const struct jail_plan *plan, const struct pollfd *fds,
                    int64_t now)
{
    if (fds[POLL_LOG].revents && !device_log_read(&session->log)) {
        session->log_open = false;
    }
    /* Before the death that it leads to, so that the log tells the cause. */
    if (fds[POLL_NOTIFY].revents & POLLIN) {
        on_notify(session, plan);
    } else if (fds[POLL_NOTIFY].revents) {
        fd_close(&session->notify);
    }
    if (fds[POLL_DEVICE_CHANNEL].revents && session->device_channel.fd >= 0) {
        on_device_channel(session, plan);
    }
    if (fds[POLL_GATE_CHANNEL].revents && session->gate_channel.pipe >= 0) {
        on_gate_channel(session, plan);
    }
    if (fds[POLL_DEVICE].revents) {
        on_device_end(session, plan);
    }
    if (fds[POLL_GATE].revents) {
        on_gate_end(session, plan);
    }
    if (session->deadline != 0 && now >= session->deadline) {
        on_deadline(session);
    }
    finish_if_gone(session);
}
