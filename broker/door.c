/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/door.h"

#include "broker/session.h"
#include "broker/verify.h"
#include "broker/vetting.h"
#include "ipc/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* How long a gate may take to close a refused client, in which a hostile descriptor can hang. */
#define REFUSE_MS 1000

enum {
    POLL_CHANNEL,
    POLL_GATE,
};

static void gate_died(struct door *door)
{
    FAIL_SESSION(door->session, SESSION_OUTCOME_CRASH, "gate-died", "session=%s", door->name);
}

/* --- start --------------------------------------------------------------------------------- */

void door_init(struct door *door)
{
    *door = (struct door){
        .gate = { .pidfd = -1, .control = -1, .reports = -1 },
        .channel = { .fd = -1, .pipe = -1 },
    };
}

int door_start(struct door *door, struct session *session, size_t number, size_t count,
               const struct jail_plan *plan, const struct filter *gate_filter)
{
    int err;

    door->session = session;
    snprintf(door->name, sizeof(door->name), count > 1 ? "%u.%zu" : "%u", session->id, number);
    err = gate_spawn(plan, gate_filter, &door->gate);
    door->channel = (struct control_channel){ .fd = door->gate.control,
                                              .pipe = door->gate.reports,
                                              .role = CONTROL_BROKER_END,
                                              .state = CONTROL_STATE_IDLE };
    /* A gate that was taken over must not keep the supervisor busy; others have less to say. */
    door->messages = (struct rate)RATE(2 * plan->policy->limit_requests_per_second,
                                       2 * plan->policy->limit_requests_per_second);
    return err;
}

void door_free(struct door *door)
{
    fd_close(&door->gate.pidfd);
    fd_close(&door->gate.control);
    fd_close(&door->gate.reports);
}

void door_kill(struct door *door)
{
    session_kill_process(door->gate.pidfd);
}

int door_hand_over(struct door *door, int device)
{
    struct control_message message = { .type = CONTROL_DEVICE };
    struct fd_list fds = { .count = 0 };

    fd_list_add(&fds, device); /* borrowed, so the list is not closed */
    return control_send(&door->channel, &message, &fds, MSG_DONTWAIT);
}

/* --- messages of the gate ------------------------------------------------------------------ */

static void on_waiting(struct door *door, const struct jail_plan *plan)
{
    char error[256];

    if (verify_gate(plan, door->gate.pid, error, sizeof(error)) < 0) {
        FAIL_SESSION(door->session, SESSION_OUTCOME_JAIL, "verification-failed",
                     "session=%s process=gate cause=\"%s\"", door->name, error);
        return;
    }
    door->state = DOOR_WAITING;
    session_door_waits(door->session);
}

static void on_report(struct door *door, const struct control_report *report)
{
    if (!log_limit_take(&door->session->reports, door->session->id)) {
        return;
    }
    if (report->event == CONTROL_EVENT_DESCRIPTOR_REFUSED) {
        log_warning("descriptor-refused", "session=%s command=%u errno=%u reason=%s", door->name,
                    report->detail[0], report->detail[1], vetting_reason_name(report->detail[2]));
    } else if (report->event == CONTROL_EVENT_NEGOTIATED) {
        log_info("client-negotiated", "session=%s", door->name);
    } else if (report->event == CONTROL_EVENT_SLOWED) {
        log_warning("device-slowed", "session=%s", door->name);
    }
}

/* Nobody will come through it any more. The session ends if that was the last one. */
static void close_door(struct door *door)
{
    door->state = DOOR_OVER;
    door->deadline = 0;
    session_settle(door->session);
}

static void on_ended(struct door *door, const struct control_ended *ended)
{
    struct session *session = door->session;

    door->ended = true;
    switch (ended->reason) {
    case CONTROL_END_CLIENT_GONE:
        log_session_info("client-gone", "session=%s", door->name);
        close_door(door);
        break;
    case CONTROL_END_HANDSHAKE_TIMEOUT:
        log_warning("handshake-timeout", "session=%s", door->name);
        close_door(door);
        break;
    case CONTROL_END_CLIENT_PROTOCOL:
        if (log_limit_take(&session->reports, session->id)) {
            log_warning("client-protocol", "session=%s errno=%u", door->name, ended->detail);
        }
        close_door(door);
        break;
    case CONTROL_END_DEVICE_GONE:
        session_device_gone(session, door);
        break;
    case CONTROL_END_DEVICE_PROTOCOL:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "device-protocol", "session=%s errno=%u",
                     door->name, ended->detail);
        break;
    case CONTROL_END_DEVICE_DESCRIPTOR:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "ioeventfd-refused",
                     "session=%s cause=\"its %s\"", door->name,
                     ended->detail == DESCRIPTOR_MEMORY
                         ? "shadow memory is not a memfd sealed against shrinking"
                         : "descriptor is not an eventfd");
        break;
    default:
        FAIL_SESSION(session, SESSION_OUTCOME_CRASH, "gate-failed", "session=%s errno=%u",
                     door->name, ended->detail);
    }
}

