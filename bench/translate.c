/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest addresses to pointers, with one region and with a million: in the device's process, each
 * against loads that depend on each other, in as much memory as the process took for the regions.
 */
#include "bench/bench.h"
#include "bench/guest.h"
#include "bench/procfs.h"
#include "bench/report.h"
#include "bench/server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 11
#define BATCH 1000000
#define STRIDE (2 * GUEST_PAGE) /* no two regions touch */

static const uint64_t sizes[] = { 1, 16, 1024, 20000, 1000000 };

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define USUAL 3 /* of @sizes: what a million is compared with */
#define MOST 4

enum library { OURS, THEIRS, LIBRARIES };

/* A process with so many regions. */
struct subject {
    struct server server;
    int sock;
    bool full; /* it has them */
    double bytes;
    struct series random, in_turn, load;
};

static const char *const library_names[LIBRARIES] = { "standalone", "peer library" };

/* Many take long; a few show that it works. */
static uint64_t regions_of(const struct bench *bench, size_t size)
{
    return bench->quick && sizes[size] > 1024 ? 1024 : sizes[size];
}

static double growth(pid_t pid, int64_t before)
{
    int64_t now = procfs_memory(pid, "Anonymous");

    return before >= 0 && now > before ? (double)(now - before) * 1024 : 4096;
}

static void fill(struct subject *subject, const struct bench *bench, size_t size, const char *name)
{
    uint64_t count = regions_of(bench, size), done;
    int memory = guest_memory(count * GUEST_PAGE);
    int64_t before = procfs_memory(subject->server.pid, "Anonymous");
    uint64_t start = stats_now();
    int error = guest_fill(subject->sock, memory, count, STRIDE, &done);
    double each = (double)(stats_now() - start) / (double)count;
    char why[96];

    close(memory);
    if (error != 0) {
        snprintf(why, sizeof(why), "%s after %llu regions", strerror(error),
                 (unsigned long long)done);
        report_missing(why, "%llu regions: %s", (unsigned long long)sizes[size], name);
        return;
    }
    subject->full = true;
    subject->bytes = growth(subject->server.pid, before);
    report_value("us", each / 1e3, "DMA map, each of %llu, 32 under way: %s",
                 (unsigned long long)sizes[size], name);
    report_value("B", subject->bytes / (double)count, "memory of each of %llu regions: %s",
                 (unsigned long long)sizes[size], name);
}

static double each(const struct subject *subject, const struct order *order)
{
    return guest_order(subject->sock, order) / (double)order->count;
}

static void measure(struct subject *subject, const struct bench *bench, size_t size, bool counts)
{
    struct order order = {
        .kind = ORDER_TRANSLATE,
        .flags = ORDER_RANDOM,
        .count = bench_count(bench, BATCH),
        .regions = regions_of(bench, size),
        .stride = STRIDE,
        .size = (uint64_t)subject->bytes,
    };
    double random = each(subject, &order), in_turn, load;

    order.flags = 0;
    in_turn = each(subject, &order);
    order.kind = ORDER_LOAD;
    load = each(subject, &order);
    if (counts) {
        series_add(&subject->random, random);
        series_add(&subject->in_turn, in_turn);
        series_add(&subject->load, load);
    }
}

static void report(struct subject (*subjects)[SIZES])
{
    static const char what[] = "translate + get + put";

    for (size_t size = 0; size < SIZES; size++) {
        unsigned long long regions = sizes[size];
        const struct subject *ours = &subjects[OURS][size], *theirs = &subjects[THEIRS][size];

        for (enum library library = OURS; library < LIBRARIES; library++) {
            const struct subject *subject = &subjects[library][size];

            if (subject->full) {
                report_series("ns", &subject->random, &subject->load,
                              "%s, %llu regions at random: %s", what, regions,
                              library_names[library]);
                report_series("ns", &subject->in_turn, &subject->load,
                              "%s, %llu regions in turn: %s", what, regions,
                              library_names[library]);
            }
        }
        if (ours->full && theirs->full) {
            report_series("ns", &ours->random, &theirs->random,
                          "%s, %llu regions at random: standalone against peer library", what,
                          regions);
            report_series("ns", &ours->in_turn, &theirs->in_turn,
                          "%s, %llu regions in turn: standalone against peer library", what,
                          regions);
        }
    }
    for (enum library library = OURS; library < LIBRARIES; library++) {
        if (subjects[library][MOST].full && subjects[library][USUAL].full) {
            report_series("ns", &subjects[library][MOST].random, &subjects[library][USUAL].random,
                          "%s, 1000000 regions at random against 20000: %s", what,
                          library_names[library]);
        }
    }
}

void bench_translate(const struct bench *bench)
{
    static struct subject subjects[LIBRARIES][SIZES];
    enum library end = bench->peer_device != NULL ? LIBRARIES : THEIRS;
    size_t rounds = bench->quick ? 1 : ROUNDS;

    for (enum library library = OURS; library < end; library++) {
        for (size_t size = 0; size < SIZES; size++) {
            struct subject *subject = &subjects[library][size];

            server_start(&subject->server, bench, library == OURS ? SERVER_STANDALONE : SERVER_PEER,
                         ONE_PROCESSOR, 0);
            subject->sock = server_connect(&subject->server);
            fill(subject, bench, size, library_names[library]);
        }
    }
    for (size_t round = 0; round <= rounds; round++) {
        for (size_t size = 0; size < SIZES; size++) {
            for (enum library library = OURS; library < end; library++) {
                if (subjects[library][size].full) {
                    measure(&subjects[library][size], bench, size, round > 0);
                }
            }
        }
    }
    report(subjects);
    for (enum library library = OURS; library < end; library++) {
        for (size_t size = 0; size < SIZES; size++) {
            close(subjects[library][size].sock);
            server_stop(&subjects[library][size].server);
        }
    }
}
