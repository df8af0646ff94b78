/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that clients are given: of regions, and of shadow ioeventfds. A client that could make its
 * file shorter would take it away from the device, which dies of touching what is not there.
 */
#pragma once

struct vfu_ctx;

/*
 * Seals a file against shrinking, unless it is already. Returns 0; -EINVAL if it is no file that
 * takes seals; or -EPERM if it takes no more, or is not open for writing.
 */
int shared_memory_seal(int fd);

/*
 * Standalone, before the first client: seals what the program has described, as far as it takes
 * seals. What is described later is sealed at once. Programs may use files that take none.
 */
void shared_memory_begin(struct vfu_ctx *ctx);

/* The program has described @fd, or -1, as memory for clients. */
void shared_memory_add(const struct vfu_ctx *ctx, int fd);
