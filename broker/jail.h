/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts a device process in its jail. jail.c opens with the stages. */
#pragma once

#include "broker/audit.h"
#include "broker/filter.h"
#include "broker/layers.h"
#include "broker/program.h"
#include "ipc/control.h"
#include "policy/policy.h"

#include <sys/resource.h>
#include <sys/types.h>

/* All that sessions have in common: made once, before the first. */
struct jail_plan {
    const struct policy *policy; /* borrowed */
    struct layers layers;
    struct program program;
    char **argv;
    char **envp;
    struct filter start;
    struct filter final;
    size_t sockets; /* of the broker's: the process has a context and a channel for each */
    int *resources; /* opened files, in the policy's order; owned */
    rlim_t descriptors;
    rlim_t file_size;    /* that writing may reach: memory files are memory too */
    bool maps_ids;       /* a privileged broker gives the process another uid */
    int null;            /* /dev/null; owned */
    int supervisor;      /* a pidfd of the supervisor itself; owned */
    int cgroup;          /* delegated to the broker; -1: none; owned */
    struct audit *audit; /* takes down what the final filter blocks, and lets it pass; borrowed */
};

struct jail_process {
    pid_t pid;
    int pidfd;
    int control[CONTROL_MAX_CHANNELS]; /* the broker's ends of its channels: plan->sockets */
    int log;    /* what the process writes to its standard output and error */
    int status; /* says why, if the jail could not be entered */
    int cgroup; /* its own; -1: it has none */
};

/* What a process that could not enter its jail says on jail_process.status. */
struct jail_failure {
    int32_t error; /* errno */
    char stage[124];
};

enum jail_result {
    JAIL_OK = 0,
    JAIL_BAD_POLICY = 3, /* as exit status */
    JAIL_LAYER_MISSING = 4,
};

/*
 * Fills @plan from @policy and the paths of the broker's @count sockets, 1 to CONTROL_MAX_CHANNELS,
 * which stand for "{socket}". @report is called for each layer of this host, and may be NULL. On
 * failure one line is in @error.
 */
enum jail_result jail_plan_make(struct jail_plan *plan, const struct policy *policy,
                                const char *const *sockets, size_t count,
                                void (*report)(const struct layer *layer), char *error,
                                size_t error_size);

/*
 * Puts processes into cgroups of their own below the delegated one, @path (cgroup_open()); NULL:
 * there is none. As above; @report is called for this layer.
 */
enum jail_result jail_plan_use_cgroup(struct jail_plan *plan, const char *path,
                                      void (*report)(const struct layer *layer), char *error,
                                      size_t error_size);

void jail_plan_free(struct jail_plan *plan);

/*
 * Starts the process of session @id. All descriptors in @process are close-on-exec and the
 * caller's. 0 or -errno.
 */
int jail_spawn(const struct jail_plan *plan, unsigned id, struct jail_process *process);

/* Reads what the process said about a failure. Returns false if it said nothing. */
bool jail_failure_read(const struct jail_process *process, struct jail_failure *failure);

/* Descriptors that the process has from the start: 0-2, the control channels and the resources. */
static inline size_t jail_first_resource_fd(const struct jail_plan *plan)
{
    return CONTROL_FD + plan->sockets;
}