static void on_message(struct door *door, const struct jail_plan *plan,
                       const struct control_message *message)
{
    switch (message->type) {
    case CONTROL_WAITING:
        on_waiting(door, plan);
        break;
    case CONTROL_CANDIDATE:
        door->candidate = message->body.candidate;
        door->asked = false;
        door->state = DOOR_JUDGING;
        break;
    case CONTROL_REFUSED:
        door->state = DOOR_IDLE;
        door->deadline = 0;
        session_settle(door->session);
        break;
    case CONTROL_PROBED:
        door->deadline = 0;
        if (message->body.probed.gone) {
            log_session_info("client-gone", "session=%s", door->name);
            door->ended = true;
            door_kill(door);
            close_door(door);
        }
        break;
    case CONTROL_REPORT:
        on_report(door, &message->body.report);
        break;
    default:
        on_ended(door, &message->body.ended);
    }
}

static void on_channel(struct door *door, const struct jail_plan *plan)
{
    struct control_message message;
    AUTO_FD_LIST fds = { .count = 0 };
    int result = control_receive(&door->channel, &message, &fds, MSG_DONTWAIT);

    if (result == -EAGAIN) {
        return;
    }
    rate_take(&door->messages);
    if (result > 0) {
        if (door->session->state < SESSION_ENDING) {
            on_message(door, plan, &message);
        }
        return;
    }
    /* It is ending, or had better: its pidfd tells how. */
    door->channel.pipe = -1;
    door_kill(door);
}

void door_drain(struct door *door, const struct jail_plan *plan)
{
    for (unsigned i = 0; i < 64 && door->channel.pipe >= 0; i++) {
        struct pollfd gate = { .fd = door->channel.pipe, .events = POLLIN };

        if (poll(&gate, 1, 0) <= 0) {
            return;
        }
        on_channel(door, plan);
    }
}

/* --- ends ---------------------------------------------------------------------------------- */

static void on_gate_end(struct door *door, const struct jail_plan *plan)
{
    siginfo_t info;
    char how[64];

    if (!session_reap(&door->gate.pidfd, how, sizeof(how), &info)) {
        return;
    }
    door_drain(door, plan);
    if (!door->ended && door->state == DOOR_CLOSED && info.si_code == CLD_EXITED) {
        FAIL_SESSION(door->session, SESSION_OUTCOME_JAIL, "jail-failed",
                     "session=%s layer=\"gate\" cause=\"%s\"", door->name,
                     strerror(info.si_status));
    } else if (!door->ended) {
        door->ended = true;
        FAIL_SESSION(door->session, SESSION_OUTCOME_CRASH, "gate-died", "session=%s gate=%d %s",
                     door->name, door->gate.pid, how);
    }
}

/* Refusing, or asked for a sign of life: something that the client sent holds the gate. */
static void on_deadline(struct door *door)
{
    log_warning("gate-hung", "session=%s", door->name);
    door->ended = true;
    door_kill(door);
    close_door(door);
}

void door_poll(const struct door *door, struct pollfd *fds)
{
    int channel = door_listens_at(door) == 0 ? door->channel.pipe : -1;

    fds[POLL_CHANNEL] = (struct pollfd){ .fd = channel, .events = POLLIN };
    fds[POLL_GATE] = (struct pollfd){ .fd = door->gate.pidfd, .events = POLLIN };
}

void door_hear(struct door *door, const struct jail_plan *plan, const struct pollfd *fds)
{
    if (fds[POLL_CHANNEL].revents && door->channel.pipe >= 0) {
        on_channel(door, plan);
    }
}

void door_handle(struct door *door, const struct jail_plan *plan, const struct pollfd *fds,
                 int64_t now)
{
    const struct session *session = door->session;

    if (fds[POLL_GATE].revents) {
        on_gate_end(door, plan);
    }
    /* Of a device that is dead the session's own limit is for waiting for words on it. */
    if (door->deadline != 0 && now >= door->deadline && session->state < SESSION_ENDING &&
        session->device_end[0] == '\0') {
        on_deadline(door);
    }
}

/* --- what the supervisor decides ----------------------------------------------------------- */

void door_listen(struct door *door, int listener)
{
    struct control_message message = { .type = CONTROL_LISTEN };
    struct fd_list fds = { .count = 0 };

    fd_list_add(&fds, listener); /* borrowed, so the list is not closed */
    if (control_send(&door->channel, &message, &fds, MSG_DONTWAIT) < 0) {
        gate_died(door);
        return;
    }
    door->state = DOOR_IDLE;
}

static void send_verdict(struct door *door, bool admit)
{
    struct control_message message = { .type = CONTROL_VERDICT, .body.verdict.admit = admit };

    if (control_send(&door->channel, &message, NULL, MSG_DONTWAIT) < 0) {
        gate_died(door);
    }
}

void door_admit(struct door *door)
{
    const struct control_candidate *client = &door->candidate;

    log_session_info("client-accepted", "session=%s uid=%u gid=%u pid=%u device=%d", door->name,
                     client->uid, client->gid, client->pid, door->session->device.pid);
    door->state = DOOR_SERVING;
    send_verdict(door, true);
}

void door_refuse(struct door *door, const char *reason, struct log_limit *limit)
{
    const struct control_candidate *client = &door->candidate;

    if (log_limit_take(limit, door->session->id)) {
        log_warning("client-refused", "session=%s reason=%s uid=%u gid=%u pid=%u", door->name,
                    reason, client->uid, client->gid, client->pid);
    }
    door->state = DOOR_REFUSING;
    door->deadline = session_clock() + REFUSE_MS;
    send_verdict(door, false);
}

void door_probe(struct door *door, int64_t deadline)
{
    if (control_send_plain(&door->channel, CONTROL_PROBE, MSG_DONTWAIT) < 0) {
        gate_died(door);
        return;
    }
    door->deadline = deadline;
}
