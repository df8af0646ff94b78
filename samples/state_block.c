/* SPDX-License-Identifier: BSD-3-Clause */
#include "state_block.h"

#include <errno.h>
#include <string.h>

#include "state_stream.h"

#define RECORD_STATE STATE_DEVICE

static struct {
    const struct state_block *block;
    vfu_ctx_t *ctx;
    vfu_migr_state_t state;
    bool sent;
    bool has_come;
    uint8_t incoming[STATE_BLOCK_MAX];
    struct state_identity identity;
    struct state_writer writer;
    struct state_reader reader;
} migration;

static bool next_record(void *device, struct state_record *record, void *payload)
{
    if (migration.state != VFU_MIGR_STATE_STOP_AND_COPY) {
        return false;
    }
    record->type = migration.sent ? STATE_END : RECORD_STATE;
    if (!migration.sent) {
        record->size = (uint32_t)migration.block->size;
        migration.block->save(migration.ctx, payload);
    }
    migration.sent = true;
    return true;
}

static ssize_t read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    migration.ctx = ctx;
    return (ssize_t)state_writer_read(&migration.writer, buf, count, next_record, NULL);
}

static bool take_record(void *device, const struct state_record *record, const void *payload)
{
    if (record->type != RECORD_STATE || record->where != 0 || migration.has_come ||
        record->size != migration.block->size) {
        return false;
    }
    memcpy(migration.incoming, payload, record->size);
    migration.has_come = true;
    return true;
}

static ssize_t write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    if (!state_reader_write(&migration.reader, buf, count, take_record, NULL)) {
        vfu_log(ctx, LOG_ERR, "refusing a state that is broken or not of this device");
        errno = EINVAL;
        return -1;
    }
    return (ssize_t)count;
}

static void begin_sending(void)
{
    state_writer_begin(&migration.writer, &migration.identity);
    migration.sent = false;
}

static void begin_taking(vfu_ctx_t *ctx)
{
    migration.block->clear(ctx);
    state_reader_begin(&migration.reader, &migration.identity);
    migration.has_come = false;
}

static int install(vfu_ctx_t *ctx)
{
    if (!state_reader_is_complete(&migration.reader) || !migration.has_come ||
        !migration.block->load(ctx, migration.incoming)) {
        vfu_log(ctx, LOG_ERR, "refusing a state that is not complete or impossible");
        begin_taking(ctx);
        errno = EINVAL;
        return -1;
    }
    return 0;
}

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    const struct state_block *block = migration.block;
    bool runs = state == VFU_MIGR_STATE_RUNNING || state == VFU_MIGR_STATE_PRE_COPY;

    if (state == VFU_MIGR_STATE_STOP && migration.state == VFU_MIGR_STATE_RESUME &&
        install(ctx) < 0) {
        return -1;
    }
    if (state == VFU_MIGR_STATE_RESUME) {
        begin_taking(ctx);
    }
    if (state == VFU_MIGR_STATE_PRE_COPY ||
        (state == VFU_MIGR_STATE_STOP_AND_COPY && migration.state != VFU_MIGR_STATE_PRE_COPY)) {
        begin_sending();
    }
    migration.state = state;
    if (block->run != NULL) {
        block->run(ctx, runs);
    }
    return 0;
}

void state_block_reset(void)
{
    migration.state = VFU_MIGR_STATE_RUNNING;
}

int state_block_describe(vfu_ctx_t *ctx, const struct state_block *block)
{
    const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = transition,
        .read_data = read_data,
        .write_data = write_data,
    };

    migration.block = block;
    migration.identity = state_identity(block->name, block->shape);
    state_block_reset();
    return vfu_setup_device_migration_callbacks(ctx, &callbacks);
}
