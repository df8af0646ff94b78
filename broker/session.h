/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One session as the supervisor sees it: a device process, and a door with a gate for each of the
 * broker's sockets, from their start to the moment when all are gone. Knows nothing of other
 * sessions.
 */
#pragma once

#include "broker/device_log.h"
#include "broker/door.h"
#include "broker/jail.h"
#include "broker/watchdog.h"
#include "ipc/control.h"

#include <poll.h>
#include <signal.h>

enum session_state {
    SESSION_STARTING, /* not sealed and verified yet */
    SESSION_READY,    /* all gates are ready for their listening sockets, or beyond */
    SESSION_ENDING,   /* over: killed, not reaped yet */
    SESSION_GONE,     /* all processes reaped, or written off */
};

/* Why it ended. */
enum session_outcome {
    SESSION_OUTCOME_NONE,
    SESSION_OUTCOME_CLIENT,  /* the client left, or did not keep to the rules */
    SESSION_OUTCOME_STOPPED, /* the supervisor wanted it */
    SESSION_OUTCOME_CRASH,   /* the device process or the gate failed */
    SESSION_OUTCOME_HANG,    /* the device hangs, and the policy says to stop */
    SESSION_OUTCOME_JAIL,    /* the jail could not be closed */
};

struct session {
    unsigned id;
    enum session_state state;
    enum session_outcome outcome;
    struct jail_process device;
    struct control_channel device_channel; /* the first one; until it is handed to its gate */
    char device_end[64];                   /* how the device process ended; "" before */
    struct device_log log;
    struct log_limit reports; /* lines that the gates may cause */
    int notify;               /* listener of the device's final filter */
    int64_t deadline;         /* CLOCK_MONOTONIC in ms; 0: none */
    bool log_open;
    struct watchdog watchdog;
    bool hangs; /* so the watchdog has found, and still does */
    size_t door_count;
    struct door doors[];
};

/* The session cannot go on, and it is the device's fault or the jail's. */
#define FAIL_SESSION(session, outcome, event, ...)                                                 \
    do {                                                                                           \
        if ((session)->state < SESSION_ENDING) {                                                   \
            log_error(event, __VA_ARGS__);                                                         \
        }                                                                                          \
        session_stop(session, outcome);                                                            \
    } while (0)

/* Spawns all processes. NULL if that failed, which is logged. */
struct session *session_start(unsigned id, const struct jail_plan *plan,
                              const struct filter *gate_filter);

/* Only of a session that is GONE. */
struct session *session_free(struct session *session);

/* How many descriptors a session with @doors waits for, at most. */
size_t session_poll_fds(size_t doors);

/* Fills @fds (as many) with what to wait for. */
void session_poll(struct session *session, struct pollfd *fds);

/* Handles what poll found, and the passing of time. */
void session_handle(struct session *session, const struct jail_plan *plan, const struct pollfd *fds,
                    int64_t now);

/* The time of the next thing to do without being told; 0: none. */
int64_t session_deadline(const struct session *session);

/* Whether a client is served. */
bool session_serves(const struct session *session);

/* Whether a client has been admitted: another session has to take the next one's place. */
bool session_is_used(const struct session *session);

/* Asks for all clients that are served whether they are still there, until @deadline. */
void session_probe(struct session *session, int64_t deadline);

/* True while that is not answered. */
bool session_is_probed(const struct session *session);

/* Ends it now. Logs nothing: the caller knows why. */
void session_stop(struct session *session, enum session_outcome outcome);

int64_t session_clock(void);

/* --- for its doors --- */

/* A gate is ready. */
void session_door_waits(struct session *session);

/* A client has gone: if it was the last one, so is the session. */
void session_settle(struct session *session);

/* The gate of @door found the device's channel closed. */
void session_device_gone(struct session *session, const struct door *door);

void session_kill_process(int pidfd);

/*
 * Collects the process behind @pidfd if it has ended, and closes that: @how says it in words, @info
 * (may be NULL) as waitid() does.
 */
bool session_reap(int *pidfd, char *how, size_t size, siginfo_t *info);
