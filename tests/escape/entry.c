/* SPDX-License-Identifier: BSD-3-Clause */
/* Other entries into the kernel than the system calls of this architecture. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUP "entry"
#define HIGH (1ul << 32) /* beyond what the kernel takes as an int */

#ifdef __x86_64__

#define X32_BIT 0x40000000

/* The gate of 32-bit programs: their numbers, their meaning of arguments. */
static long int80(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
}

static long int80_getpid(const struct surroundings *s)
{
    return int80(20, 0, 0, 0);
}

/* 3 is read there, and close here, which the filter allows. */
static long int80_allowed_number(const struct surroundings *s)
{
    return int80(3, -1, 0, 0);
}

static long x32_getpid(const struct surroundings *s)
{
    return result_of(syscall(X32_BIT | SYS_getpid));
}

static long x32_allowed_number(const struct surroundings *s)
{
    return result_of(syscall(X32_BIT | SYS_read, -1, NULL, 0));
}

/* Of the numbers that only x32 has: execve. */
static long x32_execve(const struct surroundings *s)
{
    return result_of(syscall(X32_BIT | 520, NULL, NULL, NULL));
}

/* The same number without the bit: kernels before 5.4 took it. */
static long x32_number_without_bit(const struct surroundings *s)
{
    return result_of(syscall(520, NULL, NULL, NULL));
}

/* A page at a fixed address whose "calls" the kernel emulates. */
static long vsyscall_time(const struct surroundings *s)
{
    time_t (*vsyscall)(time_t *) = (time_t(*)(time_t *))(uintptr_t)0xffffffffff600400ul;

    return vsyscall(NULL);
}

#endif

static long number_minus_one(const struct surroundings *s)
{
    return result_of(syscall(-1));
}

static long number_beyond_all(const struct surroundings *s)
{
    return result_of(syscall(1023));
}

static long recvfrom_high_flags(const struct surroundings *s)
{
    return result_of(syscall(SYS_recvfrom, -1, NULL, 0, (MSG_PEEK | MSG_DONTWAIT) | HIGH, NULL, 0));
}

static long mmap_high_protection(const struct surroundings *s)
{
    return result_of(syscall(SYS_mmap, NULL, 4096, (PROT_READ | PROT_WRITE) | HIGH,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static long ioctl_high_request(const struct surroundings *s)
{
    return result_of(syscall(SYS_ioctl, -1, TIOCSTI | HIGH, ""));
}

static const struct attempt table[] = {
#ifdef __x86_64__
    ATTEMPT("int80-getpid", int80_getpid, BLOCKED_AS("getpid", 20), SUCCEEDS),
    ATTEMPT("int80-allowed-number", int80_allowed_number, BLOCKED_AS("read", 3), FAILS(EBADF)),
    /* Kernels without x32, which is most, do not know the numbers. */
    ATTEMPT("x32-getpid", x32_getpid, BLOCKED_AS("getpid", X32_BIT | SYS_getpid), FAILS(ENOSYS),
            .control_or = SUCCEEDS),
    ATTEMPT("x32-allowed-number", x32_allowed_number, BLOCKED_AS("read", X32_BIT | SYS_read),
            FAILS(ENOSYS), .control_or = FAILS(EBADF)),
    ATTEMPT("x32-execve", x32_execve, BLOCKED_AS("execve", X32_BIT | 520), FAILS(ENOSYS),
            .control_or = FAILS(EFAULT)),
    ATTEMPT("x32-number-without-bit", x32_number_without_bit, BLOCKED_UNKNOWN(520), FAILS(ENOSYS)),
    /* The kernel asks the filters before it emulates (emulate_vsyscall), so it is a call to time.
     * Where the page does not exist (CONFIG_LEGACY_VSYSCALL_NONE) there is nothing to try. */
    ATTEMPT("vsyscall-time", vsyscall_time, BLOCKED(time), SUCCEEDS),
#endif
    ATTEMPT("number-minus-one", number_minus_one, BLOCKED_UNKNOWN(-1), FAILS(ENOSYS)),
    ATTEMPT("number-beyond-all", number_beyond_all, BLOCKED_UNKNOWN(1023), FAILS(ENOSYS)),
    ATTEMPT("recvfrom-high-flags", recvfrom_high_flags, BLOCKED(recvfrom), FAILS(EBADF)),
    ATTEMPT("mmap-high-protection", mmap_high_protection, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("ioctl-high-request", ioctl_high_request, BLOCKED(ioctl), FAILS(EBADF)),
};

const struct attempt_group attempts_entry = { table, sizeof(table) / sizeof(table[0]) };
