/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/progress.h"

#include <errno.h>
#include <sys/mman.h>

static struct control_progress own;

struct control_progress *progress = &own;

int progress_share(int fd)
{
    void *memory = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED) {
        return -errno;
    }
    progress = memory;
    return 0;
}
