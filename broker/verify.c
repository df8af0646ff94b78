/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/verify.h"

#include "broker/cgroup.h"
#include "ipc/control.h"
#include "ipc/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

struct context {
    const struct jail_plan *plan;
    const struct jail_process *process;
    int proc; /* /proc/PID */
    char *error;
    size_t error_size;
};

#define FAIL(context, ...) (snprintf((context)->error, (context)->error_size, __VA_ARGS__), -1)

static void close_dir(DIR **dir)
{
    if (*dir != NULL) {
        closedir(*dir);
    }
}

#define AUTO_DIR __attribute__((cleanup(close_dir))) DIR *

static DIR *open_dir(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL && fd >= 0) {
        close(fd);
    }
    return dir;
}

static int open_proc(struct context *c, pid_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d", pid);
    c->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return c->proc < 0 ? FAIL(c, "%s: %s", path, strerror(errno)) : 0;
}

/* --- status -------------------------------------------------------------------------------- */

/* Large enough for the file on any kernel: it lists a few dozen short lines. */
#define STATUS_SIZE 8192

static int read_status(struct context *c, int dir, const char *name, char *text)
{
    AUTO_FD fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, STATUS_SIZE - 1) : -1;

    if (n < 0) {
        return FAIL(c, "%s: %s", name, strerror(errno));
    }
    text[n] = '\0';
    return 0;
}

/* The value of @field, white space made single; "" if there is none. */
static void field(const char *status, const char *name, char *value, size_t size)
{
    char start[32];
    const char *line;
    size_t used = 0;

    snprintf(start, sizeof(start), "\n%s:\t", name);
    line = strstr(status, start);
    if (line != NULL) {
        for (line += strlen(start); *line != '\n' && *line != '\0' && used + 1 < size; line++) {
            value[used++] = *line == '\t' ? ' ' : *line;
        }
    }
    value[used] = '\0';
}

static int expect(struct context *c, const char *status, const char *name, const char *wanted)
{
    char found[128];

    field(status, name, found, sizeof(found));
    return strcmp(found, wanted) == 0 ? 0
                                      : FAIL(c, "%s is \"%s\", wanted \"%s\"", name, found, wanted);
}

/* Filters that this process runs under already count for its children too. */
static long own_filters(void)
{
    struct context c = { .error = (char[1]){ 0 }, .error_size = 1 };
    char status[STATUS_SIZE];
    char value[32];

    if (read_status(&c, AT_FDCWD, "/proc/self/status", status) < 0) {
        return -1;
    }
    field(status, "Seccomp_filters", value, sizeof(value));
    return atol(value);
}

static int check_ids(struct context *c, const char *status)
{
    uid_t uid = c->plan->policy->jail_uid;
    gid_t gid = c->plan->policy->jail_gid;
    char wanted[64];

    snprintf(wanted, sizeof(wanted), "%u %u %u %u", uid, uid, uid, uid);
    if (expect(c, status, "Uid", wanted) < 0) {
        return -1;
    }
    snprintf(wanted, sizeof(wanted), "%u %u %u %u", gid, gid, gid, gid);
    return expect(c, status, "Gid", wanted);
}

static int check_status(struct context *c, const char *status, long filters, bool bounding)
{
    static const char none[] = "0000000000000000";
    static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd" };
    char wanted[64];

    if (check_ids(c, status) < 0) {
        return -1;
    }
    for (size_t i = 0; i < (bounding ? 5 : 4); i++) {
        if (expect(c, status, sets[i], none) < 0) {
            return -1;
        }
    }
    snprintf(wanted, sizeof(wanted), "%ld", own_filters() + filters);
    if (expect(c, status, "NoNewPrivs", "1") < 0 || expect(c, status, "Seccomp", "2") < 0 ||
        expect(c, status, "Seccomp_filters", wanted) < 0) {
        return -1;
    }
    return 0;
}

