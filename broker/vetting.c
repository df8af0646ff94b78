/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/vetting.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <vfio-user/vfio-user.h>

static const char *const reason_names[VETTING_REASON_MAX] = {
    [VETTING_OK] = "ok",
    [VETTING_NOT_MEMORY] = "not-memory",
    [VETTING_MEMORY_KIND] = "memory-kind-not-in-policy",
    [VETTING_MEMORY_SEALS] = "memory-seals-missing",
    [VETTING_MEMORY_ACCESS] = "memory-not-readable",
    [VETTING_MEMORY_REOPEN] = "memory-not-reopened",
    [VETTING_NOT_EVENTFD] = "not-an-eventfd",
    [VETTING_NOT_EXPECTED] = "command-takes-none",
    [VETTING_UNKNOWN] = "neither-memory-nor-eventfd",
};

const char *vetting_reason_name(uint32_t reason)
{
    return reason < VETTING_REASON_MAX ? reason_names[reason] : "unknown";
}

int vetting_init(struct vetting *vetting, const struct policy *policy)
{
    AUTO_FD memfd = memfd_create("vetting", MFD_CLOEXEC);
    struct stat st;

    if (memfd < 0 || fstat(memfd, &st) < 0) {
        return -errno;
    }
    *vetting = (struct vetting){
        .policy = policy,
        .proc_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC),
        .memfd_device = st.st_dev,
    };
    return vetting->proc_fds < 0 ? -errno : 0;
}

/*
 * All anonymous inodes look alike to fstat(2); the link in /proc tells them apart, and is made by
 * the kernel without asking a file system. One opened with O_PATH has the same link, but is
 * neither readable nor writable.
 */
static bool is_eventfd(const struct vetting *vetting, int fd)
{
    static const char wanted[] = "anon_inode:[eventfd]";
    char name[16];
    char link[sizeof(wanted)];
    ssize_t n;

    snprintf(name, sizeof(name), "%d", fd);
    n = readlinkat(vetting->proc_fds, name, link, sizeof(link));
    if (n != (ssize_t)sizeof(wanted) - 1 || memcmp(link, wanted, sizeof(wanted) - 1) != 0) {
        return false;
    }
    return !(fcntl(fd, F_GETFL) & O_PATH);
}

/*
 * Called only for files that have seals, hence live in memory: neither call can hang. fstat(3) is
 * another system call in some versions of the C library, which the gate's filter does not know.
 */
static int memory_kind(const struct vetting *vetting, int fd)
{
    struct statfs fs;
    struct stat st;

    if (fstatfs(fd, &fs) < 0 || syscall(SYS_fstat, fd, &st) < 0) {
        return 0;
    }
    if (fs.f_type == HUGETLBFS_MAGIC) {
        return MEMORY_KIND_HUGETLBFS;
    }
    return st.st_dev == vetting->memfd_device ? MEMORY_KIND_MEMFD : MEMORY_KIND_TMPFS;
}

static enum vetting_reason vet_memory(const struct vetting *vetting, int fd, int seals)
{
    const struct policy *policy = vetting->policy;
    int flags = fcntl(fd, F_GETFL);

    /* What has seals is of one of the kinds: which, nobody asks where all are accepted. */
    if (policy->dma_memory != MEMORY_KINDS &&
        !(policy->dma_memory & (unsigned)memory_kind(vetting, fd))) {
        return VETTING_MEMORY_KIND;
    }
    if (((unsigned)seals & policy->dma_seals) != policy->dma_seals) {
        return VETTING_MEMORY_SEALS;
    }
    if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY) {
        return VETTING_MEMORY_ACCESS;
    }
    return VETTING_OK;
}

/*
 * Replaces a descriptor that can write. The access mode of an open file cannot be taken back, but
 * its link in /proc opens the same file anew; non-blocking, for a lease could hang that.
 */
static enum vetting_reason reopen(const struct vetting *vetting, int *fd)
{
    char name[16];
    int again;

