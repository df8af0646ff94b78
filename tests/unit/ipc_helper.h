/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the tests of ipc/: every test runs between two counts of this process's descriptors, and
 * fails if they differ.
 */
#pragma once

#include "ipc/fd_list.h"

#include <setjmp.h>
#include <stdarg.h> /* what cmocka.h needs before it */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

int count_before(void **state);
int count_after(void **state);

#define LEAK_TEST(test) cmocka_unit_test_setup_teardown(test, count_before, count_after)

size_t count_descriptors(void);

/* A connected pair; both ends block. */
void make_pair(int type, int pair[2]);
void close_pair(const int pair[2]);

/* A descriptor to send. */
int make_descriptor(void);

/* Fills @list with @count copies of @fd, which it does not own: never close it. */
void borrow_many(struct fd_list *list, int fd, size_t count);

/* All in the list are open and close-on-exec. */
void expect_received(const struct fd_list *list, size_t count);
