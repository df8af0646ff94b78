/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/cgroup.h"

#include "ipc/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HIERARCHY "/sys/fs/cgroup"
#define BROKER_LEAF "broker"
#define SESSION_NAME "session-%d-%u" /* the broker's pid, the session's id */
#define CPU_PERIOD 100000u           /* microseconds */

struct limits {
    size_t count;
    struct {
        const char *file;
        char value[48]; /* as the kernel tells it, too */
    } of[5];
};

static struct limits limits_of(const struct policy *policy)
{
    uint64_t guest = policy->dma_access == DMA_ACCESS_NONE ? 0 : policy->dma_max_bytes;
    uint64_t pages = ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
    unsigned cpu = policy->limit_cpu_percent * (CPU_PERIOD / 100);
    const size_t size = sizeof(((struct limits *)NULL)->of->value);
    struct limits limits = {
        .count = cpu > 0 ? 4 : 3,
        .of = { { .file = "memory.max" },
                { .file = "memory.swap.max" }, /* guest memory that the device was first to touch */
                { .file = "pids.max" },
                { .file = "cpu.max" } },
    };

    snprintf(limits.of[0].value, size, "%ju", (policy->limit_memory + guest) & pages);
    snprintf(limits.of[1].value, size, "%ju", guest & pages);
    snprintf(limits.of[2].value, size, "%u", 1 + policy->jail_threads);
    snprintf(limits.of[3].value, size, "%u %u", cpu, CPU_PERIOD);
    return limits;
}

static int write_file(int dir, const char *name, const char *text)
{
    AUTO_FD fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Without the newline at its end. Returns 0 or -errno. */
static int read_file(int dir, const char *name, char *text, size_t size)
{
    AUTO_FD fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    text[n > 0 && text[n - 1] == '\n' ? n - 1 : 0] = '\0';
    return n < 0 ? -errno : 0;
}

static int open_directory(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* Our own cgroup of version 2, of which /proc has one line "0::/path", the last. */
static int open_own(void)
{
    char text[PATH_MAX];
    char path[sizeof(HIERARCHY) + sizeof(text)];
    int err = read_file(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text));
    const char *line = strstr(text, "0::/");

    if (err < 0 || line == NULL) {
        return err < 0 ? err : -EOPNOTSUPP;
    }
    snprintf(path, sizeof(path), HIERARCHY "%s", line + strlen("0::"));
    return open_directory(AT_FDCWD, path);
}

static int enter_leaf(int dir)
{
    return mkdirat(dir, BROKER_LEAF, 0755) < 0 && errno != EEXIST
               ? -errno
               : write_file(dir, BROKER_LEAF "/cgroup.procs", "0");
}

int cgroup_open(const char *path, const struct policy *policy)
{
    bool own = strcmp(path, "self") == 0;
    bool cpu = policy->limit_cpu_percent > 0;
    AUTO_FD dir = own ? open_own() : open_directory(AT_FDCWD, path);
    struct statfs fs;
    struct stat st;
    int err;

    if (dir < 0) {
        return dir;
    }
    if (fstatfs(dir, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC) {
        return -EOPNOTSUPP;
    }
    /* Root could write to it now, and not when the supervisor has given up its capabilities. */
    if (fstat(dir, &st) < 0 || st.st_uid != geteuid()) {
        return -EACCES;
    }
    err = own ? enter_leaf(dir) : 0;
    err = err == 0 ? write_file(dir, "cgroup.subtree_control", "+memory +pids") : err;
    err = err == 0 && cpu ? write_file(dir, "cgroup.subtree_control", "+cpu") : err;
    if (err < 0) {
        return err;
    }
    cgroup_sweep(dir);
    return fd_take(&dir);
}

int cgroup_create(int delegated, unsigned id, const struct policy *policy)
{
    const struct limits limits = limits_of(policy);
    AUTO_FD dir = -1;
    char name[40];
    int err = 0;

    snprintf(name, sizeof(name), SESSION_NAME, getpid(), id);
    if (mkdirat(delegated, name, 0755) < 0) {
        return -errno;
    }
    dir = open_directory(delegated, name);
    for (size_t i = 0; dir >= 0 && err == 0 && i < limits.count; i++) {
        err = write_file(dir, limits.of[i].file, limits.of[i].value);
    }
    return err < 0 ? err : fd_take(&dir);
}

int cgroup_verify(int cgroup, pid_t pid, const struct policy *policy, char *error,
                  size_t error_size)
{
    struct limits wanted = limits_of(policy);
    char found[128];

    wanted.of[wanted.count].file = "cgroup.procs";
    snprintf(wanted.of[wanted.count++].value, sizeof(wanted.of->value), "%d", pid);
    for (size_t i = 0; i < wanted.count; i++) {
        if (read_file(cgroup, wanted.of[i].file, found, sizeof(found)) < 0 ||
            strcmp(found, wanted.of[i].value) != 0) {
            snprintf(error, error_size, "%s is \"%s\", wanted \"%s\"", wanted.of[i].file, found,
                     wanted.of[i].value);
            return -1;
        }
    }
    return 0;
}

/* A broker that does not live any more leaves its name, unless another process has its pid. */
static bool is_ours_or_nobodys(pid_t pid)
{
    return pid == getpid() || (kill(pid, 0) < 0 && errno == ESRCH);
}

void cgroup_sweep(int delegated)
{
    int fd = open_directory(delegated, ".");
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    unsigned id;
    int pid;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (sscanf(entry->d_name, SESSION_NAME, &pid, &id) == 2 && is_ours_or_nobodys(pid)) {
            (void)unlinkat(delegated, entry->d_name, AT_REMOVEDIR);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}
