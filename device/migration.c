/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/migration.h"

#include "device/context.h"
#include "device/errors.h"

#include <string.h>

#define STOP VFIO_USER_DEVICE_STATE_STOP
#define RUNNING VFIO_USER_DEVICE_STATE_RUNNING
#define STOP_COPY VFIO_USER_DEVICE_STATE_STOP_COPY
#define RESUMING VFIO_USER_DEVICE_STATE_RESUMING
#define PRE_COPY VFIO_USER_DEVICE_STATE_PRE_COPY

/* The first arc on the way from one state to another; 0 (ERROR): there is no way. */
static const uint8_t next_state[VFIO_USER_DEVICE_NUM_STATES][VFIO_USER_DEVICE_NUM_STATES] = {
    [STOP] = { [RUNNING] = RUNNING,
               [STOP_COPY] = STOP_COPY,
               [RESUMING] = RESUMING,
               [PRE_COPY] = RUNNING },
    [RUNNING] = { [STOP] = STOP, [STOP_COPY] = STOP, [RESUMING] = STOP, [PRE_COPY] = PRE_COPY },
    [STOP_COPY] = { [STOP] = STOP, [RUNNING] = STOP, [RESUMING] = STOP },
    [RESUMING] = { [STOP] = STOP, [RUNNING] = STOP, [STOP_COPY] = STOP, [PRE_COPY] = STOP },
    [PRE_COPY] = { [STOP] = RUNNING,
                   [RUNNING] = RUNNING,
                   [STOP_COPY] = STOP_COPY,
                   [RESUMING] = RUNNING },
};

static const vfu_migr_state_t program_state[VFIO_USER_DEVICE_NUM_STATES] = {
    [STOP] = VFU_MIGR_STATE_STOP,
    [RUNNING] = VFU_MIGR_STATE_RUNNING,
    [STOP_COPY] = VFU_MIGR_STATE_STOP_AND_COPY,
    [RESUMING] = VFU_MIGR_STATE_RESUME,
    [PRE_COPY] = VFU_MIGR_STATE_PRE_COPY,
};

int vfu_setup_device_migration_callbacks(vfu_ctx_t *ctx, const vfu_migration_callbacks_t *callbacks)
{
    struct migration *migration = &ctx->session.migration;

    if (callbacks == NULL || callbacks->version != VFU_MIGR_CALLBACKS_VERS ||
        callbacks->transition == NULL || callbacks->read_data == NULL ||
        callbacks->write_data == NULL) {
        return api_result(-EINVAL);
    }
    migration->callbacks = *callbacks;
    migration->enabled = true;
    migration_reset(migration);
    return 0;
}

void migration_init(struct migration *migration)
{
    *migration = (struct migration){ .state = RUNNING };
}

void migration_reset(struct migration *migration)
{
    migration->state = RUNNING;
}

bool migration_allows(const struct migration *migration, uint16_t command)
{
    if (migration->state != STOP && migration->state != STOP_COPY) {
        return true;
    }
    switch (command) {
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
    case VFIO_USER_REGION_WRITE_MULTI:
    case VFIO_USER_DEVICE_FEATURE:
    case VFIO_USER_MIG_DATA_READ:
    case VFIO_USER_DEVICE_RESET: /* the way out of any state */
        return true;
    default:
        return false;
    }
}

bool migration_allows_access(const struct migration *migration)
{
    return migration->state != STOP_COPY;
}

/* One arc. Returns 0 or the negative errno that the device refuses it with. */
static int take_arc(struct vfu_ctx *ctx, enum vfio_user_device_mig_state next)
{
    struct migration *migration = &ctx->session.migration;
    int result;

    errno = 0;
    result = migration->callbacks.transition(ctx, program_state[next]);
    if (result != 0) {
        return result < 0 ? callback_error() : -EINVAL;
    }
    migration->state = next;
    return 0;
}

int migration_set_state(struct vfu_ctx *ctx, uint32_t target)
{
    struct migration *migration = &ctx->session.migration;

    if (target >= VFIO_USER_DEVICE_NUM_STATES) {
        return -EINVAL;
    }
    while (migration->state != target) {
        enum vfio_user_device_mig_state next = next_state[migration->state][target];
        int err = next != VFIO_USER_DEVICE_STATE_ERROR ? take_arc(ctx, next) : -EINVAL;

        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* Both commands say how many bytes, and for how many there is room or are some. */
static int check_data(const struct vfu_ctx *ctx, const struct vfio_user_mig_data *data)
{
    if (data->size > ctx->session.client.max_data_xfer_size) {
        return -EINVAL;
    }
    return data->argsz >= sizeof(*data) && data->argsz - sizeof(*data) >= data->size ? 0 : -EINVAL;
}

int migration_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct migration *migration = &ctx->session.migration;
    const struct vfio_user_mig_data *wanted = request->payload;
    struct vfio_user_mig_data *answer;
    ssize_t n;

    if (!migration->enabled || (migration->state != PRE_COPY && migration->state != STOP_COPY) ||
        check_data(ctx, wanted) < 0) {
        return -EINVAL;
    }
    /* Clients in the field expect this length, whatever there is to read. */
    answer = reply_payload(reply, request->size + wanted->size);
    if (answer == NULL) {
        return -ENOMEM;
    }
    memset(answer, 0, request->size + wanted->size);
    errno = 0;
    n = migration->callbacks.read_data(ctx, answer->data, wanted->size);
    if (n == -1) {
        return callback_error();
    }
    if (n < 0 || (size_t)n > wanted->size) {
        return -EINVAL;
    }
    answer->argsz = (uint32_t)(sizeof(*answer) + (size_t)n);
    answer->size = (uint32_t)n;
    return 0;
}

int migration_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct migration *migration = &ctx->session.migration;
    struct vfio_user_mig_data *data = request->payload;
    ssize_t n;

    if (!migration->enabled || migration->state != RESUMING || check_data(ctx, data) < 0 ||
        request->size - sizeof(*data) < data->size) {
        return -EINVAL;
    }
    errno = 0;
    n = migration->callbacks.write_data(ctx, data->data, data->size);
    if (n == -1) {
        return callback_error();
    }
    if (n != (ssize_t)data->size) {
        vfu_log(ctx, LOG_ERR, "the device took %zd of %u bytes of its state: it must take all", n,
                data->size);
        return -EINVAL;
    }
    return 0;
}
