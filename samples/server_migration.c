/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the device of the sample server migrates. While it runs, pages of its memory go, each again
 * when it was changed since; what is small or out of sight goes when it has stopped: the shared
 * memory, MSI-X, registers. The destination takes pages into place as they come, but runs only with
 * a whole stream: anything else leaves it as after power-on.
 */
#include "server_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfio-user/vfu-broker.h>

#define MSIX_SAVED_MAX 256

enum {
    RECORD_DATA = STATE_DEVICE, /* pages of the device's memory; where: offset */
    RECORD_SHARED,
    RECORD_MSIX,
    RECORD_REGISTERS,
    RECORD_COUNT,
};

#define BIT(type) (1u << ((type)-STATE_DEVICE))
#define ONCE (BIT(RECORD_SHARED) | BIT(RECORD_MSIX) | BIT(RECORD_REGISTERS))

struct server_migration {
    vfu_ctx_t *ctx; /* while a callback runs */
    struct state_identity identity;
    vfu_migr_state_t state;
    struct state_writer writer;
    struct state_reader reader;
    uint32_t next; /* type of the record to send after the pages */
    uint32_t seen; /* what has come, BIT() of each type */

    /* What has come, until all of it has. */
    uint64_t registers[SERVER_REG_END / 8];
    uint8_t msix[MSIX_SAVED_MAX];
    size_t msix_size; /* 0: nothing to be restored when the device begins to run */
};

/* --- source --- */

static bool is_dirty(const struct server_pages *pages, uint64_t page)
{
    return (pages->dirty[page / 64] >> (page % 64)) & 1;
}

/* Pages that follow each other. */
static bool next_pages(struct server_device *device, struct state_record *record, void *payload)
{
    struct server_pages *pages = &device->pages;
    uint64_t count = device->data_size / SERVER_PAGE;
    uint64_t first, n = 0;
    size_t looked = 0;

    while (pages->dirty[pages->cursor] == 0) {
        pages->cursor = (pages->cursor + 1) % pages->words;
        if (++looked == pages->words) {
            return false;
        }
    }
    first = pages->cursor * 64 + (unsigned)__builtin_ctzll(pages->dirty[pages->cursor]);
    while (n < STATE_PAYLOAD_MAX / SERVER_PAGE && first + n < count && is_dirty(pages, first + n)) {
        pages->dirty[(first + n) / 64] &= ~(1ull << ((first + n) % 64));
        n++;
    }
    record->type = RECORD_DATA;
    record->where = first * SERVER_PAGE;
    record->size = (uint32_t)(n * SERVER_PAGE);
    memcpy(payload, device->data + record->where, record->size);
    return true;
}

/* What the device has besides. */
static void next_rest(struct server_device *device, struct state_record *record, void *payload)
{
    struct server_migration *migration = device->migration;

    record->type = migration->next++;
    switch (record->type) {
    case RECORD_SHARED:
        record->size = SERVER_SHARED_SIZE;
        memcpy(payload, device->shared, SERVER_SHARED_SIZE);
        break;
    case RECORD_MSIX:
        if (migration->msix_size != 0) { /* it came here and has not run since */
            record->size = (uint32_t)migration->msix_size;
            memcpy(payload, migration->msix, migration->msix_size);
        } else {
            record->size = (uint32_t)vfu_msix_save(migration->ctx, payload, STATE_PAYLOAD_MAX);
        }
        break;
    case RECORD_REGISTERS:
        record->size = sizeof(device->registers);
        memcpy(payload, device->registers, sizeof(device->registers));
        break;
    default:
        record->type = STATE_END;
        break;
    }
}

static bool next_record(void *opaque, struct state_record *record, void *payload)
{
    struct server_device *device = opaque;

    if (next_pages(device, record, payload)) {
        return true;
    }
    if (device->migration->state != VFU_MIGR_STATE_STOP_AND_COPY) {
        return false;
    }
    next_rest(device, record, payload);
    return true;
}

static ssize_t read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    struct server_device *device = vfu_get_private(ctx);
    struct server_migration *migration = device->migration;

    migration->ctx = ctx;
    return (ssize_t)state_writer_read(&migration->writer, buf, count, next_record, device);
}

static void begin_sending(struct server_device *device)
{
    struct server_migration *migration = device->migration;

    state_writer_begin(&migration->writer, &migration->identity);
    memcpy(device->pages.dirty, device->pages.touched,
           device->pages.words * sizeof(*device->pages.dirty));
    device->pages.cursor = 0;
    migration->next = RECORD_SHARED;
}

/* --- destination --- */

static bool take_pages(struct server_device *device, const struct state_record *record,
                       const void *payload)
{
    if (record->where % SERVER_PAGE != 0 || record->size % SERVER_PAGE != 0 || record->size == 0 ||
        record->where >= device->data_size || record->size > device->data_size - record->where) {
        return false;
    }
    memcpy(device->data + record->where, payload, record->size);
    server_pages_mark(&device->pages, record->where, record->size);
    return true;
}

