/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints what the compiled filters answer, found by running them: for each filter and architecture
 * the answer to most calls, then every call that is answered otherwise, or is for some arguments.
 * The table is kept in the tree as filter_table.txt, so that no change of a filter goes unseen;
 * "ninja golden-filters" writes it anew.
 */
#include "broker/filter.h"
#include "broker/filter_rules.h"
#include "ipc/control.h"
#include "tests/unit/filter_machine.h"

#include <linux/audit.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct architecture {
    const char *name;
    uint32_t audit;
    uint32_t bit; /* in each number */
    uint32_t libseccomp;
};

static const struct architecture architectures[] = {
    { "x86_64", AUDIT_ARCH_X86_64, 0, SCMP_ARCH_X86_64 },
    { "x32", AUDIT_ARCH_X86_64, 0x40000000, SCMP_ARCH_X32 },
    { "i386", AUDIT_ARCH_I386, 0, SCMP_ARCH_X86 },
};

static uint32_t ask(const struct filter *filter, const struct architecture *architecture, int nr,
                    const uint64_t args[6])
{
    struct seccomp_data call = { .nr = (int)((uint32_t)nr | architecture->bit),
                                 .arch = architecture->audit };

    memcpy(call.args, args, sizeof(call.args));
    return filter_machine_action(filter, &call);
}

static const uint64_t ones[6] = { ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull };

/* The answer that most numbers get. */
static uint32_t usual(const struct filter *filter, const struct architecture *architecture)
{
    uint32_t last = ask(filter, architecture, FILTER_MACHINE_NUMBERS - 1, ones);
    unsigned count = 0;

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        count += ask(filter, architecture, nr, ones) == last;
    }
    if (count < FILTER_MACHINE_NUMBERS / 2) {
        fprintf(stderr, "the filter has no usual answer\n");
        exit(EXIT_FAILURE);
    }
    return last;
}

/* The answer to a call with these arguments; those that are all ones stand for any. */
static void print_call(const struct filter *filter, const struct architecture *architecture,
                       const char *name, int nr, const uint64_t args[6])
{
    printf("  %s(", name);
    for (size_t i = 0; i < ARRAY_SIZE(ones); i++) {
        if (args[i] == ones[i]) {
            printf("%s*", i > 0 ? ", " : "");
        } else {
            printf("%s%#llx", i > 0 ? ", " : "", (unsigned long long)args[i]);
        }
    }
    printf(") %s\n", filter_machine_name(ask(filter, architecture, nr, args)));
}

/* With the very arguments that a rule wants; on both sides of where it draws a line. */
static void print_rule(const struct filter *filter, const struct architecture *architecture,
                       const struct filter_rule *rule, int nr)
{
    uint64_t args[6];

    memcpy(args, ones, sizeof(args));
    if (rule->match != FILTER_MATCH_ARGS) {
        for (args[0] = CONTROL_FD - 1; args[0] <= CONTROL_FD + 1; args[0]++) {
            print_call(filter, architecture, rule->syscall, nr, args);
        }
        return;
    }
    for (unsigned i = 0; i < rule->arg_count; i++) {
        const struct scmp_arg_cmp *arg = &rule->args[i];

        args[arg->arg] = arg->op == SCMP_CMP_MASKED_EQ ? arg->datum_b : arg->datum_a;
    }
    if (rule->arg_count > 0) {
        print_call(filter, architecture, rule->syscall, nr, args);
    }
}

static void print_calls(const struct filter *filter, const struct architecture *architecture,
                        const struct filter_rule *rules, size_t rule_count)
{
    uint32_t otherwise = usual(filter, architecture);

    for (int nr = 0; nr < FILTER_MACHINE_NUMBERS; nr++) {
        uint32_t answer = ask(filter, architecture, nr, ones);
        char *name = seccomp_syscall_resolve_num_arch(architecture->libseccomp, nr);

        if (answer != otherwise) {
            printf("  %s %s\n", name != NULL ? name : "?", filter_machine_name(answer));
        }
        for (size_t i = 0; name != NULL && i < rule_count; i++) {
            if (strcmp(rules[i].syscall, name) == 0) {
                print_rule(filter, architecture, &rules[i], nr);
            }
        }
        free(name);
    }
}

static void print_filter(const char *name, const struct filter *filter,
                         const struct filter_rule *rules, size_t rule_count)
{
    for (size_t i = 0; i < ARRAY_SIZE(architectures); i++) {
        printf("%s %s: %s, but\n", name, architectures[i].name,
               filter_machine_name(usual(filter, &architectures[i])));
        print_calls(filter, &architectures[i], i == 0 ? rules : NULL, i == 0 ? rule_count : 0);
    }
}

int main(void)
{
    struct policy policy = { .file = NULL };
    struct policy with_threads = { .jail_threads = 1 };
    struct filter supervisor, start, final, threaded, gate;
    const char *unknown;

    if (filter_compile_supervisor(&supervisor) < 0 || filter_compile_start(&start) < 0 ||
        filter_compile_final(&final, &policy, 1, &unknown) < 0 ||
        filter_compile_final(&threaded, &with_threads, 1, &unknown) < 0 ||
        filter_compile_gate(&gate, &policy) < 0) {
        fprintf(stderr, "the filters cannot be compiled\n");
        return EXIT_FAILURE;
    }
    print_filter("supervisor", &supervisor, NULL, 0);
    print_filter("start", &start, NULL, 0);
    print_filter("final", &final, filter_final_rules, filter_final_rule_count);
    print_filter("final, jail.threads", &threaded, filter_thread_rules, filter_thread_rule_count);
    print_filter("gate", &gate, filter_gate_rules, filter_gate_rule_count);
    filter_free(&supervisor);
    filter_free(&start);
    filter_free(&final);
    filter_free(&threaded);
    filter_free(&gate);
    return EXIT_SUCCESS;
}
