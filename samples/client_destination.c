/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination: a vfu-broker of its own, started as a manager of virtual machines would. */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define START_SECONDS 30

/* A program in BUILD/samples finds BUILD/broker and BUILD/policy. False: it is not in one. */
static bool find_in_build_tree(const char *name, char *path, size_t size)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n < 0) {
        return false;
    }
    self[n] = '\0';
    for (int i = 0; i < 2; i++) {
        slash = strrchr(self, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    n = snprintf(path, size, "%s/%s", self, name);
    return n > 0 && (size_t)n < size && access(path, R_OK) == 0;
}

static _Noreturn void become_broker(const struct destination *destination,
                                    const struct options *options, pid_t parent)
{
    char broker[4200], policy[4200];
    const char *argv[] = { options->broker, "--policy",          options->policy,
                           "--sock",        destination->socket, NULL };

    if (argv[0] == NULL) {
        argv[0] =
            find_in_build_tree("broker/vfu-broker", broker, sizeof(broker)) ? broker : "vfu-broker";
    }
    if (argv[2] == NULL) {
        argv[2] = find_in_build_tree("policy/server.json", policy, sizeof(policy))
                      ? policy
                      : INSTALLED_POLICY;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && freopen(destination->log, "w", stderr) != NULL) {
        execvp(argv[0], (char *const *)argv);
        warn("%s", argv[0]);
        fflush(stderr);
    }
    _exit(127);
}

static void start(struct destination *destination, const struct options *options)
{
    pid_t parent = getpid();

    snprintf(destination->dir, sizeof(destination->dir), "/tmp/vfu-client-XXXXXX");
    if (mkdtemp(destination->dir) == NULL) {
        err(EXIT_FAILURE, "%s", destination->dir);
    }
    snprintf(destination->socket, sizeof(destination->socket), "%s/socket", destination->dir);
    snprintf(destination->log, sizeof(destination->log), "%s/log", destination->dir);
    destination->pid = fork();
    if (destination->pid < 0) {
        err(EXIT_FAILURE, "fork");
    }
    if (destination->pid == 0) {
        become_broker(destination, options, parent);
    }
}

/* The broker binds its socket when a sealed device waits for a client. */
static int connect_to_it(struct destination *destination, struct vfu_client **client)
{
    time_t deadline = time(NULL) + START_SECONDS;
    int result;

    while ((result = vfu_client_connect(destination->socket, VFU_CLIENT_TIMEOUT_MS, client)) != 0) {
        if ((result != -ENOENT && result != -ECONNREFUSED) || time(NULL) > deadline) {
            return result;
        }
        if (waitpid(destination->pid, NULL, WNOHANG) == destination->pid) {
            destination->pid = 0;
            return -ECHILD;
        }
        poll(NULL, 0, 5);
    }
    return 0;
}

/* What the broker had to say. */
static void show_log(const struct destination *destination)
{
    FILE *file = fopen(destination->log, "re");
    char line[512];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        fputs(line, stderr);
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* The program may end anywhere. */
static struct destination *open_destination;

static void close_at_exit(void)
{
    if (open_destination != NULL) {
        destination_close(open_destination);
    }
}

struct vfu_client *destination_open(struct destination *destination, const struct options *options)
{
    struct vfu_client *client = NULL;
    int result;

    *destination = (struct destination){ .pid = 0 };
    if (open_destination == NULL) {
        atexit(close_at_exit);
    }
    open_destination = destination;
    if (options->to != NULL) {
        result = vfu_client_connect(options->to, VFU_CLIENT_TIMEOUT_MS, &client);
    } else {
        start(destination, options);
        result = connect_to_it(destination, &client);
    }
    if (result == 0) {
        result = vfu_client_negotiate(client);
    }
    if (result != 0) {
        show_log(destination);
        destination_close(destination);
        errx(EXIT_FAILURE, "no destination: %s",
             result == -ECHILD ? "the broker for it has ended" : strerror(abs(result)));
    }
    return client;
}

void destination_close(struct destination *destination)
{
    if (destination->pid > 0) {
        kill(destination->pid, SIGTERM);
        waitpid(destination->pid, NULL, 0);
    }
    if (destination->dir[0] != '\0') {
        unlink(destination->socket);
        unlink(destination->log);
        rmdir(destination->dir);
    }
    *destination = (struct destination){ .pid = 0 };
}
