/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a descriptor that a client sent really is, and whether the policy lets the device have it.
 * Only calls that cannot be made to hang by a hostile file system are made before it is known to
 * be an anonymous inode or to live in memory.
 */
#pragma once

#include "ipc/control.h"
#include "policy/policy.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/types.h>

enum vetting_reason {
    VETTING_OK,
    VETTING_NOT_MEMORY,    /* for guest memory: neither memfd, tmpfs nor hugetlbfs */
    VETTING_MEMORY_KIND,   /* memory, but of a kind that dma.memory does not list */
    VETTING_MEMORY_SEALS,  /* a seal of dma.require_seals is missing */
    VETTING_MEMORY_ACCESS, /* not open for reading */
    VETTING_MEMORY_REOPEN, /* cannot be opened again to be read only: only memfds surely can */
    VETTING_NOT_EVENTFD,   /* for an interrupt */
    VETTING_NOT_EXPECTED,  /* the command takes no descriptors */
    VETTING_UNKNOWN,       /* neither memory nor eventfd */
    VETTING_REASON_MAX
};

/* The gate's number for /proc/self/fd, and how it opens files there: its filter knows both. */
#define VETTING_PROC_FDS 4
#define VETTING_REOPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* The reason in words, for the log; bounded for any value. */
const char *vetting_reason_name(uint32_t reason);

struct vetting {
    const struct policy *policy; /* borrowed */
    int proc_fds;                /* O_PATH on this process' /proc/self/fd; owned */
    dev_t memfd_device;          /* the file system instance on which memfds live */
};

/* Must run in the process that will vet, before its filter. Returns 0 or -errno. */
int vetting_init(struct vetting *vetting, const struct policy *policy);

struct verdict {
    int error; /* 0, or the errno (positive) with which to refuse the command */
    enum vetting_reason reason;
    uint32_t count;            /* entries in kind[] */
    uint8_t kind[FD_LIST_MAX]; /* enum descriptor_kind */
};

/*
 * Vets all of @fds for @command (0: the header was not complete, so any command). What may be
 * passed on stays in @fds, in order; the rest is closed. On an error everything is closed.
 */
void vetting_judge(const struct vetting *vetting, uint16_t command, struct fd_list *fds,
                   struct verdict *verdict);

/*
 * Whether @fd, which a device process wants its clients to be sent, is what it says: an eventfd, or
 * memory that cannot shrink.
 */
bool vetting_judge_io_fd(const struct vetting *vetting, int fd, enum descriptor_kind kind);
