/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/live.h"

#include "client/internal.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CONFIG_REGION 7u
#define DEFAULT_ROUND_BYTES (4ull << 30)

struct migration {
    struct vfu_client_live *live;
    uint64_t page_size;
    bool begun; /* something may have to be undone */
    bool logging;
    uint8_t config[LIVE_CONFIG_SIZE]; /* of the source */
    void *bitmap;                     /* large enough for any part of guest memory */
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Since @start, which becomes now. */
static uint64_t lap(uint64_t *start)
{
    uint64_t now = now_ns(), ns = now - *start;

    *start = now;
    return ns;
}

static int hook(const struct vfu_client_live *live, int (*function)(void *opaque))
{
    return function != NULL ? function(live->opaque) : 0;
}

/* --- guest memory --- */

static uint64_t copy_page(const struct vfu_client_live_memory *memory, uint64_t offset,
                          uint64_t size)
{
    uint64_t left = memory->size - offset;

    size = size < left ? size : left;
    memcpy((uint8_t *)memory->to + offset, (const uint8_t *)memory->from + offset, size);
    return size;
}

static int copy_dirty(struct migration *migration, size_t index, uint64_t *bytes)
{
    struct vfu_client_live *live = migration->live;
    const struct vfu_client_live_memory *memory = &live->memory[index];
    const uint64_t *words = migration->bitmap;
    size_t size = vfu_client_dirty_bytes(memory->size, migration->page_size);
    int result = vfu_client_dirty_report(live->from, memory->iova, memory->size,
                                         migration->page_size, migration->bitmap);

    if (result == 0 && live->on_dirty != NULL) {
        result = live->on_dirty(live->opaque, index, migration->bitmap);
    }
    for (size_t i = 0; i < size / sizeof(*words) && result == 0; i++) {
        for (uint64_t bits = words[i]; bits != 0; bits &= bits - 1) {
            uint64_t page = i * 64 + (unsigned)__builtin_ctzll(bits);

            if (page >= memory->size / migration->page_size) {
                return -EPROTO;
            }
            *bytes += copy_page(memory, page * migration->page_size, migration->page_size);
        }
    }
    return result;
}

static int copy_memory(struct migration *migration, bool all, uint64_t *bytes)
{
    const struct vfu_client_live *live = migration->live;
    int result = 0;

    for (size_t i = 0; i < live->memory_count && result == 0; i++) {
        if (all) {
            *bytes += copy_page(&live->memory[i], 0, live->memory[i].size);
        } else {
            result = copy_dirty(migration, i, bytes);
        }
    }
    return result;
}

/* --- steps --- */

static int can_migrate(struct vfu_client *client, uint64_t *flags)
{
    int result = vfu_client_migration_get_flags(client, flags);

    /* A server that knows nothing of it refuses. */
    return result > 0 || (result == 0 && !(*flags & VFIO_MIGRATION_STOP_COPY)) ? -EOPNOTSUPP
                                                                               : result;
}

static int end_round(struct migration *migration, struct vfu_client_live_round *round)
{
    struct vfu_client_live *live = migration->live;

    live->rounds = round->number + 1;
    live->memory_bytes += round->memory_bytes;
    live->device_bytes += round->device_bytes;
    return live->on_round != NULL ? live->on_round(live->opaque, round) : 0;
}

static int pre_copy(struct migration *migration)
{
    struct vfu_client_live *live = migration->live;
    uint64_t limit = live->round_bytes != 0 ? live->round_bytes : DEFAULT_ROUND_BYTES;
    int result = vfu_client_migration_set_state(live->from, VFIO_USER_DEVICE_STATE_PRE_COPY);

    live->step = "pre-copy";
    for (unsigned i = 0; i < live->max_rounds && result == 0; i++) {
        struct vfu_client_live_round round = { .number = i };
        uint64_t start = now_ns();

        result = copy_memory(migration, i == 0, &round.memory_bytes);
        if (result == 0) {
            round.ns = lap(&start);
            result = live_copy_data(live->from, live->to, LIVE_CHUNK, limit, &round.device_bytes);
        }
        round.device_ns = lap(&start);
        round.ns += round.device_ns;
        if (result == 0) {
            result = end_round(migration, &round);
        }
        if (i > 0 && round.memory_bytes + round.device_bytes <= live->stop_bytes) {
            break;
        }
    }
    return result;
}

/* Returns what the source's device refuses, or 0: it has stopped. */
static int stop_source(struct migration *migration)
{
    struct vfu_client_live *live = migration->live;
    int result;

    live->step = "pause";
    result = hook(live, live->on_pause);
    if (result == 0) {
        live->step = "read of the source's config space";
        result = vfu_client_region_read(live->from, CONFIG_REGION, 0, migration->config,
                                        LIVE_CONFIG_SIZE);
    }
    return result;
}

static int copy_rest(struct migration *migration)
{
    struct vfu_client_live *live = migration->live;
    struct vfu_client_live_blackout *blackout = &live->blackout;
    struct vfu_client_live_round round = { .number = live->rounds, .stopped = true };
    uint64_t start = now_ns();
    int result;

    live->step = "stop of the source";
    result = vfu_client_migration_set_state(live->from, VFIO_USER_DEVICE_STATE_STOP_COPY);
    blackout->stop = lap(&start);
    if (result == 0) {
        live->step = "copy of guest memory";
        result = copy_memory(migration, live->rounds == 0, &round.memory_bytes);
        blackout->memory = lap(&start);
    }
    if (result == 0) {
        live->step = "copy of the device's data";
        result =
            live_copy_data(live->from, live->to, LIVE_LAST_CHUNK, UINT64_MAX, &round.device_bytes);
    }
    if (result == 0) {
        live->step = "end of the source's data";
        result = vfu_client_migration_set_state(live->from, VFIO_USER_DEVICE_STATE_STOP);
        blackout->device = lap(&start);
    }
    round.device_ns = blackout->device;
    round.ns = blackout->stop + blackout->memory + blackout->device;
    return result == 0 ? end_round(migration, &round) : result;
}

static int install(struct migration *migration)
{
    struct vfu_client_live *live = migration->live;
    struct vfu_client_live_blackout *blackout = &live->blackout;
    uint64_t start = now_ns();
    int result;

    live->step = "restore of the destination's config space";
    result = live_restore_config(live->to, migration->config);
    if (result == 0) {
        live->step = "restore";
        result = hook(live, live->on_restore);
        blackout->restore = lap(&start);
    }
    if (result == 0) {
        live->step = "installation at the destination";
        result = vfu_client_migration_set_state(live->to, VFIO_USER_DEVICE_STATE_STOP);
        blackout->install = lap(&start);
    }
    if (result == 0) {
        live->step = "check";
        result = hook(live, live->on_installed);
        blackout->restore += lap(&start);
    }
    if (result == 0) {
        live->step = "start of the destination";
        result = vfu_client_migration_set_state(live->to, VFIO_USER_DEVICE_STATE_RUNNING);
        blackout->run = lap(&start);
    }
    return result;
}

static int move(struct migration *migration)
{
    struct vfu_client_live *live = migration->live;
    uint64_t from_flags, to_flags, start;
    int result;

    live->step = "question whether the devices can migrate";
    result = can_migrate(live->from, &from_flags);
    if (result == 0) {
        result = can_migrate(live->to, &to_flags);
    }
    if (result == 0 && live->memory_count > 0) {
        live->step = "start of the log of dirty pages";
        migration->begun = true;
        result = vfu_client_dirty_start(live->from, migration->page_size);
        migration->logging = result == 0;
    }
    if (result == 0) {
        live->step = "preparation of the destination";
        migration->begun = true;
        result = vfu_client_migration_set_state(live->to, VFIO_USER_DEVICE_STATE_RESUMING);
    }
    if (result == 0 && live->max_rounds > 0 && (from_flags & VFIO_MIGRATION_PRE_COPY)) {
        live->step = "start of pre-copy";
        result = pre_copy(migration);
    }
    if (result == 0) {
        result = stop_source(migration);
    }
    start = now_ns();
    if (result == 0) {
        result = copy_rest(migration);
    }
    if (result == 0) {
        result = install(migration);
        live->blackout.total = lap(&start);
    }
    return result;
}

/* It must not run, now or when it gets to what was asked of it: the source may. */
static void give_up_destination(struct vfu_client *to)
{
    if (vfu_client_reset_device(to) != 0 && vfu_client_socket(to) >= 0) {
        shutdown(vfu_client_socket(to), SHUT_RDWR);
    }
}

static enum vfu_client_live_end resume_source(struct vfu_client *from)
{
    uint32_t state;

