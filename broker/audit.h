/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device would need: the calls that its final filter has blocked, were they not let through
 * for an audit, and what each would open if a policy allowed it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define AUDIT_MAX_CALLS 1024 /* more than any architecture's table has */

struct audit {
    uint8_t seen[AUDIT_MAX_CALLS / 8];
};

/* Takes down call @nr of the native architecture. Returns whether it is the first time. */
bool audit_note(struct audit *audit, int nr);

/* "kernel: ...", what allowing @syscall would give to a device that was taken over. */
const char *audit_risk(const char *syscall);

/* Writes the line of a policy that allows what was taken down, and the risk of each call. */
void audit_print(const struct audit *audit, FILE *out);
