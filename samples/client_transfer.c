/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast the device's state goes out of it and into it, beside plain writes of as much, in pieces
 * of the same size, by the same two processes through the same socket. Turns take place one after
 * the other, and each is compared with itself: other work of the machine slows all of it down.
 *
 * What a socket carries between two processes that do nothing with the bytes is measured too. It is
 * out of reach: state is copied once more on its way, out of the device's memory or into it.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define TURNS 21
#define PIECE VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE
#define AHEAD 2 /* commands on their way */

struct measurement {
    struct vfu_client *client;
    uint64_t data_size; /* of the device's memory */
    uint8_t *state;     /* room for all of it, and more */
    uint64_t room;
    uint64_t size; /* of the state */
    int reader;    /* socket of the process that only reads */
};

enum kind { PLAIN, READ, WRITE, BARE, KINDS };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t piece_at(uint64_t at, uint64_t size)
{
    return size - at < PIECE ? (uint32_t)(size - at) : PIECE;
}

/* The last one is answered when all have been done. */
static uint64_t write_plainly(struct measurement *m)
{
    for (uint64_t at = 0; at < m->data_size; at += PIECE) {
        uint32_t n = piece_at(at, m->data_size);
        bool last = at + n == m->data_size;

        must((last ? vfu_client_region_write : vfu_client_region_post)(m->client, SERVER_DATA_BAR,
                                                                       at, m->state + at, n),
             "REGION_WRITE");
    }
    return m->data_size;
}

static void set_state(struct measurement *m, uint32_t state)
{
    must(vfu_client_migration_set_state(m->client, state), "DEVICE_FEATURE");
}

/* @keep: for write_state(); a VMM passes it on and keeps nothing. */
static uint64_t read_state(struct measurement *m, bool keep)
{
    uint16_t ids[AHEAD];
    uint64_t size = 0;
    uint32_t n = PIECE;

    for (int i = 0; i < AHEAD; i++) {
        must(vfu_client_migration_submit_read(m->client, PIECE, &ids[i]), "MIG_DATA_READ");
    }
    for (int i = 0; n == PIECE; i = (i + 1) % AHEAD) {
        struct vfu_client_message reply = { .size = 0 };
        const uint8_t *data;

        must(vfu_client_migration_collect_read(m->client, ids[i], PIECE, &reply, &data, &n),
             "MIG_DATA_READ");
        if (n == PIECE) {
            must(vfu_client_migration_submit_read(m->client, PIECE, &ids[i]), "MIG_DATA_READ");
        } else {
            vfu_client_forget(m->client, ids[(i + 1) % AHEAD]);
        }
        if (keep && size + n <= m->room) {
            memcpy(m->state + size, data, n);
        }
        size += n;
        vfu_client_message_recycle(m->client, &reply);
    }
    return size;
}

static uint64_t write_state(struct measurement *m)
{
    uint16_t ids[AHEAD];
    uint64_t count = 0;

    for (uint64_t at = 0; at < m->size; at += PIECE, count++) {
        if (count >= AHEAD) {
            must(vfu_client_collect(m->client, ids[count % AHEAD], NULL), "MIG_DATA_WRITE");
        }
        must(vfu_client_migration_submit_write(m->client, m->state + at, piece_at(at, m->size),
                                               &ids[count % AHEAD]),
             "MIG_DATA_WRITE");
    }
    for (uint64_t i = count < AHEAD ? 0 : count - AHEAD; i < count; i++) {
        must(vfu_client_collect(m->client, ids[i % AHEAD], NULL), "MIG_DATA_WRITE");
    }
    return m->size;
}

/* A process that says when it has read as much as there is in the device. */
static int start_reader(uint64_t size)
{
    static uint8_t buffer[PIECE];
    uint64_t seen = 0;
    int pair[2];
    ssize_t n;
    pid_t pid = -1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 || (pid = fork()) < 0) {
        must(-errno, "a process to compare with");
    }
    if (pid > 0) {
        close(pair[1]);
        return pair[0];
    }
    close(pair[0]);
    while ((n = read(pair[1], buffer, sizeof(buffer))) > 0) {
        seen += (uint64_t)n;
        if (seen == size) {
            seen = 0;
            n = write(pair[1], "", 1);
        }
    }
    _exit(0);
}

