/* SPDX-License-Identifier: BSD-3-Clause */
/* Wide kernel surface: large subsystems behind one call. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <sys/ipc.h>
#include <unistd.h>

#define GROUP "surface"

static long io_uring_setup_(const struct surroundings *s)
{
    return result_of(syscall(SYS_io_uring_setup, 1, NULL));
}

static long io_uring_enter_(const struct surroundings *s)
{
    return result_of(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
}

static long io_uring_register_(const struct surroundings *s)
{
    return result_of(syscall(SYS_io_uring_register, -1, 0, NULL, 0));
}

/* A size that no version of its structure has. */
static long bpf_(const struct surroundings *s)
{
    return result_of(syscall(SYS_bpf, 0, NULL, 1 << 20));
}

static long userfaultfd_(const struct surroundings *s)
{
    return result_of(syscall(SYS_userfaultfd, -1));
}

static long perf_event_open_(const struct surroundings *s)
{
    return result_of(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static long keyctl_(const struct surroundings *s)
{
    return result_of(syscall(SYS_keyctl, -1, 0, 0, 0, 0));
}

static long add_key_(const struct surroundings *s)
{
    return result_of(syscall(SYS_add_key, NULL, NULL, NULL, 0, 0));
}

static long splice_(const struct surroundings *s)
{
    return result_of(syscall(SYS_splice, -1, NULL, -1, NULL, 1, 0));
}

static long vmsplice_(const struct surroundings *s)
{
    return result_of(syscall(SYS_vmsplice, -1, NULL, 0, 0));
}

static long tee_(const struct surroundings *s)
{
    return result_of(syscall(SYS_tee, -1, -1, 1, 0));
}

static long shmget_(const struct surroundings *s)
{
    return result_of(syscall(SYS_shmget, IPC_PRIVATE, 0, 0));
}

static long msgget_(const struct surroundings *s)
{
    return result_of(syscall(SYS_msgget, 0x7e57e5c, 0));
}

static long mq_open_(const struct surroundings *s)
{
    return result_of(syscall(SYS_mq_open, NULL, 0, 0, NULL));
}

static long inotify(const struct surroundings *s)
{
    return result_of(syscall(SYS_inotify_init1, 0));
}

static long timer_create_(const struct surroundings *s)
{
    return result_of(syscall(SYS_timer_create, 0, NULL, NULL));
}

static const struct attempt table[] = {
    /* EPERM: kernel.io_uring_disabled. */
    ATTEMPT("io-uring-setup", io_uring_setup_, BLOCKED(io_uring_setup), FAILS(EFAULT),
            .control_or = FAILS(EPERM)),
    ATTEMPT("io-uring-enter", io_uring_enter_, BLOCKED(io_uring_enter), FAILS(EBADF)),
    ATTEMPT("io-uring-register", io_uring_register_, BLOCKED(io_uring_register), FAILS(EBADF),
            .control_or = FAILS(EINVAL)),
    /* EPERM: kernel.unprivileged_bpf_disabled, up to 6.3 before anything else. */
    ATTEMPT("bpf", bpf_, BLOCKED(bpf), FAILS(E2BIG), .control_or = FAILS(EPERM)),
    ATTEMPT("userfaultfd", userfaultfd_, BLOCKED(userfaultfd), FAILS(EINVAL)),
    /* EACCES: kernel.perf_event_paranoid of 3, a patch of Debian's, before anything else. */
    ATTEMPT("perf-event-open", perf_event_open_, BLOCKED(perf_event_open), FAILS(EFAULT),
            .control_or = FAILS(EACCES)),
    ATTEMPT("keyctl", keyctl_, BLOCKED(keyctl), FAILS(EOPNOTSUPP)),
    ATTEMPT("add-key", add_key_, BLOCKED(add_key), FAILS(EFAULT)),
    ATTEMPT("splice", splice_, BLOCKED(splice), FAILS(EBADF)),
    ATTEMPT("vmsplice", vmsplice_, BLOCKED(vmsplice), FAILS(EBADF)),
    ATTEMPT("tee", tee_, BLOCKED(tee), FAILS(EBADF)),
    ATTEMPT("shmget", shmget_, BLOCKED(shmget), FAILS(EINVAL)),
    ATTEMPT("msgget", msgget_, BLOCKED(msgget), FAILS(ENOENT)),
    ATTEMPT("mq-open", mq_open_, BLOCKED(mq_open), FAILS(EFAULT)),
    ATTEMPT("inotify-init", inotify, BLOCKED(inotify_init1), SUCCEEDS),
    ATTEMPT("timer-create", timer_create_, BLOCKED(timer_create), FAILS(EFAULT)),
};

const struct attempt_group attempts_surface = { table, sizeof(table) / sizeof(table[0]) };
