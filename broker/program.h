/* SPDX-License-Identifier: BSD-3-Clause */
/* The device program: where it is, and which files it needs to start. */
#pragma once

#include <stddef.h>

#define PROGRAM_MAX_FILES 128

struct program {
    char *path; /* absolute, as it is executed in the jail */
    /* Every file that the private root must hold, the program first; no doubles. Owned. */
    char *files[PROGRAM_MAX_FILES];
    size_t file_count;
};

/*
 * Resolves @name: an absolute path stands for itself; a plain name is looked up in the samples of
 * the build tree that this broker runs from, then in the installed devices. Finds the dynamic
 * loader in the ELF file, and asks it for the libraries (its --list executes nothing of the
 * program). Adds @extra (NULL-terminated, may be NULL). Returns 0, or -1 with one line in @error.
 */
int program_resolve(struct program *program, const char *name, char *const *extra, char *error,
                    size_t error_size);

void program_free(struct program *program);
