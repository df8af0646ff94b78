/* SPDX-License-Identifier: BSD-3-Clause */
/* Undoing the jail, or a part of it. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#define GROUP "jail"
#define START "start filter"

static long seccomp_again(const struct surroundings *s)
{
    return result_of(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
}

/* A listener of its own would answer for the supervisor. */
static long seccomp_new_listener(const struct surroundings *s)
{
    return result_of(
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, NULL));
}

static long prctl_of(long option, long a, long b, long c, long d)
{
    return result_of(syscall(SYS_prctl, option, a, b, c, d));
}

static long prctl_seccomp(const struct surroundings *s)
{
    return prctl_of(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0, 0, 0);
}

static long prctl_dumpable(const struct surroundings *s)
{
    return prctl_of(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long prctl_pdeathsig(const struct surroundings *s)
{
    return prctl_of(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

/* Whoever may trace this process: with Yama, which not every kernel has. */
static long prctl_ptracer(const struct surroundings *s)
{
    return prctl_of(0x59616d61 /* PR_SET_PTRACER */, -1, 0, 0, 0);
}

/* No bit of it: what is denied stays denied, were the call to get there. */
static long prctl_write_execute(const struct surroundings *s)
{
    return prctl_of(65 /* PR_SET_MDWE */, 0, 0, 0, 1);
}

/* The fifth argument has to be zero: that is looked at before any right. */
static long prctl_mm(const struct surroundings *s)
{
    return prctl_of(PR_SET_MM, PR_SET_MM_START_CODE, 0, 0, 1);
}

static long prctl_user_dispatch(const struct surroundings *s)
{
    return prctl_of(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
}

static long prctl_ambient(const struct surroundings *s)
{
    return prctl_of(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static long capset_(const struct surroundings *s)
{
    return result_of(syscall(SYS_capset, NULL, NULL));
}

static long personality_(const struct surroundings *s)
{
    return result_of(syscall(SYS_personality, 0xffffffff));
}

/* Asks for the version: rules of its own cannot undo the jail's, but nobody needs them either. */
static long landlock(const struct surroundings *s)
{
    return result_of(syscall(SYS_landlock_create_ruleset, NULL, 0, 1));
}

#ifdef __x86_64__

static long arch_prctl_(const struct surroundings *s)
{
    return result_of(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, NULL));
}

static long modify_ldt_(const struct surroundings *s)
{
    return result_of(syscall(SYS_modify_ldt, 0, NULL, 0));
}

#endif

static const struct attempt table[] = {
    ATTEMPT("seccomp-again", seccomp_again, BLOCKED(seccomp), FAILS(EFAULT)),
    ATTEMPT("seccomp-new-listener", seccomp_new_listener, BLOCKED(seccomp), FAILS(EFAULT)),
    ATTEMPT("prctl-seccomp", prctl_seccomp, BLOCKED(prctl), FAILS(EFAULT)),
    ATTEMPT("prctl-dumpable", prctl_dumpable, BLOCKED(prctl), RETURNS(0)),
    ATTEMPT("prctl-pdeathsig", prctl_pdeathsig, BLOCKED(prctl), RETURNS(0)),
    ATTEMPT("prctl-mm", prctl_mm, BLOCKED(prctl), FAILS(EINVAL)),
    ATTEMPT("prctl-user-dispatch", prctl_user_dispatch, BLOCKED(prctl), RETURNS(0)),
    ATTEMPT("prctl-ptracer", prctl_ptracer, BLOCKED(prctl), RETURNS(0),
            .control_or = FAILS(EINVAL)),
    ATTEMPT("prctl-write-execute", prctl_write_execute, BLOCKED(prctl), FAILS(EINVAL)),
    ATTEMPT("prctl-ambient", prctl_ambient, BLOCKED(prctl), RETURNS(0)),
    ATTEMPT("capset", capset_, BLOCKED(capset), FAILS(EFAULT)),
    ATTEMPT("personality", personality_, BLOCKED(personality), SUCCEEDS, OTHERS(-ENOSYS, START)),
    /* EOPNOTSUPP: built in, but not in the kernel's list of modules. */
    ATTEMPT("landlock-again", landlock, BLOCKED(landlock_create_ruleset), SUCCEEDS,
            .control_or = FAILS(EOPNOTSUPP)),
#ifdef __x86_64__
    ATTEMPT("arch-prctl", arch_prctl_, BLOCKED(arch_prctl), FAILS(EFAULT)),
    ATTEMPT("modify-ldt", modify_ldt_, BLOCKED(modify_ldt), RETURNS(0), OTHERS(-ENOSYS, START)),
#endif
};

const struct attempt_group attempts_jail = { table, sizeof(table) / sizeof(table[0]) };
