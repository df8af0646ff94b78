/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/filter.h"

#include "broker/filter_rules.h"
#include "ipc/control.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Namespaces that clone(2) could make; its other flags are a thread's or a fork's. */
#define CLONE_NAMESPACES                                                                           \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |     \
     CLONE_NEWCGROUP)

/* In the number of a call of x32 (x86-64 Linux 3.4). */
#define X32_BIT 0x40000000

static void release(scmp_filter_ctx *ctx)
{
    seccomp_release(*ctx);
}

#define AUTO_FILTER_CTX __attribute__((cleanup(release))) scmp_filter_ctx

/* A context for the native architecture alone: any other one, and x32, is @denied outright. */
static scmp_filter_ctx new_context(uint32_t default_action, uint32_t denied)
{
    scmp_filter_ctx ctx = seccomp_init(default_action);

    if (ctx != NULL && (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, denied) < 0 ||
                        seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)) {
        seccomp_release(ctx);
        ctx = NULL;
    }
    return ctx;
}

/* libseccomp of Debian 12 exports to a descriptor only. */
static int export(scmp_filter_ctx ctx, struct filter *filter)
{
    AUTO_FD fd = memfd_create("filter", MFD_CLOEXEC);
    struct stat st;
    int err;

    if (fd < 0) {
        return -errno;
    }
    err = seccomp_export_bpf(ctx, fd);
    if (err < 0) {
        return err;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size == 0 || st.st_size > (off_t)(BPF_MAXINSNS * sizeof(*filter->code))) {
        return -E2BIG;
    }
    filter->code = malloc((size_t)st.st_size);
    if (filter->code == NULL) {
        return -ENOMEM;
    }
    if (pread(fd, filter->code, (size_t)st.st_size, 0) != st.st_size) {
        filter_free(filter);
        return -EIO;
    }
    filter->count = (unsigned short)((size_t)st.st_size / sizeof(*filter->code));
    return 0;
}

static int add_masked(scmp_filter_ctx ctx, int nr, scmp_datum_t mask, scmp_datum_t value)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, mask, value));
}

/*
 * Argument 0 is @first or more. seccomp sees 64 bits where close(2) uses 32, and libseccomp has no
 * 32-bit "greater than", so it is spelt in bits: those that no number below a power of two has,
 * and under the first power that is not below @first, one prefix after the other.
 */
static int add_from(scmp_filter_ctx ctx, int nr, unsigned first)
{
    unsigned power = 0;
    int err = 0;

    while (1u << power < first) {
        power++;
    }
    if (1u << power > first) {
        err = add_masked(ctx, nr, UINT32_MAX, first);
        for (unsigned bit = 0; err == 0 && bit < power; bit++) {
            if (!(first & 1u << bit)) {
                err = add_masked(ctx, nr, UINT32_MAX << bit, (first >> bit | 1) << bit);
            }
        }
    }
    for (unsigned bit = power; err == 0 && bit <= FILTER_LAST_DESCRIPTOR_BIT; bit++) {
        err = add_masked(ctx, nr, 1u << bit, 1u << bit);
    }
    return err;
}

/* Argument 0 is one of @count channels: in blocks, each a power of two, at a multiple of that. */
static int add_channels(scmp_filter_ctx ctx, int nr, unsigned count)
{
    unsigned fd = CONTROL_FD;
    unsigned end = CONTROL_FD + count;
    int err = 0;

    while (err == 0 && fd < end) {
        unsigned size = fd & -fd;

        while (size > end - fd) {
            size /= 2;
        }
        err = add_masked(ctx, nr, ~(scmp_datum_t)(size - 1), fd);
        fd += size;
    }
    return err;
}

static int add_rule(scmp_filter_ctx ctx, const struct filter_rule *rule, unsigned channels)
{
    int nr = seccomp_syscall_resolve_name(rule->syscall);

    if (nr < 0) {
        return 0; /* this architecture does not have it */
    }
    if (rule->match == FILTER_MATCH_CLOSABLE) {
        return add_from(ctx, nr, CONTROL_FD + channels);
    }
    if (rule->match == FILTER_MATCH_CHANNEL) {
        return add_channels(ctx, nr, channels);
    }
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, rule->arg_count, rule->args);
}

