/* SPDX-License-Identifier: BSD-3-Clause */
/* Other processes: to see them, to stop them, to look into them. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#define GROUP "others"
#define NAMESPACE "pid namespace"
#define START "start filter"

#define FIRST_OTHER 2 /* in the jail this process is 1 */
#define PID_END 4194304

/* No process has this number (PID_MAX_LIMIT). */
#define NOBODY 0x7fffffff

static long ptrace_attach(const struct surroundings *s)
{
    return result_of(syscall(SYS_ptrace, PTRACE_ATTACH, NOBODY, NULL, NULL));
}

static long copy_own_memory(const struct surroundings *s, long call)
{
    struct iovec here = { s->page, 16 };
    struct iovec there = { s->spare, 16 };

    return result_of(syscall(call, s->pid, &here, 1, &there, 1, 0));
}

static long process_vm_readv_(const struct surroundings *s)
{
    return copy_own_memory(s, SYS_process_vm_readv);
}

static long process_vm_writev_(const struct surroundings *s)
{
    return copy_own_memory(s, SYS_process_vm_writev);
}

static long pidfd_open_(const struct surroundings *s)
{
    return result_of(syscall(SYS_pidfd_open, s->pid, 0));
}

static long pidfd_getfd_(const struct surroundings *s)
{
    return result_of(syscall(SYS_pidfd_getfd, -1, 0, 0));
}

static long pidfd_send_signal_(const struct surroundings *s)
{
    return result_of(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0));
}

/* Signal 0 goes to everybody and arrives nowhere. */
static long kill_everybody(const struct surroundings *s)
{
    return result_of(syscall(SYS_kill, -1, 0));
}

static long kill_own_group(const struct surroundings *s)
{
    return result_of(syscall(SYS_kill, 0, 0));
}

/*
 * Asks for one process after the other, by a call that answers ESRCH for one that is not there and
 * is otherwise without effect: the first one that is, or what the call says instead.
 */
static long find_other(const struct surroundings *s, long (*ask)(pid_t pid))
{
    for (pid_t pid = FIRST_OTHER; pid < PID_END; pid++) {
        long result = pid != s->pid ? ask(pid) : -ESRCH;

        if (result >= 0 || result == -EPERM) {
            return pid;
        }
        if (result != -ESRCH) {
            return result;
        }
    }
    return -ESRCH;
}

static long ask_kill(pid_t pid)
{
    return result_of(syscall(SYS_kill, pid, 0));
}

static long kill_any(const struct surroundings *s)
{
    return find_other(s, ask_kill);
}

static long ask_prlimit(pid_t pid)
{
    struct rlimit old;

    return result_of(syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, NULL, &old));
}

static long prlimit_any(const struct surroundings *s)
{
    return find_other(s, ask_prlimit);
}

static long ask_priority(pid_t pid)
{
    return result_of(syscall(SYS_getpriority, PRIO_PROCESS, pid));
}

static long getpriority_any(const struct surroundings *s)
{
    return find_other(s, ask_priority);
}

static long ask_affinity(pid_t pid)
{
    unsigned long cpus[128];

    return result_of(syscall(SYS_sched_getaffinity, pid, sizeof(cpus), cpus));
}

static long getaffinity_any(const struct surroundings *s)
{
    return find_other(s, ask_affinity);
}

static long process_madvise_(const struct surroundings *s)
{
    return result_of(syscall(SYS_process_madvise, -1, NULL, 0, 0, 0));
}

static long move_pages_(const struct surroundings *s)
{
    return result_of(syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0));
}

static long tgkill_(const struct surroundings *s)
{
    return result_of(syscall(SYS_tgkill, s->pid, s->pid, 0));
}

static long rt_sigqueueinfo_(const struct surroundings *s)
{
    return result_of(syscall(SYS_rt_sigqueueinfo, s->pid, 0, NULL));
}

static long prlimit_self(const struct surroundings *s)
{
    struct rlimit old;

    return result_of(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &old));
}

static long prlimit_other(const struct surroundings *s)
{
    return result_of(syscall(SYS_prlimit64, NOBODY, RLIMIT_NOFILE, NULL, NULL));
}

static long kcmp_(const struct surroundings *s)
{
    return result_of(syscall(SYS_kcmp, s->pid, s->pid, KCMP_VM, 0, 0));
}

static long sched_setattr_(const struct surroundings *s)
{
    return result_of(syscall(SYS_sched_setattr, 0, NULL, 0));
}

static long setpriority_(const struct surroundings *s)
{
    return result_of(syscall(SYS_setpriority, 99, 0, 0));
}

static const struct attempt table[] = {
    ATTEMPT("ptrace-attach", ptrace_attach, BLOCKED(ptrace), FAILS(ESRCH), OTHERS(-ENOSYS, START)),
    ATTEMPT("process-vm-readv", process_vm_readv_, BLOCKED(process_vm_readv), RETURNS(16),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("process-vm-writev", process_vm_writev_, BLOCKED(process_vm_writev), RETURNS(16),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("pidfd-open", pidfd_open_, BLOCKED(pidfd_open), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("pidfd-getfd", pidfd_getfd_, BLOCKED(pidfd_getfd), FAILS(EBADF),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("pidfd-send-signal", pidfd_send_signal_, BLOCKED(pidfd_send_signal), FAILS(EBADF),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("kill-everybody", kill_everybody, BLOCKED(kill), RETURNS(0), OTHERS(-ESRCH, NAMESPACE)),
    ATTEMPT("kill-own-group", kill_own_group, BLOCKED(kill), RETURNS(0)),
    ATTEMPT("kill-any", kill_any, BLOCKED(kill), SUCCEEDS, OTHERS(-ESRCH, NAMESPACE)),
    ATTEMPT("prlimit-any", prlimit_any, BLOCKED(prlimit64), SUCCEEDS, OTHERS(-ESRCH, NAMESPACE)),
    ATTEMPT("getpriority-any", getpriority_any, BLOCKED(getpriority), SUCCEEDS,
            OTHERS(-ESRCH, NAMESPACE)),
    ATTEMPT("getaffinity-any", getaffinity_any, BLOCKED(sched_getaffinity), SUCCEEDS,
            OTHERS(-ESRCH, NAMESPACE)),
    ATTEMPT("process-madvise", process_madvise_, BLOCKED(process_madvise), FAILS(EBADF),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("move-pages", move_pages_, BLOCKED(move_pages), RETURNS(0), OTHERS(-ENOSYS, START)),
    ATTEMPT("tgkill", tgkill_, BLOCKED(tgkill), RETURNS(0)),
    ATTEMPT("rt-sigqueueinfo", rt_sigqueueinfo_, BLOCKED(rt_sigqueueinfo), FAILS(EFAULT)),
    ATTEMPT("prlimit-self", prlimit_self, BLOCKED(prlimit64), RETURNS(0)),
    ATTEMPT("prlimit-other", prlimit_other, BLOCKED(prlimit64), FAILS(ESRCH)),
    ATTEMPT("kcmp", kcmp_, BLOCKED(kcmp), RETURNS(0), OTHERS(-ENOSYS, START)),
    ATTEMPT("sched-setattr", sched_setattr_, BLOCKED(sched_setattr), FAILS(EINVAL)),
    ATTEMPT("setpriority", setpriority_, BLOCKED(setpriority), FAILS(EINVAL)),
};

const struct attempt_group attempts_others = { table, sizeof(table) / sizeof(table[0]) };
