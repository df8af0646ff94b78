/* SPDX-License-Identifier: BSD-3-Clause */
/* New code: programs, and memory that becomes executable. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GROUP "code"
#define LANDLOCK "Landlock"
#define START "start filter"
#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

static long execve_(const struct surroundings *s)
{
    return result_of(syscall(SYS_execve, NULL, NULL, NULL));
}

static long execveat_descriptor(const struct surroundings *s)
{
    return result_of(syscall(SYS_execveat, -1, "", NULL, NULL, AT_EMPTY_PATH));
}

/* The only program that the private root has: this one. Outside it says that it runs. */
static long execve_own_program(const struct surroundings *s)
{
    char option[] = EXECUTED_OPTION;
    char *argv[] = { s->argv[0], option, NULL };

    return result_of(syscall(SYS_execve, s->argv[0], argv, s->environ_));
}

/* The kernel looks into the file for what kind of program it is. */
static long execveat_memory(const struct surroundings *s)
{
    char *argv[] = { s->argv[0], NULL };

    if (pwrite(s->memory, "?", 1, 0) != 1) {
        return -EIO;
    }
    return result_of(syscall(SYS_execveat, s->memory, "", argv, s->environ_, AT_EMPTY_PATH));
}

static long memfd_create_(const struct surroundings *s)
{
    return result_of(syscall(SYS_memfd_create, "code", MFD_CLOEXEC));
}

static long map(unsigned long protection, unsigned long flags, int fd)
{
    return result_of(syscall(SYS_mmap, NULL, 4096, protection, flags, fd, 0));
}

static long mmap_write_execute(const struct surroundings *s)
{
    return map(RW | PROT_EXEC, PRIVATE, -1);
}

static long mmap_execute(const struct surroundings *s)
{
    return map(RX, PRIVATE, -1);
}

static long mmap_execute_shared_memory(const struct surroundings *s)
{
    return map(RX, MAP_SHARED, s->memory);
}

static long mmap_private_copy_of_shared_memory(const struct surroundings *s)
{
    return map(RW, MAP_PRIVATE, s->memory);
}

/* Shared memory does not count against RLIMIT_DATA. */
static long mmap_anonymous_shared(const struct surroundings *s)
{
    return map(RW, MAP_SHARED | MAP_ANONYMOUS, -1);
}

/* Nor does a stack. */
static long mmap_grows_down(const struct surroundings *s)
{
    return map(RW, PRIVATE | MAP_GROWSDOWN, -1);
}

static long mmap_over_existing(const struct surroundings *s)
{
    return result_of(syscall(SYS_mmap, s->page, 4096, RW, PRIVATE | MAP_FIXED, -1, 0));
}

static long mprotect_execute(const struct surroundings *s)
{
    return result_of(syscall(SYS_mprotect, s->page, 4096, RX));
}

static long pkey_mprotect_execute(const struct surroundings *s)
{
    return result_of(syscall(SYS_pkey_mprotect, s->page, 4096, RX, -1));
}

static long mremap_over_existing(const struct surroundings *s)
{
    return result_of(
        syscall(SYS_mremap, s->page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, s->spare));
}

static long remap_file_pages_(const struct surroundings *s)
{
    return result_of(syscall(SYS_remap_file_pages, NULL, 0, 1, 0, 0));
}

#ifdef __x86_64__
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif

static long map_shadow_stack_(const struct surroundings *s)
{
    return result_of(syscall(SYS_map_shadow_stack, NULL, 4096, ~0u));
}
#endif

static const struct attempt table[] = {
    ATTEMPT("execve", execve_, BLOCKED(execve), FAILS(EFAULT)),
    ATTEMPT("execveat-descriptor", execveat_descriptor, BLOCKED(execveat), FAILS(EBADF),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("execve-own-program", execve_own_program, BLOCKED(execve), RETURNS(EXECUTED),
            OTHERS(-EACCES, LANDLOCK)),
    ATTEMPT("execveat-memory", execveat_memory, BLOCKED(execveat), FAILS(ENOEXEC),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("memfd-create", memfd_create_, BLOCKED(memfd_create), SUCCEEDS),
    ATTEMPT("mmap-write-execute", mmap_write_execute, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-execute", mmap_execute, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-execute-shared-memory", mmap_execute_shared_memory, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-private-copy", mmap_private_copy_of_shared_memory, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-anonymous-shared", mmap_anonymous_shared, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-grows-down", mmap_grows_down, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mmap-over-existing", mmap_over_existing, BLOCKED(mmap), SUCCEEDS),
    ATTEMPT("mprotect-execute", mprotect_execute, BLOCKED(mprotect), RETURNS(0)),
    ATTEMPT("pkey-mprotect-execute", pkey_mprotect_execute, BLOCKED(pkey_mprotect), RETURNS(0)),
    ATTEMPT("mremap-over-existing", mremap_over_existing, BLOCKED(mremap), SUCCEEDS),
    ATTEMPT("remap-file-pages", remap_file_pages_, BLOCKED(remap_file_pages), FAILS(EINVAL),
            OTHERS(-ENOSYS, START)),
#ifdef __x86_64__
    /* Kernels before 6.6 do not have it, and no later one for a
       processor without it. */
    ATTEMPT("map-shadow-stack", map_shadow_stack_,
            BLOCKED_AS("map_shadow_stack", SYS_map_shadow_stack), FAILS(EINVAL),
            .control_or = FAILS(EOPNOTSUPP), .optional = true),
#endif
};

const struct attempt_group attempts_code = { table, sizeof(table) / sizeof(table[0]) };
