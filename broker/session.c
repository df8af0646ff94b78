/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/session.h"

#include "broker/log.h"
#include "broker/verify.h"
#include "ipc/fd.h"
#include "ipc/fixed_memory.h"

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

enum {
    POLL_DEVICE_CHANNEL,
    POLL_DEVICE,
    POLL_NOTIFY,
    POLL_LOG,
    POLL_DOORS, /* and on */
};

int64_t session_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void session_kill_process(int pidfd)
{
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
}

/* A gate that is not gone; NULL if all are. */
static const struct door *remaining_gate(const struct session *session)
{
    for (size_t i = 0; i < session->door_count; i++) {
        if (!door_is_gone(&session->doors[i])) {
            return &session->doors[i];
        }
    }
    return NULL;
}

static void finish_if_gone(struct session *session)
{
    if (session->state == SESSION_ENDING && session->device.pidfd < 0 &&
        remaining_gate(session) == NULL) {
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
    session_kill_process(session->device.pidfd);
    for (size_t i = 0; i < session->door_count; i++) {
        door_kill(&session->doors[i]);
    }
    finish_if_gone(session);
}

/* --- start --------------------------------------------------------------------------------- */

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
            .watchdog = policy->watchdog_seconds > 0,
            .poll_us = policy->poll_us,
        },
    };
    struct fd_list fds = { .count = 0 }; /* borrowed, so the list is not closed */
    AUTO_FD zeros = -1;

    memcpy(message.tail, plan->final.code, message.tail_size);
    if (policy->dma_access != DMA_ACCESS_NONE) {
        /* It cannot make one itself: its RLIMIT_FSIZE is small. */
        zeros = fixed_memory_create("zeros", CONTROL_ZEROS_SIZE);
        if (zeros < 0) {
            return zeros;
        }
        fd_list_add(&fds, zeros);
    }
    if (policy->watchdog_seconds > 0) {
        int err = watchdog_init(&session->watchdog);

        if (err < 0) {
            return err;
        }
        fd_list_add(&fds, session->watchdog.memory);
    }
    return control_send(&session->device_channel, &message, &fds, MSG_DONTWAIT);
}

/* Returns 0 or -errno; what was started is left to session_stop(). */
static int start_processes(struct session *session, const struct jail_plan *plan,
                           const struct filter *gate_filter)
{
    int err = jail_spawn(plan, session->id, &session->device);

    device_log_init(&session->log, session->device.log, session->id);
    session->log_open = session->device.log >= 0;
    session->device_channel = (struct control_channel){ .fd = session->device.control[0],
                                                        .role = CONTROL_BROKER_END,
                                                        .state = CONTROL_STATE_START };
    for (size_t i = 0; err == 0 && i < session->door_count; i++) {
        err =
            door_start(&session->doors[i], session, i + 1, session->door_count, plan, gate_filter);
    }
    err = err == 0 ? send_seal(session, plan) : err;
    /* A device that is dead already: its pidfd tells how, and it is no fault of the jail. */
    return err == -EPIPE || err == -ECONNRESET ? 0 : err;
}

static void log_start(const struct session *session)
{
    char gates[LOG_LINE_MAX];
    size_t used = 0;

    for (size_t i = 0; i < session->door_count && used < sizeof(gates); i++) {
        used += (size_t)snprintf(gates + used, sizeof(gates) - used, "%s%d", i > 0 ? "," : "",
                                 session->doors[i].gate.pid);
    }
    log_session_info("session-start", "session=%u device=%d gate=%s", session->id,
                     session->device.pid, gates);
}

struct session *session_start(unsigned id, const struct jail_plan *plan,
                              const struct filter *gate_filter)
{
    struct session *session =
        calloc(1, sizeof(*session) + plan->sockets * sizeof(session->doors[0]));
    int err;

    if (session == NULL) {
        log_error("session-failed", "session=%u cause=\"out of memory\"", id);
        return NULL;
    }
    session->id = id;
    session->notify = -1;
    session->watchdog.memory = -1;
    session->device = (struct jail_process){ .pidfd = -1, .log = -1, .status = -1, .cgroup = -1 };
    session->deadline = session_clock() + (int64_t)plan->policy->start_seconds * 1000;
    session->door_count = plan->sockets;
    for (size_t i = 0; i < plan->sockets; i++) {
        session->device.control[i] = -1;
        door_init(&session->doors[i]);
    }
    log_limit_init(&session->reports);
    err = start_processes(session, plan, gate_filter);
    if (err < 0) {
        log_error("session-failed", "session=%u cause=\"%s\"", id, strerror(-err));
        session_stop(session, SESSION_OUTCOME_JAIL);
        return session;
    }
    log_start(session);
    return session;
}

