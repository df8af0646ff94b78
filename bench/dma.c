/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: a region made and removed, with its descriptor; and copying. */
#include "bench/bench.h"
#include "bench/field.h"
#include "bench/guest.h"
#include "bench/report.h"

#include <stdio.h>
#include <unistd.h>

#define ROUNDS 21
#define BATCH 300
#define MEMORY_SIZE (64u << 20)
#define MAPPED_AT (1ull << 40) /* where nothing else is */

static size_t rounds_of(const struct bench *bench)
{
    return bench->quick ? 1 : ROUNDS;
}

/* --- map and unmap --- */

struct pair {
    int memory;
    bool bare_fd; /* the baseline gets the descriptor as well */
};

/* Every region is of another page of the file, at another address. */
static void measure_pair(struct field *field, enum contender who, const void *opaque,
                         double *values)
{
    static double samples[BATCH];
    const struct pair *pair = opaque;
    int fd = who != BARE || pair->bare_fd ? pair->memory : -1;
    size_t count = bench_count(field->bench, BATCH);
    struct wire_frame map, unmap;

    for (size_t i = 0; i < count; i++) {
        uint64_t iova = MAPPED_AT + 2 * i * GUEST_PAGE;
        uint64_t start;

        guest_frame_map(&map, iova, GUEST_PAGE, i * GUEST_PAGE);
        guest_frame_unmap(&unmap, iova, GUEST_PAGE);
        start = stats_now();
        wire_exchange_fd(field->socks[who], &map, fd);
        wire_exchange(field->socks[who], &unmap);
        samples[i] = (double)(stats_now() - start) / 1e3;
    }
    values[0] = stats_quantile(samples, count, 0.5);
}

static void set_echo(struct field *field, bool takes_fds)
{
    struct echo_script script = { .count = 2, .takes_fds = takes_fds };
    struct wire_frame map, unmap;

    guest_frame_map(&map, 0, 0, 0);
    guest_frame_unmap(&unmap, 0, 0);
    script.steps[0] = (struct echo_step){ map.header.msg_size, map.reply_size, 1 };
    script.steps[1] = (struct echo_step){ unmap.header.msg_size, unmap.reply_size, 1 };
    field_set_echo(field, &script);
}

static void pairs(struct field *field, const struct pair *pair, const char *what)
{
    struct tally tally;
    char name[96];

    set_echo(field, pair->bare_fd);
    field_run(field, rounds_of(field->bench), measure_pair, pair, &tally, 1);
    snprintf(name, sizeof(name), "DMA map + unmap, %s, %s", what,
             placement_names[field->placement]);
    field_report(field, "us", &tally, NULL, name);
}

void bench_dma(const struct bench *bench)
{
    int memory = guest_memory(MEMORY_SIZE);
    const struct pair pair = { memory, false }, with_fd = { memory, true };

    for (enum placement placement = ONE_PROCESSOR; placement < PLACEMENTS; placement++) {
        struct field field;

        if (!processors_allow(placement)) {
            continue;
        }
        field_open(&field, bench, placement, false);
        pairs(&field, &pair, "unknown file");
        for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
            if (field.present[who]) {
                guest_map(field.socks[who], memory, 0, MEMORY_SIZE);
            }
        }
        pairs(&field, &pair, "known file");
        pairs(&field, &with_fd, "known file, echo with fd");
        field_close(&field);
    }
    close(memory);
}
