/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/context_facts.h"

#include "device/context.h"

uint64_t context_poll_limit(vfu_ctx_t *ctx)
{
    return ctx->connection.pace.limit;
}
