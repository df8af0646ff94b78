/* SPDX-License-Identifier: BSD-3-Clause */
/* Server processes of the protocol tests: starting, watching and ending them. */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PROCESSES 256

static const char *need(const char *variable)
{
    const char *value = getenv(variable);

    if (value == NULL) {
        fail_msg("the environment does not name %s", variable);
    }
    return value;
}

/* --- starting --- */

static void create_directory(struct server *server)
{
    const char *base = getenv("TMPDIR");

    snprintf(server->dir, sizeof(server->dir), "%s/protocol-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(server->dir));
    snprintf(server->socket, sizeof(server->socket), "%s/socket", server->dir);
    snprintf(server->log, sizeof(server->log), "%s/log", server->dir);
}

/* In the child. It does not outlive the test, whatever becomes of that. */
static _Noreturn void become_server(const struct server *server, char *const *argv, pid_t parent)
{
    int null = open("/dev/null", O_RDWR);
    int log = open(server->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && null >= 0 && log >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
        dup2(null, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0) {
        close(null);
        close(log);
        if (server->mode == SERVER_BROKERED) {
            /* A gate built with sanitizers is not allowed the calls that look for leaks. */
            setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        }
        execv(argv[0], argv);
    }
    _exit(127);
}

/* What the policy tells the device program under the broker, we tell it standalone. */
static const char *device_option(const char *policy)
{
    if (strcmp(policy, "no-dma") == 0) {
        return "--no-dma";
    }
    if (strcmp(policy, "capabilities") == 0) {
        return "--capabilities";
    }
    if (strcmp(policy, "migration") == 0) {
        return "--migration";
    }
    if (strcmp(policy, "gpio-loopback") == 0) {
        return "--loopback";
    }
    return strstr(policy, "polling") != NULL ? "--polling" : NULL;
}

void server_start(struct server *server, const char *policy)
{
    server_start_as(server, harness_mode(), NULL, policy);
}

void server_start_as(struct server *server, enum server_mode mode, const char *device,
                     const char *policy)
{
    const char *argv[8] = { NULL };
    char policy_file[512];
    pid_t parent = getpid();
    size_t n = 0;

    *server = (struct server){ .mode = mode };
    create_directory(server);
    if (server->mode == SERVER_STANDALONE) {
        argv[n++] = device != NULL ? device : need("TEST_DEVICE");
        if (device_option(policy) != NULL) {
            argv[n++] = device_option(policy);
        }
        argv[n++] = server->socket;
    } else {
        snprintf(policy_file, sizeof(policy_file), "%s/%s.json", need("TEST_POLICIES"), policy);
        argv[n++] = need("TEST_BROKER");
        argv[n++] = "--policy";
        argv[n++] = policy_file;
        argv[n++] = "--sock";
        argv[n++] = server->socket;
    }
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        become_server(server, (char *const *)argv, parent);
    }
}

static void print_log(const struct server *server)
{
    AUTO_FD fd = open(server->log, O_RDONLY | O_CLOEXEC);
    char text[4096];
    ssize_t n;

    fprintf(stderr, "--- log of the server ---\n");
    while (fd >= 0 && (n = read(fd, text, sizeof(text))) > 0) {
        fwrite(text, 1, (size_t)n, stderr);
    }
    fprintf(stderr, "--- end of the log ---\n");
}

/* Collects it if it has ended. */
static bool has_ended(struct server *server, int *status)
{
    pid_t pid = waitpid(server->pid, status, WNOHANG);

    assert_true(pid >= 0);
    return pid > 0;
}

struct vfu_client *server_connect(struct server *server)
{
    int64_t deadline = harness_now_ms() + HARNESS_DEADLINE_MS;
    struct vfu_client *client = NULL;
    int status = 0;
    int err;

    while ((err = vfu_client_connect(server->socket, HARNESS_DEADLINE_MS, &client)) < 0) {
        bool ended = has_ended(server, &status);

        if (ended || (err != -ENOENT && err != -ECONNREFUSED) || harness_now_ms() > deadline) {
            server->pid = ended ? 0 : server->pid;
            print_log(server);
            fail_msg("no connection: %s; server %s, status %#x", strerror(-err),
                     ended ? "has ended" : "runs", (unsigned)status);
        }
        harness_pause();
    }
    return client;
}

struct vfu_client *server_negotiate(struct server *server)
{
    struct vfu_client *client = server_connect(server);

    assert_int_equal(vfu_client_negotiate(client), 0);
    return client;
}

/* --- ending --- */

int server_wait(struct server *server)
{
    int status = 0;

    expect_eventually(has_ended(server, &status));
    server->pid = 0;
    return status;
}

/* A signal that comes between a program's look at its flag and its next wait goes unseen. */
static bool has_ended_of_signal(struct server *server, int *status)
{
    if (has_ended(server, status)) {
        return true;
    }
    kill(server->pid, SIGTERM);
    return false;
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static void remove_files(struct server *server)
{
    unlink(server->log);
    unlink(server->socket);
    rmdir(server->dir);
}

void server_stop(struct server *server)
{
    pid_t pids[MAX_PROCESSES];
    size_t count = 0;
    int status = 0;

    if (server->pid != 0) {
        count = server_processes(server, pids, MAX_PROCESSES);
        expect_eventually(has_ended_of_signal(server, &status));
        server->pid = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            print_log(server);
            remove_files(server);
            fail_msg("the server ended with status %#x", (unsigned)status);
        }
        if (access(server->socket, F_OK) == 0) {
            remove_files(server);
            fail_msg("the server left its socket behind");
        }
    }
    remove_files(server);
    for (size_t i = 0; i < count; i++) {
        expect_eventually(is_gone(pids[i]));
    }
}

/* --- watching --- */

bool server_logged(const struct server *server, const char *text)
{
    AUTO_FD fd = open(server->log, O_RDONLY | O_CLOEXEC);
    static char log[1 << 20];
    size_t size = 0;
    ssize_t n;

    while (fd >= 0 && size < sizeof(log) && (n = read(fd, log + size, sizeof(log) - size)) > 0) {
        size += (size_t)n;
    }
    return memmem(log, size, text, strlen(text)) != NULL;
}

void server_expect_log(const struct server *server, const char *text)
{
    server_expect_either_log(server, text, text);
}

void server_expect_either_log(const struct server *server, const char *text, const char *other)
{
    int64_t deadline = harness_now_ms() + HARNESS_DEADLINE_MS;

    while (!server_logged(server, text) && !server_logged(server, other)) {
        if (harness_now_ms() > deadline) {
            print_log(server);
            fail_msg("the server never logged \"%s\" or \"%s\"", text, other);
        }
        harness_pause();
    }
}

struct process {
    pid_t pid;
    pid_t parent;
    char state;
};

static bool read_process(const char *pid, struct process *process)
{
    char path[64], text[512];
    AUTO_FD fd = -1;
    const char *after_name;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    after_name = strrchr(text, ')'); /* the name may hold anything */
    process->pid = atoi(pid);
    return after_name != NULL &&
           sscanf(after_name + 1, " %c %d", &process->state, &process->parent) == 2;
}

static size_t list_processes(struct process *list, size_t max)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t count = 0;

    assert_non_null(proc);
    while ((entry = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) && count < max &&
            read_process(entry->d_name, &list[count])) {
            count++;
        }
    }
    closedir(proc);
    return count;
}

