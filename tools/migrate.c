/* SPDX-License-Identifier: BSD-3-Clause */
/* Moves a device's state to another device of the same kind. There is no guest, so no memory. */
#include "tools/vfu.h"

#include "client/live.h"

#include <inttypes.h>
#include <stdio.h>

static int on_round(void *opaque, const struct vfu_client_live_round *round)
{
    printf("round %u%s: %" PRIu64 " bytes in %.1f ms\n", round->number,
           round->stopped ? " (stopped)" : "", round->device_bytes, (double)round->ns / 1e6);
    return 0;
}

static const char *end_of(enum vfu_client_live_end end)
{
    switch (end) {
    case VFU_CLIENT_LIVE_DONE:
        return "the destination runs";
    case VFU_CLIENT_LIVE_SOURCE_RUNS:
        return "the source runs on";
    case VFU_CLIENT_LIVE_SOURCE_STOPPED:
        return "the source is stopped: reset it, or try again";
    default:
        return "the source does not answer";
    }
}

int vfu_migrate(int argc, char **argv)
{
    struct vfu_client_live live = { .max_rounds = 8, .stop_bytes = 1 << 20, .on_round = on_round };
    int result;

    if (argc != 3) {
        return vfu_usage("migrate", "FROM TO");
    }
    live.from = vfu_open(argv[1]);
    live.to = vfu_open(argv[2]);
    result = vfu_client_live_migrate(&live);
    vfu_client_free(live.from);
    vfu_client_free(live.to);
    if (result != 0) {
        fprintf(stderr, "vfu migrate: %s failed; %s\n", live.step, end_of(live.end));
        return vfu_failed(argv[1], result);
    }
    printf("%" PRIu64 " bytes in %u rounds, %.1f ms; blackout %.1f ms; %s\n", live.device_bytes,
           live.rounds, (double)live.total_ns / 1e6, (double)live.blackout.total / 1e6,
           end_of(live.end));
    return VFU_OK;
}
