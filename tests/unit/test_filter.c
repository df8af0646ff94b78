/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The three filters as programs: compiled as for a device, then run in user space over every
 * number of a system call, and for each rule over its argument and over what is close to it.
 */
#include "broker/filter.h"

#include "broker/filter_rules.h"
#include "ipc/control.h"
#include "tests/unit/filter_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define NATIVE_ARCH SCMP_ARCH_X86_64 /* also its AUDIT_ARCH_* */
#define X32_BIT 0x40000000
#define HIGH 0x100000000ull /* the first bit that an int does not have */

/* A filter, and what it answers to a call that no rule names. */
struct subject {
    struct filter filter;
    const struct filter_rule *rules;
    size_t rule_count;
    uint32_t denied;
    unsigned channels; /* control channels of the process */
};

static struct subject final = { .denied = SECCOMP_RET_USER_NOTIF, .channels = 1 };
/* Of a device with threads. */
static struct subject threaded = { .denied = SECCOMP_RET_USER_NOTIF, .channels = 1 };
static struct subject gate = { .denied = SECCOMP_RET_KILL_PROCESS };
static struct subject start = { .denied = SECCOMP_RET_TRACE };
static struct subject supervisor = { .denied = SECCOMP_RET_TRACE };

static int compile_all(void **state)
{
    static struct filter_rule all[64];
    struct policy policy = { .file = NULL };
    struct policy with_threads = { .jail_threads = 1 };
    const char *unknown;

    threaded.rules = all;
    threaded.rule_count = filter_final_rule_count + filter_thread_rule_count;
    assert_true(threaded.rule_count <= ARRAY_SIZE(all));
    memcpy(all, filter_final_rules, filter_final_rule_count * sizeof(all[0]));
    memcpy(all + filter_final_rule_count, filter_thread_rules,
           filter_thread_rule_count * sizeof(all[0]));
    final.rules = filter_final_rules;
    final.rule_count = filter_final_rule_count;
    gate.rules = filter_gate_rules;
    gate.rule_count = filter_gate_rule_count;
    return filter_compile_final(&final.filter, &policy, 1, &unknown) == 0 &&
                   filter_compile_final(&threaded.filter, &with_threads, 1, &unknown) == 0 &&
                   filter_compile_gate(&gate.filter, &policy) == 0 &&
                   filter_compile_start(&start.filter) == 0 &&
                   filter_compile_supervisor(&supervisor.filter) == 0
               ? 0
               : -1;
}

static int free_all(void **state)
{
    filter_free(&final.filter);
    filter_free(&threaded.filter);
    filter_free(&gate.filter);
    filter_free(&start.filter);
    filter_free(&supervisor.filter);
    return 0;
}

/* --- asking a filter ----------------------------------------------------------------------- */

static int number_of(const char *name)
{
    return seccomp_syscall_resolve_name_arch(NATIVE_ARCH, name);
}

/* The number of a call that this architecture has. */
static int number(const char *name)
{
    int nr = number_of(name);

    if (nr < 0) {
        fail_msg("no such system call: %s", name);
    }
    return nr;
}

static uint32_t ask(const struct filter *filter, int nr, const uint64_t args[6])
{
    struct seccomp_data call = { .nr = nr, .arch = NATIVE_ARCH, .instruction_pointer = 0x401000 };

    memcpy(call.args, args, sizeof(call.args));
    return filter_machine_run(filter, &call);
}

/* The whole answer, data bits included, is @action. */
static void expect(const struct filter *filter, int nr, const uint64_t args[6], uint32_t action)
{
    uint32_t answer = ask(filter, nr, args);

    if (answer != action) {
        fail_msg("call %d (%#llx, %#llx, %#llx, %#llx): %s %#x, wanted %s", nr,
                 (unsigned long long)args[0], (unsigned long long)args[1],
                 (unsigned long long)args[2], (unsigned long long)args[3],
                 filter_machine_name(answer), answer, filter_machine_name(action));
    }
}

/* Arguments for calls of which nothing is known. */
static const uint64_t shapes[][6] = {
    { 0, 0, 0, 0, 0, 0 },
    { ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull },
    { 3, 3, 3, 3, 3, 3 },
    { 4, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, 5, 0 },
    { 4, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0 },
};

static void expect_whatever_arguments(const struct filter *filter, int nr, uint32_t action)
{
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        expect(filter, nr, shapes[i], action);
    }
}

/* --- what the tables say, told without libseccomp ------------------------------------------ */

