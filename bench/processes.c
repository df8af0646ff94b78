/* SPDX-License-Identifier: BSD-3-Clause */
/* Many jailed devices, each with a broker of its own: starting, memory, and what they do at rest.
 */
#include "bench/bench.h"
#include "bench/procfs.h"
#include "bench/report.h"
#include "bench/server.h"
#include "bench/stats.h"
#include "bench/wire.h"

#include <err.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEVICES_MAX 1000
#define IN_USE_MAX 100
#define PROCESSES_MAX (5 * DEVICES_MAX) /* a supervisor, two gates, two device processes */
#define MEBI 1024.0                     /* KiB */

struct crowd {
    const struct bench *bench;
    size_t count;
    struct server servers[DEVICES_MAX];
    int socks[IN_USE_MAX];
    size_t process_count;
    pid_t pids[PROCESSES_MAX];
};

static void rest(const struct bench *bench, unsigned seconds)
{
    const struct timespec time = {
        .tv_sec = bench->quick ? 0 : seconds,
        .tv_nsec = bench->quick ? 50000000 : 0,
    };

    nanosleep(&time, NULL);
}

static void start(struct crowd *crowd)
{
    uint64_t time = stats_now();

    for (size_t i = 0; i < crowd->count; i++) {
        server_start(&crowd->servers[i], crowd->bench, SERVER_BROKERED, ANYWHERE, SERVER_POLL_US);
    }
    for (size_t i = 0; i < crowd->count; i++) {
        server_wait(&crowd->servers[i]);
    }
    report_value("ms", (double)(stats_now() - time) / 1e6 / (double)crowd->count,
                 "%zu jailed devices started at once, each", crowd->count);
}

static void list(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->count; i++) {
        crowd->pids[i] = crowd->servers[i].pid;
    }
    crowd->process_count = procfs_add_descendants(crowd->pids, crowd->count, PROCESSES_MAX);
}

static void report_memory(const struct crowd *crowd, const char *what)
{
    int64_t sum = 0;

    for (size_t i = 0; i < crowd->process_count; i++) {
        int64_t size = procfs_memory(crowd->pids[i], "Private_");

        if (size < 0) {
            report_missing("takes root", "%zu %s jailed devices, private memory of each",
                           crowd->count, what);
            return;
        }
        sum += size;
    }
    report_value("MiB", (double)sum / MEBI / (double)crowd->count,
                 "%zu %s jailed devices, private memory of each", crowd->count, what);
}

static int64_t time_of(const struct crowd *crowd)
{
    int64_t sum = 0;

    for (size_t i = 0; i < crowd->process_count; i++) {
        sum += procfs_time(crowd->pids[i]);
    }
    return sum;
}

static void report_time(const struct crowd *crowd, const char *what)
{
    int64_t before = time_of(crowd);
    uint64_t start_time = stats_now();

    rest(crowd->bench, 5);
    report_value("%",
                 100.0 * (double)(time_of(crowd) - before) / (double)(stats_now() - start_time),
                 "%zu %s jailed devices, processor time of all", crowd->count, what);
}

static void look(struct crowd *crowd, const char *what)
{
    rest(crowd->bench, 2);
    list(crowd);
    report_time(crowd, what);
    report_memory(crowd, what);
}

/* Each has a client that has had a reply, and says nothing more. */
static void use(struct crowd *crowd)
{
    struct wire_frame frame;

    wire_frame_read(&frame, 0, 0, 4);
    for (size_t i = 0; i < crowd->count; i++) {
        crowd->socks[i] = server_connect(&crowd->servers[i]);
        wire_exchange(crowd->socks[i], &frame);
    }
    look(crowd, "used but idle");
    for (size_t i = 0; i < crowd->count; i++) {
        close(crowd->socks[i]);
    }
}

void bench_processes(const struct bench *bench)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));

    if (crowd == NULL) {
        err(EXIT_FAILURE, "processes");
    }
    crowd->bench = bench;
    for (crowd->count = 1; crowd->count <= (bench->quick ? 1 : DEVICES_MAX);
         crowd->count *= crowd->count == 1 ? 100 : 10) {
        start(crowd);
        look(crowd, "idle");
        if (crowd->count <= IN_USE_MAX) {
            use(crowd);
        }
        for (size_t i = 0; i < crowd->count; i++) {
            server_stop(&crowd->servers[i]);
        }
    }
    free(crowd);
}
