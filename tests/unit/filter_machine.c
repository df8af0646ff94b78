/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/filter_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A load of seccomp is 32 bits wide, aligned, and inside struct seccomp_data. */
static uint32_t load(const struct seccomp_data *call, uint32_t offset)
{
    uint32_t value;

    if (offset % sizeof(value) != 0 || offset > sizeof(*call) - sizeof(value)) {
        fail_msg("load at offset %u", offset);
    }
    memcpy(&value, (const uint8_t *)call + offset, sizeof(value));
    return value;
}

static bool compare(const struct sock_filter *instruction, uint32_t a)
{
    switch (BPF_OP(instruction->code)) {
    case BPF_JEQ:
        return a == instruction->k;
    case BPF_JGT:
        return a > instruction->k;
    case BPF_JGE:
        return a >= instruction->k;
    case BPF_JSET:
        return (a & instruction->k) != 0;
    default:
        fail_msg("unknown jump %#x", instruction->code);
        return false;
    }
}

/* The program counter after @instruction at @pc. */
static size_t jump(const struct sock_filter *instruction, size_t pc, uint32_t a)
{
    if (instruction->code == (BPF_JMP | BPF_JA)) {
        return pc + 1 + instruction->k;
    }
    if (BPF_SRC(instruction->code) != BPF_K) {
        fail_msg("unknown instruction %#x", instruction->code);
    }
    return pc + 1 + (compare(instruction, a) ? instruction->jt : instruction->jf);
}

/* Runs the program; @looked is set if it loads anything but number and architecture. */
static uint32_t run(const struct filter *filter, const struct seccomp_data *call, bool *looked)
{
    uint32_t a = 0;
    size_t pc = 0;

    /* Jumps go forward only, so that every program ends. */
    while (pc < filter->count) {
        const struct sock_filter *instruction = &filter->code[pc];

        switch (instruction->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = load(call, instruction->k);
            *looked |= instruction->k != offsetof(struct seccomp_data, nr) &&
                       instruction->k != offsetof(struct seccomp_data, arch);
            pc++;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= instruction->k;
            pc++;
            break;
        case BPF_RET | BPF_K:
            return instruction->k;
        default:
            if (BPF_CLASS(instruction->code) != BPF_JMP) {
                fail_msg("unknown instruction %#x", instruction->code);
            }
            pc = jump(instruction, pc, a);
        }
    }
    fail_msg("the program runs over its end");
    return 0;
}

uint32_t filter_machine_run(const struct filter *filter, const struct seccomp_data *call)
{
    bool looked = false;

    return run(filter, call, &looked);
}

bool filter_machine_is_cached(const struct filter *filter, int nr, uint32_t arch)
{
    const struct seccomp_data call = { .nr = nr, .arch = arch };
    bool looked = false;

    return run(filter, &call, &looked) == SECCOMP_RET_ALLOW && !looked;
}

uint32_t filter_machine_action(const struct filter *filter, const struct seccomp_data *call)
{
    return filter_machine_run(filter, call) & SECCOMP_RET_ACTION_FULL;
}

const char *filter_machine_name(uint32_t action)
{
    static const struct {
        uint32_t action;
        const char *name;
    } names[] = {
        { SECCOMP_RET_KILL_PROCESS, "KILL_PROCESS" },
        { SECCOMP_RET_KILL_THREAD, "KILL_THREAD" },
        { SECCOMP_RET_TRAP, "TRAP" },
        { SECCOMP_RET_ERRNO, "ERRNO" },
        { SECCOMP_RET_USER_NOTIF, "USER_NOTIF" },
        { SECCOMP_RET_TRACE, "TRACE" },
        { SECCOMP_RET_LOG, "LOG" },
        { SECCOMP_RET_ALLOW, "ALLOW" },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].action == (action & SECCOMP_RET_ACTION_FULL)) {
            return names[i].name;
        }
    }
    return "unknown";
}