/* A call that the policy lists is allowed with any arguments: its own rules would be idle. */
static bool policy_lists(const struct policy *policy, const char *syscall)
{
    for (char **name = policy->jail_syscalls; name != NULL && *name != NULL; name++) {
        if (strcmp(*name, syscall) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_listed(const char *const *names, size_t count, const char *syscall)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], syscall) == 0) {
            return true;
        }
    }
    return false;
}

bool filter_start_denies(const char *syscall)
{
    return is_listed(filter_start_denied, filter_start_denied_count, syscall);
}

static int add_policy_calls(scmp_filter_ctx ctx, const struct policy *policy, const char **unknown)
{
    for (char **name = policy->jail_syscalls; name != NULL && *name != NULL; name++) {
        int nr = seccomp_syscall_resolve_name(*name);
        int err;

        if (nr < 0 || filter_start_denies(*name)) {
            *unknown = *name;
            return -EINVAL;
        }
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* Rule @i of those that @policy's device has; NULL behind the last. */
static const struct filter_rule *final_rule(const struct policy *policy, size_t i)
{
    if (i < filter_final_rule_count) {
        return &filter_final_rules[i];
    }
    i -= filter_final_rule_count;
    return policy->jail_threads > 0 && i < filter_thread_rule_count ? &filter_thread_rules[i]
                                                                    : NULL;
}

int filter_compile_final(struct filter *filter, const struct policy *policy, size_t channels,
                         const char **unknown)
{
    AUTO_FILTER_CTX ctx = new_context(SCMP_ACT_NOTIFY, SCMP_ACT_NOTIFY);
    const struct filter_rule *rule;
    int err = ctx != NULL ? 0 : -EINVAL;

    *unknown = NULL;
    for (size_t i = 0; err == 0 && (rule = final_rule(policy, i)) != NULL; i++) {
        if (!policy_lists(policy, rule->syscall)) {
            err = add_rule(ctx, rule, (unsigned)channels);
        }
    }
    if (err == 0) {
        err = add_policy_calls(ctx, policy, unknown);
    }
    return err == 0 ? export(ctx, filter) : err;
}

/* Argument @arg has the bits @value under @mask. */
static int deny_masked(scmp_filter_ctx ctx, int nr, unsigned arg, scmp_datum_t mask,
                       scmp_datum_t value)
{
    const struct scmp_arg_cmp cmp = { arg, SCMP_CMP_MASKED_EQ, mask, value };

    return seccomp_rule_add_array(ctx, SCMP_ACT_TRACE(0), nr, 1, &cmp);
}

/*
 * Namespaces of its own, or a table of descriptors of its own: verify.c looks at those of a
 * process, which all of its threads have to share.
 */
static int deny_separation(scmp_filter_ctx ctx)
{
    int err = 0;

    for (unsigned bit = 0; err == 0 && bit < 32; bit++) {
        if (CLONE_NAMESPACES & 1u << bit) {
            err = deny_masked(ctx, SCMP_SYS(clone), 0, 1u << bit, 1u << bit);
        }
    }
    err = err == 0 ? deny_masked(ctx, SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_FILES, CLONE_THREAD)
                   : err;
    return err == 0 ? deny_masked(ctx, SCMP_SYS(close_range), 2, CLOSE_RANGE_UNSHARE,
                                  CLOSE_RANGE_UNSHARE)
                    : err;
}

/* What the start filter denies, but for @count calls that are @needed. */
static int deny_listed(scmp_filter_ctx ctx, const char *const *needed, size_t count)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < filter_start_denied_count; i++) {
        const char *name = filter_start_denied[i];
        int nr = seccomp_syscall_resolve_name(name);

        if (nr >= 0 && !is_listed(needed, count, name)) {
            err = seccomp_rule_add(ctx, SCMP_ACT_TRACE(0), nr, 0);
        }
    }
    return err;
}

int filter_compile_supervisor(struct filter *filter)
{
    const struct scmp_arg_cmp other_kind = { .arg = 0, .op = SCMP_CMP_NE, .datum_a = AF_UNIX };
    AUTO_FILTER_CTX ctx = new_context(SCMP_ACT_ALLOW, SCMP_ACT_TRACE(0));
    int err = ctx != NULL ? deny_listed(ctx, filter_supervisor_needs, filter_supervisor_needs_count)
                          : -EINVAL;

    err = err == 0
              ? seccomp_rule_add_array(ctx, SCMP_ACT_TRACE(0), SCMP_SYS(socket), 1, &other_kind)
              : err;
    return err == 0 ? export(ctx, filter) : err;
}