struct session *session_free(struct session *session)
{
    if (session != NULL) {
        for (size_t i = 0; i < session->door_count; i++) {
            fd_close(&session->device.control[i]);
            door_free(&session->doors[i]);
        }
        fd_close(&session->device.pidfd);
        fd_close(&session->device.log);
        fd_close(&session->device.status);
        fd_close(&session->device.cgroup);
        fd_close(&session->notify);
        watchdog_fini(&session->watchdog);
        free(session);
    }
    return NULL;
}

/* --- seal and hand-over -------------------------------------------------------------------- */

/* Each gate gets the supervisor's end of its channel: from now on they talk directly. */
static int hand_over(struct session *session)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < session->door_count; i++) {
        err = door_hand_over(&session->doors[i], session->device.control[i]);
        fd_close(&session->device.control[i]);
    }
    session->device_channel.fd = -1;
    return err;
}

static void fail_verification(struct session *session, const char *cause)
{
    FAIL_SESSION(session, SESSION_OUTCOME_JAIL, "verification-failed",
                 "session=%u process=device cause=\"%s\"", session->id, cause);
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
        fail_verification(session, error);
        return;
    }
    log_debug("device-verified", "session=%u device=%d", session->id, session->device.pid);
    if (hand_over(session) < 0) {
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-died", "session=%u", session->id);
    }
}

/* --- its doors ----------------------------------------------------------------------------- */

void session_door_waits(struct session *session)
{
    for (size_t i = 0; i < session->door_count; i++) {
        if (session->doors[i].state == DOOR_CLOSED) {
            return;
        }
    }
    session->state = SESSION_READY;
    session->deadline = 0;
}

static bool has_door(const struct session *session, enum door_state first, enum door_state last)
{
    for (size_t i = 0; i < session->door_count; i++) {
        if (session->doors[i].state >= first && session->doors[i].state <= last) {
            return true;
        }
    }
    return false;
}

bool session_serves(const struct session *session)
{
    return has_door(session, DOOR_SERVING, DOOR_SERVING);
}

bool session_is_used(const struct session *session)
{
    return has_door(session, DOOR_SERVING, DOOR_OVER);
}

void session_settle(struct session *session)
{
    if (has_door(session, DOOR_OVER, DOOR_OVER) && !has_door(session, DOOR_JUDGING, DOOR_SERVING)) {
        session_stop(session, SESSION_OUTCOME_CLIENT);
    }
}

void session_probe(struct session *session, int64_t deadline)
{
    for (size_t i = 0; i < session->door_count; i++) {
        if (session->doors[i].state == DOOR_SERVING) {
            door_probe(&session->doors[i], deadline);
        }
    }
}

