/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gets the text of a policy file, and nothing that could hang the caller or fill its memory.
 */
#pragma once

#include "policy/report.h"

#define POLICY_FILE_MAX 65536 /* bytes */

/*
 * Reads the regular file at report->file. On success returns 0, and in @text a NUL-terminated
 * string without further NUL bytes, which the caller frees. Else a negative errno, reported.
 */
int policy_file_read(struct policy_report *report, char **text);
