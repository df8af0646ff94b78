/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfu-broker under test: its policy, its log, its clients, and its end. */
#pragma once

#include "client/client.h"
#include "tests/escape/attempts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Long enough for any machine; nothing waits that long unless it fails. */
#define DEADLINE_MS 120000

struct broker {
    pid_t pid;
    char dir[200]; /* the broker's working directory, and of all files below */
    char socket[256];
    char log[256]; /* what it wrote to standard error */
};

enum broker_kind {
    BROKER_OF_THE_PRODUCT,
    BROKER_LENIENT, /* its final filter lets all calls pass that attempts of two layers make */
};

/*
 * Starts a broker of the build in @build (its top folder), with @build's escape device; @policy is
 * what the policy says beyond that, ",\"key\": ..." or "". Waits until it is ready. Returns false,
 * with the reason on standard error, if it does not come to that.
 */
bool broker_start(struct broker *broker, const char *build, const char *policy);

/* The same of another kind. */
bool broker_start_kind(struct broker *broker, const char *build, const char *policy,
                       enum broker_kind kind);

/* The same without the waiting. */
bool broker_launch(struct broker *broker, const char *build, const char *policy);

/* SIGTERM. False unless it ends with status 0, and its socket is gone. */
bool broker_stop(struct broker *broker);

/* Removes what it left. */
void broker_clean(struct broker *broker);

/* --- the log --- */

/* All of it so far, to be freed. Lines end with a newline. */
char *broker_log(const struct broker *broker);

/*
 * Waits for a line that begins with @start, after the first @from bytes. Copies it, without the
 * newline, to @line. False if it never comes.
 */
bool broker_await_line(const struct broker *broker, size_t from, const char *start, char *line,
                       size_t size);

/* Whether such a line is there now. */
bool broker_has_line(const struct broker *broker, size_t from, const char *start);

size_t broker_log_size(const struct broker *broker);

/* --- clients --- */

struct visit {
    struct vfu_client *client;
    size_t log_start; /* size of the log before it */
    unsigned session; /* the broker's number of it */
    pid_t device;     /* the process that serves it */
};

/* Connects, negotiates, reads a register: is served. False with the reason on standard error. */
bool broker_visit(const struct broker *broker, struct visit *visit);

void visit_end(struct visit *visit);

/* --- small things --- */

int64_t now_ms(void);

/* A moment, between two looks at a condition. */
void pause_briefly(void);

/* Says on standard error what went wrong. Returns false. */
bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
