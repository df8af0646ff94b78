/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses to registers: one at a time, posted, and several under way. */
#include "bench/bench.h"
#include "bench/bound.h"
#include "bench/field.h"
#include "bench/report.h"
#include "bench/wire.h"

#include <stdio.h>

#define ROUNDS 31
#define BATCH 1000
#define BURST 64 /* posted writes, the last of which has a reply */
#define DEPTH_MAX 64

static const uint32_t value;

static size_t rounds_of(const struct bench *bench)
{
    return bench->quick ? 1 : ROUNDS;
}

static void set_echo_of(struct field *field, const struct wire_frame *frame, unsigned every)
{
    const struct echo_script script = {
        .steps = { { frame->header.msg_size, frame->reply_size, every } },
        .count = 1,
    };

    field_set_echo(field, &script);
}

/* --- one at a time --- */

static void measure_round_trip(struct field *field, enum contender who, const void *opaque,
                               double *values)
{
    static double samples[BATCH];
    const struct wire_frame *frame = opaque;
    size_t count = bench_count(field->bench, BATCH);
    uint64_t start = stats_now(), then = start;

    for (size_t i = 0; i < count; i++) {
        uint64_t now;

        wire_exchange(field->socks[who], frame);
        now = stats_now();
        samples[i] = (double)(now - then) / 1e3;
        then = now;
    }
    values[0] = stats_quantile(samples, count, 0.5);
    values[1] = stats_quantile(samples, count, 0.99);
    values[2] = (double)count / ((double)(then - start) / 1e9) / 1e3;
}

static void round_trips(struct field *field, const char *what, const struct wire_frame *frame)
{
    static const struct {
        const char *name, *unit;
    } kinds[] = { { "p50", "us" }, { "p99", "us" }, { "rate", "k/s" } };
    const struct bound bound = { frame->header.msg_size, frame->reply_size };
    struct tally tallies[3];
    char name[64];

    set_echo_of(field, frame, 1);
    field_set_bare(field, BARE_WAITING, bound_serve_waiting, &bound);
    if (field->placement == TWO_PROCESSORS) {
        field_set_bare(field, BARE_SPINNING, bound_serve_spinning, &bound);
    }
    field_run(field, rounds_of(field->bench), measure_round_trip, frame, tallies, 3);
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s %s, %s", what, kinds[i].name,
                 placement_names[field->placement]);
        field_report(field, kinds[i].unit, &tallies[i], NULL, name);
    }
    field_drop_bare(field, BARE_WAITING);
    field_drop_bare(field, BARE_SPINNING);
}

/* --- posted --- */

struct burst {
    struct wire_frame posted, last;
};

static void measure_posted(struct field *field, enum contender who, const void *opaque,
                           double *values)
{
    static double samples[BATCH];
    const struct burst *burst = opaque;
    size_t count = bench_count(field->bench, BATCH / BURST);

    for (size_t i = 0; i < count; i++) {
        uint64_t start = stats_now();

        for (size_t k = 1; k < BURST; k++) {
            wire_send(field->socks[who], &burst->posted.header, burst->posted.header.msg_size);
        }
        wire_exchange(field->socks[who], &burst->last);
        samples[i] = (double)(stats_now() - start) / 1e3 / BURST;
    }
    values[0] = stats_quantile(samples, count, 0.5);
}

static void posted_writes(struct field *field)
{
    struct burst burst;
    struct tally tally;
    char name[64];

    wire_frame_write(&burst.last, 0, 0, &value, sizeof(value));
    burst.posted = burst.last;
    burst.posted.header.flags = VFIO_USER_F_TYPE_COMMAND | VFIO_USER_F_NO_REPLY;
    set_echo_of(field, &burst.last, BURST);
    field_run(field, rounds_of(field->bench), measure_posted, &burst, &tally, 1);
    snprintf(name, sizeof(name), "posted write, %s", placement_names[field->placement]);
    field_report(field, "us", &tally, NULL, name);
}

/* --- several under way --- */

struct pipeline {
    struct wire_frame frame;
    size_t depth;
};

static void measure_pipelined(struct field *field, enum contender who, const void *opaque,
                              double *values)
{
    static char replies[DEPTH_MAX * 64];
    static double samples[BATCH];
    const struct pipeline *pipeline = opaque;
    size_t count = bench_count(field->bench, BATCH / pipeline->depth);

    for (size_t i = 0; i < count; i++) {
        uint64_t start = stats_now();

        for (size_t k = 0; k < pipeline->depth; k++) {
            wire_send(field->socks[who], &pipeline->frame.header, pipeline->frame.header.msg_size);
        }
        wire_receive(field->socks[who], replies, pipeline->depth * pipeline->frame.reply_size);
        samples[i] = (double)(stats_now() - start) / 1e3 / (double)pipeline->depth;
    }
    values[0] = stats_quantile(samples, count, 0.5);
}

static void pipelined_reads(struct field *field, const struct wire_frame *frame)
{
    set_echo_of(field, frame, 1);
    for (size_t depth = 1; depth <= DEPTH_MAX; depth *= 2) {
        const struct pipeline pipeline = { *frame, depth };
        struct tally tally;
        char name[64];

        field_run(field, rounds_of(field->bench), measure_pipelined, &pipeline, &tally, 1);
        snprintf(name, sizeof(name), "register read at depth %zu, %s", depth,
                 placement_names[field->placement]);
        field_report(field, "us", &tally, NULL, name);
    }
}

void bench_access(const struct bench *bench)
{
    struct wire_frame read, write;

    wire_frame_read(&read, 0, 0, sizeof(value));
    wire_frame_write(&write, 0, 0, &value, sizeof(value));
    for (enum placement placement = ONE_PROCESSOR; placement < PLACEMENTS; placement++) {
        struct field field;

        if (!processors_allow(placement)) {
            report_missing("there is one processor", "registers, %s", placement_names[placement]);
            continue;
        }
        field_open(&field, bench, placement, true);
        round_trips(&field, "register read", &read);
        round_trips(&field, "register write", &write);
        posted_writes(&field);
        pipelined_reads(&field, &read);
        field_close(&field);
    }
}
