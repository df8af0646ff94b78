/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The steps by which a process gives up rights for ever: used by the device process before it
 * executes, and by the gate. Each returns 0 or -errno; a step that fails ends the process.
 */
#pragma once

#include "broker/filter.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Kills the caller when its parent ends. Must come after the last change of uid, which clears it.
 * @alive is a pidfd of the parent: -ESRCH if it has ended already, reaped or not.
 */
int isolate_die_with_parent(int alive);

/* Supplementary groups (where the kernel lets us), group and user: all of real, effective, saved.
 */
int isolate_change_ids(uid_t uid, gid_t gid, bool drop_groups);

/* The bounding set; needs CAP_SETPCAP. To be called before the uid changes. */
int isolate_drop_bounding(void);

/* Every other capability set. */
int isolate_drop_capabilities(void);

int isolate_no_new_privs(void);

/*
 * No rights but to read and execute files, as far as the kernel can withhold them: for what runs
 * before there is a jail. Root may still read what is not its own.
 */
int isolate_readers_rights(void);

/*
 * Landlock: handles everything that this kernel's version knows, files, TCP, abstract sockets and
 * signals; permits reading and executing below @root, or nothing at all if @root is NULL.
 * -EOPNOTSUPP or -ENOSYS: the kernel has no Landlock.
 */
int isolate_landlock(const char *root);

/* Version of Landlock that the kernel offers, or -errno. */
int isolate_landlock_version(void);

/* Memory deny write execute; survives exec. -EINVAL: kernel older than 6.3. */
int isolate_deny_write_execute(void);

int isolate_load_filter(const struct filter *filter);
