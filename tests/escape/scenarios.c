/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/escape/scenarios.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PROCESSES 16

bool nobody_is_left(void)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    pid_t pid = 0;

    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0) {
        if (pid == 0 && now_ms() > deadline) {
            return complain("a process lives on");
        }
        if (pid == 0) {
            pause_briefly();
        }
    }
    return errno == ECHILD;
}

/* --- a broker that is killed ---------------------------------------------------------------- */

struct processes {
    size_t count;
    int pidfds[MAX_PROCESSES];
};

static void add_process(struct processes *processes, pid_t pid)
{
    int pidfd = pidfd_open(pid, 0);

    if (pidfd >= 0 && processes->count < MAX_PROCESSES) {
        processes->pidfds[processes->count++] = pidfd;
    }
}

/* Gates and device processes that the broker has started. */
static struct processes processes_of(const struct broker *broker)
{
    struct processes processes = { .count = 0 };
    char *text = broker_log(broker);

    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        unsigned session;
        pid_t device, gate;

        if (sscanf(line, "info session-start session=%u device=%d gate=%d", &session, &device,
                   &gate) == 3) {
            add_process(&processes, device);
            add_process(&processes, gate);
        }
    }
    free(text);
    return processes;
}

/* How many of them have ended. Waits up to @timeout_ms for each. */
static size_t ended(const struct processes *processes, int timeout_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < processes->count; i++) {
        struct pollfd fd = { .fd = processes->pidfds[i], .events = POLLIN };

        count += poll(&fd, 1, timeout_ms) == 1;
    }
    return count;
}

/* Those that live, against all expectation, do not outlive the test. */
static void forget(struct processes *processes)
{
    for (size_t i = 0; i < processes->count; i++) {
        pidfd_send_signal(processes->pidfds[i], SIGKILL, NULL, 0);
        fd_close(&processes->pidfds[i]);
    }
    processes->count = 0;
}

/* The device process of @visit does not look at its channel any more. */
static bool make_deaf(const struct broker *broker, const struct visit *visit)
{
    static const struct vfio_user_region_access access = { .offset = REGISTER_STAY, .count = 1 };
    const struct vfu_client_request request = {
        .command = VFIO_USER_REGION_WRITE,
        .head = &access,
        .head_size = sizeof(access),
        .data = "",
        .data_size = 1,
    };
    char line[128];
    uint16_t id;

    snprintf(line, sizeof(line), "info device-log session=%u text=\"" STAY_TEXT "\"\n",
             visit->session);
    return vfu_client_submit(visit->client, &request, &id) == 0 &&
           broker_await_line(broker, visit->log_start, line, line, sizeof(line));
}

/*
 * One session serves, the other one waits: two device processes and two gates. The first device
 * process does not notice anything.
 */
static bool kill_broker(const char *build)
{
    struct broker broker;
    struct processes processes = { .count = 0 };
    struct visit visit = { .client = NULL };
    char line[128];
    bool good =
        broker_start(&broker, build, "") && broker_visit(&broker, &visit) &&
        broker_await_line(&broker, 0, "info session-start session=2 ", line, sizeof(line)) &&
        make_deaf(&broker, &visit);

    if (good) {
        processes = processes_of(&broker);
        if (processes.count != 4 || ended(&processes, 0) != 0) {
            good = complain("%zu processes, %zu of them have ended", processes.count,
                            ended(&processes, 0));
        }
        kill(broker.pid, SIGKILL);
        if (good && ended(&processes, DEADLINE_MS) != processes.count) {
            good = complain("a process outlives the broker");
        }
    }
    forget(&processes);
    visit_end(&visit);
    broker_clean(&broker);
    return nobody_is_left() && good;
}

/* Before the first session is sealed: the jail is still being built. */
static bool kill_starting_broker(const char *build)
{
    struct broker broker;
    struct processes processes;
    bool good;

    good = broker_launch(&broker, build, "") &&
           broker_await_line(&broker, 0, "info session-start session=1 ", (char[128]){ 0 }, 128);
    processes = processes_of(&broker);
    kill(broker.pid, SIGKILL);
    if (good && ended(&processes, DEADLINE_MS) != processes.count) {
        good = complain("a process outlives the broker");
    }
    forget(&processes);
    broker_clean(&broker);
    return nobody_is_left() && good;
}

/* --- a look from outside -------------------------------------------------------------------- */

/* The value of @field in a file of /proc that has one in each line. */
static bool proc_line(pid_t pid, const char *name, const char *field, char *value, size_t size)
{
    char path[64];
    char line[256];
    FILE *file;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        found = strncmp(line, field, strlen(field)) == 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
    snprintf(value, size, "%s", found ? line + strlen(field) : "");
    return found;
}

/* What is not dumpable belongs to root in /proc, whoever runs it (proc(5)). */
static bool expect_no_dump(pid_t pid)
{
    char path[64];
    char value[256];
    unsigned soft, hard;
    struct stat st;

    if (!proc_line(pid, "limits", "Max core file size", value, sizeof(value)) ||
        sscanf(value, "%u %u", &soft, &hard) != 2 || soft != 0 || hard != 0) {
        return complain("limit of core files of %d: %s", pid, value);
    }
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    if (stat(path, &st) < 0 || st.st_uid != 0 ||
        !proc_line(pid, "status", "Uid:\t", value, sizeof(value)) || atoi(value) == 0) {
        return complain("%d is dumpable: uid %s, /proc belongs to %u", pid, value, st.st_uid);
    }
    return true;
}

/* Neither by a core file, nor by a handler of core files, nor by a debugger of the same user. */
static bool no_dump(const char *build)
{
    struct broker broker;
    struct visit visit = { .client = NULL };
    unsigned session;
    pid_t device, gate;
    char line[128];
    bool good = broker_start(&broker, build, "") && broker_visit(&broker, &visit) &&
                broker_await_line(&broker, 0, "info session-start session=1 ", line, sizeof(line));

    good = good &&
           sscanf(line, "info session-start session=%u device=%d gate=%d", &session, &device,
                  &gate) == 3 &&
           expect_no_dump(device) && expect_no_dump(gate);
    visit_end(&visit);
    good = good && broker_stop(&broker);
    broker_clean(&broker);
    return nobody_is_left() && good;
}

const struct scenario scenarios[] = {
    { "kill-broker", "parent-death signal", "4 processes end", kill_broker },
    { "kill-starting-broker", "parent-death signal", "all processes end", kill_starting_broker },
    { "no-dump", "not dumpable", "no core, no debugger", no_dump },
};
const size_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
