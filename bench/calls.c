/* SPDX-License-Identifier: BSD-3-Clause */
/* Context switches and system calls of a server for each access. */
#include "bench/bench.h"
#include "bench/field.h"
#include "bench/procfs.h"
#include "bench/report.h"
#include "bench/trace.h"
#include "bench/wire.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define SWITCH_COUNT 5000
#define CALL_COUNT 160
#define DEPTH 16
#define TREE_MAX 16

/* All processes of a server, and which one of them it is that serves. */
struct tree {
    pid_t pids[TREE_MAX];
    size_t count;
    pid_t busiest;
};

static void list(struct tree *tree, const struct field *field, enum contender who)
{
    tree->pids[0] = who == BARE ? field->echoes[BARE].pid : field->servers[who].pid;
    tree->count = who == BARE ? 1 : procfs_add_descendants(tree->pids, 1, TREE_MAX);
}

/* --- context switches --- */

static void switches(const struct field *field, enum contender who, struct tree *tree,
                     const struct wire_frame *frame)
{
    size_t count = bench_count(field->bench, SWITCH_COUNT);
    int64_t before[TREE_MAX], most = -1, sum = 0;

    for (size_t i = 0; i < tree->count; i++) {
        before[i] = procfs_switches(tree->pids[i]);
    }
    for (size_t i = 0; i < count; i++) {
        wire_exchange(field->socks[who], frame);
    }
    for (size_t i = 0; i < tree->count; i++) {
        int64_t delta = procfs_switches(tree->pids[i]) - before[i];

        sum += delta;
        if (delta > most) {
            most = delta;
            tree->busiest = tree->pids[i];
        }
    }
    report_value("", (double)sum / (double)count, "context switches of a register read, %s: %s",
                 placement_names[field->placement], field_names[who]);
}

/* --- system calls --- */

struct work {
    int sock;
    size_t count, depth;
    const struct wire_frame *frame;
};

/* With a pause before each burst, so that the server waits, however slow tracing makes it. */
static void access_registers(const void *opaque)
{
    static const struct timespec pause = { .tv_nsec = 2000000 };
    static char replies[DEPTH * 64];
    const struct work *work = opaque;

    for (size_t done = 0; done < work->count; done += work->depth) {
        char frames[DEPTH * sizeof(*work->frame)];
        size_t size = work->frame->header.msg_size;

        for (size_t i = 0; i < work->depth; i++) {
            memcpy(frames + i * size, &work->frame->header, size);
        }
        nanosleep(&pause, NULL);
        wire_send(work->sock, frames, work->depth * size);
        wire_receive(work->sock, replies, work->depth * work->frame->reply_size);
    }
}

static void calls(const struct field *field, enum contender who, pid_t pid, size_t depth,
                  const struct wire_frame *frame)
{
    const struct work work = {
        field->socks[who],
        field->bench->quick ? depth : CALL_COUNT,
        depth,
        frame,
    };
    const char *what = depth == 1 ? "a register read" : "each of 16 queued register reads";
    double sum = 0;
    int result = trace_run(pid, access_registers, &work);

    if (result < 0) {
        report_missing(result == -EPERM ? "takes root" : strerror(-result),
                       "system calls of %s: %s", what, field_names[who]);
        return;
    }
    for (const struct trace_call *call = trace_calls;; call++) {
        double each = (double)call->count / (double)work.count;

        sum += each;
        if (each >= 0.01) {
            report_value("", each, "%s of %s: %s", call->name != NULL ? call->name : "others", what,
                         field_names[who]);
        }
        if (call->name == NULL) {
            break;
        }
    }
    report_value("", sum, "system calls of %s: %s", what, field_names[who]);
}

void bench_calls(const struct bench *bench)
{
    for (enum placement placement = ONE_PROCESSOR; placement < PLACEMENTS; placement++) {
        struct echo_script script = { .count = 1 };
        struct wire_frame frame;
        struct field field;

        if (!processors_allow(placement)) {
            continue;
        }
        wire_frame_read(&frame, 0, 0, 4);
        script.steps[0] = (struct echo_step){ frame.header.msg_size, frame.reply_size, 1 };
        field_open(&field, bench, placement, true);
        field_set_echo(&field, &script);
        for (enum contender who = BARE; who < CONTENDERS; who++) {
            struct tree tree;

            if (!field.present[who]) {
                continue;
            }
            list(&tree, &field, who);
            switches(&field, who, &tree, &frame);
            /* Who polls makes as many calls as it has time for. */
            if (placement == ONE_PROCESSOR && !field_polls(who)) {
                calls(&field, who, tree.busiest, 1, &frame);
                calls(&field, who, tree.busiest, DEPTH, &frame);
            }
        }
        field_close(&field);
    }
}
