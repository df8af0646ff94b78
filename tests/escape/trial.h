/* SPDX-License-Identifier: BSD-3-Clause */
/* One attempt in the jail, and its control outside. */
#pragma once

#include "tests/escape/broker.h"

/* "EBADF", or the number. */
void describe_value(long value, char *text, size_t size);

/* What became of an attempt in the jail. */
struct trial {
    struct visit visit;
    struct report report; /* if the device came back */
    int64_t milliseconds; /* how long it took */
};

/*
 * Lets a client of @broker ask for @attempt, in a fresh session, and compares what follows with
 * the table: the device's report, or the log and the end of the connection. The session is over
 * when this returns. @wanted is what the table says of this broker. False with the reason on
 * standard error.
 */
bool trial_in_jail(const struct broker *broker, const struct attempt *attempt,
                   const struct outcome *wanted, struct trial *trial);

/* What became of a control. */
struct control {
    int status; /* of waitpid(2) */
    struct report report;
    char *log; /* what it wrote to standard error; to be freed */
};

/*
 * Runs @attempt in a plain process of @build's escape device, with @dir for its working directory.
 * The same comparison.
 */
bool trial_control(const char *build, const char *dir, const struct attempt *attempt,
                   struct control *control);

/*
 * Runs it in a plain process that has loaded the filter in @filter, and expects the call to have
 * failed, as it does where nobody listens.
 */
bool trial_filtered(const char *build, const char *dir, const struct attempt *attempt,
                    const char *filter);
