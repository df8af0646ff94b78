/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/adaptive_wait.h"

#include "device/context.h"
#include "device/errors.h"

#include <errno.h>
#include <stdlib.h>

#include <vfio-user/vfu-broker.h>

#define MICROSECOND 1000ull

/* The first window, from which each next one is twice as wide. */
#define FIRST_WINDOW (10 * MICROSECOND)

#define MAX_PENALTY 16383u

/* Messages that a window has to meet before they make up for misses. */
#define PROOF 8u

void adaptive_wait_init(struct adaptive_wait *wait, uint64_t limit)
{
    *wait = (struct adaptive_wait){ .limit = limit };
}

static uint64_t average(uint64_t before, uint64_t next)
{
    return before - before / 8 + next / 8;
}

static void close_window(struct adaptive_wait *wait)
{
    wait->window = 0;
    wait->penalty = wait->penalty * 2 + 1;
    if (wait->penalty > MAX_PENALTY) {
        wait->penalty = MAX_PENALTY;
    }
    wait->closed = wait->penalty;
}

void adaptive_wait_hit(struct adaptive_wait *wait, uint64_t elapsed)
{
    wait->awake = average(wait->awake, elapsed);
    if (wait->awake > wait->asleep) {
        close_window(wait);
    } else if (++wait->hits > PROOF && wait->penalty > 0) {
        wait->penalty--;
    }
}

static void widen_window(struct adaptive_wait *wait)
{
    if (wait->window == 0) {
        wait->awake = wait->asleep;
        wait->hits = 0;
    }
    wait->window = wait->window == 0 ? FIRST_WINDOW : 2 * wait->window;
    if (wait->window > wait->limit) {
        wait->window = wait->limit;
    }
}

void adaptive_wait_slept(struct adaptive_wait *wait, uint64_t elapsed)
{
    if (elapsed > 2 * wait->limit) {
        wait->window = 0;
        return;
    }
    if (wait->window == 0) {
        wait->asleep = wait->asleep > 0 ? average(wait->asleep, elapsed) : elapsed;
    }
    if (wait->closed > 0) {
        wait->closed--;
    } else if (wait->window == wait->limit) {
        close_window(wait);
    } else {
        widen_window(wait);
    }
}

int adaptive_wait_configure(struct vfu_ctx *ctx)
{
    const char *text = getenv("VFU_POLL_US");
    unsigned long us;
    char *end;

    ctx->poll_us = ctx->transport->jailed ? VFU_POLL_US_MAX : 0;
    if (text == NULL) {
        return 0;
    }
    errno = 0;
    us = strtoul(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || us > VFU_POLL_US_MAX) {
        return -EINVAL;
    }
    ctx->poll_us = (uint32_t)us;
    return 0;
}

void adaptive_wait_start(struct vfu_ctx *ctx)
{
    uint32_t granted = ctx->transport->max_poll_us;
    uint32_t us = ctx->poll_us < granted ? ctx->poll_us : granted;

    adaptive_wait_init(&ctx->connection.pace, us * MICROSECOND);
    adaptive_wait_init(&ctx->transport->pace, us * MICROSECOND);
}

int vfu_set_poll_us(vfu_ctx_t *ctx, uint32_t us)
{
    if (us > VFU_POLL_US_MAX) {
        return api_result(-EINVAL);
    }
    ctx->poll_us = us;
    adaptive_wait_start(ctx);
    return 0;
}
