/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The jail of a device process, in the order in which it closes. The stages up to execve run in
 * the child, in the code below; each that fails ends the child, which says why on a pipe.
 *
 *  1. clone3 into new namespaces, and into the cgroup that is made for it. With a user namespace
 * nothing here needs privileges outside it: its owner, the supervisor, may always look into and
 * kill what is inside.
 *  2. The supervisor writes the id map: one host id onto itself. Until then the child waits.
 *  3. The files that the program needs are opened as detached mounts, while the child still has
 *     its first uid, so that a program below a private home directory can be found.
 *  4. A small tmpfs receives them, each read-only, and becomes the root; the old root is
 *     detached. Must not come later than this: after stage 6 there is no right to mount.
 *  5. Landlock on that root; memory-deny-write-execute (both survive exec).
 *  6. Bounding set, groups, ids, capabilities: all gone. Then the parent-death signal, which a
 *     change of ids would have cleared.
 *  7. Limits, descriptors: 0 null, 1-2 log, 3 control (and more of them, should the broker have
 *     several sockets), then the resources; nothing else.
 *  8. no_new_privs, the start filter, execve.
 *
 * The library does the rest at its first vfu_attach_ctx (seal), and the supervisor believes none
 * of it before /proc says so (verify.c).
 */
#include "broker/jail.h"

#include "broker/cgroup.h"
#include "broker/isolate.h"
#include "ipc/control.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Above all descriptors of the layout, while it is being made. */
#define PARKING_FD 256

/* The child's side of what jail_spawn() made. */
struct child {
    const struct jail_plan *plan;
    int control[CONTROL_MAX_CHANNELS];
    int log;
    int status;
    int go;
    int trees[PROGRAM_MAX_FILES]; /* detached mounts of program.files */
};

/* --- stage 3 and 4: the private root ------------------------------------------------------- */

static int open_tree_at(const char *path)
{
    long fd = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    return fd < 0 ? -errno : (int)fd;
}

static int restrict_mount(int dir, const char *path, unsigned flags)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
    };

    return syscall(SYS_mount_setattr, dir, path, flags, &attributes, sizeof(attributes)) < 0
               ? -errno
               : 0;
}

