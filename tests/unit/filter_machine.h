/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's seccomp machine in user space: runs a compiled filter over a system call as
 * kernel/seccomp.c does, so that a test can ask what becomes of any call without making it.
 */
#pragma once

#include "broker/filter.h"

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* Numbers that are tried: all that any architecture's table of this kernel generation reaches. */
#define FILTER_MACHINE_NUMBERS 1024

/*
 * What @filter answers: SECCOMP_RET_* with its data bits. Fails the test for a program that the
 * kernel's own checker would not take, and for one that this machine does not know.
 */
uint32_t filter_machine_run(const struct filter *filter, const struct seccomp_data *call);

/* The same without the data bits. */
uint32_t filter_machine_action(const struct filter *filter, const struct seccomp_data *call);

/*
 * Whether the kernel answers the call from its cache of what is always allowed, without running
 * @filter, provided that all others of the process are so too (Linux 5.11,
 * seccomp_is_const_allow()): the program allows it and looks at nothing but number and
 * architecture.
 */
bool filter_machine_is_cached(const struct filter *filter, int nr, uint32_t arch);

/* "ALLOW", "USER_NOTIF", ... */
const char *filter_machine_name(uint32_t action);
