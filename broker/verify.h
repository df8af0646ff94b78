/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's word, from /proc, that a process is confined as planned. Nothing that the process
 * itself said counts.
 */
#pragma once

#include "broker/jail.h"

/* All return 0, or -1 with what was wanted and what was found in @error. */
int verify_device(const struct jail_plan *plan, const struct jail_process *process, char *error,
                  size_t error_size);

/* Its threads alone: as soon as the final filter is loaded. */
int verify_threads(const struct jail_plan *plan, const struct jail_process *process, char *error,
                   size_t error_size);

int verify_gate(const struct jail_plan *plan, pid_t pid, char *error, size_t error_size);