static int move_mount_to(int tree, int dir, const char *path)
{
    return syscall(SYS_move_mount, tree, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int open_files(struct child *child, const char **failed)
{
    const struct program *program = &child->plan->program;

    for (size_t i = 0; i < program->file_count; i++) {
        int err;

        *failed = program->files[i];
        child->trees[i] = open_tree_at(program->files[i]);
        if (child->trees[i] < 0) {
            return child->trees[i];
        }
        err = restrict_mount(child->trees[i], "", AT_EMPTY_PATH);
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* A new tmpfs, attached over the root: it becomes the root itself a little later. */
static int mount_tmpfs(void)
{
    static const char *const options[][2] = { { "size", "64k" },
                                              { "nr_inodes", "1024" },
                                              { "mode", "0755" } };
    AUTO_FD context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    AUTO_FD root = -1;

    if (context < 0) {
        return -errno;
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) <
            0) {
            return -errno;
        }
    }
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    root = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (root < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -errno;
    }
    if (move_mount_to(root, AT_FDCWD, "/") < 0 || fchdir(root) < 0) {
        return -errno;
    }
    return 0;
}

/* Makes the directories above @path, which is relative to the working directory. */
static int make_parents(const char *path)
{
    char parent[PATH_MAX];

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (mkdir(parent, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

static int place_file(int tree, const char *path)
{
    struct stat st;
    int err = make_parents(path);

    if (err < 0) {
        return err;
    }
    if (fstat(tree, &st) < 0) {
        return -errno;
    }
    if (S_ISDIR(st.st_mode)) {
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    } else {
        AUTO_FD target = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);

        if (target < 0) {
            return -errno;
        }
    }
    return move_mount_to(tree, AT_FDCWD, path);
}

static int enter_root(struct child *child, const char **failed)
{
    const struct jail_plan *plan = child->plan;
    int err;

    *failed = "tmpfs";
    if (plan->layers.user_namespaces) {
        /* Files can only be made by an id that the user namespace knows. */
        setfsgid(plan->policy->jail_gid);
        setfsuid(plan->policy->jail_uid);
    }
    err = mount_tmpfs();
    if (err < 0) {
        return err;
    }
    for (size_t i = 0; i < plan->program.file_count; i++) {
        *failed = plan->program.files[i];
        err = place_file(child->trees[i], plan->program.files[i] + 1);
        if (err < 0) {
            return err;
        }
    }
    *failed = "pivot_root";
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return restrict_mount(AT_FDCWD, "/", 0);
}

/* --- stage 7: limits and descriptors ------------------------------------------------------- */

static int set_limits(const struct jail_plan *plan)
{
    const struct {
        __rlimit_resource_t resource;
        rlim_t limit;
    } limits[] = {
        { RLIMIT_CORE, 0 },
        { RLIMIT_MEMLOCK, 0 },
        { RLIMIT_MSGQUEUE, 0 },
        { RLIMIT_DATA, plan->policy->limit_memory },
        { RLIMIT_FSIZE, plan->file_size },
        { RLIMIT_NOFILE, plan->descriptors },
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct rlimit old;
        struct rlimit new = { limits[i].limit, limits[i].limit };

        /* Never raised: a lower limit of the broker's own stays. */
        if (getrlimit(limits[i].resource, &old) < 0) {
            return -errno;
        }
        if (old.rlim_max < new.rlim_max) {
            new = (struct rlimit){ old.rlim_max, old.rlim_max };
        }
        if (setrlimit(limits[i].resource, &new) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* Moves a descriptor out of the way of the final layout. */
static int park(int *fd)
{
    int parked = fcntl(*fd, F_DUPFD_CLOEXEC, PARKING_FD);

    if (parked < 0) {
        return -errno;
    }
    *fd = parked;
    return 0;
}

static int arrange_descriptors(struct child *child)
{
    const struct jail_plan *plan = child->plan;
    size_t resources = plan->policy->resource_count;
    int sources[CONTROL_FD + CONTROL_MAX_CHANNELS + POLICY_MAX_LIST] = { plan->null, child->log,
                                                                         child->log };
    size_t first_resource = jail_first_resource_fd(plan);
    size_t count = first_resource + resources;
    int err = park(&child->status);

    memcpy(sources + CONTROL_FD, child->control, plan->sockets * sizeof(int));
    memcpy(sources + first_resource, plan->resources, resources * sizeof(int));
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = park(&sources[i]);
    }
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = dup2(sources[i], (int)i) < 0 ? -errno : 0;
    }
    /* The status pipe was parked first, so everything above it goes too. */
    if (err == 0 && (close_range((unsigned)count, (unsigned)child->status - 1, 0) < 0 ||
                     close_range((unsigned)child->status + 1, ~0u, 0) < 0)) {
        err = -errno;
    }
    return err;
}

static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++) {
        signal(sig, SIG_DFL);
    }
    /* The hot path writes to the client with write(2). */
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* --- the child ----------------------------------------------------------------------------- */

static void fail(const struct child *child, const char *stage, const char *what, int err)
{
    struct jail_failure failure = { .error = -err };

    snprintf(failure.stage, sizeof(failure.stage), "%s%s%s", stage, what[0] != '\0' ? ": " : "",
             what);
    if (write(child->status, &failure, sizeof(failure)) < 0) {
        _exit(2);
    }
    _exit(1);
}

static void check(const struct child *child, const char *stage, int err)
{
    if (err < 0) {
        fail(child, stage, "", err);
    }
}

static void enter(struct child *child)
{
    const struct jail_plan *plan = child->plan;
    const struct policy *policy = plan->policy;
    const char *what = "";
    char go;
    int err;

    check(child, "parent-death signal", isolate_die_with_parent(plan->supervisor));
    if (read(child->go, &go, 1) != 1) {
        fail(child, "id map", "", -EPIPE);
    }
    setsid();
    err = open_files(child, &what);
    if (err < 0) {
        fail(child, "private-root", what, err);
    }
    err = enter_root(child, &what);
    if (err < 0) {
        fail(child, "private-root", what, err);
    }
    if (plan->layers.landlock) {
        check(child, "no-new-privileges", isolate_no_new_privs());
        check(child, "landlock", isolate_landlock("/"));
    }
    if (plan->layers.mdwe) {
        check(child, "mdwe", isolate_deny_write_execute());
    }
    check(child, "capability bounding set", isolate_drop_bounding());
    check(child, "ids", isolate_change_ids(policy->jail_uid, policy->jail_gid, plan->maps_ids));
    check(child, "capabilities", isolate_drop_capabilities());
    check(child, "parent-death signal", isolate_die_with_parent(plan->supervisor));
    check(child, "descriptors", arrange_descriptors(child));
    check(child, "limits", set_limits(plan));
    reset_signals();
    check(child, "no-new-privileges", isolate_no_new_privs());
    check(child, "seccomp-filter", isolate_load_filter(&plan->start));
    execve(plan->program.path, plan->argv, plan->envp);
    fail(child, "execute", plan->program.path, -errno);
}

/* --- the supervisor's side ----------------------------------------------------------------- */

static int write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];
    AUTO_FD fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        return -errno;
    }
    return 0;
}

/* Stage 2. One id, mapped onto itself, so that ids mean the same inside and outside. */
static int map_ids(const struct jail_plan *plan, pid_t pid)
{
    uid_t uid = plan->policy->jail_uid;
    gid_t gid = plan->policy->jail_gid;
    char map[64];
    int err = 0;

    if (!plan->maps_ids) {
        /* Without privileges the kernel wants this first (user_namespaces(7)). */
        err = write_proc(pid, "setgroups", "deny");
    }
    snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
    err = err == 0 ? write_proc(pid, "gid_map", map) : err;
    snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
    return err == 0 ? write_proc(pid, "uid_map", map) : err;
}

static uint64_t namespaces(const struct jail_plan *plan)
{
    return CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
           (plan->layers.user_namespaces ? CLONE_NEWUSER : 0) |
           (plan->layers.cgroup_namespaces ? CLONE_NEWCGROUP : 0);
}

static int release_child(const struct jail_plan *plan, pid_t pid, int go)
{
    int err = plan->layers.user_namespaces ? map_ids(plan, pid) : 0;

    if (err == 0 && write(go, "", 1) != 1) {
        err = -errno;
    }
    return err;
}

/* Makes the channels: their ends in the child and, in @process, the broker's. */
static int create_channels(const struct jail_plan *plan, struct child *child,
                           struct jail_process *process)
{
    for (size_t i = 0; i < plan->sockets; i++) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
            return -errno;
        }
        process->control[i] = ends[0];
        child->control[i] = ends[1];
    }
    return 0;
}

