/* SPDX-License-Identifier: BSD-3-Clause */
/* Those who are measured in turn: the baseline, and servers of every kind, each with its client. */
#pragma once

#include "bench/bench.h"
#include "bench/echo.h"
#include "bench/server.h"
#include "bench/stats.h"

enum contender {
    BARE,          /* the baseline */
    BARE_WAITING,  /* what the kernel takes of a server; see bound.h */
    BARE_SPINNING, /* ... that does not wait */
    STANDALONE,
    BROKERED,
    STANDALONE_POLLING,
    BROKERED_POLLING,
    PEER, /* standalone, with the other library */
    CONTENDERS,
};

struct field {
    const struct bench *bench;
    enum placement placement;
    bool present[CONTENDERS];
    int socks[CONTENDERS]; /* of the clients */
    struct echo echoes[STANDALONE];
    struct server servers[CONTENDERS];
};

extern const char *const field_names[CONTENDERS];

/* Whether it looks for requests without waiting. */
bool field_polls(enum contender who);

/* Starts the servers, also those that wait adaptively if @polling, and connects to them. */
void field_open(struct field *field, const struct bench *bench, enum placement placement,
                bool polling);
void field_close(struct field *field);

/* One of the first from now on: a process that runs @serve, see echo_spawn(). */
void field_set_bare(struct field *field, enum contender who,
                    void (*serve)(int sock, const void *opaque), const void *opaque);
void field_drop_bare(struct field *field, enum contender who);

/* The baseline from now on: an echo. */
void field_set_echo(struct field *field, const struct echo_script *script);

#define FIELD_VALUES_MAX 3

/* One figure of each of them. */
struct tally {
    struct series of[CONTENDERS];
};

/* Measures one of them once: fills in @values, one for each tally. */
typedef void field_measure_fn(struct field *field, enum contender who, const void *opaque,
                              double *values);

/* Some rounds in which everybody who is there has a turn, after one that does not count. */
void field_run(struct field *field, size_t rounds, field_measure_fn *measure, const void *opaque,
               struct tally *tallies, size_t count);

/*
 * A row for each of them, against the baseline, and for what is jailed against what is not. @bare:
 * what each has been measured with itself, instead of the bare echo; or NULL.
 */
void field_report(const struct field *field, const char *unit, const struct tally *tally,
                  const struct tally *bare, const char *name);