static bool argument_holds(const struct scmp_arg_cmp *wanted, const uint64_t args[6])
{
    uint64_t value = args[wanted->arg];

    switch (wanted->op) {
    case SCMP_CMP_EQ:
        return value == wanted->datum_a;
    case SCMP_CMP_MASKED_EQ:
        return (value & wanted->datum_a) == wanted->datum_b;
    default:
        fail_msg("a comparison that this test does not know: %d", (int)wanted->op);
        return false;
    }
}

static bool rule_holds(const struct subject *subject, const struct filter_rule *rule,
                       const uint64_t args[6])
{
    if (rule->match == FILTER_MATCH_CLOSABLE) {
        return (args[0] & ((1u << (FILTER_LAST_DESCRIPTOR_BIT + 1)) - 1)) >=
               CONTROL_FD + subject->channels;
    }
    if (rule->match == FILTER_MATCH_CHANNEL) {
        return args[0] >= CONTROL_FD && args[0] < CONTROL_FD + subject->channels;
    }
    for (unsigned i = 0; i < rule->arg_count; i++) {
        if (!argument_holds(&rule->args[i], args)) {
            return false;
        }
    }
    return true;
}

static uint32_t wanted_answer(const struct subject *subject, int nr, const uint64_t args[6])
{
    for (size_t i = 0; i < subject->rule_count; i++) {
        if (number_of(subject->rules[i].syscall) == nr &&
            rule_holds(subject, &subject->rules[i], args)) {
            return SECCOMP_RET_ALLOW;
        }
    }
    return subject->denied;
}

/* Arguments of which @rule approves. */
static void approved(const struct subject *subject, const struct filter_rule *rule,
                     uint64_t args[6])
{
    memset(args, 0, 6 * sizeof(*args));
    if (rule->match == FILTER_MATCH_CLOSABLE) {
        args[0] = CONTROL_FD + subject->channels;
    } else if (rule->match == FILTER_MATCH_CHANNEL) {
        args[0] = CONTROL_FD;
    }
    for (unsigned i = 0; i < rule->arg_count; i++) {
        const struct scmp_arg_cmp *wanted = &rule->args[i];

        args[wanted->arg] = wanted->op == SCMP_CMP_EQ ? wanted->datum_a : wanted->datum_b;
    }
}

static bool names(const struct subject *subject, int nr)
{
    for (size_t i = 0; i < subject->rule_count; i++) {
        if (number_of(subject->rules[i].syscall) == nr) {
            return true;
        }
    }
    return false;
}

/* --- every rule ---------------------------------------------------------------------------- */

static void check_exact_arguments(const struct subject *subject)
{
    for (size_t i = 0; i < subject->rule_count; i++) {
        uint64_t args[6];

        approved(subject, &subject->rules[i], args);
        expect(&subject->filter, number(subject->rules[i].syscall), args, SECCOMP_RET_ALLOW);
    }
}

/* Turns each bit of an argument that a rule looks at. Returns how many of these were refused. */
static unsigned turn_bits(const struct subject *subject, const struct filter_rule *rule,
                          const struct scmp_arg_cmp *looked_at)
{
    int nr = number(rule->syscall);
    unsigned refused = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t args[6];
        uint32_t wanted;

        approved(subject, rule, args);
        args[looked_at->arg] ^= 1ull << bit;
        wanted = wanted_answer(subject, nr, args);
        expect(&subject->filter, nr, args, wanted);
        refused += wanted != SECCOMP_RET_ALLOW;
    }
    return refused;
}

/*
 * Two calls may differ by a bit and both be in the table (mmap for reading and for writing), and
 * where the kernel takes an int the high half means nothing. All else is refused.
 */
static void check_perturbed_arguments(const struct subject *subject)
{
    for (size_t i = 0; i < subject->rule_count; i++) {
        const struct filter_rule *rule = &subject->rules[i];

        for (unsigned j = 0; j < rule->arg_count; j++) {
            bool exact = rule->args[j].op == SCMP_CMP_EQ;
            unsigned refused = turn_bits(subject, rule, &rule->args[j]);

            if (refused < (exact ? 60 : 28)) {
                fail_msg("%s: %u of 64 changes of argument %u are refused", rule->syscall, refused,
                         rule->args[j].arg);
            }
        }
    }
}

static void test_final_rule_exact_argument_is_allowed(void **state)
{
    check_exact_arguments(&final);
    check_exact_arguments(&threaded);
}

static void test_final_rule_perturbed_argument_is_not_allowed(void **state)
{
    check_perturbed_arguments(&final);
    check_perturbed_arguments(&threaded);
}

static void test_gate_rule_exact_argument_is_allowed(void **state)
{
    check_exact_arguments(&gate);
}

