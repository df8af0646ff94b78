/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors at the public API's edges: ours outwards, a callback's inwards. */
#pragma once

#include <errno.h>

/* Turns 0 or a negative errno into what the public API returns. */
static inline int api_result(int err)
{
    if (err < 0) {
        errno = -err;
        return -1;
    }
    return err;
}

/*
 * The error of a callback that has just failed, as a negative errno. Its errno goes on the wire,
 * where 0 would mean success to some clients.
 */
static inline int callback_error(void)
{
    return errno > 0 && errno < 4096 ? -errno : -EINVAL;
}
