/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The eventfd of one interrupt. Any thread may signal it while the context's thread replaces it:
 * the descriptor is closed by whoever is last to use it, so that no write ever goes to what has
 * its number next, and nobody waits for a write that a client has made block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct eventfd_slot {
    uint64_t state; /* 0: empty; see eventfd_slot.c */
};

/*
 * Owns @eventfd from now on, instead of the one before; -1 for none. By one thread at a time.
 * Returns 0 or -ENOMEM: then @eventfd is closed, and the slot empty.
 */
int eventfd_slot_set(struct eventfd_slot *slot, int eventfd);

/* The eventfd, or -1; for the thread that sets it. */
int eventfd_slot_get(const struct eventfd_slot *slot);

/*
 * Whether there is one; from any thread. Sequentially consistent with eventfd_slot_set(): who does
 * something, finds no eventfd, and leaves it at that, is seen by who looks after it was set.
 */
bool eventfd_slot_is_set(const struct eventfd_slot *slot);

/*
 * Adds 1 to the counter; from any thread. Returns 0, -ENOENT if there is none, or the negative
 * errno of the write.
 */
int eventfd_slot_signal(struct eventfd_slot *slot);