/* A child would go on beside the device without its filter. */
static int check_no_child(struct context *c, int tasks, const char *thread)
{
    char name[300];
    char pids[16] = "";
    AUTO_FD fd = -1;

    snprintf(name, sizeof(name), "%s/children", thread);
    fd = openat(tasks, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        /* CONFIG_PROC_CHILDREN: not every kernel tells. */
        return errno == ENOENT ? 0 : FAIL(c, "%s: %s", name, strerror(errno));
    }
    if (read(fd, pids, sizeof(pids) - 1) < 0) {
        return FAIL(c, "%s: %s", name, strerror(errno));
    }
    pids[strcspn(pids, " ")] = '\0';
    return pids[0] == '\0' ? 0 : FAIL(c, "child process %s, wanted none", pids);
}

/* 0 if it is confined, 1 if it has ended meanwhile: no new one can come. */
static int check_thread(struct context *c, int tasks, const char *thread)
{
    char status[STATUS_SIZE];
    char name[300];

    snprintf(name, sizeof(name), "%s/status", thread);
    if (read_status(c, tasks, name, status) == 0 && check_status(c, status, 2, true) == 0 &&
        check_no_child(c, tasks, thread) == 0) {
        return 0;
    }
    return faccessat(tasks, name, F_OK, 0) < 0 ? 1 : -1;
}

static int check_threads(struct context *c)
{
    uint32_t allowed = c->plan->policy->jail_threads;
    AUTO_DIR tasks = open_dir(c->proc, "task");
    uint32_t count = 0;

    if (tasks == NULL) {
        return FAIL(c, "task: %s", strerror(errno));
    }
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        int result = entry->d_name[0] != '.' ? check_thread(c, dirfd(tasks), entry->d_name) : 1;

        if (result < 0) {
            return -1;
        }
        count += result == 0;
    }
    return count >= 1 && count - 1 <= allowed
               ? 0
               : FAIL(c, "%u threads besides the first, the policy allows %u (jail.threads)",
                      count - 1, allowed);
}

/* The library's doing at the seal. Read as text, as there is no other way to ask for a limit. */
static int check_processes_limit(struct context *c)
{
    static const char name[] = "\nMax processes ";
    char limits[STATUS_SIZE];
    const char *line;
    unsigned soft = 0;
    unsigned hard = 0;

    if (read_status(c, c->proc, "limits", limits) < 0) {
        return -1;
    }
    line = strstr(limits, name);
    if (line == NULL || sscanf(line + strlen(name), "%u %u", &soft, &hard) != 2 || hard > 1) {
        return FAIL(c, "limit of processes is %u, wanted 1", hard);
    }
    return 0;
}

/* --- namespaces ---------------------------------------------------------------------------- */

static int check_namespace(struct context *c, const char *name)
{
    char path[32];
    char theirs[64] = "";
    char ours[64] = "";

    snprintf(path, sizeof(path), "ns/%s", name);
    if (readlinkat(c->proc, path, theirs, sizeof(theirs) - 1) < 0) {
        return FAIL(c, "ns/%s: %s", name, strerror(errno));
    }
    snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
    if (readlink(path, ours, sizeof(ours) - 1) < 0) {
        return FAIL(c, "%s: %s", path, strerror(errno));
    }
    return strcmp(theirs, ours) != 0 ? 0 : FAIL(c, "%s namespace is the broker's own", name);
}

static int check_namespaces(struct context *c)
{
    static const char *const always[] = { "pid", "mnt", "net", "ipc", "uts" };

    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
        if (check_namespace(c, always[i]) < 0) {
            return -1;
        }
    }
    if (c->plan->layers.cgroup_namespaces && check_namespace(c, "cgroup") < 0) {
        return -1;
    }
    return c->plan->layers.user_namespaces ? check_namespace(c, "user") : 0;
}

/* --- descriptors --------------------------------------------------------------------------- */

static bool same_file(const struct stat *st, int fd)
{
    struct stat ours;

    return fstat(fd, &ours) == 0 && ours.st_dev == st->st_dev && ours.st_ino == st->st_ino;
}