static bool contains(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

size_t server_processes(const struct server *server, pid_t *pids, size_t max)
{
    static struct process all[32768];
    size_t total = list_processes(all, sizeof(all) / sizeof(all[0]));
    size_t count = 0, before;

    pids[count++] = server->pid;
    do {
        before = count;
        for (size_t i = 0; i < total && count < max; i++) {
            if (all[i].state != 'Z' && contains(pids, count, all[i].parent) &&
                !contains(pids, count, all[i].pid)) {
                pids[count++] = all[i].pid;
            }
        }
    } while (count > before);
    return count;
}

bool server_is_device(pid_t pid)
{
    char path[64], name[32] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(name, sizeof(name), file));
    fclose(file);
    return strncmp(name, "test-device", strlen("test-device")) == 0;
}

/*
 * What an ordinary user can see of a process that hides its descriptors, and of whose memory the
 * user is not the owner (a gate): how many its table has room for. That never shrinks after the
 * most that one message can bring; a thousand leaks make it grow beyond.
 */
static size_t excess_of_table(pid_t pid)
{
    char path[64], line[256];
    size_t size = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "FDSize: %zu", &size) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return size > 2 * FD_LIST_MAX + 6 ? size : 0;
}

/* 0 if the process ends meanwhile. Unlike fd, fdinfo asks only whether one may trace. */
static size_t descriptors_of(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
    dir = opendir(path);
    if (dir == NULL) {
        return errno == EACCES || errno == EPERM ? excess_of_table(pid) : 0;
    }
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

size_t own_descriptors(void)
{
    return descriptors_of(getpid()) - 1; /* the one that looks */
}

struct census {
    size_t processes;
    pid_t pids[MAX_PROCESSES];
    size_t descriptors;
};

static void take_census(const struct server *server, struct census *census)
{
    memset(census, 0, sizeof(*census));
    census->processes = server_processes(server, census->pids, MAX_PROCESSES);
    for (size_t i = 0; i < census->processes; i++) {
        census->descriptors += descriptors_of(census->pids[i]);
    }
}

size_t server_descriptors(const struct server *server)
{
    int64_t deadline = harness_now_ms() + HARNESS_DEADLINE_MS;
    struct census last, now;
    int same = 0;

    take_census(server, &last);
    while (same < 50) {
        harness_pause();
        take_census(server, &now);
        same = memcmp(&now, &last, sizeof(now)) == 0 ? same + 1 : 0;
        last = now;
        if (harness_now_ms() > deadline) {
            fail_msg("the server's processes never came to rest");
        }
    }
    return last.descriptors;
}

void server_expect_descriptors(const struct server *server, size_t count)
{
    int64_t deadline = harness_now_ms() + HARNESS_DEADLINE_MS;
    struct census now;

    do {
        harness_pause();
        take_census(server, &now);
    } while (now.descriptors != count && harness_now_ms() < deadline);
    assert_int_equal(now.descriptors, count);
}
