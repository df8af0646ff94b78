/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's seccomp machine in user space: runs a compiled filter over a system call as
 * kernel/seccomp.c does, so that a test can ask what becomes of any call without making it.
 */
#pragma once

#include "broker/filter.h"

#include <linux/seccomp.h>
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

/* "ALLOW", "USER_NOTIF", ... */
const char *filter_machine_name(uint32_t action);
