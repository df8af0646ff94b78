/* SPDX-License-Identifier: BSD-3-Clause */
/* The device program: where it is, and which files it needs to start. */
#pragma once

#include "policy/policy.h"

#include <stddef.h>

#define PROGRAM_MAX_FILES 128

struct program {
    char *path; /* absolute, as it is executed in the jail */
    /* Every file that the private root must hold, the program first; no doubles. Owned. */
    char *files[PROGRAM_MAX_FILES];
    size_t file_count;
};

/*
 * Resolves the policy's device.program: an absolute path stands for itself; a plain name is looked
 * up in the samples of the build tree that this broker runs from, then in the installed devices.
 * Finds the dynamic loader in the ELF file, and asks it for the libraries (its --list executes
 * nothing of the program, and has no rights but to read). Adds jail.files. Returns 0, or -1 with
 * one line in @error.
 */
int program_resolve(struct program *program, const struct policy *policy, char *error,
                    size_t error_size);

void program_free(struct program *program);