int jail_spawn(const struct jail_plan *plan, unsigned id, struct jail_process *process)
{
    struct child child = { .plan = plan };
    int log[2] = { -1, -1 };
    int status[2] = { -1, -1 };
    int go[2] = { -1, -1 };
    int pidfd = -1;
    struct clone_args args = { .flags = namespaces(plan) | CLONE_PIDFD,
                               .pidfd = (uintptr_t)&pidfd,
                               .exit_signal = SIGCHLD };
    long pid = -1;
    int err;

    *process = (struct jail_process){ .pidfd = -1, .log = -1, .status = -1, .cgroup = -1 };
    for (size_t i = 0; i < plan->sockets; i++) {
        process->control[i] = -1;
        child.control[i] = -1;
    }
    err = create_channels(plan, &child, process);
    /* The log pipe is non-blocking: a device that floods it loses text, not time. */
    if (err == 0 && (pipe2(log, O_CLOEXEC | O_NONBLOCK) < 0 ||
                     pipe2(status, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(go, O_CLOEXEC) < 0)) {
        err = -errno;
    }
    if (err == 0 && plan->cgroup >= 0) {
        process->cgroup = cgroup_create(plan->cgroup, id, plan->policy);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)process->cgroup;
        err = process->cgroup < 0 ? process->cgroup : 0;
    }
    if (err == 0) {
        pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid == 0) {
            child.log = log[1];
            child.status = status[1];
            child.go = go[0];
            close(go[1]);
            enter(&child);
        }
        err = pid < 0 ? -errno : release_child(plan, (pid_t)pid, go[1]);
    }
    for (size_t i = 0; i < plan->sockets; i++) {
        fd_close(&child.control[i]);
    }
    fd_close(&log[1]);
    fd_close(&status[1]);
    fd_close(&go[0]);
    fd_close(&go[1]);
    process->pid = (pid_t)pid;
    process->pidfd = pidfd;
    process->log = log[0];
    process->status = status[0];
    return err;
}

bool jail_failure_read(const struct jail_process *process, struct jail_failure *failure)
{
    bool complete = read(process->status, failure, sizeof(*failure)) == sizeof(*failure);

    failure->stage[sizeof(failure->stage) - 1] = '\0';
    return complete;
}
