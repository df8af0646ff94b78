/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/audit.h"

#include "broker/filter.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *risk;
    const char *calls; /* each between spaces */
} risks[] = {
    { "high: opens or changes files that layers below the filter have to withhold",
      " open openat creat access faccessat faccessat2 stat lstat newfstatat statx readlink "
      "readlinkat getdents getdents64 unlink unlinkat rename renameat renameat2 mkdir mkdirat link "
      "linkat symlink symlinkat chmod fchmod fchmodat chown fchown fchownat truncate chdir fchdir "
      "getcwd statfs utimensat mknod mknodat rmdir " },
    { "high: a way to the network or another process's socket",
      " connect bind listen accept accept4 sendto sendmsg sendmmsg recvmsg "
      "recvmmsg recvfrom setsockopt shutdown " },
    { "high: another process or program", " fork vfork clone execve " },
    { "high: reaches other processes",
      " kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo prlimit64 sched_setaffinity "
      "sched_setscheduler sched_setparam sched_setattr setpriority ioprio_set " },
    { "high: unlocks the jail itself, or much of the kernel",
      " prctl seccomp ioctl capset setuid setgid setgroups setresuid setresgid setreuid setregid "
      "setfsuid setfsgid arch_prctl landlock_create_ruleset landlock_add_rule "
      "landlock_restrict_self " },
    { "high: memory that can be executed, or is shared beyond its limit",
      " mmap mprotect pkey_mprotect mremap memfd_create memfd_secret shm_open " },
    { "medium: makes descriptors, whose numbers may come to mean something else",
      " dup dup2 dup3 fcntl close close_range pipe pipe2 eventfd eventfd2 epoll_create "
      "epoll_create1 timerfd_create signalfd signalfd4 inotify_init inotify_init1 pidfd_open " },
    { "medium: moves data past the limits that are set on writing",
      " splice vmsplice tee sendfile copy_file_range fallocate ftruncate " },
    { "low: waits",
      " poll select pselect6 epoll_wait epoll_pwait epoll_pwait2 nanosleep clock_nanosleep pause "
      "timerfd_settime timerfd_gettime alarm setitimer getitimer futex_waitv " },
    { "low: reads and writes what is open already",
      " readv writev preadv pwritev preadv2 pwritev2 lseek fsync fdatasync msync flock "
      "fadvise64 readahead " },
    { "low: its own memory and threads",
      " madvise mlock mlock2 munlock mincore mbind set_mempolicy get_mempolicy membarrier rseq "
      "set_robust_list get_robust_list set_tid_address exit sched_yield sched_getaffinity "
      "sched_getscheduler sched_getparam sched_get_priority_max sched_get_priority_min getcpu "
      "getpriority " },
    { "low: signals to itself",
      " rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack " },
    { "none: tells what it may know",
      " getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp "
      "getpgid getsid uname sysinfo getrusage times gettimeofday time clock_getres getrandom "
      "getrlimit umask getsockopt getsockname getpeername " },
};

bool audit_note(struct audit *audit, int nr)
{
    uint8_t bit = (uint8_t)(1u << ((unsigned)nr % 8));
    bool first;

    if (nr < 0 || nr >= AUDIT_MAX_CALLS) {
        return false;
    }
    first = !(audit->seen[nr / 8] & bit);
    audit->seen[nr / 8] |= bit;
    return first;
}

const char *audit_risk(const char *syscall)
{
    char wanted[64];

    if (filter_start_denies(syscall)) {
        return "no policy can allow it";
    }
    snprintf(wanted, sizeof(wanted), " %s ", syscall);
    for (size_t i = 0; i < sizeof(risks) / sizeof(risks[0]); i++) {
        if (strstr(risks[i].calls, wanted) != NULL) {
            return risks[i].risk;
        }
    }
    return "high: nobody has looked at it";
}

static bool was_noted(const struct audit *audit, int nr)
{
    return audit->seen[nr / 8] & 1u << (nr % 8);
}

void audit_print(const struct audit *audit, FILE *out)
{
    const char *separator = "";
    char name[64];

    fprintf(out, "\"jail\": { \"syscalls\": [");
    for (int nr = 0; nr < AUDIT_MAX_CALLS; nr++) {
        if (was_noted(audit, nr) &&
            !filter_start_denies(filter_syscall_name(filter_native(), nr, name, sizeof(name)))) {
            fprintf(out, "%s\"%s\"", separator, name);
            separator = ", ";
        }
    }
    fprintf(out, "] }\n");
    for (int nr = 0; nr < AUDIT_MAX_CALLS; nr++) {
        if (was_noted(audit, nr)) {
            filter_syscall_name(filter_native(), nr, name, sizeof(name));
            fprintf(out, "  %-20s %s\n", name, audit_risk(name));
        }
    }
}
