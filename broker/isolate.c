/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/isolate.h"

#include "ipc/fd.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int isolate_die_with_parent(int alive)
{
    struct pollfd parent = { .fd = alive, .events = POLLIN };

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return -errno;
    }
    /*
     * It may have ended before the call above: then nobody would ever signal us. While it ends, it
     * looks for whom to signal and becomes what poll(2) sees without letting go of the list of
     * processes, and getpriority(PRIO_PGRP) takes that: it waits for both, or comes before them.
     */
    getpriority(PRIO_PGRP, 0);
    if (poll(&parent, 1, 0) < 0) {
        return -errno;
    }
    return parent.revents != 0 ? -ESRCH : 0;
}

int isolate_change_ids(uid_t uid, gid_t gid, bool drop_groups)
{
    if ((drop_groups && setgroups(0, NULL) < 0) || setresgid(gid, gid, gid) < 0 ||
        setresuid(uid, uid, uid) < 0) {
        return -errno;
    }
    return 0;
}

int isolate_drop_bounding(void)
{
    capng_setpid(getpid());
    capng_clear(CAPNG_SELECT_BOUNDS);
    return capng_apply(CAPNG_SELECT_BOUNDS) == 0 ? 0 : -EPERM;
}

int isolate_drop_capabilities(void)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return -errno;
    }
    /* libcap-ng remembers the process that used it first: our parent. */
    capng_setpid(getpid());
    capng_clear(CAPNG_SELECT_CAPS);
    return capng_apply(CAPNG_SELECT_CAPS) == 0 ? 0 : -EPERM;
}

int isolate_readers_rights(void)
{
    int err;

    capng_setpid(getpid());
    capng_clear(CAPNG_SELECT_CAPS);
    if (geteuid() == 0) {
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
    }
    if (capng_apply(CAPNG_SELECT_CAPS) < 0) {
        return -EPERM;
    }
    err = isolate_no_new_privs();
    if (err == 0) {
        err = isolate_landlock("/");
    }
    return err == -EOPNOTSUPP || err == -ENOSYS ? 0 : err;
}

int isolate_no_new_privs(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/*
 * What each version of the interface can handle (landlock(7)). The structure is ours because the
 * headers of Debian 12 know version 2; the kernel takes any size whose unknown part is zero.
 */
struct ruleset_attributes {
    uint64_t access_fs;
    uint64_t access_net; /* version 4: TCP bind and connect */
    uint64_t scoped;     /* version 6: abstract UNIX sockets and signals */
};

static uint64_t handled_files(int version)
{
    unsigned bits = version == 1 ? 13 : version == 2 ? 14 : version < 5 ? 15 : 16;

    return (1ull << bits) - 1;
}

int isolate_landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version < 0 ? -errno : (int)version;
}

static int allow_reading(int ruleset, const char *root)
{
    AUTO_FD dir = open(root, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {
        .allowed_access =
            LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
        .parent_fd = dir,
    };

    if (dir < 0 ||
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
        return -errno;
    }
    return 0;
}

int isolate_landlock(const char *root)
{
    int version = isolate_landlock_version();
    struct ruleset_attributes attributes = {
        .access_fs = version > 0 ? handled_files(version) : 0,
        .access_net = version >= 4 ? 3 : 0,
        .scoped = version >= 6 ? 3 : 0,
    };
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    AUTO_FD ruleset = -1;
    int err;

    if (version <= 0) {
        return version < 0 ? version : -EOPNOTSUPP;
    }
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    if (ruleset < 0) {
        return -errno;
    }
    err = root != NULL ? allow_reading(ruleset, root) : 0;
    if (err == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        err = -errno;
    }
    return err;
}

int isolate_deny_write_execute(void)
{
    return prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0 ? -errno : 0;
}

int isolate_load_filter(const struct filter *filter)
{
    struct sock_fprog program = { .len = filter->count, .filter = filter->code };

    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