    if (vfu_client_migration_set_state(from, VFIO_USER_DEVICE_STATE_RUNNING) == 0) {
        return VFU_CLIENT_LIVE_SOURCE_RUNS;
    }
    if (vfu_client_migration_get_state(from, &state) != 0) {
        return VFU_CLIENT_LIVE_SOURCE_LOST;
    }
    return state == VFIO_USER_DEVICE_STATE_RUNNING || state == VFIO_USER_DEVICE_STATE_PRE_COPY
               ? VFU_CLIENT_LIVE_SOURCE_RUNS
               : VFU_CLIENT_LIVE_SOURCE_STOPPED;
}

static int allocate(struct migration *migration)
{
    const struct vfu_client_live *live = migration->live;
    size_t largest = 1;

    for (size_t i = 0; i < live->memory_count; i++) {
        size_t size = vfu_client_dirty_bytes(live->memory[i].size, migration->page_size);

        if (live->memory[i].size == 0 || live->memory[i].size % migration->page_size != 0) {
            return -EINVAL;
        }
        largest = size > largest ? size : largest;
    }
    migration->bitmap = malloc(largest);
    return migration->bitmap != NULL ? 0 : -ENOMEM;
}

int vfu_client_live_migrate(struct vfu_client_live *live)
{
    struct migration migration = {
        .live = live,
        .page_size = live->page_size != 0 ? live->page_size : 4096,
    };
    uint64_t start = now_ns();
    int result;

    live->rounds = 0;
    live->memory_bytes = 0;
    live->device_bytes = 0;
    live->blackout = (struct vfu_client_live_blackout){ .total = 0 };
    live->step = "preparation";
    live->end = VFU_CLIENT_LIVE_SOURCE_RUNS;
    result = allocate(&migration);
    if (result == 0) {
        result = move(&migration);
        if (result == 0) {
            live->end = VFU_CLIENT_LIVE_DONE;
        } else if (migration.begun) {
            give_up_destination(live->to);
            live->end = resume_source(live->from);
        }
    }
    if (migration.logging && live->end != VFU_CLIENT_LIVE_SOURCE_LOST) {
        int stopped = vfu_client_dirty_stop(live->from); /* nothing to be done about a failure */

        (void)stopped;
    }
    free(migration.bitmap);
    live->total_ns = lap(&start);
    return result;
}
