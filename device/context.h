/* SPDX-License-Identifier: BSD-3-Clause */
/* The context behind the public API: one device, and the client that it serves. */
#pragma once

#include "device/connection.h"
#include "device/ioeventfds.h"
#include "device/log.h"
#include "device/quiesce.h"
#include "device/regions.h"
#include "device/session.h"
#include "device/transport.h"

#include <stdatomic.h>
#include <stdbool.h>

#include <vfio-user/libvfio-user.h>

struct vfu_ctx {
    void *pvt; /* the program's */
    bool nonblocking;
    bool realized;
    bool attached;         /* the version exchange is done */
    uint32_t poll_us;      /* that the program asks for */
    bool shares_memory;    /* standalone: a client has been waited for; see shared_memory.h */
    bool ending;           /* the session is over, but the device is not quiet yet */
    uint32_t *requests;    /* progress.h: this context's count */
    uint32_t own_requests; /* where nobody else looks at it */
    atomic_ulong owner;    /* pthread_t of the thread that may use the connection now; 0: none */
    struct log log;
    vfu_reset_cb_t *reset;
    struct quiesce quiesce;
    struct region regions[VFU_PCI_DEV_NUM_REGIONS];
    struct ioeventfd_table *ioeventfds[VFU_PCI_DEV_NUM_REGIONS]; /* NULL: none */
    struct session session;
    struct msix *msix;           /* owned; NULL: the program keeps its MSI-X, if it has one */
    struct transport *transport; /* owned */
    struct connection connection;
};

/*
 * Ends the session with the client: all that it has set up goes, in the order that is documented
 * for vfu_run_ctx(). The device is quiet.
 */
void context_end_session(struct vfu_ctx *ctx);

/*
 * The connection is one thread's at a time. Claims it for this thread, if it is nobody's or this
 * thread's already, and tells in @before what context_release() has to be given. Returns false if
 * another thread has it.
 */
bool context_claim(struct vfu_ctx *ctx, unsigned long *before);
void context_release(struct vfu_ctx *ctx, unsigned long before);

/* Lets some time pass, for want of a claim: a millisecond. */
void context_pause(void);
