/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules themselves, apart from how they are compiled: read them as the policy they are. */
#pragma once

#include <seccomp.h>
#include <stddef.h>

#define FILTER_RULE_ARGS 2

/*
 * Descriptors 0-3 (null, log, log, control channel) can never be closed: their numbers must not
 * come to mean something else. seccomp sees 64 bits where close(2) uses 32, and libseccomp has no
 * 32-bit "greater than", so "4 or more" is spelt as "some bit from 2 upwards is set".
 */
#define FILTER_FIRST_CLOSABLE_BIT 2
#define FILTER_LAST_CLOSABLE_BIT 19

enum filter_match {
    FILTER_MATCH_ARGS,     /* all of args[] hold; none: any arguments */
    FILTER_MATCH_CLOSABLE, /* the descriptor in argument 0 may be closed */
};

struct filter_rule {
    const char *syscall;
    const char *condition; /* args[] in words, "" for none */
    const char *reason;
    enum filter_match match;
    unsigned arg_count;
    struct scmp_arg_cmp args[FILTER_RULE_ARGS];
};

extern const struct filter_rule filter_final_rules[];
extern const size_t filter_final_rule_count;

extern const struct filter_rule filter_gate_rules[];
extern const size_t filter_gate_rule_count;

/* One more for the gate, where memory is opened again for the policy's dma.access "ro". */
extern const struct filter_rule filter_gate_reopen_rule;

/* Denied from the start. */
extern const char *const filter_start_denied[];
extern const size_t filter_start_denied_count;