static uint64_t write_bare(struct measurement *m)
{
    char answer;

    for (uint64_t at = 0; at < m->data_size;) {
        ssize_t n = write(m->reader, m->state + at, piece_at(at, m->data_size));

        must(n < 0 ? -errno : 0, "writing");
        at += (uint64_t)n;
    }
    must(read(m->reader, &answer, 1) == 1 ? 0 : -EPIPE, "reading");
    return m->data_size;
}

static uint64_t do_one(struct measurement *m, enum kind kind)
{
    switch (kind) {
    case PLAIN:
        return write_plainly(m);
    case READ:
        return read_state(m, false);
    case WRITE:
        return write_state(m);
    default:
        return write_bare(m);
    }
}

/* Bytes a second. The state that is written is the one that the device has. */
static double measure(struct measurement *m, enum kind kind)
{
    double start;
    uint64_t bytes;

    if (kind == READ) {
        set_state(m, VFIO_USER_DEVICE_STATE_STOP_COPY);
    } else if (kind == WRITE) {
        set_state(m, VFIO_USER_DEVICE_STATE_STOP_COPY);
        m->size = read_state(m, true);
        must(m->size <= m->room ? 0 : -E2BIG, "the device's state");
        set_state(m, VFIO_USER_DEVICE_STATE_RESUMING);
    }
    start = now();
    bytes = do_one(m, kind);
    start = now() - start;
    if (kind == READ || kind == WRITE) {
        set_state(m, VFIO_USER_DEVICE_STATE_RUNNING);
    }
    return (double)bytes / start;
}

static int compare(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double median(const double *values)
{
    double sorted[TURNS];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, TURNS, sizeof(*sorted), compare);
    return sorted[TURNS / 2];
}

/* The median of what @kind is to plain writes in the same turn. */
static double ratio(double rates[KINDS][TURNS], enum kind kind)
{
    double ratios[TURNS];

    for (int i = 0; i < TURNS; i++) {
        ratios[i] = rates[kind][i] / rates[PLAIN][i];
    }
    return median(ratios);
}

static void print_results(double rates[KINDS][TURNS], uint64_t bytes, bool json)
{
    static const char *const names[] = { "REGION_WRITE, plain", "MIG_DATA_READ", "MIG_DATA_WRITE",
                                         "a bare socket" };
    static const char *const keys[] = { "plain", "read", "write", "bare" };
    char text[32];

    say("%s of state in pieces of %s, medians of %d turns:", size_text(bytes, text), "1 MiB",
        TURNS);
    for (enum kind kind = PLAIN; kind < KINDS; kind++) {
        double rate = median(rates[kind]);

        if (json) {
            printf("%s\"%s\":{\"bytes_per_second\":%.0f,\"to_plain\":%.3f}",
                   kind == PLAIN ? "{" : ",", keys[kind], rate, ratio(rates, kind));
        }
        say("  %-20s %s/s, %.2f of plain writes", names[kind], size_text((uint64_t)rate, text),
            ratio(rates, kind));
    }
    if (json) {
        printf(",\"bytes\":%llu,\"turns\":%d}\n", (unsigned long long)bytes, TURNS);
    }
}

void report_transfer(struct vfu_client *client, bool json)
{
    static double rates[KINDS][TURNS];
    struct measurement m = { .client = client,
                             .data_size = get_register(client, SERVER_REG_DATA_SIZE) };

    m.reader = start_reader(m.data_size);
    m.room = m.data_size + m.data_size / 16 + PIECE;
    m.state = malloc(m.room);
    must(m.state != NULL ? 0 : -ENOMEM, "memory");
    memset(m.state, 1, m.room);
    for (int turn = -1; turn < TURNS; turn++) { /* one to warm up */
        for (enum kind kind = PLAIN; kind < KINDS; kind++) {
            double rate = measure(&m, kind);

            if (turn >= 0) {
                rates[kind][turn] = rate;
            }
        }
    }
    print_results(rates, m.size, json);
    free(m.state);
    close(m.reader);
    wait(NULL);
}
