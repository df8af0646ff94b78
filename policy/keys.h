/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every key of a policy as data: type, range, default, target. The readers (read.h) interpret the
 * tables; a unit test compares them with schema.json.
 */
#pragma once

#include "policy/policy.h"

#define POLICY_STRING_MAX 4095 /* bytes; also what a path can have: PATH_MAX less its NUL */

enum policy_key_type {
    POLICY_KEY_OBJECT,
    POLICY_KEY_INTEGER,
    POLICY_KEY_SIZE,   /* bytes, or a string with K, M, G, T */
    POLICY_KEY_CHOICE, /* one of a list of words */
    POLICY_KEY_SET,    /* a list of such words */
    POLICY_KEY_STRING,
    POLICY_KEY_STRINGS,     /* a list */
    POLICY_KEY_ENVIRONMENT, /* an object of strings */
    POLICY_KEY_USERS,       /* a list of names and numbers */
    POLICY_KEY_GROUPS,
    POLICY_KEY_JAIL_USER, /* one of either */
    POLICY_KEY_RESOURCES, /* a list of objects */
    POLICY_KEY_TYPES,
};

struct policy_choice {
    const char *word; /* NULL ends a list of choices */
    unsigned value;   /* for a set: the bit */
    bool not_built;
};

struct policy_key {
    const char *name; /* NULL ends a list of keys */
    enum policy_key_type type;
    const char *fallback; /* JSON text that stands for an absent key; NULL: required */
    const char *wanted;   /* for messages; numbers and choices describe themselves */

    /* Of the target in struct policy, or struct policy_resource; size 0: checked, not stored. */
    size_t offset;
    size_t size;

    uint64_t min; /* of the number; of the bytes of each string; of the words in a set */
    uint64_t max;
    const char *pattern;   /* POSIX extended: what each string, or name of a variable, must match */
    const char *forbidden; /* and, for a variable, what it must not */
    bool unique;           /* a list without repetitions */
    const struct policy_choice *choices;
    const struct policy_key *keys; /* of an object, or of each object in a list */
};

/* The whole file: an object. Its first key is the version, which decides about all others. */
extern const struct policy_key policy_root;

extern const struct policy_choice policy_layers[];
