/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/escape/broker.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_MAX (4u << 20)

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void pause_briefly(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

bool complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

/* --- starting and ending -------------------------------------------------------------------- */

static bool make_files(struct broker *broker, const char *build, const char *policy)
{
    const char *base = getenv("TMPDIR");
    char path[300];
    FILE *file;

    *broker = (struct broker){ .pid = 0 };
    snprintf(broker->dir, sizeof(broker->dir), "%s/escape-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(broker->dir) == NULL) {
        return complain("%s: %s", broker->dir, strerror(errno));
    }
    snprintf(broker->socket, sizeof(broker->socket), "%s/socket", broker->dir);
    snprintf(broker->log, sizeof(broker->log), "%s/log", broker->dir);
    snprintf(path, sizeof(path), "%s/policy.json", broker->dir);
    file = fopen(path, "we");
    if (file == NULL ||
        fprintf(file,
                "{\"version\": 1,\n"
                " \"device\": {\"program\": \"%s/tests/escape/escape-device\",\n"
                "            \"env\": {\"ESCAPE_VISIBLE\": \"yes\"}},\n"
                " \"start_seconds\": 60,\n"
                " \"restart\": {\"on_crash\": \"restart\", \"max\": 1000, \"within_seconds\": 1}%s}"
                "\n",
                build, policy) < 0 ||
        fclose(file) != 0) {
        return complain("%s: %s", path, strerror(errno));
    }
    return true;
}

/* In the child. It does not outlive the test, whatever becomes of that. */
static _Noreturn void become_broker(const struct broker *broker, const char *build,
                                    enum broker_kind kind, pid_t parent)
{
    char program[4096];
    char policy[300];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(broker->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    snprintf(program, sizeof(program), "%s/%s", build,
             kind == BROKER_LENIENT ? "tests/rules/broker-of-other-rules" : "broker/vfu-broker");
    snprintf(policy, sizeof(policy), "%s/policy.json", broker->dir);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && setenv(SECRET_NAME, SECRET_VALUE, 1) == 0 &&
        chdir(broker->dir) == 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(log, 2) == 2) {
        execl(program, program, "--policy", policy, "--sock", broker->socket, NULL);
    }
    _exit(127);
}

/* What the attempts call that more than one layer has to stop, for rules.c. */
static bool name_allowed_calls(enum broker_kind kind)
{
    const struct attempt *attempt;
    char names[2048] = "";

    for (size_t i = 0; kind == BROKER_LENIENT && (attempt = attempt_at(i)) != NULL; i++) {
        if (attempt->others.layer != NULL) {
            size_t used = strlen(names);

            snprintf(names + used, sizeof(names) - used, " %s", attempt->jail.call);
        }
    }
    return setenv("VFU_RULES_MORE", names, 1) == 0;
}

static bool launch(struct broker *broker, const char *build, const char *policy,
                   enum broker_kind kind)
{
    pid_t parent = getpid();

    if (!make_files(broker, build, policy) || !name_allowed_calls(kind)) {
        return false;
    }
    broker->pid = fork();
    if (broker->pid == 0) {
        become_broker(broker, build, kind, parent);
    }
    if (broker->pid < 0) {
        return complain("fork: %s", strerror(errno));
    }
    return true;
}

bool broker_launch(struct broker *broker, const char *build, const char *policy)
{
    return launch(broker, build, policy, BROKER_OF_THE_PRODUCT);
}

bool broker_start_kind(struct broker *broker, const char *build, const char *policy,
                       enum broker_kind kind)
{
    char line[256];

    return launch(broker, build, policy, kind) &&
           broker_await_line(broker, 0, "info ready ", line, sizeof(line));
}

bool broker_start(struct broker *broker, const char *build, const char *policy)
{
    return broker_start_kind(broker, build, policy, BROKER_OF_THE_PRODUCT);
}

bool broker_stop(struct broker *broker)
{
    int status = 0;

    kill(broker->pid, SIGTERM);
    if (waitpid(broker->pid, &status, 0) != broker->pid || status != 0) {
        return complain("the broker ended with status %#x", (unsigned)status);
    }
    broker->pid = 0;
    return access(broker->socket, F_OK) < 0 || complain("the broker left its socket behind");
}

void broker_clean(struct broker *broker)
{
    char path[300];

    if (broker->pid > 0) {
        kill(broker->pid, SIGKILL);
        waitpid(broker->pid, NULL, 0);
    }
    snprintf(path, sizeof(path), "%s/policy.json", broker->dir);
    unlink(path);
    unlink(broker->log);
    unlink(broker->socket);
    rmdir(broker->dir);
    *broker = (struct broker){ .pid = 0 };
}

/* --- the log -------------------------------------------------------------------------------- */

char *broker_log(const struct broker *broker)
{
    AUTO_FD fd = open(broker->log, O_RDONLY | O_CLOEXEC);
    char *text = malloc(LOG_MAX);
    size_t size = 0;
    ssize_t n;

    if (text == NULL) {
        abort();
    }
    while (fd >= 0 && (n = read(fd, text + size, LOG_MAX - 1 - size)) > 0) {
        size += (size_t)n;
    }
    /* A line that is being written is not there yet. */
    while (size > 0 && text[size - 1] != '\n') {
        size--;
    }
    text[size] = '\0';
    return text;
}

size_t broker_log_size(const struct broker *broker)
{
    char *text = broker_log(broker);
    size_t size = strlen(text);

    free(text);
    return size;
}

/* The first line of @text that begins with @start, or NULL. */
static const char *find_line(const char *text, const char *start)
{
    while (*text != '\0') {
        if (strncmp(text, start, strlen(start)) == 0) {
            return text;
        }
        text = strchr(text, '\n') + 1;
    }
    return NULL;
}

static bool copy_line(const struct broker *broker, size_t from, const char *start, char *line,
                      size_t size)
{
    char *text = broker_log(broker);
    const char *found = strlen(text) > from ? find_line(text + from, start) : NULL;

    if (found != NULL) {
        snprintf(line, size, "%.*s", (int)strcspn(found, "\n"), found);
    }
    free(text);
    return found != NULL;
}

bool broker_has_line(const struct broker *broker, size_t from, const char *start)
{
    char line[8];

    return copy_line(broker, from, start, line, sizeof(line));
}

/* Whether it has ended by itself; it is then collected. */
static bool has_ended(const struct broker *broker)
{
    siginfo_t info = { .si_pid = 0 };

    return waitid(P_PID, (id_t)broker->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
}

bool broker_await_line(const struct broker *broker, size_t from, const char *start, char *line,
                       size_t size)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (!copy_line(broker, from, start, line, size)) {
        bool ended = has_ended(broker);

        if ((ended && !broker_has_line(broker, from, start)) || now_ms() > deadline) {
            char *text = broker_log(broker);

            complain("the broker %s and never logged \"%s\"; it did log:\n%s",
                     ended ? "has ended" : "lives", start, strlen(text) > from ? text + from : "");
            free(text);
            return false;
        }
        pause_briefly();
    }
    return true;
}

/* --- clients -------------------------------------------------------------------------------- */

bool broker_visit(const struct broker *broker, struct visit *visit)
{
    uint32_t magic = 0;
    char line[256];
    int err;

    *visit = (struct visit){ .log_start = broker_log_size(broker) };
    err = vfu_client_connect(broker->socket, DEADLINE_MS, &visit->client);
    if (err == 0) {
        err = vfu_client_negotiate(visit->client);
    }
    if (err == 0) {
        err = vfu_client_region_read(visit->client, 0, REGISTER_MAGIC, &magic, sizeof(magic));
    }
    if (err != 0 || magic != ATTEMPT_MAGIC) {
        visit_end(visit);
        return complain("a client is not served: %d, %#x", err, magic);
    }
    if (!broker_await_line(broker, visit->log_start, "info client-accepted ", line, sizeof(line)) ||
        sscanf(line, "info client-accepted session=%u uid=%*u gid=%*u pid=%*u device=%d",
               &visit->session, &visit->device) != 2) {
        visit_end(visit);
        return complain("the log does not say which session serves a client");
    }
    return true;
}

void visit_end(struct visit *visit)
{
    visit->client = vfu_client_free(visit->client);
}