int filter_compile_start(struct filter *filter)
{
    static const struct {
        const char *name;
        unsigned flags; /* which argument has them */
    } opening[] = { { "open", 1 }, { "openat", 2 } };
    AUTO_FILTER_CTX ctx = new_context(SCMP_ACT_ALLOW, SCMP_ACT_TRACE(0));
    int err = ctx != NULL ? deny_listed(ctx, NULL, 0) : -EINVAL;

    err = err == 0 ? deny_separation(ctx) : err;
    /* A descriptor that opens nothing, but is a place to start from. */
    for (size_t i = 0; err == 0 && i < sizeof(opening) / sizeof(opening[0]); i++) {
        int nr = seccomp_syscall_resolve_name(opening[i].name);

        if (nr >= 0) {
            err = deny_masked(ctx, nr, opening[i].flags, O_PATH, O_PATH);
        }
    }
    return err == 0 ? export(ctx, filter) : err;
}

int filter_compile_gate(struct filter *filter, const struct policy *policy)
{
    AUTO_FILTER_CTX ctx = new_context(SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_PROCESS);
    int err = ctx != NULL ? 0 : -EINVAL;

    for (size_t i = 0; err == 0 && i < filter_gate_rule_count; i++) {
        err = add_rule(ctx, &filter_gate_rules[i], 0);
    }
    if (err == 0 && policy->dma_access == DMA_ACCESS_RO) {
        err = add_rule(ctx, &filter_gate_reopen_rule, 0);
    }
    return err == 0 ? export(ctx, filter) : err;
}

void filter_free(struct filter *filter)
{
    free(filter->code);
    *filter = (struct filter){ .code = NULL };
}

static const char *describe_condition(const struct filter_rule *rule, size_t channels, char *text,
                                      size_t size)
{
    if (rule->match == FILTER_MATCH_ARGS) {
        return rule->condition;
    }
    if (rule->match == FILTER_MATCH_CLOSABLE) {
        snprintf(text, size, "fd >= %zu", CONTROL_FD + channels);
    } else if (channels == 1) {
        snprintf(text, size, "fd == %d", CONTROL_FD);
    } else {
        snprintf(text, size, "fd >= %d && fd < %zu", CONTROL_FD, CONTROL_FD + channels);
    }
    return text;
}

void filter_describe_final(const struct policy *policy, size_t channels,
                           void (*line)(const char *syscall, const char *condition,
                                        const char *reason))
{
    const struct filter_rule *rule;
    char text[64];

    for (size_t i = 0; (rule = final_rule(policy, i)) != NULL; i++) {
        if (!policy_lists(policy, rule->syscall)) {
            line(rule->syscall, describe_condition(rule, channels, text, sizeof(text)),
                 rule->reason);
        }
    }
    for (char **name = policy->jail_syscalls; name != NULL && *name != NULL; name++) {
        line(*name, "", "the policy's jail.syscalls");
    }
}

uint32_t filter_native(void)
{
    return seccomp_arch_native();
}

const char *filter_arch_name(uint32_t arch, int nr)
{
    if (arch == SCMP_ARCH_X86_64 && nr >= X32_BIT) {
        return "x32";
    }
    return arch == SCMP_ARCH_X86_64    ? "x86_64"
           : arch == SCMP_ARCH_X86     ? "i386"
           : arch == SCMP_ARCH_AARCH64 ? "aarch64"
           : arch == SCMP_ARCH_ARM     ? "arm"
                                       : "unknown";
}

const char *filter_syscall_name(uint32_t arch, int nr, char *buffer, size_t size)
{
    uint32_t table = arch == SCMP_ARCH_X86_64 && nr >= X32_BIT ? SCMP_ARCH_X32 : arch;
    char *name = seccomp_syscall_resolve_num_arch(table, nr);

    snprintf(buffer, size, "%s", name != NULL ? name : "unknown");
    free(name);
    return buffer;
}
