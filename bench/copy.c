/* SPDX-License-Identifier: BSD-3-Clause */
/* vfu_sgl_read and vfu_sgl_write, of memory that is mapped and by messages. */
#include "bench/bench.h"
#include "bench/field.h"
#include "bench/guest.h"
#include "bench/report.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 21
#define DIRECT_COUNT 20000
#define MESSAGE_COUNT 500
#define MEMORY_SIZE (1u << 20)
#define HEAD_SIZE (sizeof(struct vfio_user_header) + sizeof(struct vfio_user_dma_region_access))

static size_t rounds_of(const struct bench *bench)
{
    return bench->quick ? 1 : ROUNDS;
}

static double order_each(int sock, const struct order *order)
{
    double time = guest_order(sock, order);

    if (time < 0) {
        errx(EXIT_FAILURE, "copying: errno %d", (int)-time);
    }
    return time / (double)order->count;
}

static const char *name_of(uint32_t flags)
{
    return flags & ORDER_WRITE ? "vfu_sgl_write" : "vfu_sgl_read";
}

/* --- memory that is mapped, against memcpy --- */

static void measure_direct(struct field *field, enum contender who, const void *opaque,
                           double *values)
{
    const struct order *order = opaque;
    struct order bare = *order;

    bare.flags |= ORDER_BARE;
    values[0] = order_each(field->socks[who], order);
    values[1] = order_each(field->socks[who], &bare);
}

static void direct(struct field *field, uint32_t flags, size_t size)
{
    const struct order order = {
        .kind = ORDER_COPY,
        .flags = flags,
        .count = bench_count(field->bench, DIRECT_COUNT),
        .size = size,
    };
    struct tally tallies[2];
    char name[64];

    field_run(field, rounds_of(field->bench), measure_direct, &order, tallies, 2);
    snprintf(name, sizeof(name), "%s, %zu bytes, mapped", name_of(flags), size);
    field_report(field, "ns", &tallies[0], &tallies[1], name);
}

/* --- by messages, against an echo that is asked by the client --- */

struct traffic {
    struct order order;
    size_t asked, answered; /* bytes of the device's command and of the reply */
};

/* The device's commands, in the time that the order takes. */
static double serve(int sock, const struct traffic *traffic)
{
    static struct {
        struct vfio_user_header header;
        char rest[MEMORY_SIZE];
    } command;
    struct wire_frame frame;

    wire_frame_write(&frame, ORDER_REGION, 0, &traffic->order, sizeof(traffic->order));
    wire_send(sock, &frame.header, frame.header.msg_size);
    for (uint64_t i = 0; i < traffic->order.count; i++) {
        wire_receive(sock, &command, traffic->asked);
        command.header.flags = VFIO_USER_F_TYPE_REPLY;
        command.header.msg_size = (uint32_t)traffic->answered;
        wire_send(sock, &command, traffic->answered);
    }
    wire_receive(sock, &command, frame.reply_size);
    return guest_outcome(sock);
}

static double echo(int sock, const struct traffic *traffic)
{
    static char bytes[MEMORY_SIZE];
    uint64_t start = stats_now();

    for (uint64_t i = 0; i < traffic->order.count; i++) {
        wire_send(sock, bytes, traffic->asked);
        wire_receive(sock, bytes, traffic->answered);
    }
    return (double)(stats_now() - start);
}

static void measure_messages(struct field *field, enum contender who, const void *opaque,
                             double *values)
{
    const struct traffic *traffic = opaque;
    double time = (who == BARE ? echo : serve)(field->socks[who], traffic);

    if (time < 0) {
        errx(EXIT_FAILURE, "copying by messages: errno %d", (int)-time);
    }
    values[0] = time / 1e3 / (double)traffic->order.count;
}

static void messages(struct field *field, uint32_t flags, size_t size)
{
    bool is_write = flags & ORDER_WRITE;
    const struct traffic traffic = {
        .order = {
            .kind = ORDER_COPY,
            .flags = flags | ORDER_MESSAGES,
            .count = bench_count(field->bench, MESSAGE_COUNT),
            .size = size,
        },
        .asked = is_write ? HEAD_SIZE + size : HEAD_SIZE,
        .answered = is_write ? HEAD_SIZE : HEAD_SIZE + size,
    };
    const struct echo_script script = {
        .steps = { { traffic.asked, traffic.answered, 1 } },
        .count = 1,
    };
    struct tally tally;
    char name[64];

    field_set_echo(field, &script);
    field_run(field, rounds_of(field->bench), measure_messages, &traffic, &tally, 1);
    snprintf(name, sizeof(name), "%s, %zu bytes, by messages", name_of(flags), size);
    field_report(field, "us", &tally, NULL, name);
}

void bench_copy(const struct bench *bench)
{
    int memory = guest_memory(MEMORY_SIZE);
    struct field field;

    field_open(&field, bench, ONE_PROCESSOR, false);
    for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
        if (field.present[who]) {
            guest_map(field.socks[who], memory, 0, MEMORY_SIZE);
        }
    }
    for (uint32_t flags = 0; flags <= ORDER_WRITE; flags += ORDER_WRITE) {
        direct(&field, flags, 64);
        direct(&field, flags, 4096);
    }
    for (uint32_t flags = 0; flags <= ORDER_WRITE; flags += ORDER_WRITE) {
        messages(&field, flags, 4096);
    }
    field_close(&field);
    close(memory);
}
