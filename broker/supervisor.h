/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeps one sealed session in reserve, lets one client in at a time, and counts what fails. */
#pragma once

#include "broker/filter.h"
#include "broker/jail.h"
#include "broker/options.h"

struct supervisor;

/*
 * Runs until SIGTERM, SIGINT or a failure that the policy does not forgive. With options->check:
 * until the first session is ready. Returns an exit status; the last log line says why.
 */
enum exit_status supervisor_run(const struct options *options, const struct jail_plan *plan,
                                const struct filter *gate_filter);