bool session_is_probed(const struct session *session)
{
    for (size_t i = 0; i < session->door_count; i++) {
        const struct door *door = &session->doors[i];

        if (door->state == DOOR_SERVING &&
            (door->channel.state != CONTROL_STATE_BUSY || door->deadline != 0)) {
            return true;
        }
    }
    return false;
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
    char error[256];
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
    /* A thread that the policy does not allow may only now begin, with calls that are for threads.
     */
    if (session->state == SESSION_STARTING &&
        verify_threads(plan, &session->device, error, sizeof(error)) < 0) {
        fail_verification(session, error);
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

bool session_reap(int *pidfd, char *how, size_t size, siginfo_t *result)
{
    siginfo_t info = { .si_pid = 0 };

    if (waitid(P_PIDFD, (id_t)*pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) {
        return false;
    }
    fd_close(pidfd);
    describe_end(&info, how, size);
    if (result != NULL) {
        *result = info;
    }
    return true;
}

static void fail_device(struct session *session)
{
    FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "device-died", "session=%u device=%d %s",
                 session->id, session->device.pid, session->device_end);
}

void session_device_gone(struct session *session, const struct door *door)
{
    if (door->state != DOOR_SERVING && session_serves(session)) {
        return; /* those that have a client will tell whether that left first */
    }
    if (session->device_end[0] != '\0') {
        fail_device(session);
    } else {
        /* Its pidfd will tell how. It may also live on without its channel: not for long. */
        session->deadline = session_clock() + END_MS;
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

/* A gate whose client is served may still be about to tell that it left. */
static bool a_gate_will_tell(const struct session *session)
{
    for (size_t i = 0; i < session->door_count; i++) {
        if (session->doors[i].state == DOOR_SERVING && !session->doors[i].ended) {
            return true;
        }
    }
    return false;
}

static void on_device_end(struct session *session, const struct jail_plan *plan)
{
    siginfo_t info;
    char how[64];

    if (!session_reap(&session->device.pidfd, how, sizeof(how), &info)) {
        return;
    }
    if (session->state == SESSION_STARTING) {
        explain_failed_start(session);
    }
    /* What the gates still have to say may explain it: that the clients left. */
    for (size_t i = 0; i < session->door_count; i++) {
        door_drain(&session->doors[i], plan);
    }
    strcpy(session->device_end, how);
    if (session_serves(session) && info.si_code == CLD_EXITED && info.si_status == 0) {
        log_session_info("device-exited", "session=%u device=%d", session->id, session->device.pid);
        session_stop(session, SESSION_OUTCOME_CLIENT);
    } else if (a_gate_will_tell(session)) {
        /* If the clients left first, then this is no failure. */
        session->deadline = session_clock() + END_MS;
    } else {
        fail_device(session);
    }
}

/* --- time ---------------------------------------------------------------------------------- */

static void on_deadline(struct session *session)
{
    const struct door *gate = remaining_gate(session);

    session->deadline = 0;
    switch (session->state) {
    case SESSION_STARTING:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "start-timeout",
                     "session=%u cause=\"not sealed within start_seconds\"", session->id);
        break;
    case SESSION_READY:
        if (session->device_end[0] != '\0') {
            fail_device(session);
            break;
        }
        /* The device closed its channel and lives on. */
        log_warning("gate-hung", "session=%u", session->id);
        session_stop(session, SESSION_OUTCOME_CLIENT);
        break;
    case SESSION_ENDING:
        log_error("session-written-off", "session=%u device=%d gate=%d", session->id,
                  session->device.pidfd >= 0 ? session->device.pid : 0,
                  gate != NULL ? gate->gate.pid : 0);
        break;
    default:
        break;
    }
}

/* Looks, and looks again after a while. */
static void look(struct session *session, const struct policy *policy, int64_t now)
{
    enum watchdog_finding finding = watchdog_look(&session->watchdog);
    const char *where = finding == WATCHDOG_CALL ? "client-call" : "request";
    bool first = session->watchdog.due == 0;

    session->watchdog.due = now + (int64_t)policy->watchdog_seconds * 1000;
    if (first || finding == WATCHDOG_FINE) {
        session->hangs = false;
        return;
    }
    if (!session->hangs && log_limit_take(&session->reports, session->id)) {
        log_warning("device-hangs", "session=%u device=%d in=%s", session->id, session->device.pid,
                    where);
    }
    session->hangs = true;
    if (policy->on_hang == ON_HANG_LOG) {
        return;
    }
    /* Nobody may end the broker by filling the eventfds of its own. */
    session_stop(session, finding == WATCHDOG_CALL          ? SESSION_OUTCOME_CLIENT
                          : policy->on_hang == ON_HANG_STOP ? SESSION_OUTCOME_HANG
                                                            : SESSION_OUTCOME_CRASH);
}

static void watch(struct session *session, const struct policy *policy, int64_t now)
{
    if (session->watchdog.memory < 0 || session->state != SESSION_READY ||
        !session_serves(session)) {
        session->watchdog.due = 0;
    } else if (now >= session->watchdog.due) {
        look(session, policy, now);
    }
}

static void earlier(int64_t *first, int64_t deadline)
{
    if (deadline != 0 && (*first == 0 || deadline < *first)) {
        *first = deadline;
    }
}

int64_t session_deadline(const struct session *session)
{
    /* As in door_handle(). */
    bool doors_count = session->state < SESSION_ENDING && session->device_end[0] == '\0';
    int64_t first = session->deadline;

    for (size_t i = 0; i < session->door_count; i++) {
        earlier(&first, doors_count ? session->doors[i].deadline : 0);
        earlier(&first, door_listens_at(&session->doors[i]));
    }
    earlier(&first, session->watchdog.due);
    return first;
}

/* --- what the supervisor calls ------------------------------------------------------------- */

size_t session_poll_fds(size_t doors)
{
    return POLL_DOORS + doors * DOOR_POLL_FDS;
}

void session_poll(struct session *session, struct pollfd *fds)
{
    /* What a process writes beyond its limit stays in the pipe, which is small. */
    bool reads_log = session->log_open && !log_limit_reached(&session->log.limit);
    const int wanted[POLL_DOORS] = {
        [POLL_DEVICE_CHANNEL] = session->device_channel.fd,
        [POLL_DEVICE] = session->device.pidfd,
        [POLL_NOTIFY] = session->notify,
        [POLL_LOG] = reads_log ? session->device.log : -1,
    };

    for (size_t i = 0; i < POLL_DOORS; i++) {
        fds[i] = (struct pollfd){ .fd = wanted[i], .events = POLLIN };
    }
    for (size_t i = 0; i < session->door_count; i++) {
        door_poll(&session->doors[i], &fds[POLL_DOORS + i * DOOR_POLL_FDS]);
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
    for (size_t i = 0; i < session->door_count; i++) {
        door_hear(&session->doors[i], plan, &fds[POLL_DOORS + i * DOOR_POLL_FDS]);
    }
    if (fds[POLL_DEVICE].revents) {
        on_device_end(session, plan);
    }
    for (size_t i = 0; i < session->door_count; i++) {
        door_handle(&session->doors[i], plan, &fds[POLL_DOORS + i * DOOR_POLL_FDS], now);
    }
    if (session->deadline != 0 && now >= session->deadline) {
        on_deadline(session);
    }
    watch(session, plan->policy, now);
    finish_if_gone(session);
}
