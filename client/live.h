/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live migration: moves a device, and what it writes to guest memory, from one server to another
 * while it runs, as a VMM does.
 *
 * Before, both clients have negotiated and described the same guest: DMA maps and interrupts. The
 * source's device runs, the destination's is fresh. Rounds copy what has changed until that is
 * little; then the device stops, the rest is copied, and it goes on at the destination.
 *
 * Any failure ends in a cancellation: the source's device runs again if it can be made to, and the
 * destination's is reset or, if it does not answer, cut off. At no time do both run.
 */
#pragma once

#include "client.h"

/* Guest memory that both devices have at @iova. */
struct vfu_client_live_memory {
    uint64_t iova;
    uint64_t size; /* multiple of the page size */
    const void *from;
    void *to;
};

struct vfu_client_live_round {
    unsigned number;       /* from 0; the last one is that in which the device has stopped */
    bool stopped;          /* this is that one */
    uint64_t memory_bytes; /* of guest memory copied; but for round 0, what was written before */
    uint64_t device_bytes; /* of the device's data */
    uint64_t device_ns;    /* that these took */
    uint64_t ns;
};

/* The parts of the blackout, in the order in which they come; nanoseconds. */
struct vfu_client_live_blackout {
    uint64_t stop;    /* the source's device stops */
    uint64_t memory;  /* guest memory written last is copied */
    uint64_t device;  /* the rest of the device's data is copied */
    uint64_t restore; /* config space and the caller's hooks */
    uint64_t install; /* the destination takes the data as its state */
    uint64_t run;     /* it begins to run */
    uint64_t total;
};

enum vfu_client_live_end {
    VFU_CLIENT_LIVE_DONE,           /* the destination runs, the source is in STOP */
    VFU_CLIENT_LIVE_SOURCE_RUNS,    /* as if nothing had been */
    VFU_CLIENT_LIVE_SOURCE_STOPPED, /* it answers, but does not run: set RUNNING, or reset it */
    VFU_CLIENT_LIVE_SOURCE_LOST,    /* it does not answer */
};

struct vfu_client_live {
    struct vfu_client *from;
    struct vfu_client *to;
    const struct vfu_client_live_memory *memory; /* borrowed */
    size_t memory_count;
    uint64_t page_size;   /* of the log of dirty pages; 0: 4096 */
    unsigned max_rounds;  /* before the device is stopped, whatever changes; 0: no pre-copy */
    uint64_t stop_bytes;  /* a round of at most so much is the last before that */
    uint64_t round_bytes; /* of the device's data that one round copies at most; 0: 4 GiB */

    /*
     * Hooks, each may be NULL. Not 0 cancels: a negative errno, or a positive one to blame a
     * device.
     *
     *   on_round: after each round
     *   on_pause: now the guest's processors have to stop
     *   on_dirty: adds to @bitmap, of @memory[@index], what others than the device have written
     *   on_restore: the destination has all data, and the device there does not run yet (RESUMING)
     *   on_installed: it has accepted them; both devices are in STOP
     */
    int (*on_round)(void *opaque, const struct vfu_client_live_round *round);
    int (*on_pause)(void *opaque);
    int (*on_dirty)(void *opaque, size_t index, void *bitmap);
    int (*on_restore)(void *opaque);
    int (*on_installed)(void *opaque);
    void *opaque;

    /* Filled in. */
    unsigned rounds;
    uint64_t memory_bytes;
    uint64_t device_bytes;
    uint64_t total_ns;
    struct vfu_client_live_blackout blackout;
    enum vfu_client_live_end end;
    const char *step; /* what failed */
};

/*
 * Returns 0 (@live->end is VFU_CLIENT_LIVE_DONE), or what failed as of client.h; -EOPNOTSUPP: one
 * of the devices cannot migrate.
 */
int vfu_client_live_migrate(struct vfu_client_live *live);
