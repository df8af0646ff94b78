/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A cgroup for each device process, below one that is delegated to the broker: the only limit that
 * holds what the kernel keeps for a process, such as page tables, and the only one of CPU.
 */
#pragma once

#include "policy/policy.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Opens the delegated cgroup @path, in which nobody may be, and makes it distribute what @policy
 * limits. "self": the caller's own, which then moves into a leaf of its own below that, because a
 * cgroup cannot do both, have processes and distribute. Removes what brokers left that were killed.
 * Returns a descriptor of the caller's, or -errno: -EOPNOTSUPP is no cgroup of version 2, -EBUSY:
 * somebody else is in it, -EACCES: it is somebody else's, -ENOENT: a controller is missing, or it
 * does not exist.
 */
int cgroup_open(const char *path, const struct policy *policy);

/*
 * Makes the cgroup of session @id below @delegated, with the limits of @policy. Returns a
 * descriptor of the caller's, for clone3(), or -errno.
 */
int cgroup_create(int delegated, unsigned id, const struct policy *policy);

/* Whether the kernel has these limits for @pid and nobody else. 0, or -1 with what is not so. */
int cgroup_verify(int cgroup, pid_t pid, const struct policy *policy, char *error,
                  size_t error_size);

/* Removes all that cgroup_create() made and in which nobody is any more. -1 is fine. */
void cgroup_sweep(int delegated);
