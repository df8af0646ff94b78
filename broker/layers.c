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
static int try_namespaces(uint64_t flags)
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

static int try_user(void)
{
    return try_namespaces(CLONE_NEWUSER);
}

/* The other namespaces need a user namespace around them, or CAP_SYS_ADMIN. */
static int try_other(uint64_t flag)
{
    return try_user() == 0 ? try_namespaces(CLONE_NEWUSER | flag) : try_namespaces(flag);
}

static int try_pid(void)
{
    return try_other(CLONE_NEWPID);
}

static int try_mount(void)
{
    return try_other(CLONE_NEWNS);
}

static int try_network(void)
{
    return try_other(CLONE_NEWNET);
}

static int try_ipc(void)
{
    return try_other(CLONE_NEWIPC);
}

static int try_uts(void)
{
    return try_other(CLONE_NEWUTS);
}

static int try_cgroup(void)
{
    return try_other(CLONE_NEWCGROUP);
}

/* Refused for its arguments or for the caller's rights, the call still exists. */
static int exists(long result)
{
    return result < 0 && errno == ENOSYS ? errno : 0;
}

static int try_private_root(void)
{
    uint8_t attributes[32] = { 0 };

    return exists(syscall(SYS_mount_setattr, -1, "", 0x1000 /* AT_EMPTY_PATH */, attributes,
                          sizeof(attributes)));
}

static int try_landlock(void)
{
    int version = isolate_landlock_version();

    return version < 0 ? -version : 0;
}

static int try_mdwe(void)
{
    return prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0 ? errno : 0;
}

static int try_filter_action(uint32_t action)
{
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? errno : 0;
}

static int try_seccomp(void)
{
    return try_filter_action(SECCOMP_RET_KILL_PROCESS);
}

static int try_seccomp_notify(void)
{
    return try_filter_action(SECCOMP_RET_USER_NOTIF);
}

static int try_no_new_privs(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) < 0 ? errno : 0;
}

static const struct {
    struct layer layer;
    int (*attempt)(void);
} table[] = {
    { { "user-namespace", JAIL_LAYER_USER_NAMESPACE, "capabilities that mean nothing outside", 0 },
      try_user },
    { { "pid-namespace", 0, "no other process can be seen or signalled", 0 }, try_pid },
    { { "mount-namespace", 0, "a file system of its own", 0 }, try_mount },
    { { "private-root", 0, "read-only, holding only what the program needs to start", 0 },
      try_private_root },
    { { "network-namespace", 0, "no network, no abstract sockets", 0 }, try_network },
    { { "ipc-namespace", 0, "no System V objects or message queues", 0 }, try_ipc },
    { { "uts-namespace", 0, "no host name to change", 0 }, try_uts },
    { { "cgroup-namespace", JAIL_LAYER_CGROUP_NAMESPACE, "no view of the host's cgroups", 0 },
      try_cgroup },
    { { "landlock", JAIL_LAYER_LANDLOCK, "files, TCP, signals denied a second time", 0 },
      try_landlock },
    { { "mdwe", JAIL_LAYER_MDWE, "no memory becomes executable", 0 }, try_mdwe },
    { { "no-new-privileges", 0, "no rights gained by executing", 0 }, try_no_new_privs },
    { { "seccomp-filter", 0, "only listed system calls", 0 }, try_seccomp },
    { { "seccomp-notify", 0, "a blocked call is named in the log", 0 }, try_seccomp_notify },
};

const struct layer *layers_probe(struct layers *layers, const struct policy *policy,
                                 void (*report)(const struct layer *layer))
{
    const struct layer *missing = NULL;
    unsigned absent = 0;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct layer layer = table[i].layer;

        layer.error = table[i].attempt();
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
