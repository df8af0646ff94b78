/* SPDX-License-Identifier: BSD-3-Clause */
/* New processes, threads and namespaces. What comes to life outside the jail ends at once. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define GROUP "processes"
#define LIMIT "limit of processes"
#define START "start filter"

#define STACK_SIZE 4096

static long parent_of(long pid)
{
    if (pid == 0) {
        _exit(0);
    }
    return result_of(pid);
}

#ifdef SYS_fork
static long fork_(const struct surroundings *s)
{
    return parent_of(syscall(SYS_fork));
}

/* The C library's, because the child returns on the parent's stack. */
static long vfork_(const struct surroundings *s)
{
    pid_t pid = vfork();

    if (pid == 0) {
        _exit(0);
    }
    return result_of(pid);
}
#endif

static long clone_process(const struct surroundings *s)
{
    return parent_of(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

/* Without the flags that the kernel wants along with it, so that no thread starts. */
static long clone_thread(const struct surroundings *s)
{
    return parent_of(syscall(SYS_clone, CLONE_THREAD, NULL, NULL, NULL, NULL));
}

static int end_thread(void *unused)
{
    syscall(SYS_exit, 0);
    return 0;
}

/* A real one, by the C library, which knows how to give it a stack. */
static long clone_working_thread(const struct surroundings *s)
{
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

    return result_of(clone(end_thread, (char *)s->page + STACK_SIZE, flags, NULL));
}

static long clone_user_namespace(const struct surroundings *s)
{
    return parent_of(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
}

static long clone3_process(const struct surroundings *s)
{
    struct clone_args args = { .exit_signal = SIGCHLD };

    return parent_of(syscall(SYS_clone3, &args, sizeof(args)));
}

static long unshare_user_namespace(const struct surroundings *s)
{
    return result_of(syscall(SYS_unshare, CLONE_NEWUSER));
}

static long setns_(const struct surroundings *s)
{
    return result_of(syscall(SYS_setns, -1, 0));
}

static const struct attempt table[] = {
#ifdef SYS_fork
    ATTEMPT("fork", fork_, BLOCKED(fork), SUCCEEDS, OTHERS(-EAGAIN, LIMIT)),
    ATTEMPT("vfork", vfork_, BLOCKED(vfork), SUCCEEDS, OTHERS(-EAGAIN, LIMIT)),
#endif
    ATTEMPT("clone-process", clone_process, BLOCKED(clone), SUCCEEDS, OTHERS(-EAGAIN, LIMIT)),
    ATTEMPT("clone-thread", clone_thread, BLOCKED(clone), FAILS(EINVAL)),
    ATTEMPT("clone-working-thread", clone_working_thread, BLOCKED(clone), SUCCEEDS,
            OTHERS(-EAGAIN, LIMIT)),
    ATTEMPT("clone-user-namespace", clone_user_namespace, BLOCKED(clone), SUCCEEDS,
            OTHERS(-ENOSYS, START)),
    ATTEMPT("clone3-process", clone3_process, BLOCKED(clone3), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("unshare-user-namespace", unshare_user_namespace, BLOCKED(unshare), RETURNS(0),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("setns", setns_, BLOCKED(setns), FAILS(EBADF), OTHERS(-ENOSYS, START)),
};

const struct attempt_group attempts_processes = { table, sizeof(table) / sizeof(table[0]) };
