/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory can go away: a client truncates its file, or the kernel has no huge page or no
 * memory left for it. Whoever touches it then gets SIGBUS, and the process would die.
 *
 * The guard's handler puts a page of zeros in its place, for the first few faults of a range, and
 * then one mapping of zeros in place of all that the range has, because the number of mappings is
 * limited (vm.max_map_count); for the same reason, after many faults, in place of the whole file.
 * Every range that has some of it is marked: calls for it fail with EFAULT from then on. Other
 * ranges of the file go on, and no new one is put into a mapping that has zeros. What is no range
 * of ours goes to the handler that the program had installed before.
 *
 * The zeros are of a sparse file in memory, each part of which is used for one range only: the
 * device may write there, and must not read it elsewhere. That takes memory which RLIMIT_DATA does
 * not count, as writing to guest memory itself does; and it stays when the range has gone. So a
 * client that takes its memory away again and again may give no more after as much as all of it,
 * and what its session took is given back at its end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dma;

/*
 * Installs the handler, if it is not: before the process is sealed, and after the program has
 * installed its own, to which what is not ours is passed on. Returns 0 or a negative errno.
 */
int memory_guard_install(void);

/*
 * Gives it the file of zeros, which it owns from then on: sealed processes get one from the
 * broker, which lasts as long as they.
 */
void memory_guard_use(int zeros);

/* In a process that is not sealed: makes zeros for a session. Returns 0 or a negative errno. */
int memory_guard_begin(struct dma *dma);

/* The session has ended, and all its regions have gone. */
void memory_guard_end(struct dma *dma);

/* Whether more memory can be given: the session has used no more than @limit bytes of zeros. */
bool memory_guard_has_zeros(const struct dma *dma, uint64_t limit);

/* Faults in the regions of @dma are ours from now on, until it is taken out again. */
void memory_guard_add(struct dma *dma);
void memory_guard_remove(struct dma *dma);

/*
 * Waits for the faults that are being dealt with: a region whose use is 0 by then is no longer
 * looked at. With a file in several regions a fault in one may have found another.
 */
void memory_guard_settle(void);
