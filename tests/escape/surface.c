/* SPDX-License-Identifier: BSD-3-Clause */
/* Wide kernel surface: large subsystems behind one call. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <sys/ipc.h>
#include <unistd.h>

#define GROUP "surface"
#define START "start filter"

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

static long open_by_handle(const struct surroundings *s)
{
    return result_of(syscall(SYS_open_by_handle_at, -1, NULL, 0));
}

static long init_module_(const struct surroundings *s)
{
    return result_of(syscall(SYS_finit_module, -1, NULL, 0));
}

/* More segments than there can be. */
static long kexec_load_(const struct surroundings *s)
{
    return result_of(syscall(SYS_kexec_load, 0, 1ul << 20, NULL, 0));
}

/* Without the magic numbers. */
static long reboot_(const struct surroundings *s)
{
    return result_of(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static long swapon_(const struct surroundings *s)
{
    return result_of(syscall(SYS_swapon, NULL, -1));
}

#ifdef __x86_64__
static long iopl_(const struct surroundings *s)
{
    return result_of(syscall(SYS_iopl, 4));
}
#endif

static const struct attempt table[] = {
    /* EPERM: kernel.io_uring_disabled. */
    ATTEMPT("io-uring-setup", io_uring_setup_, BLOCKED(io_uring_setup), FAILS(EFAULT),
            .control_or = FAILS(EPERM), OTHERS(-ENOSYS, START)),
    ATTEMPT("io-uring-enter", io_uring_enter_, BLOCKED(io_uring_enter), FAILS(EBADF),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("io-uring-register", io_uring_register_, BLOCKED(io_uring_register), FAILS(EBADF),
            .control_or = FAILS(EINVAL), OTHERS(-ENOSYS, START)),
    /* EPERM: kernel.unprivileged_bpf_disabled, up to 6.3 before anything else. */
    ATTEMPT("bpf", bpf_, BLOCKED(bpf), FAILS(E2BIG), .control_or = FAILS(EPERM),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("userfaultfd", userfaultfd_, BLOCKED(userfaultfd), FAILS(EINVAL),
            OTHERS(-ENOSYS, START)),
    /* EACCES: kernel.perf_event_paranoid of 3, a patch of Debian's, before anything else. */
    ATTEMPT("perf-event-open", perf_event_open_, BLOCKED(perf_event_open), FAILS(EFAULT),
            .control_or = FAILS(EACCES), OTHERS(-ENOSYS, START)),
    ATTEMPT("keyctl", keyctl_, BLOCKED(keyctl), FAILS(EOPNOTSUPP), OTHERS(-ENOSYS, START)),
    ATTEMPT("add-key", add_key_, BLOCKED(add_key), FAILS(EFAULT), OTHERS(-ENOSYS, START)),
    ATTEMPT("splice", splice_, BLOCKED(splice), FAILS(EBADF)),
    ATTEMPT("vmsplice", vmsplice_, BLOCKED(vmsplice), FAILS(EBADF)),
    ATTEMPT("tee", tee_, BLOCKED(tee), FAILS(EBADF)),
    ATTEMPT("shmget", shmget_, BLOCKED(shmget), FAILS(EINVAL), OTHERS(-ENOSYS, START)),
    ATTEMPT("msgget", msgget_, BLOCKED(msgget), FAILS(ENOENT), OTHERS(-ENOSYS, START)),
    ATTEMPT("mq-open", mq_open_, BLOCKED(mq_open), FAILS(EFAULT), OTHERS(-ENOSYS, START)),
    ATTEMPT("inotify-init", inotify, BLOCKED(inotify_init1), SUCCEEDS),
    ATTEMPT("timer-create", timer_create_, BLOCKED(timer_create), FAILS(EFAULT)),
    /* EPERM: before anything else, of who is not root. */
    ATTEMPT("open-by-handle", open_by_handle, BLOCKED(open_by_handle_at), FAILS(EFAULT),
            .control_or = FAILS(EPERM), OTHERS(-ENOSYS, START)),
    ATTEMPT("init-module", init_module_, BLOCKED(finit_module), FAILS(EBADF),
            .control_or = FAILS(EPERM), .optional = true, OTHERS(-ENOSYS, START)),
    ATTEMPT("kexec-load", kexec_load_, BLOCKED(kexec_load), FAILS(EINVAL),
            .control_or = FAILS(EPERM), .optional = true, OTHERS(-ENOSYS, START)),
    ATTEMPT("reboot", reboot_, BLOCKED(reboot), FAILS(EINVAL), .control_or = FAILS(EPERM),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("swapon", swapon_, BLOCKED(swapon), FAILS(EINVAL), .control_or = FAILS(EPERM),
            OTHERS(-ENOSYS, START)),
#ifdef __x86_64__
    ATTEMPT("iopl", iopl_, BLOCKED(iopl), FAILS(EINVAL), .optional = true, OTHERS(-ENOSYS, START)),
#endif
};

const struct attempt_group attempts_surface = { table, sizeof(table) / sizeof(table[0]) };
