/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/server.h"
#include "bench/wire.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *const server_names[SERVER_KINDS] = {
    [SERVER_STANDALONE] = "standalone",
    [SERVER_BROKERED] = "broker",
    [SERVER_PEER] = "peer library",
};

static void write_policy(const char *path, const char *program, unsigned poll_us)
{
    FILE *file = fopen(path, "we");

    if (file == NULL) {
        err(EXIT_FAILURE, "%s", path);
    }
    fprintf(file,
            "{\"version\": 1, \"device\": {\"program\": \"%s\"}, \"dma\": {\"access\": \"rw\", "
            "\"max_regions\": 1000000, \"max_bytes\": \"4T\"}, \"jail\": {\"limits\": "
            "{\"memory\": \"1G\", \"requests_per_second\": 1000000}}, \"restart\": {\"max\": "
            "1000}, \"poll_us\": %u}\n",
            program, poll_us);
    if (fclose(file) != 0) {
        err(EXIT_FAILURE, "%s", path);
    }
}

/* In the child. Nothing of it outlives us. */
static _Noreturn void become(const char *const *argv, enum placement placement, unsigned poll_us,
                             const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    char text[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    processors_enter(placement);
    snprintf(text, sizeof(text), "%u", poll_us);
    setenv("VFU_POLL_US", text, 1);
    if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
        execv(argv[0], (char *const *)(uintptr_t)argv);
    }
    _exit(127);
}

void server_start(struct server *server, const struct bench *bench, enum server_kind kind,
                  enum placement placement, unsigned poll_us)
{
    char device[512], broker[512], policy[128], log[128];
    const char *argv[6] = { device, server->socket };

    snprintf(server->dir, sizeof(server->dir), "/tmp/vfu-bench-XXXXXX");
    if (mkdtemp(server->dir) == NULL) {
        err(EXIT_FAILURE, "%s", server->dir);
    }
    snprintf(server->socket, sizeof(server->socket), "%s/socket", server->dir);
    snprintf(device, sizeof(device), "%s/bench/bench-device", bench->build);
    snprintf(log, sizeof(log), "%s/log", server->dir);
    if (kind == SERVER_PEER) {
        argv[0] = bench->peer_device;
    } else if (kind == SERVER_BROKERED) {
        snprintf(broker, sizeof(broker), "%s/broker/vfu-broker", bench->build);
        snprintf(policy, sizeof(policy), "%s/policy.json", server->dir);
        write_policy(policy, device, poll_us);
        argv[0] = broker;
        argv[1] = "--policy";
        argv[2] = policy;
        argv[3] = "--sock";
        argv[4] = server->socket;
    }
    server->pid = fork();
    if (server->pid < 0) {
        err(EXIT_FAILURE, "fork");
    }
    if (server->pid == 0) {
        become(argv, placement, poll_us, log);
    }
}

static _Noreturn void complain(const struct server *server)
{
    char path[128], line[512];
    FILE *log;

    snprintf(path, sizeof(path), "%s/log", server->dir);
    log = fopen(path, "re");
    while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
        fputs(line, stderr);
    }
    errx(EXIT_FAILURE, "the server has ended");
}

static void pause_until_it_is_up(struct server *server)
{
    static const struct timespec pause = { .tv_nsec = 100000 };

    if (waitpid(server->pid, NULL, WNOHANG) != 0) {
        complain(server);
    }
    nanosleep(&pause, NULL);
}

void server_wait(struct server *server)
{
    while (access(server->socket, F_OK) < 0) {
        pause_until_it_is_up(server);
    }
}

int server_connect(struct server *server)
{
    int sock;

    while ((sock = wire_open(server->socket)) < 0) {
        pause_until_it_is_up(server);
    }
    wire_negotiate(sock);
    return sock;
}

void server_stop(struct server *server)
{
    char path[128];

    kill(server->pid, SIGTERM);
    waitpid(server->pid, NULL, 0);
    for (const char *const *name = (const char *const[]){ "socket", "policy.json", "log", NULL };
         *name != NULL; name++) {
        snprintf(path, sizeof(path), "%s/%s", server->dir, *name);
        unlink(path);
    }
    rmdir(server->dir);
}
