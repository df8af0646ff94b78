/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One of a session's doors: the gate at one of the broker's sockets, and the one client that it
 * lets in. A broker with one socket has sessions with one door.
 */
#pragma once

#include "broker/gate.h"
#include "broker/jail.h"
#include "broker/log.h"
#include "broker/rate.h"
#include "ipc/control.h"

#include <poll.h>

struct session;

enum door_state {
    DOOR_CLOSED,   /* the session is starting */
    DOOR_WAITING,  /* the gate is ready for the listening socket */
    DOOR_IDLE,     /* accepts */
    DOOR_JUDGING,  /* has accepted a client that nobody has judged yet */
    DOOR_REFUSING, /* the gate closes a refused client */
    DOOR_SERVING,
    DOOR_OVER, /* its client has gone, and no other one can come */
};

struct door {
    struct session *session;
    char name[32]; /* of session and door, in the log */
    enum door_state state;
    struct gate_process gate;
    struct control_channel channel;     /* to the gate */
    struct rate messages;               /* of the gate's */
    struct control_candidate candidate; /* while JUDGING */
    int64_t deadline;                   /* CLOCK_MONOTONIC in ms; 0: none */
    bool asked; /* while JUDGING: the other session, whether its clients are still there */
    bool ended; /* the gate has said so, or is dead */
};

#define DOOR_POLL_FDS 2

/* A door without a gate. */
void door_init(struct door *door);

/* Spawns the gate of door @number (from 1) of a session with @count. Returns 0 or -errno. */
int door_start(struct door *door, struct session *session, size_t number, size_t count,
               const struct jail_plan *plan, const struct filter *gate_filter);
void door_free(struct door *door);

/* Kills the gate. */
void door_kill(struct door *door);

/* When its gate is heard again, which says too much: CLOCK_MONOTONIC in ms; 0: it is heard. */
static inline int64_t door_listens_at(const struct door *door)
{
    return rate_wait(&door->messages) > 0 ? door->messages.due / (RATE_SECOND / 1000) + 1 : 0;
}

/* True once the gate is reaped, or was never there. */
static inline bool door_is_gone(const struct door *door)
{
    return door->gate.pidfd < 0;
}

/* Gives the gate the broker's end @device of its device channel. Returns 0 or -errno. */
int door_hand_over(struct door *door, int device);

/* Fills @fds (DOOR_POLL_FDS of them) with what to wait for. */
void door_poll(const struct door *door, struct pollfd *fds);

/* Handles what came of it: a message of the gate; then its end, and the passing of time. */
void door_hear(struct door *door, const struct jail_plan *plan, const struct pollfd *fds);
void door_handle(struct door *door, const struct jail_plan *plan, const struct pollfd *fds,
                 int64_t now);

/* Hears what the gate still has to say, without waiting. */
void door_drain(struct door *door, const struct jail_plan *plan);

/* Lets the gate accept. */
void door_listen(struct door *door, int listener);

/* Answers a door that is JUDGING. */
void door_admit(struct door *door);
void door_refuse(struct door *door, const char *reason, struct log_limit *limit);

/* Asks a SERVING door whether its client is still there; it has until @deadline. */
void door_probe(struct door *door, int64_t deadline);
