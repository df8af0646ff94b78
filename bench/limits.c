/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/limits.h"

#include <stddef.h>
#include <string.h>

static const struct limit limits[] = {
    { "register read p50, one processor: broker", false, 1.10 },
    { "register read p50, one processor: broker, adaptive wait", false, 1.10 },
    { "register read p50, two processors: standalone, adaptive wait", false, 0.45 },
    { "register read p50, two processors: broker, adaptive wait", false, 0.45 },
    { "register read p50, one processor: broker against standalone", false, 1.04 },
    { "register read p50, two processors: broker against standalone", false, 1.04 },
    { "register read p50, one processor: broker, adaptive wait against standalone, adaptive wait",
      false, 1.04 },
    { "register read p50, two processors: broker, adaptive wait against standalone, adaptive wait",
      false, 1.04 },
    { "register write p50, one processor: broker against standalone", false, 1.04 },
    { "register write p50, two processors: broker against standalone", false, 1.04 },
    { "register write p50, one processor: broker, adaptive wait against standalone, adaptive wait",
      false, 1.04 },
    { "register write p50, two processors: broker, adaptive wait against standalone, adaptive wait",
      false, 1.04 },
    { "translate + get + put, 1 regions in turn: standalone", true, 9 },
    { "translate + get + put, 20000 regions at random: standalone", false, 2.5 },
    { "translate + get + put, 1000000 regions at random against 20000: standalone", false, 3 },
    { "DMA map + unmap, known file, one processor: standalone", false, 1.3 },
    { "DMA map + unmap, known file, one processor: broker against standalone", false, 1.6 },
    { "DMA map + unmap, known file, two processors: standalone", false, 1.3 },
    { "DMA map + unmap, known file, two processors: broker against standalone", false, 1.6 },
    { "interrupt trigger: standalone", false, 1.05 },
    { "interrupt trigger: broker", false, 1.05 },
    { "migration data, read of 1 MiB, one processor: standalone", false, 1.25 },
    { "migration data, read of 1 MiB, one processor: broker", false, 1.25 },
    { "migration data, read of 1 MiB, two processors: standalone", false, 1.25 },
    { "migration data, read of 1 MiB, two processors: broker", false, 1.25 },
    { "1000 idle jailed devices, private memory of each", true, 1.2 },
    { "1000 idle jailed devices, processor time of all", true, 0 },
};

const struct limit *limit_of(const char *figure)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (strcmp(limits[i].figure, figure) == 0) {
            return &limits[i];
        }
    }
    return NULL;
}
