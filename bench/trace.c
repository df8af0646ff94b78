/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/trace.h"

#include <err.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80) /* PTRACE_O_TRACESYSGOOD */

struct trace_call trace_calls[] = {
    { "ppoll", SYS_ppoll, 0 },     { "recvfrom", SYS_recvfrom, 0 },
    { "recvmsg", SYS_recvmsg, 0 }, { "read", SYS_read, 0 },
    { "sendto", SYS_sendto, 0 },   { "sendmsg", SYS_sendmsg, 0 },
    { "write", SYS_write, 0 },     { NULL, -1, 0 },
};

/* Not the C library's: its header and the kernel's, which has the structure, exclude each other. */
static long trace(long request, pid_t pid, unsigned long address, void *data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

static void count_call(pid_t pid)
{
    struct ptrace_syscall_info info;
    struct trace_call *call = trace_calls;

    if (trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0 ||
        info.op != PTRACE_SYSCALL_INFO_ENTRY) {
        return;
    }
    while (call->name != NULL && call->number != (long)info.entry.nr) {
        call++;
    }
    call->count++;
}

static void interrupt(pid_t pid)
{
    int status;

    if (trace(PTRACE_INTERRUPT, pid, 0, NULL) < 0 || waitpid(pid, &status, __WALL) != pid) {
        err(EXIT_FAILURE, "cannot trace %d", (int)pid);
    }
}

static void resume(pid_t pid)
{
    if (trace(PTRACE_SYSCALL, pid, 0, NULL) < 0) {
        err(EXIT_FAILURE, "cannot trace %d", (int)pid);
    }
}

static pid_t start_client(void (*client)(const void *opaque), const void *opaque)
{
    pid_t pid = fork();

    if (pid < 0) {
        err(EXIT_FAILURE, "fork");
    }
    if (pid == 0) {
        client(opaque);
        _exit(0);
    }
    return pid;
}

/* Until the client has ended. */
static void watch(pid_t pid, pid_t client)
{
    for (;;) {
        int status;
        pid_t who = waitpid(-1, &status, __WALL);

        if (who == client) {
            return;
        }
        if (who != pid || !WIFSTOPPED(status)) {
            errx(EXIT_FAILURE, "process %d has ended while %d was traced", (int)who, (int)pid);
        }
        if (WSTOPSIG(status) == SYSCALL_STOP) {
            count_call(pid);
        }
        resume(pid);
    }
}

int trace_run(pid_t pid, void (*client)(const void *opaque), const void *opaque)
{
    for (struct trace_call *call = trace_calls;; call++) {
        call->count = 0;
        if (call->name == NULL) {
            break;
        }
    }
    if (trace(PTRACE_SEIZE, pid, 0, (void *)PTRACE_O_TRACESYSGOOD) < 0) {
        return -errno;
    }
    interrupt(pid);
    resume(pid);
    watch(pid, start_client(client, opaque));
    interrupt(pid);
    if (trace(PTRACE_DETACH, pid, 0, NULL) < 0) {
        err(EXIT_FAILURE, "cannot trace %d", (int)pid);
    }
    return 0;
}