static void test_gate_rule_perturbed_argument_is_not_allowed(void **state)
{
    check_perturbed_arguments(&gate);
}

/* --- every number -------------------------------------------------------------------------- */

static void check_unnamed_numbers(const struct subject *subject)
{
    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        if (!names(subject, nr)) {
            expect_whatever_arguments(&subject->filter, nr, subject->denied);
        }
    }
    expect_whatever_arguments(&subject->filter, -1, subject->denied);
}

static void test_final_other_numbers_notify(void **state)
{
    check_unnamed_numbers(&final);
    check_unnamed_numbers(&threaded);
}

static void test_gate_other_numbers_kill(void **state)
{
    check_unnamed_numbers(&gate);
}

static void check_foreign(const struct filter *filter, uint32_t action)
{
    static const uint32_t archs[] = { AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, 0,
                                      NATIVE_ARCH ^ __AUDIT_ARCH_LE };

    for (int nr = -1; nr < FILTER_MACHINE_NUMBERS; nr++) {
        for (size_t i = 0; i < ARRAY_SIZE(archs); i++) {
            struct seccomp_data call = { .nr = nr, .arch = archs[i], .args = { 4 } };

            if (filter_machine_run(filter, &call) != action) {
                fail_msg("call %d of architecture %#x is not denied", nr, archs[i]);
            }
        }
        if (nr >= 0) {
            expect_whatever_arguments(filter, nr | X32_BIT, action);
        }
    }
}

/* After the seal they are named: a notification outranks what the start filter answers. */
static void test_foreign_architectures_and_x32_are_denied(void **state)
{
    check_foreign(&start.filter, SECCOMP_RET_TRACE);
    check_foreign(&supervisor.filter, SECCOMP_RET_TRACE);
    check_foreign(&final.filter, SECCOMP_RET_USER_NOTIF);
    check_foreign(&gate.filter, SECCOMP_RET_KILL_PROCESS);
}

/* --- the final filter, by hand -------------------------------------------------------------- */

struct example {
    const char *call;
    uint64_t args[6];
};

static void check_examples(const struct example *examples, size_t count, uint32_t action)
{
    for (size_t i = 0; i < count; i++) {
        expect(&final.filter, number(examples[i].call), examples[i].args, action);
    }
}

#define RW (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

/* What a device with DMA and interrupts does, written down without a look at the table. */
static void test_final_calls_of_a_device_are_allowed(void **state)
{
    static const struct example examples[] = {
        { "read", { 5, 0x7000, 4096 } },
        { "write", { 5, 0x7000, 16 } },
        { "write", { 2, 0x7000, 80 } },
        { "recvfrom", { 5, 0x7000, 16, MSG_PEEK | MSG_DONTWAIT } },
        { "ppoll", { 0x7000, 2, 0, 0, 8 } },
        { "recvmsg", { 3, 0x7000, MSG_CMSG_CLOEXEC } },
        { "sendmsg", { 3, 0x7000, MSG_NOSIGNAL } },
        { "close", { 4 } },
        { "close", { 7 } },
        { "close", { 8 } },
        { "close", { 1023 } },
        { "close", { 65536 } },
        { "close", { 1048575 } },
        { "mmap", { 0, 1 << 20, RW, PRIVATE, ~0ull, 0 } },
        { "mmap", { 0, 1 << 30, RW, MAP_SHARED, 6, 4096 } },
        { "mmap", { 0, 1 << 30, PROT_READ, MAP_SHARED, 6, 0 } },
        { "mmap", { 0, 1 << 30, PROT_WRITE, MAP_SHARED, 6, 0 } },
        { "mmap", { 0x7000, 4096, RW, MAP_SHARED | MAP_FIXED, 5, 4096 } },
        { "munmap", { 0x7000, 4096 } },
        { "mremap", { 0x7000, 4096, 8192, MREMAP_MAYMOVE } },
        { "brk", { 0 } },
        { "futex", { 0x7000, 0, 1 } },
        { "exit_group", { 0 } },
    };

    check_examples(examples, ARRAY_SIZE(examples), SECCOMP_RET_ALLOW);
}

