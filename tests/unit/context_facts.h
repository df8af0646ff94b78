/* SPDX-License-Identifier: BSD-3-Clause */
/* What is inside a context, for tests that have names of their own for what its headers name. */
#pragma once

#include <stdint.h>

#include <vfio-user/libvfio-user.h>

/* Nanoseconds that a wait for the next message may spin. */
uint64_t context_poll_limit(vfu_ctx_t *ctx);
