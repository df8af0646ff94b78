/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/protocol/test-device-migration.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_ENTRIES 8
#define ENTRY_SIZE 40

static uint64_t registers[(MIG_REG_END - MIG_REG_BEGIN) / 8];
static uint64_t position; /* in the state that is being read */

static uint64_t *reg(enum migration_register which)
{
    return &registers[(which - MIG_REG_BEGIN) / 8];
}

/* --- callbacks --- */

/* Whether this call of a callback fails, with errno. */
static bool fails(void)
{
    if (*reg(MIG_REG_FAIL) == 0) {
        return false;
    }
    if (*reg(MIG_REG_SPARE) > 0) {
        *reg(MIG_REG_SPARE) -= 1;
        return false;
    }
    errno = (int)*reg(MIG_REG_FAIL);
    if (*reg(MIG_REG_AGAIN) > 0) {
        *reg(MIG_REG_AGAIN) -= 1;
    } else {
        *reg(MIG_REG_FAIL) = 0;
    }
    return true;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    if (fails()) {
        return -1;
    }
    *reg(MIG_REG_STATE) = state;
    *reg(MIG_REG_ARCS) += 1;
    if (state == VFU_MIGR_STATE_RESUME) {
        *reg(MIG_REG_TAKEN) = 0;
        *reg(MIG_REG_SUM) = 0;
    }
    return 0;
}

static ssize_t on_read(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    uint64_t n = count < *reg(MIG_REG_LEFT) ? count : *reg(MIG_REG_LEFT);
    uint8_t *bytes = buf;

    if (fails()) {
        return -1;
    }
    for (uint64_t i = 0; i < n; i++) {
        bytes[i] = migration_byte(position++);
    }
    *reg(MIG_REG_LEFT) -= n;
    return (ssize_t)n;
}

static ssize_t on_write(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    const uint8_t *bytes = buf;

    if (fails()) {
        return -1;
    }
    for (uint64_t i = 0; i < count; i++) {
        *reg(MIG_REG_SUM) += bytes[i];
    }
    *reg(MIG_REG_TAKEN) += count;
    return (ssize_t)count;
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    *reg(MIG_REG_ASKED) += 1;
    if (*reg(MIG_REG_REFUSE) != 0) {
        errno = (int)*reg(MIG_REG_REFUSE);
        /* Once: the end of a session must come some time. */
        *reg(MIG_REG_REFUSE) = 0;
        return -1;
    }
    errno = EBUSY;
    return *reg(MIG_REG_QUIESCE) == MIG_QUIET_AT_ONCE ? 0 : -1;
}

int migration_become_quiet(vfu_ctx_t *ctx)
{
    uint64_t how = *reg(MIG_REG_QUIESCE);
    int error = how == MIG_QUIET_LATER ? 0 : (int)how;

    if (error != 0) {
        *reg(MIG_REG_QUIESCE) = MIG_QUIET_AT_ONCE;
    }
    return vfu_device_quiesced(ctx, error);
}

int migration_describe(vfu_ctx_t *ctx)
{
    const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = on_transition,
        .read_data = on_read,
        .write_data = on_write,
    };

    *reg(MIG_REG_STATE) = VFU_MIGR_STATE_RUNNING;
    vfu_setup_device_quiesce_cb(ctx, on_quiesce);
    return vfu_setup_device_migration_callbacks(ctx, &callbacks);
}

/* --- guest memory --- */

static void copy_in_place(const struct iovec *iov, int count, uint8_t *memory, bool is_write)
{
    for (int i = 0; i < count; i++) {
        if (is_write) {
            memcpy(iov[i].iov_base, memory, iov[i].iov_len);
        } else {
            memcpy(memory, iov[i].iov_base, iov[i].iov_len);
        }
        memory += iov[i].iov_len;
    }
}

static int access_mapped(vfu_ctx_t *ctx, dma_sg_t *sgl, int count, uint8_t *memory, bool is_write)
{
    struct iovec iov[MAX_ENTRIES];

    if (vfu_sgl_get(ctx, sgl, iov, (size_t)count, 0) < 0) {
        return errno;
    }
    copy_in_place(iov, count, memory, is_write);
    vfu_sgl_put(ctx, sgl, iov, (size_t)count);
    return 0;
}

/* One entry: there cannot be more. */
static int access_by_copy(vfu_ctx_t *ctx, dma_sg_t *sgl, int count, uint8_t *memory, bool is_write)
{
    int result = is_write ? vfu_sgl_write(ctx, sgl, (size_t)count, memory, VFU_SGL_DIRECT_ACCESS)
                          : vfu_sgl_read(ctx, sgl, (size_t)count, memory, VFU_SGL_DIRECT_ACCESS);

    return result < 0 ? errno : 0;
}

/* Returns 0 or an errno. */
static int access_guest(vfu_ctx_t *ctx, enum migration_register how, uint8_t *scratch, size_t size)
{
    bool is_write = how == MIG_REG_MAPPED_WRITE || how == MIG_REG_COPY_WRITE;
    vfu_dma_addr_t address = (vfu_dma_addr_t)(uintptr_t)*reg(MIG_REG_ADDRESS);
    uint64_t entries[MAX_ENTRIES * ENTRY_SIZE / sizeof(uint64_t)];
    dma_sg_t *sgl = (dma_sg_t *)entries;
    int count;

    if (*reg(MIG_REG_COUNT) > size || dma_sg_size() != ENTRY_SIZE) {
        return ERANGE;
    }
    count = vfu_addr_to_sgl(ctx, address, *reg(MIG_REG_COUNT), sgl, MAX_ENTRIES,
                            is_write ? PROT_WRITE : PROT_READ);
    *reg(MIG_REG_ENTRIES) = (uint64_t)count;
    if (count < 0) {
        return count == -1 ? errno : E2BIG;
    }
    return how == MIG_REG_MAPPED_READ || how == MIG_REG_MAPPED_WRITE
               ? access_mapped(ctx, sgl, count, scratch, is_write)
               : access_by_copy(ctx, sgl, count, scratch, is_write);
}

static void write_register(vfu_ctx_t *ctx, enum migration_register which, uint64_t value,
                           uint8_t *scratch, size_t scratch_size)
{
    switch (which) {
    case MIG_REG_MAPPED_READ:
    case MIG_REG_MAPPED_WRITE:
    case MIG_REG_COPY_READ:
    case MIG_REG_COPY_WRITE:
        *reg(MIG_REG_RESULT) = (uint64_t)access_guest(ctx, which, scratch, scratch_size);
        break;
    case MIG_REG_LEFT:
        position = 0;
        *reg(which) = value;
        break;
    case MIG_REG_FAIL:
    case MIG_REG_SPARE:
    case MIG_REG_AGAIN:
    case MIG_REG_QUIESCE:
    case MIG_REG_REFUSE:
    case MIG_REG_ADDRESS:
    case MIG_REG_COUNT:
        *reg(which) = value;
        break;
    default:
        break; /* the others are for reading */
    }
}

ssize_t migration_access(vfu_ctx_t *ctx, char *buffer, size_t count, uint64_t offset, bool is_write,
                         uint8_t *scratch, size_t scratch_size)
{
    uint64_t value;

    if (count != sizeof(value) || offset % sizeof(value) != 0 || offset >= MIG_REG_END) {
        errno = ENXIO;
        return -1;
    }
    if (is_write) {
        memcpy(&value, buffer, sizeof(value));
        write_register(ctx, (enum migration_register)offset, value, scratch, scratch_size);
    } else {
        memcpy(buffer, reg((enum migration_register)offset), sizeof(value));
    }
    return (ssize_t)count;
}
