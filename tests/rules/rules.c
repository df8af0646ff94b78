/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's rules, changed for a test: linked in place of broker/filter_rules.c into a broker
 * that is never installed. The environment says how:
 *
 *   VFU_RULES_WITHOUT=N      the final filter lacks its rule number N, from 0; behind its last one
 *                            those for threads go on
 *   VFU_RULES_MORE="A B"     the final filter allows these calls too, with any arguments
 *
 * and nothing else of it differs from the product.
 */
#define filter_final_rules product_rules
#define filter_final_rule_count product_rule_count
#define filter_thread_rules product_thread_rules
#define filter_thread_rule_count product_thread_rule_count
#include "broker/filter_rules.c" /* NOLINT: the tables themselves */
#undef filter_final_rules
#undef filter_final_rule_count
#undef filter_thread_rules
#undef filter_thread_rule_count

#include <stdlib.h>
#include <string.h>

#define MAX_RULES 128

/* What the header promises not to change: it does not after main() has begun. */
struct filter_rule other_rules[MAX_RULES] __asm__("filter_final_rules");
size_t other_rule_count __asm__("filter_final_rule_count");
struct filter_rule
    other_thread_rules[ARRAY_SIZE(product_thread_rules)] __asm__("filter_thread_rules");
size_t other_thread_rule_count __asm__("filter_thread_rule_count");

static char more[2048];

static void add_rule(const struct filter_rule *rule)
{
    if (other_rule_count == MAX_RULES) {
        abort();
    }
    other_rules[other_rule_count++] = *rule;
}

/* A call that is allowed with any arguments needs no rules with conditions. */
static int is_named(const char *const *names, size_t count, const char *syscall)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], syscall) == 0) {
            return 1;
        }
    }
    return 0;
}

__attribute__((constructor)) static void choose_rules(void)
{
    const char *number = getenv("VFU_RULES_WITHOUT");
    size_t without = number != NULL ? (size_t)atoi(number) : SIZE_MAX;
    const char *wanted = getenv("VFU_RULES_MORE");
    const char *names[MAX_RULES];
    size_t count = 0;

    if (wanted != NULL && strlen(wanted) < sizeof(more)) {
        strcpy(more, wanted);
    }
    for (char *name = strtok(more, " "); name != NULL; name = strtok(NULL, " ")) {
        if (!is_named(names, count, name) && count < MAX_RULES) {
            names[count++] = name;
        }
    }
    for (size_t i = 0; i < product_rule_count; i++) {
        if (without != i && !is_named(names, count, product_rules[i].syscall)) {
            add_rule(&product_rules[i]);
        }
    }
    for (size_t i = 0; i < product_thread_rule_count; i++) {
        if (without != product_rule_count + i) {
            other_thread_rules[other_thread_rule_count++] = product_thread_rules[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct filter_rule rule = ANY(names[i], "a test");

        add_rule(&rule);
    }
}
