/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ioeventfds: eventfds that a client's hypervisor signals when the guest writes to a place in a
 * region, and memory in which it leaves the value (shadow). They are the program's for as long as
 * the context lives, and survive clients.
 */
#pragma once

#include "device/dispatch.h"
#include "ipc/control.h"

#include <stdint.h>

#include <vfio-user/libvfio-user.h>

struct ioeventfd {
    struct ioeventfd *next; /* the one that was created before */
    uint64_t offset;        /* in the region, bytes */
    uint64_t datamatch;
    uint64_t shadow_offset; /* in the file of @shadow_fd */
    uint32_t size;
    uint32_t flags; /* KVM_IOEVENTFD_FLAG_* */
    int fd;         /* borrowed; -1: none */
    int shadow_fd;  /* borrowed; -1: none */
};

/* Those of one region. */
struct ioeventfd_table {
    struct ioeventfd *newest;
    uint32_t count;
    struct fd_list fds; /* all their descriptors, each once; borrowed */
};

/* The descriptors of all regions, each once, and what they are to be. */
struct io_fds {
    uint32_t count;
    int fds[CONTROL_IO_FDS_MAX];      /* borrowed */
    uint8_t kind[CONTROL_IO_FDS_MAX]; /* enum descriptor_kind */
};

void ioeventfds_fini(struct ioeventfd_table *tables[VFU_PCI_DEV_NUM_REGIONS]);

/* Collects the descriptors of all tables. Returns 0, or -E2BIG if they are too many. */
int ioeventfds_collect(struct ioeventfd_table *const tables[VFU_PCI_DEV_NUM_REGIONS],
                       struct io_fds *all);

/* Where @fd is in @all; -1 if it is not there. */
int io_fds_find(const struct io_fds *all, int fd);

/* DEVICE_GET_REGION_IO_FDS */
int ioeventfds_handle_get(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
