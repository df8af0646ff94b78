/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration, version 2: the state that the client moves the device through, arc by arc, and the
 * device's data, which travel in messages of their own.
 */
#pragma once

#include "device/dispatch.h"

#include <stdbool.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

struct migration {
    bool enabled;
    vfu_migration_callbacks_t callbacks;
    enum vfio_user_device_mig_state state; /* RUNNING for a device that cannot migrate */
};

void migration_init(struct migration *migration);

/* Starts anew, in RUNNING, without telling the device: it was reset. */
void migration_reset(struct migration *migration);

/* Whether a command is executed in the present state. */
bool migration_allows(const struct migration *migration, uint16_t command);

/* Whether the client can access regions in the present state. */
bool migration_allows_access(const struct migration *migration);

/*
 * Moves the device to @target, which may be no state at all. Returns 0; -EINVAL if there is no way
 * there; or what the device refused an arc with: it is in the last state that it has reached.
 */
int migration_set_state(struct vfu_ctx *ctx, uint32_t target);

/* MIG_DATA_READ and MIG_DATA_WRITE. */
int migration_handle_read(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
int migration_handle_write(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
