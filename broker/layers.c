/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/layers.h"

#include "broker/isolate.h"
#include "ipc/fd.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef PR_GET_MDWE /* Linux 6.3 */
#define PR_GET_MDWE 66
#endif

/* Whether a child can be made with these namespaces. */
static int try_clone(uint64_t flags)
{
    struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid == 0) {
        _exit(0);
    }
    if (pid < 0) {
        return errno;
    }
    return waitpid((pid_t)pid, NULL, 0) == pid ? 0 : errno;
}

/* Namespaces need a user namespace around them, or CAP_SYS_ADMIN. */
static int try_namespace(uint64_t flag)
{
    return try_clone(CLONE_NEWUSER) == 0 ? try_clone(CLONE_NEWUSER | flag) : try_clone(flag);
}

/* Refused for its arguments or for the caller's rights, the call still exists. */
static int try_mount_calls(uint64_t call)
{
    return syscall((long)call, -1, NULL, 0, NULL, 0) < 0 && errno == ENOSYS ? ENOSYS : 0;
}

static int try_landlock(uint64_t ignored)
{
    int version = isolate_landlock_version();

    return version < 0 ? -version : 0;
}

static int try_prctl(uint64_t option)
{
    return prctl((int)option, 0, 0, 0, 0) < 0 ? errno : 0;
}

static int try_filter(uint64_t action)
{
    uint32_t wanted = (uint32_t)action;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &wanted) < 0 ? errno : 0;
}

/* clang-format off */
static const struct {
    struct layer layer;
    int (*attempt)(uint64_t argument); /* 0 or an errno */
    uint64_t argument;
} table[] = {
    { { "user-namespace", JAIL_LAYER_USER_NAMESPACE, "capabilities that mean nothing outside", 0 },
      try_clone, CLONE_NEWUSER },
    { { "pid-namespace", 0, "no other process can be seen or signalled", 0 },
      try_namespace, CLONE_NEWPID },
    { { "mount-namespace", 0, "a file system of its own", 0 }, try_namespace, CLONE_NEWNS },
    { { "private-root", 0, "read-only, holding only what the program needs to start", 0 },
      try_mount_calls, SYS_mount_setattr },
    { { "network-namespace", 0, "no network, no abstract sockets", 0 },
      try_namespace, CLONE_NEWNET },
    { { "ipc-namespace", 0, "no System V objects or message queues", 0 },
      try_namespace, CLONE_NEWIPC },
    { { "uts-namespace", 0, "no host name to change", 0 }, try_namespace, CLONE_NEWUTS },
    { { "cgroup-namespace", JAIL_LAYER_CGROUP_NAMESPACE, "no view of the host's cgroups", 0 },
      try_namespace, CLONE_NEWCGROUP },
    { { "landlock", JAIL_LAYER_LANDLOCK, "files, TCP, signals denied a second time", 0 },
      try_landlock, 0 },
    { { "mdwe", JAIL_LAYER_MDWE, "no memory becomes executable", 0 }, try_prctl, PR_GET_MDWE },
    { { "no-new-privileges", 0, "no rights gained by executing", 0 },
      try_prctl, PR_GET_NO_NEW_PRIVS },
    { { "seccomp-filter", 0, "only listed system calls", 0 },
      try_filter, SECCOMP_RET_KILL_PROCESS },
    { { "seccomp-notify", 0, "a blocked call is named in the log", 0 },
      try_filter, SECCOMP_RET_USER_NOTIF },
};
/* clang-format on */

const struct layer *layers_probe(struct layers *layers, const struct policy *policy,
                                 void (*report)(const struct layer *layer))
{
    const struct layer *missing = NULL;
    unsigned absent = 0;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct layer layer = table[i].layer;

        layer.error = table[i].attempt(table[i].argument);
        if (report != NULL) {
            report(&layer);
        }
        if (layer.error != 0) {
            absent |= layer.optional;
            if (missing == NULL && !(policy->jail_optional & layer.optional)) {
                missing = &table[i].layer;
            }
        }
    }
    *layers = (struct layers){
        .user_namespaces = !(absent & JAIL_LAYER_USER_NAMESPACE),
        .cgroup_namespaces = !(absent & JAIL_LAYER_CGROUP_NAMESPACE),
        .landlock = !(absent & JAIL_LAYER_LANDLOCK),
        .mdwe = !(absent & JAIL_LAYER_MDWE),
    };
    return missing;
}
