/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench: what this project's parts cost, against bare sockets and processors; see run.sh.
 */
#include "bench/bench.h"
#include "bench/processors.h"
#include "bench/report.h"

#include <err.h>
#include <getopt.h>
#include <libgen.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct group {
    const char *name, *heading;
    void (*run)(const struct bench *bench);
} groups[] = {
    { "access", "Register accesses", bench_access },
    { "calls", "What an access takes of the kernel", bench_calls },
    { "dma", "Guest memory made and removed", bench_dma },
    { "translate", "Address translation", bench_translate },
    { "copy", "vfu_sgl_read and vfu_sgl_write", bench_copy },
    { "interrupts", "Interrupts", bench_interrupts },
    { "migration", "Migration", bench_migration },
    { "sessions", "Clients and servers that come", bench_sessions },
    { "processes", "Many devices", bench_processes },
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

enum { OPTION_JSON = 'j', OPTION_ONLY = 'o', OPTION_PEER = 'p', OPTION_QUICK = 'q' };

static const struct option options[] = {
    { "json", no_argument, NULL, OPTION_JSON },
    { "only", required_argument, NULL, OPTION_ONLY },
    { "peer-device", required_argument, NULL, OPTION_PEER },
    { "quick", no_argument, NULL, OPTION_QUICK },
    { NULL, 0, NULL, 0 },
};

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: bench [--json] [--quick] [--only GROUP,...] [--peer-device PROGRAM]\n"
                    "groups:");
    for (size_t i = 0; i < GROUPS; i++) {
        fprintf(stderr, " %s", groups[i].name);
    }
    fprintf(stderr, "\n");
    exit(2);
}

/* The build tree that this program is in. */
static const char *find_build(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n < 0) {
        err(EXIT_FAILURE, "/proc/self/exe");
    }
    return dirname(dirname(path));
}

static bool names(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (; list != NULL; list = strchr(list, ',')) {
        list += *list == ',';
        if (strncmp(list, name, length) == 0 && (list[length] == ',' || list[length] == '\0')) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct bench bench = { .build = find_build() };
    const char *only = NULL;
    bool json = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case OPTION_JSON:
            json = true;
            break;
        case OPTION_ONLY:
            only = optarg;
            break;
        case OPTION_PEER:
            bench.peer_device = optarg;
            break;
        case OPTION_QUICK:
            bench.quick = true;
            break;
        default:
            usage();
        }
    }
    if (optind != argc) {
        usage();
    }
    signal(SIGPIPE, SIG_IGN);
    report_open(json);
    processors_open();
    for (size_t i = 0; i < GROUPS; i++) {
        if (only == NULL || names(only, groups[i].name)) {
            report_heading(groups[i].heading);
            groups[i].run(&bench);
        }
    }
    report_close();
    return EXIT_SUCCESS;
}