/* What glibc 2.36 and 2.41 ask for, where a thread allocates for the first time. */
static void test_threads_heap_is_allowed_with_and_without_noreserve(void **state)
{
    static const struct {
        uint64_t flags;
        uint32_t action;
    } examples[] = {
        { PRIVATE, SECCOMP_RET_ALLOW },
        { PRIVATE | MAP_NORESERVE, SECCOMP_RET_ALLOW },
        { PRIVATE | MAP_NORESERVE | HIGH, SECCOMP_RET_USER_NOTIF },
        { PRIVATE | MAP_FIXED, SECCOMP_RET_USER_NOTIF },
        { MAP_PRIVATE | MAP_NORESERVE, SECCOMP_RET_USER_NOTIF },
        { MAP_SHARED | MAP_ANONYMOUS, SECCOMP_RET_USER_NOTIF },
    };

    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        const uint64_t args[6] = { 0, 1 << 27, PROT_NONE, examples[i].flags, ~0ull, 0 };

        expect(&threaded.filter, number("mmap"), args, examples[i].action);
        expect(&final.filter, number("mmap"), args, SECCOMP_RET_USER_NOTIF);
    }
}

static void test_final_descriptors_below_4_cannot_be_closed(void **state)
{
    for (uint64_t fd = 0; fd <= 3; fd++) {
        /* close(2) looks at the low half alone. */
        const uint64_t spellings[] = { fd, fd | HIGH, fd | 0xffffffff00000000ull, fd | 1ull << 63 };

        for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
            const uint64_t args[6] = { spellings[i] };

            expect(&final.filter, number("close"), args, SECCOMP_RET_USER_NOTIF);
        }
    }
}

static void test_final_descriptors_from_4_can_be_closed(void **state)
{
    for (uint64_t fd = 4; fd < 70000; fd++) {
        const uint64_t args[6] = { fd };

        expect(&final.filter, number("close"), args, SECCOMP_RET_ALLOW);
    }
}

static void test_final_receiving_is_looking_at_the_next_header(void **state)
{
    static const struct example examples[] = {
        { "recvfrom", { 5, 0, 0, 0 } },
        { "recvfrom", { 5, 0, 0, MSG_OOB } },
        { "recvfrom", { 5, 0, 0, MSG_PEEK } },
        { "recvfrom", { 5, 0, 0, MSG_DONTWAIT } },
        { "recvfrom", { 5, 0, 0, MSG_PEEK | MSG_DONTWAIT | MSG_OOB } },
        { "recvfrom", { 5, 0, 0, MSG_PEEK | MSG_DONTWAIT | MSG_ERRQUEUE } },
        { "recvfrom", { 5, 0, 0, (MSG_PEEK | MSG_DONTWAIT) | HIGH } },
        { "recvfrom", { 5, 0, 0, (MSG_PEEK | MSG_DONTWAIT) | 1ull << 63 } },
    };

    check_examples(examples, ARRAY_SIZE(examples), SECCOMP_RET_USER_NOTIF);
}

static void test_final_messages_go_over_the_control_channel_alone(void **state)
{
    static const uint64_t others[] = { 0, 1, 2, 4, 5, 6, 7, 1023, 3 | HIGH, ~0ull };

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const uint64_t args[6] = { others[i] };

        expect(&final.filter, number("recvmsg"), args, SECCOMP_RET_USER_NOTIF);
        expect(&final.filter, number("sendmsg"), args, SECCOMP_RET_USER_NOTIF);
    }
}

static void test_final_no_memory_becomes_executable(void **state)
{
    static const uint64_t flags[] = { PRIVATE, MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE,
                                      MAP_SHARED | MAP_ANONYMOUS };

    for (uint64_t prot = 0; prot < 16; prot++) {
        for (size_t i = 0; prot & PROT_EXEC && i < ARRAY_SIZE(flags); i++) {
            const uint64_t args[6] = { 0, 4096, prot, flags[i], 5, 0 };

            expect(&final.filter, number("mmap"), args, SECCOMP_RET_USER_NOTIF);
        }
        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
            expect(&final.filter, number("mprotect"), shapes[i], SECCOMP_RET_USER_NOTIF);
            expect(&final.filter, number("pkey_mprotect"), shapes[i], SECCOMP_RET_USER_NOTIF);
        }
    }
}

