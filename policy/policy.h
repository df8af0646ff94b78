/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one device may do: read from a JSON file (policy/schema.json describes it), checked as a
 * whole before anything starts. Owned by the broker alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define POLICY_MAX_LIST 64 /* entries in any list of the policy */

enum dma_access {
    DMA_ACCESS_NONE,
    DMA_ACCESS_RO,
    DMA_ACCESS_RW,
};

/* Kinds of file that guest memory may come from: a set. */
enum memory_kind {
    MEMORY_KIND_MEMFD = 1 << 0,
    MEMORY_KIND_TMPFS = 1 << 1,
    MEMORY_KIND_HUGETLBFS = 1 << 2,
    MEMORY_KINDS = MEMORY_KIND_MEMFD | MEMORY_KIND_TMPFS | MEMORY_KIND_HUGETLBFS,
};

/* Layers of the jail whose absence a policy can accept: a set. */
enum jail_layer {
    JAIL_LAYER_USER_NAMESPACE = 1 << 0,
    JAIL_LAYER_CGROUP_NAMESPACE = 1 << 1,
    JAIL_LAYER_LANDLOCK = 1 << 2,
    JAIL_LAYER_MDWE = 1 << 3,
    JAIL_LAYER_CGROUP = 1 << 4,
};

enum on_crash {
    ON_CRASH_RESTART,
    ON_CRASH_STOP,
};

enum on_hang {
    ON_HANG_LOG,
    ON_HANG_RESTART,
    ON_HANG_STOP,
};

struct policy_resource {
    char *name; /* [A-Za-z0-9_.-]+, unique */
    char *path; /* absolute */
    bool writable;
};

struct policy {
    char *file; /* where it came from, for messages */

    char *program; /* absolute path, or a plain name to look up */
    char **args;   /* NULL-terminated; "{socket}" not yet replaced */
    char **env;    /* NULL-terminated, "NAME=value", sorted as in the file */

    uid_t client_uids[POLICY_MAX_LIST];
    size_t client_uid_count;
    gid_t client_gids[POLICY_MAX_LIST];
    size_t client_gid_count;
    uint32_t handshake_seconds;
    uint32_t stall_seconds;

    enum dma_access dma_access;
    uint32_t dma_max_regions;
    uint64_t dma_max_bytes;
    unsigned dma_memory; /* set of enum memory_kind */
    unsigned dma_seals;  /* F_SEAL_* that a file must have */

    uint32_t irq_max_vectors;

    struct policy_resource *resources;
    size_t resource_count;

    uid_t jail_uid;
    gid_t jail_gid;
    char **jail_files;      /* NULL-terminated, absolute */
    char **jail_syscalls;   /* NULL-terminated names; the broker checks that they exist */
    unsigned jail_optional; /* set of enum jail_layer */
    uint32_t jail_threads;  /* beside the first one */

    uint64_t limit_memory; /* bytes: RLIMIT_DATA; of a cgroup, without guest memory */
    uint32_t limit_descriptors;
    uint32_t limit_requests_per_second; /* of a device process to each of its gates */
    uint32_t limit_cpu_percent;         /* of one CPU, by a cgroup; 0: none */

    enum on_crash on_crash;
    uint32_t crash_max;
    uint32_t crash_within_seconds;
    enum on_hang on_hang;

    uint32_t start_seconds;
    uint32_t poll_us;
    uint32_t watchdog_seconds; /* 0: none */
};

/*
 * Reads and checks @path. Names of users and groups are resolved now, "self" as the real uid or
 * gid of the caller. Returns the policy, which the caller frees with policy_free(); or NULL, with
 * one line in @error, without newline, that names file, key, what was found and what is wanted.
 * errno is then ENOENT/EACCES/... if the file could not be read, EINVAL if it is wrong, ENOMEM.
 */
struct policy *policy_load(const char *path, char *error, size_t error_size);

/* NULL is fine. Always returns NULL. */
struct policy *policy_free(struct policy *policy);

/* The policy's word for a layer: "user-namespace", ... */
const char *policy_layer_name(enum jail_layer layer);
