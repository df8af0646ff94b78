/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel takes of any server: the system calls by which one waits for a request, looks at
 * it before it takes it, and answers, with nothing between them.
 */
#pragma once

#include <stddef.h>

struct bound {
    size_t in, out; /* bytes of a request and of its reply */
};

/* For echo_spawn(): ppoll, peek, read, write. */
void bound_serve_waiting(int sock, const void *bound);

/* Peeks without end while requests come; only then it waits. */
void bound_serve_spinning(int sock, const void *bound);
