/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that come and go, and servers that start. */
#include "bench/bench.h"
#include "bench/echo.h"
#include "bench/report.h"
#include "bench/server.h"
#include "bench/stats.h"
#include "bench/wire.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 21
#define STARTS 11
#define IN_A_ROW 20
#define REST_MS 200 /* in which a broker has the next session sealed */

static size_t rounds_of(const struct bench *bench, size_t count)
{
    return bench->quick ? 1 : count;
}

static void rest(const struct bench *bench)
{
    const struct timespec time = { .tv_nsec = (bench->quick ? 10 : REST_MS) * 1000000l };

    nanosleep(&time, NULL);
}

/* --- the baseline: a process that accepts, answers once, and waits for the end --- */

struct listener {
    int sock;
    size_t reply_size;
};

static void serve_one(int sock, size_t reply_size)
{
    static char buffer[4096];
    struct vfio_user_header header;

    if (recv(sock, &header, sizeof(header), MSG_WAITALL) == sizeof(header) &&
        recv(sock, buffer, header.msg_size - sizeof(header), MSG_WAITALL) > 0) {
        header.msg_size = (uint32_t)reply_size;
        memcpy(buffer, &header, sizeof(header));
        if (send(sock, buffer, reply_size, MSG_NOSIGNAL) > 0) {
            recv(sock, buffer, 1, 0);
        }
    }
}

static void serve(int control, const void *opaque)
{
    const struct listener *listener = opaque;
    int sock;

    while ((sock = accept4(listener->sock, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        serve_one(sock, listener->reply_size);
        close(sock);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(sock, 1) < 0) {
        err(EXIT_FAILURE, "%s", path);
    }
    return sock;
}

/* --- a connection set up --- */

/* Microseconds until VERSION is answered. */
static double set_up(const char *path)
{
    uint64_t start = stats_now();
    int sock = wire_open(path);

    if (sock < 0) {
        err(EXIT_FAILURE, "%s", path);
    }
    wire_negotiate(sock);
    start = stats_now() - start;
    close(sock);
    return (double)start / 1e3;
}

static size_t size_of_reply(const char *path)
{
    int sock = wire_open(path);
    size_t size = wire_negotiate(sock);

    close(sock);
    return size;
}

static void connections(const struct bench *bench)
{
    enum server_kind end = bench->peer_device != NULL ? SERVER_KINDS : SERVER_PEER;
    struct series bare = { .count = 0 }, series[SERVER_KINDS] = { { .count = 0 } };
    struct server servers[SERVER_KINDS];
    struct listener listener;
    struct echo echo;
    char path[96];

    for (enum server_kind kind = SERVER_STANDALONE; kind < end; kind++) {
        server_start(&servers[kind], bench, kind, ONE_PROCESSOR, 0);
        close(server_connect(&servers[kind])); /* they listen */
    }
    snprintf(path, sizeof(path), "%s/bare", servers[SERVER_STANDALONE].dir);
    listener.reply_size = size_of_reply(servers[SERVER_STANDALONE].socket);
    listener.sock = listen_at(path);
    echo_spawn(&echo, ONE_PROCESSOR, serve, &listener);
    for (size_t round = 0; round <= rounds_of(bench, ROUNDS); round++) {
        double time;

        rest(bench);
        time = set_up(path);
        if (round > 0) {
            series_add(&bare, time);
        }
        for (enum server_kind kind = SERVER_STANDALONE; kind < end; kind++) {
            time = set_up(servers[kind].socket);
            if (round > 0) {
                series_add(&series[kind], time);
            }
        }
    }
    for (enum server_kind kind = SERVER_STANDALONE; kind < end; kind++) {
        report_series("us", &series[kind], &bare, "connection set-up: %s", server_names[kind]);
    }
    if (end == SERVER_KINDS) {
        report_series("us", &series[SERVER_STANDALONE], &series[SERVER_PEER],
                      "connection set-up: standalone against peer library");
    }
    echo_stop(&echo);
    close(listener.sock);
    unlink(path);
    for (enum server_kind kind = SERVER_STANDALONE; kind < end; kind++) {
        server_stop(&servers[kind]);
    }
}

/* Without a rest each one waits until a gate and a device process have been started for it. */
static void connections_in_a_row(const struct bench *bench)
{
    size_t count = bench_count(bench, IN_A_ROW);
    struct series series = { .count = 0 };
    struct server server;

    server_start(&server, bench, SERVER_BROKERED, ANYWHERE, 0);
    close(server_connect(&server));
    for (size_t i = 0; i <= count; i++) {
        double time = set_up(server.socket);

        if (i > 0) {
            series_add(&series, time / 1e3);
        }
    }
    report_series("ms", &series, NULL, "connection set-up, no session waits: broker");
    server_stop(&server);
}

/* --- servers that start --- */

static double start_up(const struct bench *bench, enum server_kind kind)
{
    uint64_t start = stats_now();
    struct server server;
    int sock;

    server_start(&server, bench, kind, ANYWHERE, 0);
    sock = server_connect(&server);
    start = stats_now() - start;
    close(sock);
    server_stop(&server);
    return (double)start / 1e6;
}

static void starts(const struct bench *bench)
{
    struct series standalone = { .count = 0 }, broker = { .count = 0 };

    for (size_t round = 0; round <= rounds_of(bench, STARTS); round++) {
        double alone = start_up(bench, SERVER_STANDALONE);
        double jailed = start_up(bench, SERVER_BROKERED);

        if (round > 0) {
            series_add(&standalone, alone);
            series_add(&broker, jailed);
        }
    }
    report_series("ms", &standalone, NULL, "start to first reply: standalone");
    report_series("ms", &broker, &standalone, "start to first reply: broker against standalone");
}

void bench_sessions(const struct bench *bench)
{
    connections(bench);
    connections_in_a_row(bench);
    starts(bench);
}
