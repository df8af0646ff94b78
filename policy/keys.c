/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/keys.h"

#include <fcntl.h>

#define TARGET(structure, member)                                                                  \
    .offset = offsetof(struct structure, member), .size = sizeof(((struct structure *)NULL)->member)

#define KIB ((uint64_t)1024)
#define MIB (KIB * 1024)
#define TIB (MIB * 1024 * 1024)
#define EIB (TIB * 1024 * 1024)

#define SECONDS(member, standard)                                                                  \
    .type = POLICY_KEY_INTEGER, .fallback = standard, TARGET(policy, member), .min = 1, .max = 3600

/*
 * One part of a path: not empty, not "." and not "..". What is checked here is then what is opened
 * and what stands in the jail, without a second way to write it.
 */
#define PART "([^/.][^/]*|[.][^/.][^/]*|[.][.][^/]+)"
#define ABSOLUTE_PATH                                                                              \
    .min = 1, .max = POLICY_STRING_MAX, .pattern = "^(/" PART ")+$",                               \
    .wanted = "an absolute path without '.', '..' and empty parts"

static const struct policy_choice client_processes[] = {
    { .word = "per-session" },
    { .word = "shared", .not_built = true },
    {},
};

static const struct policy_choice dma_accesses[] = {
    { .word = "none", .value = DMA_ACCESS_NONE },
    { .word = "ro", .value = DMA_ACCESS_RO },
    { .word = "rw", .value = DMA_ACCESS_RW },
    {},
};

static const struct policy_choice memory_kinds[] = {
    { .word = "memfd", .value = MEMORY_KIND_MEMFD },
    { .word = "tmpfs", .value = MEMORY_KIND_TMPFS },
    { .word = "hugetlbfs", .value = MEMORY_KIND_HUGETLBFS },
    {},
};

static const struct policy_choice seals[] = {
    { .word = "seal", .value = F_SEAL_SEAL },
    { .word = "shrink", .value = F_SEAL_SHRINK },
    { .word = "grow", .value = F_SEAL_GROW },
    { .word = "write", .value = F_SEAL_WRITE },
    { .word = "future-write", .value = F_SEAL_FUTURE_WRITE },
    {},
};

static const struct policy_choice resource_accesses[] = { { .word = "ro", .value = false },
                                                          { .word = "rw", .value = true },
                                                          {} };

static const struct policy_choice crash_reactions[] = {
    { .word = "restart", .value = ON_CRASH_RESTART },
    { .word = "stop", .value = ON_CRASH_STOP },
    {},
};

static const struct policy_choice hang_reactions[] = {
    { .word = "log", .value = ON_HANG_LOG },
    { .word = "restart", .value = ON_HANG_RESTART },
    { .word = "stop", .value = ON_HANG_STOP },
    {},
};

const struct policy_choice policy_layers[] = {
    { .word = "user-namespace", .value = JAIL_LAYER_USER_NAMESPACE },
    { .word = "cgroup-namespace", .value = JAIL_LAYER_CGROUP_NAMESPACE },
    { .word = "landlock", .value = JAIL_LAYER_LANDLOCK },
    { .word = "mdwe", .value = JAIL_LAYER_MDWE },
    { .word = "cgroup", .value = JAIL_LAYER_CGROUP },
    {},
};

static const struct policy_key device_keys[] = {
    { "program", POLICY_KEY_STRING, TARGET(policy, program), .min = 1, .max = POLICY_STRING_MAX,
      .pattern = "^(" PART "|(/" PART ")+)$",
      .wanted = "a plain name, or an absolute path without '.', '..' and empty parts" },
    { "args", POLICY_KEY_STRINGS, "[\"{socket}\"]", TARGET(policy, args),
      .max = POLICY_STRING_MAX },
    /* The dynamic loader and the library take the jail's own settings from these. */
    { "env", POLICY_KEY_ENVIRONMENT, "{}", TARGET(policy, env), .max = POLICY_STRING_MAX,
      .pattern = "^[A-Za-z_][A-Za-z0-9_]*$", .forbidden = "^(LD_|VFU_BROKER_)" },
    {},
};

static const struct policy_key client_keys[] = {
    { "uids", POLICY_KEY_USERS, "[\"self\",\"root\"]", .unique = true },
    { "gids", POLICY_KEY_GROUPS, "[]", .unique = true },
    { "process", POLICY_KEY_CHOICE, "\"per-session\"", .choices = client_processes },
    { "handshake_seconds", SECONDS(handshake_seconds, "10") },
    { "stall_seconds", SECONDS(stall_seconds, "30") },
    {},
};

