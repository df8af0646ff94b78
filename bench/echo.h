/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The baseline: a process that does nothing but receive and send, blocking, messages of given
 * sizes.
 */
#pragma once

#include "bench/processors.h"

#include <stddef.h>
#include <sys/types.h>

/* After @every messages of @in bytes there is one of @out bytes. */
struct echo_step {
    size_t in, out;
    unsigned every;
};

struct echo {
    pid_t pid;
    int sock;
};

/* Runs @serve, which has the other end of the socket, in a process that ends with it. */
void echo_spawn(struct echo *echo, enum placement placement,
                void (*serve)(int sock, const void *opaque), const void *opaque);

/* At most this many, in turn until the socket is closed. @takes_fds: and closes what comes. */
#define ECHO_STEPS_MAX 2

struct echo_script {
    struct echo_step steps[ECHO_STEPS_MAX];
    size_t count;
    bool takes_fds;
};

/* For echo_spawn(): does what the script says. */
void echo_serve(int sock, const void *script);

void echo_stop(struct echo *echo);