/* Each would slip past RLIMIT_DATA, replace a mapping, or undo a setting. */
static void test_final_other_mappings_are_not_allowed(void **state)
{
    static const struct example examples[] = {
        { "mmap", { 0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | MAP_GROWSDOWN, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | MAP_FIXED, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | MAP_FIXED_NOREPLACE, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | MAP_LOCKED, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | MAP_HUGETLB, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW | PROT_EXEC, MAP_SHARED | MAP_FIXED, 5, 0 } },
        { "mmap", { 0, 4096, RW, MAP_PRIVATE, 5, 0 } },
        { "mmap", { 0, 4096, PROT_READ, PRIVATE, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW | PROT_GROWSDOWN, PRIVATE, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW | HIGH, PRIVATE, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, PRIVATE | HIGH, ~0ull, 0 } },
        { "mmap", { 0, 4096, RW, MAP_SHARED | HIGH, 5, 0 } },
        { "mremap", { 0x7000, 4096, 4096, 0 } },
        { "mremap", { 0x7000, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED } },
        { "mremap", { 0x7000, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP } },
        { "mremap", { 0x7000, 4096, 4096, MREMAP_MAYMOVE | HIGH } },
        { "madvise", { 0x7000, 4096, MADV_REMOVE } },
        { "madvise", { 0x7000, 4096, MADV_DONTDUMP } },
        { "madvise", { 0x7000, 4096, MADV_DODUMP } },
        { "madvise", { 0x7000, 4096, MADV_MERGEABLE } },
        { "madvise", { 0x7000, 4096, MADV_HWPOISON } },
    };

    check_examples(examples, ARRAY_SIZE(examples), SECCOMP_RET_USER_NOTIF);
}

/* The rules name these calls and no others. */
static void check_names(const struct subject *subject, const char *const *wanted, size_t count)
{
    unsigned found = 0;

    for (size_t i = 0; i < count; i++) {
        if (!names(subject, number(wanted[i]))) {
            fail_msg("%s is not allowed any more", wanted[i]);
        }
    }
    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        found += names(subject, nr);
    }
    assert_int_equal(found, count);
}

/* By hand: whoever adds one has to say so here too. */
static void test_final_names_these_calls_alone(void **state)
{
    static const char *const calls[] = {
        "read",    "write",         "recvfrom",     "ppoll",           "recvmsg",
        "sendmsg", "close",         "mmap",         "munmap",          "mremap",
        "brk",     "epoll_ctl",     "fstat",        "pread64",         "pwrite64",
        "futex",   "clock_gettime", "rt_sigreturn", "restart_syscall", "exit_group",
    };

    check_names(&final, calls, ARRAY_SIZE(calls));
}

static bool is_cached(const char *call)
{
    return filter_machine_is_cached(&supervisor.filter, number(call), NATIVE_ARCH) &&
           filter_machine_is_cached(&start.filter, number(call), NATIVE_ARCH) &&
           filter_machine_is_cached(&final.filter, number(call), NATIVE_ARCH);
}

/*
 * What a register access is made of runs no filter, of the three that a device has: but the peek,
 * whose flags are looked at, since out-of-band data is worth more to an attacker than these
 * nanoseconds are to a device.
 */
static void test_hot_calls_are_answered_from_the_cache(void **state)
{
    static const char *const hot[] = { "read", "write", "ppoll" };

    for (size_t i = 0; i < ARRAY_SIZE(hot); i++) {
        if (!is_cached(hot[i])) {
            fail_msg("%s runs a filter", hot[i]);
        }
    }
    assert_false(is_cached("recvfrom"));
    assert_false(is_cached("mmap"));
    assert_false(is_cached("socket"));
}

static void test_threads_take_these_calls_more(void **state)
{
    static const char *const calls[] = { "rseq",     "set_robust_list", "rt_sigprocmask",
                                         "mprotect", "madvise",         "exit" };

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        bool more = false;

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
            more = more || number(calls[i]) == nr;
        }
        assert_int_equal(names(&threaded, nr), more || names(&final, nr));
    }
}

static void test_gate_names_these_calls_alone(void **state)
{
    static const char *const calls[] = {
        "ppoll",       "recvmsg", "sendmsg",       "accept4",    "getsockopt",
        "fcntl",       "fstat",   "readlinkat",    "fstatfs",    "write",
        "socketpair",  "close",   "clock_gettime", "exit_group",
#ifdef VFU_SANITIZED
        "sigaltstack",
#endif
    };

    check_names(&gate, calls, ARRAY_SIZE(calls));
}

static void test_final_allows_at_most_20_calls(void **state)
{
    unsigned allowed = 0;

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        allowed += names(&final, nr);
    }
    assert_in_range(allowed, 1, 20);
}

static const char *const forbidden[] = {
    "open",  "socket",   "clone",   "exec",   "io_uring", "memfd_create", "userfaultfd",
    "prctl", "kill",     "tkill",   "tgkill", "dup",      "ptrace",       "fork",
    "vfork", "connect",  "bind",    "accept", "mprotect", "ioctl",        "fcntl",
    "pidfd", "process_", "seccomp", "mount",  "bpf",
};

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* All calls whose names begin so are denied. Returns how many there are. */
static unsigned check_family(const char *beginning)
{
    unsigned members = 0;

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(NATIVE_ARCH, nr);

        if (name != NULL && begins_with(name, beginning)) {
            expect_whatever_arguments(&final.filter, nr, SECCOMP_RET_USER_NOTIF);
            members++;
        }
        free(name);
    }
    return members;
}

