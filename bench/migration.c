/* SPDX-License-Identifier: BSD-3-Clause */
/* What a migration moves: the device's state, and the pages that it has written. */
#include "bench/bench.h"
#include "bench/field.h"
#include "bench/guest.h"
#include "bench/report.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 11
#define CHUNK (1u << 20)
#define CHUNK_COUNT 64

/* 1 TiB of guest memory, in regions with bitmaps of 1 MiB. */
#define REGIONS 32u
#define REGION_SIZE (32ull << 30)
#define REGION_BITMAP (REGION_SIZE / GUEST_PAGE / 8)
#define DIRTY_PAGES (REGIONS * REGION_SIZE / GUEST_PAGE / 100)

static size_t rounds_of(const struct bench *bench)
{
    return bench->quick ? 1 : ROUNDS;
}

static void set_echo_of(struct field *field, const struct wire_frame *frame)
{
    const struct echo_script script = {
        .steps = { { frame->header.msg_size, frame->reply_size, 1 } },
        .count = 1,
    };

    field_set_echo(field, &script);
}

/* DEVICE_FEATURE, with @size bytes of @data; an operation that sets is answered with itself. */
static void set_feature(struct wire_frame *frame, uint32_t flags, const void *data, size_t size,
                        size_t reply_size)
{
    uint8_t payload[64];
    const struct vfio_user_device_feature feature = {
        .argsz = (uint32_t)(reply_size - sizeof(frame->header)),
        .flags = flags,
    };

    memcpy(payload, &feature, sizeof(feature));
    if (size > 0) {
        memcpy(payload + sizeof(feature), data, size);
    }
    wire_frame_set(frame, VFIO_USER_DEVICE_FEATURE, payload, sizeof(feature) + size, reply_size);
}

static void change(const struct field *field, uint32_t feature, const void *data, size_t size)
{
    struct wire_frame frame;

    set_feature(&frame, feature | VFIO_DEVICE_FEATURE_SET, data, size,
                sizeof(frame.header) + sizeof(struct vfio_user_device_feature) + size);
    for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
        if (field->present[who]) {
            wire_exchange(field->socks[who], &frame);
        }
    }
}

static void change_state(const struct field *field, uint32_t state)
{
    const struct vfio_user_device_feature_mig_state data = { .device_state = state };

    change(field, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
}

/* --- the device's state --- */

static void measure_data(struct field *field, enum contender who, const void *opaque,
                         double *values)
{
    static double samples[CHUNK_COUNT];
    size_t count = bench_count(field->bench, CHUNK_COUNT);

    for (size_t i = 0; i < count; i++) {
        uint64_t start = stats_now();

        wire_exchange(field->socks[who], opaque);
        samples[i] = (double)(stats_now() - start) / 1e3;
    }
    values[0] = stats_quantile(samples, count, 0.5);
    values[1] = CHUNK / values[0] / 1e3;
}

static void data(struct field *field)
{
    const struct vfio_user_mig_data wanted = { .argsz = sizeof(wanted) + CHUNK, .size = CHUNK };
    struct wire_frame frame;
    struct tally tallies[2];
    char name[64];

    wire_frame_set(&frame, VFIO_USER_MIG_DATA_READ, &wanted, sizeof(wanted),
                   sizeof(frame.header) + wanted.argsz);
    set_echo_of(field, &frame);
    change_state(field, VFIO_USER_DEVICE_STATE_PRE_COPY);
    field_run(field, rounds_of(field->bench), measure_data, &frame, tallies, 2);
    change_state(field, VFIO_USER_DEVICE_STATE_RUNNING);
    snprintf(name, sizeof(name), "migration data, read of 1 MiB, %s",
             placement_names[field->placement]);
    field_report(field, "us", &tallies[0], NULL, name);
    snprintf(name, sizeof(name), "migration data, rate, %s", placement_names[field->placement]);
    field_report(field, "GB/s", &tallies[1], NULL, name);
}

/* --- dirty pages --- */

static double mark(const struct field *field, enum contender who)
{
    const struct order order = {
        .kind = ORDER_TRANSLATE,
        .flags = ORDER_RANDOM,
        .count = bench_count(field->bench, DIRTY_PAGES),
        .regions = REGIONS * REGION_SIZE / GUEST_PAGE, /* as if each page were one */
        .stride = GUEST_PAGE,
    };
    double time = guest_order(field->socks[who], &order);

    if (time < 0) {
        errx(EXIT_FAILURE, "dirty pages: errno %d", (int)-time);
    }
    return time / (double)order.count;
}

static void set_report(struct wire_frame *frame, uint64_t iova)
{
    const struct vfio_user_device_feature_dma_logging_report wanted = {
        .iova = iova,
        .length = REGION_SIZE,
        .page_size = GUEST_PAGE,
    };

    set_feature(frame, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET, &wanted,
                sizeof(wanted),
                sizeof(frame->header) + sizeof(struct vfio_user_device_feature) + sizeof(wanted) +
                    REGION_BITMAP);
}

static void measure_report(struct field *field, enum contender who, const void *opaque,
                           double *values)
{
    double marking = who == BARE ? 0 : mark(field, who);
    uint64_t start = stats_now();

    for (uint64_t region = 0; region < REGIONS; region++) {
        struct wire_frame frame;

        set_report(&frame, region * REGION_SIZE);
        wire_exchange(field->socks[who], &frame);
    }
    values[0] = (double)(stats_now() - start) / 1e6;
    values[1] = marking;
}

static void dirty_pages(struct field *field)
{
    const struct vfio_user_device_feature_dma_logging_control control = { .page_size = GUEST_PAGE };
    int memory = guest_memory(REGION_SIZE);
    struct wire_frame frame;
    struct tally tallies[2];

    for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
        for (uint64_t region = 0; field->present[who] && region < REGIONS; region++) {
            guest_map(field->socks[who], memory, region * REGION_SIZE, REGION_SIZE);
        }
    }
    close(memory);
    set_report(&frame, 0);
    set_echo_of(field, &frame);
    change(field, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &control, sizeof(control));
    field_run(field, rounds_of(field->bench), measure_report, NULL, tallies, 2);
    change(field, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
    field_report(field, "ms", &tallies[0], NULL, "dirty report of 1 TiB, 1 % of it dirty");
    field_drop_bare(field, BARE);
    field_report(field, "ns", &tallies[1], NULL, "translate + get + put of a page that gets dirty");
}

void bench_migration(const struct bench *bench)
{
    for (enum placement placement = ONE_PROCESSOR; placement < PLACEMENTS; placement++) {
        struct field field;

        if (!processors_allow(placement)) {
            continue;
        }
        field_open(&field, bench, placement, false);
        data(&field);
        if (placement == ONE_PROCESSOR) {
            dirty_pages(&field);
        }
        field_close(&field);
    }
}