static bool take_rest(struct server_device *device, const struct state_record *record,
                      const void *payload)
{
    struct server_migration *migration = device->migration;

    if (record->type >= RECORD_COUNT || (migration->seen & BIT(record->type)) ||
        record->where != 0) {
        return false;
    }
    migration->seen |= BIT(record->type);
    switch (record->type) {
    case RECORD_SHARED:
        if (record->size == SERVER_SHARED_SIZE) {
            memcpy(device->shared, payload, SERVER_SHARED_SIZE);
        }
        return record->size == SERVER_SHARED_SIZE;
    case RECORD_MSIX:
        migration->msix_size = record->size;
        if (record->size > 0 && record->size <= sizeof(migration->msix)) {
            memcpy(migration->msix, payload, record->size);
        }
        return record->size == (size_t)vfu_msix_save(migration->ctx, NULL, 0);
    default:
        if (record->size == sizeof(migration->registers)) {
            memcpy(migration->registers, payload, sizeof(migration->registers));
        }
        return record->size == sizeof(migration->registers) &&
               server_registers_are_valid(device, migration->registers);
    }
}

static bool take_record(void *opaque, const struct state_record *record, const void *payload)
{
    return record->type == RECORD_DATA ? take_pages(opaque, record, payload)
                                       : take_rest(opaque, record, payload);
}

/* Nothing is left of what was, or has come so far. */
static void begin_taking(struct server_device *device)
{
    struct server_migration *migration = device->migration;

    server_device_reset(device);
    state_reader_begin(&migration->reader, &migration->identity);
    migration->seen = 0;
    migration->msix_size = 0;
}

static ssize_t write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    struct server_device *device = vfu_get_private(ctx);
    struct server_migration *migration = device->migration;

    migration->ctx = ctx;
    if (!state_reader_write(&migration->reader, buf, count, take_record, device)) {
        vfu_log(ctx, LOG_ERR, "refusing a state that is broken or not of this device");
        server_device_reset(device);
        errno = EINVAL;
        return -1;
    }
    return (ssize_t)count;
}

/* Returns 0 or -1 and errno: another stream can be sent then, from its beginning. */
static int install(struct server_device *device, vfu_ctx_t *ctx)
{
    struct server_migration *migration = device->migration;

    if (!state_reader_is_complete(&migration->reader) || (migration->seen & ONCE) != ONCE) {
        vfu_log(ctx, LOG_ERR, "refusing a state that is not complete");
        begin_taking(device);
        errno = EINVAL;
        return -1;
    }
    memcpy(device->registers, migration->registers, sizeof(device->registers));
    server_device_update_line(device, ctx);
    return 0;
}

/* --- both --- */

/* Also refuses a table that the stream's check was good for, but that no device can have. */
static int run(struct server_device *device, vfu_ctx_t *ctx)
{
    struct server_migration *migration = device->migration;

    if (migration->msix_size != 0 &&
        vfu_msix_restore(ctx, migration->msix, migration->msix_size) < 0) {
        return -1;
    }
    migration->msix_size = 0;
    server_device_resume(device, ctx);
    return 0;
}

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    struct server_device *device = vfu_get_private(ctx);
    struct server_migration *migration = device->migration;
    int result = 0;

    migration->ctx = ctx;
    switch (state) {
    case VFU_MIGR_STATE_PRE_COPY:
        begin_sending(device);
        break;
    case VFU_MIGR_STATE_STOP_AND_COPY:
        if (migration->state != VFU_MIGR_STATE_PRE_COPY) {
            begin_sending(device);
        }
        device->running = false;
        break;
    case VFU_MIGR_STATE_RESUME:
        begin_taking(device);
        break;
    case VFU_MIGR_STATE_STOP:
        device->running = false;
        result = migration->state == VFU_MIGR_STATE_RESUME ? install(device, ctx) : 0;
        break;
    case VFU_MIGR_STATE_RUNNING:
        result = migration->state == VFU_MIGR_STATE_STOP ? run(device, ctx) : 0;
        break;
    }
    if (result == 0) {
        migration->state = state;
    }
    return result;
}

void server_migration_reset(struct server_device *device)
{
    device->migration->state = VFU_MIGR_STATE_RUNNING;
    device->migration->msix_size = 0;
}

int server_migration_create(struct server_device *device)
{
    device->migration = calloc(1, sizeof(*device->migration));
    if (device->migration == NULL) {
        return -1;
    }
    device->migration->identity = state_identity("server", device->data_size);
    device->migration->state = VFU_MIGR_STATE_RUNNING;
    return 0;
}

int server_migration_describe(vfu_ctx_t *ctx)
{
    const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = transition,
        .read_data = read_data,
        .write_data = write_data,
    };

    return vfu_setup_device_migration_callbacks(ctx, &callbacks);
}