static void test_final_has_no_call_that_escapes_are_made_of(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
        assert_true(check_family(forbidden[i]) > 0);
    }
}

/* --- several control channels --------------------------------------------------------------- */

static void check_descriptor(const struct subject *subject, uint64_t fd)
{
    static const char *const calls[] = { "recvmsg", "sendmsg", "close" };
    const uint64_t args[6] = { fd };

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        expect(&subject->filter, number(calls[i]), args,
               wanted_answer(subject, number(calls[i]), args));
    }
}

/* Each number of channels, each descriptor near them, with and without the high half. */
static void test_final_knows_the_channels_from_other_descriptors(void **state)
{
    static const uint64_t far[] = { 255, 256, 1023, 4096, 65535, 1 << 19, UINT32_MAX, INT32_MIN };
    struct policy policy = { .file = NULL };
    const char *unknown;

    for (unsigned channels = 1; channels <= CONTROL_MAX_CHANNELS; channels++) {
        struct subject subject = final;

        subject.channels = channels;
        assert_int_equal(filter_compile_final(&subject.filter, &policy, channels, &unknown), 0);
        assert_true(subject.filter.count * sizeof(struct sock_filter) <= CONTROL_TAIL_MAX);
        for (uint64_t fd = 0; fd < 140; fd++) {
            check_descriptor(&subject, fd);
            check_descriptor(&subject, HIGH | fd);
        }
        for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
            check_descriptor(&subject, far[i]);
        }
        filter_free(&subject.filter);
    }
}

/* --- jail.syscalls -------------------------------------------------------------------------- */

static int compile_with(struct filter *filter, const char *const *calls, const char **unknown)
{
    struct policy policy = { .jail_syscalls = (char **)(uintptr_t)calls };

    *filter = (struct filter){ .code = NULL };
    return filter_compile_final(filter, &policy, 1, unknown);
}

static bool is_listed(const char *const *calls, int nr)
{
    for (; *calls != NULL; calls++) {
        if (number(*calls) == nr) {
            return true;
        }
    }
    return false;
}

/* The two filters give the same answer but for the calls listed. */
static void check_adds_exactly(const char *const *calls)
{
    struct filter more;
    const char *unknown;

    assert_int_equal(compile_with(&more, calls, &unknown), 0);
    assert_null(unknown);
    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
            expect(&more, nr, shapes[i],
                   is_listed(calls, nr) ? SECCOMP_RET_ALLOW : ask(&final.filter, nr, shapes[i]));
        }
    }
    check_foreign(&more, SECCOMP_RET_USER_NOTIF);
    filter_free(&more);
}

static void test_policy_calls_are_added_and_nothing_else(void **state)
{
    static const char *const one[] = { "getrandom", NULL };
    static const char *const some[] = { "nanosleep", "timerfd_settime", "epoll_wait", "ioctl",
                                        NULL };

    check_adds_exactly(one);
    check_adds_exactly(some);
}

static void test_policy_call_with_rules_loses_its_conditions(void **state)
{
    static const char *const calls[] = { "close", "mmap", NULL };

    check_adds_exactly(calls);
}

static void test_policy_empty_list_adds_nothing(void **state)
{
    static const char *const none[] = { NULL };

    check_adds_exactly(none);
}

static void test_policy_unknown_call_is_an_error(void **state)
{
    /* Misspelt; of another architecture; and what the start filter denies for ever. */
    static const char *const bad[] = { "getrandum", "", "socketcall", "bpf", "ptrace", "clone3" };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *const calls[] = { "getrandom", bad[i], NULL };
        struct filter filter;
        const char *unknown = NULL;

        assert_int_equal(compile_with(&filter, calls, &unknown), -EINVAL);
        assert_ptr_equal(unknown, bad[i]);
        assert_null(filter.code);
    }
}

/* --- the start filter ----------------------------------------------------------------------- */

static bool start_denies(int nr)
{
    for (size_t i = 0; i < filter_start_denied_count; i++) {
        if (number_of(filter_start_denied[i]) == nr) {
            return true;
        }
    }
    return false;
}

static void test_start_denied_calls_are_traced_and_others_allowed(void **state)
{
    int clone_nr = number("clone");
    int close_range_nr = number("close_range");

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        if (nr != clone_nr && nr != close_range_nr && nr != number("open") &&
            nr != number("openat")) {
            expect_whatever_arguments(&start.filter, nr,
                                      start_denies(nr) ? SECCOMP_RET_TRACE : SECCOMP_RET_ALLOW);
        }
    }
}

