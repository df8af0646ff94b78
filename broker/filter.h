/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seccomp filters, compiled with libseccomp from tables of rules that carry their reasons.
 *
 *   supervisor  its own, under which all the others come to be: its children inherit it, and must
 *          be able to do what makes a jail, and what a program does at its start. So it denies what
 *          none of them ever does; as the start filter does, and for the same reason.
 *   start  loaded before exec: everything but what no device program needs even to start. It
 *          denies with TRACE (ENOSYS without a tracer), which the final filter's user notification
 *          outranks (seccomp(2): of several filters' answers the one of highest precedence counts),
 *          so that a blocked call is still named after the seal. The same goes for calls of foreign
 *          architectures and x32, none of which is ever allowed.
 *   final  loaded by the library at the seal: only what the tables and the policy list; anything
 *          else notifies the supervisor.
 *   gate   the gate's own; anything else kills it.
 */
#pragma once

#include "policy/policy.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

struct filter {
    struct sock_filter *code; /* owned */
    unsigned short count;
};

int filter_compile_supervisor(struct filter *filter);
int filter_compile_start(struct filter *filter);
int filter_compile_gate(struct filter *filter, const struct policy *policy);

/*
 * All return 0 or -errno. The final filter is compiled from the base rules and the policy's
 * jail.syscalls: a call named there is allowed with any arguments. @channels: control channels of
 * the process, 1 to CONTROL_MAX_CHANNELS. -EINVAL: @unknown is set to a name that is no system call
 * of this architecture, or that the start filter denies.
 */
int filter_compile_final(struct filter *filter, const struct policy *policy, size_t channels,
                         const char **unknown);

void filter_free(struct filter *filter);

/* Every rule of the final filter in order: its call, its condition as text, and its reason. */
void filter_describe_final(const struct policy *policy, size_t channels,
                           void (*line)(const char *syscall, const char *condition,
                                        const char *reason));

/* Whether the start filter denies a call, so that no policy can allow it. */
bool filter_start_denies(const char *syscall);

/* The native architecture, as seccomp_data.arch has it. */
uint32_t filter_native(void);

/* Name of call @nr of @arch (seccomp_data.arch); "unknown" if it has none. Returns @buffer. */
const char *filter_syscall_name(uint32_t arch, int nr, char *buffer, size_t size);

/* "x86_64", "x32", "i386", ... */
const char *filter_arch_name(uint32_t arch, int nr);
