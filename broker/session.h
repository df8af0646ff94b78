/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One session as the supervisor sees it: a gate and a device process from their start to the
 * moment when both are gone. Knows nothing of other sessions.
 */
#pragma once

#include "broker/device_log.h"
#include "broker/gate.h"
#include "broker/jail.h"
#include "ipc/control.h"

#include <poll.h>
#include <signal.h>

enum session_state {
    SESSION_STARTING, /* not sealed and verified yet */
    SESSION_WAITING,  /* the gate is ready for the listening socket */
    SESSION_IDLE,     /* accepts */
    SESSION_JUDGING,  /* has accepted a client that nobody has judged yet */
    SESSION_REFUSING, /* the gate closes a refused client */
    SESSION_SERVING,
    SESSION_ENDING, /* over: killed, not reaped yet */
    SESSION_GONE,   /* both processes reaped, or written off */
};

/* Why it ended. */
enum session_outcome {
    SESSION_OUTCOME_NONE,
    SESSION_OUTCOME_CLIENT,  /* the client left, or did not keep to the rules */
    SESSION_OUTCOME_STOPPED, /* the supervisor wanted it */
    SESSION_OUTCOME_CRASH,   /* the device process or the gate failed */
    SESSION_OUTCOME_JAIL,    /* the jail could not be closed */
};

struct session {
    unsigned id;
    enum session_state state;
    enum session_outcome outcome;
    struct jail_process device;
    struct gate_process gate;
    struct control_channel device_channel; /* until it is handed to the gate */
    struct control_channel gate_channel;
    struct control_candidate candidate; /* while JUDGING */
    char device_end[64];                /* how the device process ended; "" before */
    struct device_log log;
    struct log_limit reports; /* lines that the gate may cause */
    int notify;               /* listener of the device's final filter */
    int64_t deadline;         /* CLOCK_MONOTONIC in ms; 0: none */
    bool asked; /* while JUDGING: the other session, whether its client is still there */
    bool ended; /* the gate has said so, or is dead */
    bool log_open;
};

#define SESSION_POLL_FDS 6

/* Spawns both processes. NULL if that failed, which is logged. */
struct session *session_start(unsigned id, const struct jail_plan *plan,
                              const struct filter *gate_filter);

/* Only of a session that is GONE. */
struct session *session_free(struct session *session);

/* Fills @fds (SESSION_POLL_FDS of them) with what to wait for. */
void session_poll(struct session *session, struct pollfd *fds);

/* Handles what poll found, and the passing of time. */
void session_handle(struct session *session, const struct jail_plan *plan, const struct pollfd *fds,
                    int64_t now);

/* Lets the gate accept. */
void session_listen(struct session *session, int listener);

/* Answers a session that is JUDGING. */
void session_admit(struct session *session);
void session_refuse(struct session *session, const char *reason, struct log_limit *limit);

/* Asks a SERVING session whether its client is still there; it has until @deadline. */
void session_probe(struct session *session, int64_t deadline);

/* Ends it now. Logs nothing: the caller knows why. */
void session_stop(struct session *session, enum session_outcome outcome);

int64_t session_clock(void);