/* By hand, so that a name that vanishes from the table is missed. */
static void test_start_denies_other_doors_into_the_kernel(void **state)
{
    static const char *const calls[] = {
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "bpf",
        "userfaultfd",
        "perf_event_open",
        "keyctl",
        "add_key",
        "request_key",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_open",
        "pidfd_getfd",
        "kcmp",
        "unshare",
        "setns",
        "clone3",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "fsopen",
        "open_tree",
        "move_mount",
        "open_by_handle_at",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "swapon",
        "modify_ldt",
        "personality",
        "remap_file_pages",
        "shmget",
        "msgget",
        "mq_open",
        "openat2",
        "execveat",
        "socket",
        "socketpair",
    };

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        expect_whatever_arguments(&start.filter, number(calls[i]), SECCOMP_RET_TRACE);
    }
}

/* --- the supervisor's filter ---------------------------------------------------------------- */

/* By hand: whoever adds one has to say so here too. */
static void test_supervisor_may_do_what_the_start_filter_allows_and_make_jails(void **state)
{
    static const char *const calls[] = {
        "clone3",     "open_tree",         "mount_setattr", "fsopen",      "fsconfig",
        "fsmount",    "move_mount",        "mount",         "pivot_root",  "umount2",
        "socketpair", "pidfd_send_signal", "socket",        "pidfd_getfd",
#ifdef VFU_SANITIZED
        "ptrace",
#endif
    };
    bool more[FILTER_MACHINE_NUMBERS] = { false };

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        assert_true(filter_start_denies(calls[i]));
        more[number(calls[i])] = true;
    }
    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
        bool denied = name != NULL && filter_start_denies(name) && !more[nr];

        if (nr != number("socket")) {
            expect_whatever_arguments(&supervisor.filter, nr,
                                      denied ? SECCOMP_RET_TRACE : SECCOMP_RET_ALLOW);
        }
        free(name);
    }
}

static void test_supervisor_makes_unix_sockets_alone(void **state)
{
    for (uint64_t family = 0; family < 64; family++) {
        const uint64_t args[6] = { family, SOCK_STREAM };

        expect(&supervisor.filter, number("socket"), args,
               family == AF_UNIX ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRACE);
    }
    expect(&supervisor.filter, number("socket"), (uint64_t[6]){ AF_UNIX | HIGH },
           SECCOMP_RET_TRACE);
}

static void test_start_opening_of_a_path_alone_is_traced(void **state)
{
    static const uint64_t flags[] = { O_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC, O_PATH | HIGH };
    static const uint64_t others[] = { O_RDONLY, O_RDWR | O_CREAT | O_CLOEXEC, O_DIRECTORY };

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        expect(&start.filter, number("open"), (uint64_t[6]){ 0x7000, flags[i] }, SECCOMP_RET_TRACE);
        expect(&start.filter, number("openat"), (uint64_t[6]){ 4, 0x7000, flags[i] },
               SECCOMP_RET_TRACE);
        expect(&start.filter, number("open"), (uint64_t[6]){ 0x7000, others[i] },
               SECCOMP_RET_ALLOW);
        expect(&start.filter, number("openat"), (uint64_t[6]){ 4, 0x7000, others[i] },
               SECCOMP_RET_ALLOW);
    }
}

static void test_start_clone_of_a_namespace_is_traced(void **state)
{
    static const uint64_t namespaces[] = { CLONE_NEWUSER,  CLONE_NEWPID, CLONE_NEWNS,
                                           CLONE_NEWNET,   CLONE_NEWIPC, CLONE_NEWUTS,
                                           CLONE_NEWCGROUP };
    int nr = number("clone");

    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        const uint64_t spellings[] = {
            namespaces[i],
            namespaces[i] | SIGCHLD,
            namespaces[i] | CLONE_VM | CLONE_VFORK,
            namespaces[i] | HIGH,
            ~0ull,
        };

        for (size_t j = 0; j < ARRAY_SIZE(spellings); j++) {
            const uint64_t args[6] = { spellings[j] };

            expect(&start.filter, nr, args, SECCOMP_RET_TRACE);
        }
    }
}

static void test_start_clone_of_a_thread_is_allowed(void **state)
{
    static const uint64_t plain[] = {
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
            CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
        SIGCHLD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
        SIGCHLD | CLONE_VM | CLONE_VFORK,
    };

    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        const uint64_t args[6] = { plain[i] };

        expect(&start.filter, number("clone"), args, SECCOMP_RET_ALLOW);
    }
}

