/* SPDX-License-Identifier: BSD-3-Clause */
/* More memory or log than the jail grants; secrets that were left lying; traces of a crash. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define GROUP "resources"

/* More than the policy grants, and little enough for any host to promise. */
#define TOO_MUCH (256ul << 20)

#define FLOOD_LINES 20000

static long memory_by_mmap(const struct surroundings *s)
{
    return result_of(syscall(SYS_mmap, NULL, TOO_MUCH, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static long memory_by_mremap(const struct surroundings *s)
{
    return result_of(syscall(SYS_mremap, s->page, 4096, TOO_MUCH, MREMAP_MAYMOVE));
}

/* brk answers with where the end is now, moved or not. */
static long memory_by_brk(const struct surroundings *s)
{
    long end = syscall(SYS_brk, 0);

    return syscall(SYS_brk, end + (long)TOO_MUCH) == end ? -ENOMEM : 0;
}

/* One byte, that far out: a memfd takes as much memory as is written into it. */
static long memory_by_file(const struct surroundings *s)
{
    return result_of(syscall(SYS_pwrite64, s->memory, "x", 1, TOO_MUCH));
}

static long crash(const struct surroundings *s)
{
    volatile uintptr_t nowhere = 16;

    *(volatile int *)nowhere = 0;
    return 0;
}

/* What the program was started with. How often a secret is among it. */
static long environment(const struct surroundings *s)
{
    const char *first = s->argv[0];
    const char *last = (const char *)getauxval(AT_EXECFN); /* above all other strings */
    long secrets = 0;

    for (char **entry = s->environ_; *entry != NULL; entry++) {
        report_line(s, *entry);
    }
    report_line(s, "--");
    for (char **entry = s->argv; *entry != NULL; entry++) {
        report_line(s, *entry);
    }
    for (; first + strlen(SECRET_NAME) < last; first++) {
        secrets += memcmp(first, SECRET_NAME, strlen(SECRET_NAME)) == 0;
    }
    return secrets;
}

static long log_text(const char *text, size_t size)
{
    return result_of(syscall(SYS_write, 2, text, size));
}

/* Lines of the broker, were they taken as they are. */
static long log_forgery(const struct surroundings *s)
{
    static const char text[] = "\nerror blocked-call session=1 call=forged\n"
                               "\033[2Jcleared\rinfo ready\\x0a\" session=7\0nul\x7f\xff\n";

    return log_text(text, sizeof(text) - 1);
}

static long log_endless_line(const struct surroundings *s)
{
    char text[4096];
    long written = 0;

    memset(text, 'A', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    written = log_text(text, sizeof(text));
    return written;
}

/* Returns how many lines got away, whoever dropped the rest. */
static long log_flood(const struct surroundings *s)
{
    static const char line[] = "flood\n";
    long written = 0;

    for (unsigned i = 0; i < FLOOD_LINES; i++) {
        written += log_text(line, sizeof(line) - 1) == sizeof(line) - 1;
    }
    return written;
}

#define MEMORY_LIMIT "limit of memory"

static const struct attempt table[] = {
    ATTEMPT("memory-by-mmap", memory_by_mmap, STOPPED(-ENOMEM, MEMORY_LIMIT), SUCCEEDS),
    ATTEMPT("memory-by-mremap", memory_by_mremap, STOPPED(-ENOMEM, MEMORY_LIMIT), SUCCEEDS),
    ATTEMPT("memory-by-brk", memory_by_brk, STOPPED(-ENOMEM, MEMORY_LIMIT), RETURNS(0)),
    ATTEMPT("memory-by-file", memory_by_file, STOPPED(-EFBIG, MEMORY_LIMIT), RETURNS(1)),
    ATTEMPT("environment", environment, STOPPED(0, "environment emptied"), RETURNS(1)),
    ATTEMPT("crash", crash, KILLED(SIGSEGV), KILLED(SIGSEGV)),
    ATTEMPT("log-forgery", log_forgery, ALLOWED("log escaped"), SUCCEEDS),
    ATTEMPT("log-endless-line", log_endless_line, ALLOWED("log cut"), RETURNS(4096)),
    ATTEMPT("log-flood", log_flood, ALLOWED("log limited"), RETURNS(FLOOD_LINES)),
};

const struct attempt_group attempts_resources = { table, sizeof(table) / sizeof(table[0]) };
