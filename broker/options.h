/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#pragma once

#include "broker/log.h"
#include "ipc/control.h"

#include <stdbool.h>
#include <sys/types.h>

/* vfu-broker(8) explains them. */
enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILURE = 1,
    EXIT_STATUS_USAGE = 2,
    EXIT_STATUS_POLICY = 3,
    EXIT_STATUS_LAYER = 4,
    EXIT_STATUS_CRASHES = 5,
};

struct option_socket {
    const char *path; /* "inherited" if it was */
    int fd;           /* inherited listening socket, or -1 */
};

struct options {
    const char *policy;
    struct option_socket sockets[CONTROL_MAX_CHANNELS]; /* in the order of the command line */
    size_t socket_count;
    bool check;
    bool audit;
    enum log_level log_level;
    const char *log_file; /* NULL: standard error */
    const char *pid_file;
    const char *cgroup; /* delegated to the broker; NULL: none */
    mode_t sock_mode;
    gid_t sock_group; /* (gid_t)-1: none */
};

/*
 * Returns -1 to go on, or the exit status: --help, --version and --print-capabilities have been
 * answered, or the usage was wrong and standard error says how.
 */
int options_parse(struct options *options, int argc, char **argv);