/* What verify.c finds of a process would not hold for such a thread. */
static void test_start_descriptors_of_its_own_are_traced(void **state)
{
    static const uint64_t threads[][6] = { { CLONE_VM | CLONE_SIGHAND | CLONE_THREAD },
                                           { HIGH | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD } };
    static const uint64_t ranges[][6] = { { 5, ~0u, CLOSE_RANGE_UNSHARE },
                                          { 5, ~0u, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC },
                                          { 5, ~0u, HIGH | CLOSE_RANGE_UNSHARE } };
    static const uint64_t plain[][6] = { { 5, ~0u, 0 }, { 5, ~0u, CLOSE_RANGE_CLOEXEC } };

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        expect(&start.filter, number("clone"), threads[i], SECCOMP_RET_TRACE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        expect(&start.filter, number("close_range"), ranges[i], SECCOMP_RET_TRACE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        expect(&start.filter, number("close_range"), plain[i], SECCOMP_RET_ALLOW);
    }
}

/* The kernel takes the answer of highest precedence, so that a blocked call is named (seccomp(2)).
 */
static void test_notification_outranks_what_the_start_filter_answers(void **state)
{
    static const uint32_t precedence[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD,
                                           SECCOMP_RET_TRAP,         SECCOMP_RET_ERRNO,
                                           SECCOMP_RET_USER_NOTIF,   SECCOMP_RET_TRACE,
                                           SECCOMP_RET_LOG,          SECCOMP_RET_ALLOW };

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        uint32_t first = ask(&start.filter, nr, shapes[1]);
        uint32_t second = ask(&final.filter, nr, shapes[1]);
        size_t i = 0;

        while (precedence[i] != first && precedence[i] != second) {
            i++;
        }
        assert_int_equal(precedence[i], second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_final_rule_exact_argument_is_allowed),
        cmocka_unit_test(test_final_rule_perturbed_argument_is_not_allowed),
        cmocka_unit_test(test_gate_rule_exact_argument_is_allowed),
        cmocka_unit_test(test_gate_rule_perturbed_argument_is_not_allowed),
        cmocka_unit_test(test_final_other_numbers_notify),
        cmocka_unit_test(test_gate_other_numbers_kill),
        cmocka_unit_test(test_foreign_architectures_and_x32_are_denied),
        cmocka_unit_test(test_final_calls_of_a_device_are_allowed),
        cmocka_unit_test(test_threads_heap_is_allowed_with_and_without_noreserve),
        cmocka_unit_test(test_final_descriptors_below_4_cannot_be_closed),
        cmocka_unit_test(test_final_descriptors_from_4_can_be_closed),
        cmocka_unit_test(test_final_receiving_is_looking_at_the_next_header),
        cmocka_unit_test(test_final_messages_go_over_the_control_channel_alone),
        cmocka_unit_test(test_final_no_memory_becomes_executable),
        cmocka_unit_test(test_final_other_mappings_are_not_allowed),
        cmocka_unit_test(test_final_names_these_calls_alone),
        cmocka_unit_test(test_hot_calls_are_answered_from_the_cache),
        cmocka_unit_test(test_threads_take_these_calls_more),
        cmocka_unit_test(test_gate_names_these_calls_alone),
        cmocka_unit_test(test_final_allows_at_most_20_calls),
        cmocka_unit_test(test_final_has_no_call_that_escapes_are_made_of),
        cmocka_unit_test(test_final_knows_the_channels_from_other_descriptors),
        cmocka_unit_test(test_policy_calls_are_added_and_nothing_else),
        cmocka_unit_test(test_policy_call_with_rules_loses_its_conditions),
        cmocka_unit_test(test_policy_empty_list_adds_nothing),
        cmocka_unit_test(test_policy_unknown_call_is_an_error),
        cmocka_unit_test(test_start_denied_calls_are_traced_and_others_allowed),
        cmocka_unit_test(test_start_denies_other_doors_into_the_kernel),
        cmocka_unit_test(test_supervisor_may_do_what_the_start_filter_allows_and_make_jails),
        cmocka_unit_test(test_supervisor_makes_unix_sockets_alone),
        cmocka_unit_test(test_start_opening_of_a_path_alone_is_traced),
        cmocka_unit_test(test_start_clone_of_a_namespace_is_traced),
        cmocka_unit_test(test_start_clone_of_a_thread_is_allowed),
        cmocka_unit_test(test_start_descriptors_of_its_own_are_traced),
        cmocka_unit_test(test_notification_outranks_what_the_start_filter_answers),
    };

    return cmocka_run_group_tests(tests, compile_all, free_all);
}
