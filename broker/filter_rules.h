/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules themselves, apart from how they are compiled: read them as the policy they are. */
#pragma once

#include <seccomp.h>
#include <stddef.h>

#define FILTER_RULE_ARGS 2

/* No descriptor has a number with a bit above this one. */
#define FILTER_LAST_DESCRIPTOR_BIT 19

/*
 * Descriptors 0-2 (null, log, log) and the control channels from 3 on can never be closed: their
 * numbers must not come to mean something else.
 */
enum filter_match {
    FILTER_MATCH_ARGS,     /* all of args[] hold; none: any arguments */
    FILTER_MATCH_CHANNEL,  /* the descriptor in argument 0 is a control channel */
    FILTER_MATCH_CLOSABLE, /* the descriptor in argument 0 may be closed */
};

struct filter_rule {
    const char *syscall;
    const char *condition; /* args[] in words, "" for none; NULL: filter.c knows */
    const char *reason;
    enum filter_match match;
    unsigned arg_count;
    struct scmp_arg_cmp args[FILTER_RULE_ARGS];
};

extern const struct filter_rule filter_final_rules[];
extern const size_t filter_final_rule_count;

/* More of them, where the policy has jail.threads. */
extern const struct filter_rule filter_thread_rules[];
extern const size_t filter_thread_rule_count;

extern const struct filter_rule filter_gate_rules[];
extern const size_t filter_gate_rule_count;

/* One more for the gate, where memory is opened again for the policy's dma.access "ro". */
extern const struct filter_rule filter_gate_reopen_rule;

/* Denied from the start. */
extern const char *const filter_start_denied[];
extern const size_t filter_start_denied_count;

/* Of these, what the supervisor makes jails with. */
extern const char *const filter_supervisor_needs[];
extern const size_t filter_supervisor_needs_count;
