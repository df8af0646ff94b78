/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a sanitizer's run time asks the test device, in builds with sanitizers. It cannot be told by
 * the environment: it reads that from /proc, which the jail has not.
 */
#include <stdlib.h>

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
int __lsan_is_turned_off(void);

/* A fault shall kill, and be seen by whoever watches, not start a report that needs files. */
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0:use_sigaltstack=0";
}

const char *__ubsan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0:use_sigaltstack=0";
}

/* Looking for leaks takes a tracer, which the jail does not permit: they are found standalone. */
int __lsan_is_turned_off(void)
{
    return getenv("VFU_BROKER_FD") != NULL;
}