static bool is_null(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* What a program may have opened for itself: memory, and what it waits with. */
static bool is_harmless(const struct stat *st, const char *link)
{
    static const char *const kinds[] = { "/memfd:", "anon_inode:[eventfd]", "anon_inode:[timerfd]",
                                         "anon_inode:[eventpoll]", "anon_inode:[signalfd]" };

    if (S_ISFIFO(st->st_mode) || is_null(st)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strncmp(link, kinds[i], strlen(kinds[i])) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_expected(const struct context *c, int fd, const struct stat *st, const char *link)
{
    size_t first_resource = jail_first_resource_fd(c->plan);
    size_t resource = (size_t)fd - first_resource;

    if (fd == 0) {
        return is_null(st);
    }
    if (fd == 1 || fd == 2) {
        return same_file(st, c->process->log);
    }
    if ((size_t)fd < first_resource) {
        return S_ISSOCK(st->st_mode);
    }
    if (resource < c->plan->policy->resource_count) {
        return same_file(st, c->plan->resources[resource]);
    }
    return is_harmless(st, link);
}

/* One descriptor of the process, borrowed for a look. */
static int check_descriptor(struct context *c, int number, int fd)
{
    char path[40];
    char link[256];
    struct stat st;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, link, sizeof(link) - 1);
    if (n < 0 || fstat(fd, &st) < 0) {
        return FAIL(c, "descriptor %d: %s", number, strerror(errno));
    }
    link[n] = '\0';
    return is_expected(c, number, &st, link)
               ? 0
               : FAIL(c, "descriptor %d is %s, which the jail does not allow", number, link);
}

/*
 * Not through /proc/PID/fd, which belongs to root once the process is not dumpable: only
 * pidfd_getfd lets the owner of a user namespace look in. No number can be above the limit, which
 * was set when everything else had been closed.
 */
static int check_descriptors(struct context *c)
{
    for (int number = 0; number < (int)c->plan->descriptors; number++) {
        AUTO_FD fd = (int)syscall(SYS_pidfd_getfd, c->process->pidfd, number, 0);

        if (fd < 0 && errno != EBADF) {
            return FAIL(c, "descriptor %d: %s", number, strerror(errno));
        }
        if (fd >= 0 && check_descriptor(c, number, fd) < 0) {
            return -1;
        }
    }
    return 0;
}

static int check_cgroup(struct context *c)
{
    return c->process->cgroup < 0 ? 0
                                  : cgroup_verify(c->process->cgroup, c->process->pid,
                                                  c->plan->policy, c->error, c->error_size);
}

static int verify(const struct jail_plan *plan, const struct jail_process *process, bool all,
                  char *error, size_t error_size)
{
    struct context c = {
        .plan = plan, .process = process, .proc = -1, .error = error, .error_size = error_size
    };
    int result = -1;

    if (open_proc(&c, process->pid) == 0 && check_threads(&c) == 0 &&
        (!all || (check_processes_limit(&c) == 0 && check_namespaces(&c) == 0 &&
                  check_descriptors(&c) == 0 && check_cgroup(&c) == 0))) {
        result = 0;
    }
    fd_close(&c.proc);
    return result;
}

int verify_device(const struct jail_plan *plan, const struct jail_process *process, char *error,
                  size_t error_size)
{
    return verify(plan, process, true, error, error_size);
}

int verify_threads(const struct jail_plan *plan, const struct jail_process *process, char *error,
                   size_t error_size)
{
    return verify(plan, process, false, error, error_size);
}

int verify_gate(const struct jail_plan *plan, pid_t pid, char *error, size_t error_size)
{
    struct context c = { .plan = plan, .proc = -1, .error = error, .error_size = error_size };
    char status[STATUS_SIZE];
    int result = -1;

    /* An ordinary user cannot empty the bounding set; no_new_privs makes it meaningless. */
    if (open_proc(&c, pid) == 0 && read_status(&c, c.proc, "status", status) == 0 &&
        check_status(&c, status, 1, plan->maps_ids) == 0) {
        result = 0;
    }
    fd_close(&c.proc);
    return result;
}
