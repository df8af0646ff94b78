/* SPDX-License-Identifier: BSD-3-Clause */
#pragma once

#include <stdint.h>

/*
 * Makes a file in memory of @size bytes, all zero, that can neither shrink nor grow, nor be made to
 * again. @name is what /proc shows. Returns the descriptor or -errno.
 */
int fixed_memory_create(const char *name, uint64_t size);