    if ((fcntl(*fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        return VETTING_OK;
    }
    snprintf(name, sizeof(name), "%d", *fd);
    again = openat(vetting->proc_fds, name, VETTING_REOPEN_FLAGS);
    if (again < 0) {
        return VETTING_MEMORY_REOPEN;
    }
    fd_close(fd);
    *fd = again;
    return VETTING_OK;
}

/* Finds out what @fd is; says in @kind what to do with it, and may replace it. */
static enum vetting_reason vet(const struct vetting *vetting, int *fd, uint8_t *kind)
{
    /* Answered by memfd, tmpfs and hugetlbfs alone, without touching the file system. */
    int seals = fcntl(*fd, F_GET_SEALS);
    enum vetting_reason reason;

    if (seals >= 0) {
        if (vetting->policy->dma_access == DMA_ACCESS_NONE) {
            *kind = DESCRIPTOR_WITHHELD;
            return VETTING_OK;
        }
        reason = vet_memory(vetting, *fd, seals);
        *kind = DESCRIPTOR_MEMORY;
        if (vetting->policy->dma_access == DMA_ACCESS_RO) {
            *kind = DESCRIPTOR_READ_ONLY;
            return reason == VETTING_OK ? reopen(vetting, fd) : reason;
        }
        return reason;
    }
    *kind = DESCRIPTOR_EVENTFD;
    return is_eventfd(vetting, *fd) ? VETTING_OK : VETTING_UNKNOWN;
}

/* Whether a descriptor of @kind is what @command is about; 0 stands for any command. */
static enum vetting_reason match(uint16_t command, uint8_t kind, enum vetting_reason reason)
{
    if (command == VFIO_USER_DMA_MAP && (kind == DESCRIPTOR_EVENTFD || reason == VETTING_UNKNOWN)) {
        return VETTING_NOT_MEMORY;
    }
    if (command == VFIO_USER_DEVICE_SET_IRQS &&
        (kind != DESCRIPTOR_EVENTFD || reason == VETTING_UNKNOWN)) {
        return VETTING_NOT_EVENTFD;
    }
    return reason;
}

static int reason_errno(enum vetting_reason reason)
{
    switch (reason) {
    case VETTING_OK:
        return 0;
    case VETTING_MEMORY_SEALS:
    case VETTING_MEMORY_ACCESS:
    case VETTING_MEMORY_REOPEN:
        return EACCES;
    default:
        return EINVAL;
    }
}

static void refuse(struct fd_list *fds, struct verdict *verdict, enum vetting_reason reason)
{
    fd_list_close(fds);
    *verdict = (struct verdict){ .error = reason_errno(reason), .reason = reason };
}

/* How many descriptors @command uses; what is beyond is closed unseen, as other servers do. */
static size_t used_by(uint16_t command, size_t count)
{
    switch (command) {
    case VFIO_USER_DMA_MAP:
        return count > 0 ? 1 : 0;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
    case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        return 0;
    default:
        return count;
    }
}

void vetting_judge(const struct vetting *vetting, uint16_t command, struct fd_list *fds,
                   struct verdict *verdict)
{
    size_t used = used_by(command, fds->count);
    size_t kept = 0;

    *verdict = (struct verdict){ .count = (uint32_t)used };
    if (command == VFIO_USER_VERSION && fds->count > 0) {
        refuse(fds, verdict, VETTING_NOT_EXPECTED);
        return;
    }
    for (size_t i = 0; i < used; i++) {
        enum vetting_reason reason = vet(vetting, &fds->fds[i], &verdict->kind[i]);

        reason = match(command, verdict->kind[i], reason);
        if (reason != VETTING_OK) {
            refuse(fds, verdict, reason);
            return;
        }
    }
    for (size_t i = 0; i < fds->count; i++) {
        int fd = fd_list_take(fds, i);

        if (i < used && verdict->kind[i] != DESCRIPTOR_WITHHELD) {
            fds->fds[kept++] = fd;
        } else {
            fd_close(&fd);
        }
    }
    fds->count = kept;
}

bool vetting_judge_io_fd(const struct vetting *vetting, int fd, enum descriptor_kind kind)
{
    int seals = fcntl(fd, F_GET_SEALS);

    switch (kind) {
    case DESCRIPTOR_EVENTFD:
        return seals < 0 && is_eventfd(vetting, fd);
    case DESCRIPTOR_MEMORY:
        return seals >= 0 && (seals & F_SEAL_SHRINK);
    default:
        return false;
    }
}
