/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/live.h"

#include "client/internal.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CONFIG_REGION 7u
#define CONFIG_SIZE 256u
#define CHUNK VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE
#define DEFAULT_ROUND_BYTES (4ull << 30)

struct migration {
    struct vfu_client_live *live;
    uint64_t page_size;
    bool begun; /* something may have to be undone */
    bool logging;
    uint8_t config[CONFIG_SIZE]; /* of the source */
    uint8_t *chunk;
    void *bitmap; /* large enough for any part of guest memory */
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

/* --- config space: it travels with the client, not with the device's data --- */

/* A register that the client sets; read-only bits in it do no harm. */
static int restore_register(struct migration *migration, size_t offset, size_t size)
{
    struct vfu_client *to = migration->live->to;
    uint32_t now = 0;
    int result = vfu_client_region_read(to, CONFIG_REGION, offset, &now, size);

    if (result == 0 && memcmp(&now, migration->config + offset, size) != 0) {
        result =
            vfu_client_region_write(to, CONFIG_REGION, offset, migration->config + offset, size);
    }
    return result;
}

struct config_register {
    uint8_t offset;
    uint8_t size;
};

static int restore_capability(struct migration *migration, uint8_t id, size_t at)
{
    static const struct config_register pm[] = { { PCI_PM_CTRL, 2 }, { 0, 0 } };
    static const struct config_register msi[] = { { 4, 4 },  { 8, 4 }, { 12, 4 },
                                                  { 16, 4 }, { 2, 2 }, { 0, 0 } };
    static const struct config_register msix[] = { { PCI_MSIX_FLAGS, 2 }, { 0, 0 } };
    static const struct config_register express[] = { { PCI_EXP_DEVCTL, 2 },
                                                      { PCI_EXP_DEVCTL2, 2 },
                                                      { 0, 0 } };
    const struct config_register *registers = id == PCI_CAP_ID_PM     ? pm
                                              : id == PCI_CAP_ID_MSI  ? msi
                                              : id == PCI_CAP_ID_MSIX ? msix
                                              : id == PCI_CAP_ID_EXP  ? express
                                                                      : NULL;
    int result = 0;

    for (; registers != NULL && registers->size != 0 && result == 0; registers++) {
        if (at + registers->offset + registers->size <= CONFIG_SIZE) {
            result = restore_register(migration, at + registers->offset, registers->size);
        }
    }
    return result;
}

/* The links are the source's and not trusted: there are at most so many capabilities. */
static int restore_capabilities(struct migration *migration)
{
    const uint8_t *config = migration->config;
    size_t at = config[PCI_STATUS] & PCI_STATUS_CAP_LIST ? config[PCI_CAPABILITY_LIST] & 0xfc : 0;
    int result = 0;

    for (size_t i = 0; i < CONFIG_SIZE / 4 && at >= PCI_STD_HEADER_SIZEOF && result == 0; i++) {
        result = restore_capability(migration, config[at], at);
        at = config[at + 1] & 0xfc;
    }
    return result;
}

/* What makes the device decode and master comes last. */
static int restore_config(struct migration *migration)
{
    static const struct config_register header[] = {
        { PCI_BASE_ADDRESS_0, 4 }, { PCI_BASE_ADDRESS_1, 4 }, { PCI_BASE_ADDRESS_2, 4 },
        { PCI_BASE_ADDRESS_3, 4 }, { PCI_BASE_ADDRESS_4, 4 }, { PCI_BASE_ADDRESS_5, 4 },
        { PCI_INTERRUPT_LINE, 1 },
    };
    int result = restore_capabilities(migration);

    for (size_t i = 0; i < sizeof(header) / sizeof(header[0]) && result == 0; i++) {
        result = restore_register(migration, header[i].offset, header[i].size);
    }
    return result == 0 ? restore_register(migration, PCI_COMMAND, 2) : result;
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

/* --- the device's data --- */

static uint32_t chunk_size(const struct vfu_client_live *live)
{
    uint64_t size = CHUNK;

    size = size < live->from->max_data_xfer_size ? size : live->from->max_data_xfer_size;
    return (uint32_t)(size < live->to->server.max_data_xfer_size
                          ? size
                          : live->to->server.max_data_xfer_size);
}

/*
 * While the destination takes one piece, the source gives the next. Before it has stopped the
 * device has nothing for now when it gives nothing; afterwards nothing more when it gives less.
 */
static int copy_device(struct migration *migration, bool stopped, uint64_t *bytes)
{
    struct vfu_client_live *live = migration->live;
    uint64_t limit = live->round_bytes != 0 ? live->round_bytes : DEFAULT_ROUND_BYTES;
    uint32_t size = chunk_size(live), n = size;
    bool writing = false;
    uint16_t id = 0;
    int result = 0;

    while (result == 0 && n > 0 && (stopped ? n == size : *bytes < limit)) {
        result = vfu_client_migration_read(live->from, migration->chunk, size, &n);
        if (writing) {
            int written = vfu_client_collect(live->to, id, NULL);

            writing = false;
            result = result != 0 ? result : written;
        }
        if (result == 0 && n > 0) {
            result = migration_submit_write(live->to, migration->chunk, n, &id);
            writing = result == 0;
            *bytes += n;
        }
    }
    if (writing) {
        int written = vfu_client_collect(live->to, id, NULL);

        result = result != 0 ? result : written;
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
    int result = vfu_client_migration_set_state(live->from, VFIO_USER_DEVICE_STATE_PRE_COPY);

    live->step = "pre-copy";
    for (unsigned i = 0; i < live->max_rounds && result == 0; i++) {
        struct vfu_client_live_round round = { .number = i };
        uint64_t start = now_ns();

        result = copy_memory(migration, i == 0, &round.memory_bytes);
        if (result == 0) {
            result = copy_device(migration, false, &round.device_bytes);
        }
        round.ns = lap(&start);
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
        result =
            vfu_client_region_read(live->from, CONFIG_REGION, 0, migration->config, CONFIG_SIZE);
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
        result = copy_device(migration, true, &round.device_bytes);
    }
    if (result == 0) {
        live->step = "end of the source's data";
        result = vfu_client_migration_set_state(live->from, VFIO_USER_DEVICE_STATE_STOP);
        blackout->device = lap(&start);
    }
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
    result = restore_config(migration);
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
    migration->chunk = malloc(CHUNK);
    migration->bitmap = malloc(largest);
    return migration->chunk != NULL && migration->bitmap != NULL ? 0 : -ENOMEM;
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
    free(migration.chunk);
    free(migration.bitmap);
    live->total_ns = lap(&start);
    return result;
}