static const struct policy_key dma_keys[] = {
    { "access", POLICY_KEY_CHOICE, "\"none\"", TARGET(policy, dma_access),
      .choices = dma_accesses },
    { "max_regions", POLICY_KEY_INTEGER, "65535", TARGET(policy, dma_max_regions), .min = 1,
      .max = 1000000 },
    { "max_bytes", POLICY_KEY_SIZE, "\"1T\"", TARGET(policy, dma_max_bytes), .min = 4 * KIB,
      .max = EIB },
    { "memory", POLICY_KEY_SET, "[\"memfd\",\"tmpfs\",\"hugetlbfs\"]", TARGET(policy, dma_memory),
      .min = 1, .unique = true, .choices = memory_kinds },
    { "require_seals", POLICY_KEY_SET, "[]", TARGET(policy, dma_seals), .unique = true,
      .choices = seals },
    {},
};

static const struct policy_key irq_keys[] = {
    { "max_vectors", POLICY_KEY_INTEGER, "2048", TARGET(policy, irq_max_vectors), .min = 0,
      .max = 2048 },
    {},
};

static const struct policy_key resource_keys[] = {
    { "name", POLICY_KEY_STRING, TARGET(policy_resource, name), .min = 1, .max = 64,
      .pattern = "^[A-Za-z0-9_.-]+$", .wanted = "letters, digits, '_', '.', '-'" },
    { "path", POLICY_KEY_STRING, TARGET(policy_resource, path), ABSOLUTE_PATH },
    { "access", POLICY_KEY_CHOICE, "\"ro\"", TARGET(policy_resource, writable),
      .choices = resource_accesses },
    {},
};

static const struct policy_key limit_keys[] = {
    { "memory", POLICY_KEY_SIZE, "\"64M\"", TARGET(policy, limit_memory), .min = MIB,
      .max = 256 * TIB }, /* sanitizers reserve most of an address space */
    { "descriptors", POLICY_KEY_INTEGER, "32", TARGET(policy, limit_descriptors), .min = 1,
      .max = 65536 },
    { "requests_per_second", POLICY_KEY_INTEGER, "20000", TARGET(policy, limit_requests_per_second),
      .min = 10, .max = 1000000 },
    { "cpu_percent", POLICY_KEY_INTEGER, "0", TARGET(policy, limit_cpu_percent), .min = 0,
      .max = 100000 },
    {},
};

static const struct policy_key jail_keys[] = {
    { "user", POLICY_KEY_JAIL_USER, .fallback = "\"nobody\"" },
    { "files", POLICY_KEY_STRINGS, "[]", TARGET(policy, jail_files), ABSOLUTE_PATH,
      .unique = true },
    { "syscalls", POLICY_KEY_STRINGS, "[]", TARGET(policy, jail_syscalls), .min = 1, .max = 64,
      .pattern = "^[a-z_][a-z0-9_]*$", .wanted = "the name of a system call", .unique = true },
    { "threads", POLICY_KEY_INTEGER, "0", TARGET(policy, jail_threads), .min = 0, .max = 1024 },
    { "optional", POLICY_KEY_SET, "[\"mdwe\"]", TARGET(policy, jail_optional), .unique = true,
      .choices = policy_layers },
    { "limits", POLICY_KEY_OBJECT, "{}", .keys = limit_keys },
    {},
};

static const struct policy_key restart_keys[] = {
    { "on_crash", POLICY_KEY_CHOICE, "\"restart\"", TARGET(policy, on_crash),
      .choices = crash_reactions },
    { "max", POLICY_KEY_INTEGER, "5", TARGET(policy, crash_max), .min = 0, .max = 1000 },
    { "within_seconds", SECONDS(crash_within_seconds, "60") },
    { "on_hang", POLICY_KEY_CHOICE, "\"restart\"", TARGET(policy, on_hang),
      .choices = hang_reactions },
    {},
};

static const struct policy_key root_keys[] = {
    { "version", POLICY_KEY_INTEGER, .min = 1, .max = 1 },
    { "device", POLICY_KEY_OBJECT, "{}", .keys = device_keys },
    { "client", POLICY_KEY_OBJECT, "{}", .keys = client_keys },
    { "dma", POLICY_KEY_OBJECT, "{}", .keys = dma_keys },
    { "irqs", POLICY_KEY_OBJECT, "{}", .keys = irq_keys },
    { "resources", POLICY_KEY_RESOURCES, "[]", .keys = resource_keys },
    { "jail", POLICY_KEY_OBJECT, "{}", .keys = jail_keys },
    { "restart", POLICY_KEY_OBJECT, "{}", .keys = restart_keys },
    { "start_seconds", SECONDS(start_seconds, "10") },
    { "poll_us", POLICY_KEY_INTEGER, "50", TARGET(policy, poll_us), .min = 0, .max = 1000 },
    { "watchdog_seconds", POLICY_KEY_INTEGER, "0", TARGET(policy, watchdog_seconds), .min = 0,
      .max = 3600 },
    {},
};

const struct policy_key policy_root = { .type = POLICY_KEY_OBJECT, .keys = root_keys };
