/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/protocol/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Lines that contain the one text and not the other, which may be NULL. */
static size_t count_lines(const char *path, const char *containing, const char *unlike)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    size_t count = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        count +=
            strstr(line, containing) != NULL && (unlike == NULL || strstr(line, unlike) == NULL);
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

static void print_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[1024];

    for (int i = 0; i < 50 && file != NULL && fgets(line, sizeof(line), file) != NULL; i++) {
        fputs(line, stderr);
    }
    if (file != NULL) {
        fclose(file);
    }
}

static _Noreturn void become_strace(const struct trace *trace, const pid_t *pids, size_t count)
{
    const char *argv[8 + 2 * TRACE_MAX_PIDS] = { "strace", "-f", "-o", trace->calls };
    char numbers[TRACE_MAX_PIDS][16];
    int messages = open(trace->messages, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    size_t n = 4;

    for (size_t i = 0; i < count; i++) {
        snprintf(numbers[i], sizeof(numbers[i]), "%d", (int)pids[i]);
        argv[n++] = "-p";
        argv[n++] = numbers[i];
    }
    if (messages >= 0 && dup2(messages, STDERR_FILENO) >= 0) {
        close(messages);
        execvp("strace", (char *const *)argv);
    }
    _exit(127);
}

static bool has_attached(struct trace *trace, size_t count)
{
    int status;

    if (waitpid(trace->pid, &status, WNOHANG) == trace->pid) {
        print_file(trace->messages);
        fail_msg("strace cannot trace the broker's processes: it has to be installed, and tracing "
                 "has to be permitted; it ended with status %#x",
                 (unsigned)status);
    }
    return count_lines(trace->messages, " attached", NULL) >= count;
}

void trace_start(struct trace *trace, const struct server *server, const pid_t *pids, size_t count)
{
    snprintf(trace->calls, sizeof(trace->calls), "%s/calls", server->dir);
    snprintf(trace->messages, sizeof(trace->messages), "%s/strace", server->dir);
    trace_forget(trace); /* what a test that failed has left */
    trace->pid = fork();
    assert_true(trace->pid >= 0);
    if (trace->pid == 0) {
        become_strace(trace, pids, count);
    }
    expect_eventually(has_attached(trace, count));
}

/* A line is the process, a blank, and a call, which may go on in another line. */
size_t trace_stop(struct trace *trace)
{
    kill(trace->pid, SIGINT);
    assert_int_equal(waitpid(trace->pid, NULL, 0), trace->pid);
    return count_lines(trace->calls, "(", " resumed>");
}

size_t trace_count(const struct trace *trace, const char *name)
{
    char start[64];

    snprintf(start, sizeof(start), " %s(", name);
    return count_lines(trace->calls, start, NULL);
}

void trace_forget(struct trace *trace)
{
    unlink(trace->calls);
    unlink(trace->messages);
}
