/* SPDX-License-Identifier: BSD-3-Clause */
/* What it costs a device to raise an interrupt, and how long it takes until somebody runs. */
#include "bench/bench.h"
#include "bench/field.h"
#include "bench/guest.h"
#include "bench/report.h"

#include <err.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 21
#define TRIGGER_COUNT 20000
#define WAKE_COUNT 100

static size_t rounds_of(const struct bench *bench)
{
    return bench->quick ? 1 : ROUNDS;
}

/* An eventfd for each of them. */
struct interrupts {
    int eventfds[CONTENDERS];
    uint64_t *raised; /* when the baseline did; shared with it */
};

static int make_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd < 0) {
        err(EXIT_FAILURE, "eventfd");
    }
    return fd;
}

/* What has been raised and not waited for. */
static void drain(const struct interrupts *interrupts)
{
    for (enum contender who = BARE; who < CONTENDERS; who++) {
        struct pollfd fd = { .fd = interrupts->eventfds[who], .events = POLLIN };
        uint64_t count;

        if (poll(&fd, 1, 0) == 1 && read(fd.fd, &count, sizeof(count)) < 0) {
            err(EXIT_FAILURE, "eventfd");
        }
    }
}

static void assign(int sock, int eventfd)
{
    const struct vfio_irq_set set = {
        .argsz = sizeof(set),
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFIO_PCI_INTX_IRQ_INDEX,
        .count = 1,
    };
    struct wire_frame frame;

    wire_frame_set(&frame, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), sizeof(frame.header));
    wire_exchange_fd(sock, &frame, eventfd);
}

/* --- raising one, against a write to an eventfd in the same process --- */

static void measure_trigger(struct field *field, enum contender who, const void *opaque,
                            double *values)
{
    struct order order = {
        .kind = ORDER_TRIGGER,
        .count = bench_count(field->bench, TRIGGER_COUNT),
    };

    for (size_t bare = 0; bare < 2; bare++) {
        double time;

        order.flags = bare ? ORDER_BARE : 0;
        time = guest_order(field->socks[who], &order);
        if (time < 0) {
            errx(EXIT_FAILURE, "interrupts: errno %d", (int)-time);
        }
        values[bare] = time / (double)order.count;
    }
}

static void triggers(struct field *field)
{
    struct tally tallies[2];

    field_run(field, rounds_of(field->bench), measure_trigger, NULL, tallies, 2);
    field_report(field, "ns", &tallies[0], &tallies[1], "interrupt trigger");
}

/* --- until somebody who waits for it runs, against a process that writes to an eventfd --- */

static void serve_bare(int sock, const void *opaque)
{
    static const uint64_t one = 1;
    const struct interrupts *interrupts = opaque;
    char order;

    while (recv(sock, &order, 1, 0) == 1) {
        uint64_t start = stats_now();

        do {
            *interrupts->raised = stats_now();
        } while (*interrupts->raised < start + ORDER_WAKE_NS);
        if (write(interrupts->eventfds[BARE], &one, sizeof(one)) != sizeof(one)) {
            return;
        }
    }
}

/* Has the interrupt raised in a while. */
static void order_wake(int sock, bool bare)
{
    static const struct order order = { .kind = ORDER_WAKE };
    struct wire_frame frame;

    wire_frame_write(&frame, ORDER_REGION, 0, &order, sizeof(order));
    frame.header.flags |= VFIO_USER_F_NO_REPLY;
    wire_send(sock, &frame.header, bare ? 1 : frame.header.msg_size);
}

static void measure_wake(struct field *field, enum contender who, const void *opaque,
                         double *values)
{
    static double samples[WAKE_COUNT];
    const struct interrupts *interrupts = opaque;
    size_t count = bench_count(field->bench, WAKE_COUNT);

    for (size_t i = 0; i < count; i++) {
        uint64_t interrupt_count, now;
        double raised;

        order_wake(field->socks[who], who == BARE);
        if (read(interrupts->eventfds[who], &interrupt_count, sizeof(interrupt_count)) < 0) {
            err(EXIT_FAILURE, "eventfd");
        }
        now = stats_now();
        raised = who == BARE ? (double)*interrupts->raised : guest_outcome(field->socks[who]);
        samples[i] = ((double)now - raised) / 1e3;
    }
    values[0] = stats_quantile(samples, count, 0.5);
}

static void wakes(struct field *field, const struct interrupts *interrupts)
{
    struct tally tally;
    char name[64];

    field_set_bare(field, BARE, serve_bare, interrupts);
    field_run(field, rounds_of(field->bench), measure_wake, interrupts, &tally, 1);
    snprintf(name, sizeof(name), "interrupt to wake-up, %s", placement_names[field->placement]);
    field_report(field, "us", &tally, NULL, name);
}

void bench_interrupts(const struct bench *bench)
{
    struct interrupts interrupts = {
        .raised =
            mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
    };

    if (interrupts.raised == MAP_FAILED) {
        err(EXIT_FAILURE, "interrupts");
    }
    for (enum contender who = BARE; who < CONTENDERS; who++) {
        interrupts.eventfds[who] = make_eventfd();
    }
    for (enum placement placement = ONE_PROCESSOR; placement < PLACEMENTS; placement++) {
        struct field field;

        if (!processors_allow(placement)) {
            continue;
        }
        field_open(&field, bench, placement, false);
        for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
            if (field.present[who]) {
                assign(field.socks[who], interrupts.eventfds[who]);
            }
        }
        if (placement == ONE_PROCESSOR) {
            triggers(&field);
            drain(&interrupts);
        }
        wakes(&field, &interrupts);
        field_close(&field);
    }
    for (enum contender who = BARE; who < CONTENDERS; who++) {
        close(interrupts.eventfds[who]);
    }
    munmap(interrupts.raised, sizeof(uint64_t));
}
