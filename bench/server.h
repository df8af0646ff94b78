/* SPDX-License-Identifier: BSD-3-Clause */
/* The device program of the benchmark, as a process: standalone, or jailed by the broker. */
#pragma once

#include "bench/bench.h"
#include "bench/processors.h"

#include <sys/types.h>

enum server_kind {
    SERVER_STANDALONE,
    SERVER_BROKERED,
    SERVER_PEER, /* standalone, with another library */
    SERVER_KINDS,
};

extern const char *const server_names[SERVER_KINDS];

struct server {
    pid_t pid;
    char dir[64];
    char socket[96];
};

/* What a device is given for its waiting. */
#define SERVER_POLL_US 50u

/* Starts it, without waiting for it. */
void server_start(struct server *server, const struct bench *bench, enum server_kind kind,
                  enum placement placement, unsigned poll_us);

/* Waits until it has its socket: of a broker that means that a sealed device waits. */
void server_wait(struct server *server);

/* Waits until it takes a client. Returns the socket, negotiated. */
int server_connect(struct server *server);

void server_stop(struct server *server);
