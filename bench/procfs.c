/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PID_MAX (1 << 22) /* no kernel counts further */

static FILE *open_file(pid_t pid, const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* The sum of what follows the colon of the lines that begin with @key; -1: there is none. */
static int64_t sum_of(pid_t pid, const char *name, const char *key)
{
    FILE *file = open_file(pid, name);
    int64_t sum = -1;
    char line[256];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, key, strlen(key)) == 0) {
            sum = (sum < 0 ? 0 : sum) + strtoll(colon + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return sum;
}

int64_t procfs_memory(pid_t pid, const char *kind)
{
    return sum_of(pid, "smaps_rollup", kind);
}

int64_t procfs_switches(pid_t pid)
{
    int64_t voluntary = sum_of(pid, "status", "voluntary_ctxt_switches");
    int64_t others = sum_of(pid, "status", "nonvoluntary_ctxt_switches");

    return voluntary < 0 || others < 0 ? -1 : voluntary + others;
}

int64_t procfs_time(pid_t pid)
{
    FILE *file = open_file(pid, "schedstat");
    int64_t time = -1;

    if (file == NULL || fscanf(file, "%" SCNd64, &time) != 1) {
        time = -1;
    }
    if (file != NULL) {
        fclose(file);
    }
    return time;
}

/* 0 if it has gone. */
static pid_t parent_of(pid_t pid)
{
    FILE *file = open_file(pid, "stat");
    char text[512];
    size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
    const char *after_name;
    int parent = 0;

    if (file != NULL) {
        fclose(file);
    }
    text[n] = '\0';
    after_name = strrchr(text, ')'); /* the name may hold anything */
    return after_name != NULL && sscanf(after_name + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

struct process {
    pid_t pid, parent;
};

static size_t list_processes(struct process *list, size_t max)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t count = 0;

    while (proc != NULL && count < max && (entry = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            list[count].pid = atoi(entry->d_name);
            list[count].parent = parent_of(list[count].pid);
            count++;
        }
    }
    if (proc != NULL) {
        closedir(proc);
    }
    return count;
}

size_t procfs_add_descendants(pid_t *pids, size_t count, size_t max)
{
    static struct process all[1 << 16];
    static bool among[PID_MAX + 1];
    size_t total = list_processes(all, sizeof(all) / sizeof(all[0]));
    size_t before;

    memset(among, 0, sizeof(among));
    for (size_t i = 0; i < count; i++) {
        among[pids[i]] = true;
    }
    do {
        before = count;
        for (size_t i = 0; i < total && count < max; i++) {
            if (among[all[i].parent] && !among[all[i].pid]) {
                among[all[i].pid] = true;
                pids[count++] = all[i].pid;
            }
        }
    } while (count > before);
    return count;
}
