/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int64_t memory_of(pid_t pid, const char *kind)
{
    char path[64], line[128];
    size_t length = strlen(kind);
    int64_t size = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && size < 0 && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, kind, length) == 0 && line[length] == ':') {
            sscanf(line + length + 1, "%" SCNd64, &size);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return size;
}
