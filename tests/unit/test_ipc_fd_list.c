/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/fd.h"
#include "ipc/fd_list.h"
#include "tests/unit/ipc_helper.h"

#include <fcntl.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_fd_close_closes_once(void **state)
{
    int fd = make_descriptor(), copy = fd;

    fd_close(&fd);
    assert_int_equal(fd, -1);
    assert_false(is_open(copy));
    fd_close(&fd);
}

static void test_fd_take_moves_ownership(void **state)
{
    int taken;

    {
        AUTO_FD fd = make_descriptor();

        taken = fd_take(&fd);
        assert_int_equal(fd, -1);
    }
    assert_true(is_open(taken));
    fd_close(&taken);
}

static void test_auto_fd_closes_at_the_end_of_its_scope(void **state)
{
    int copy;

    {
        AUTO_FD fd = make_descriptor();

        copy = fd;
        assert_true(is_open(copy));
    }
    assert_false(is_open(copy));
}

static void test_list_closes_what_it_owns(void **state)
{
    int copies[3];

    {
        AUTO_FD_LIST list = { .count = 0 };

        for (size_t i = 0; i < 3; i++) {
            copies[i] = make_descriptor();
            fd_list_add(&list, copies[i]);
        }
        assert_int_equal(list.count, 3);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_false(is_open(copies[i]));
    }
}

static void test_list_does_not_close_what_was_taken(void **state)
{
    struct fd_list list;
    int first = make_descriptor(), second = make_descriptor(), taken;

    fd_list_init(&list);
    fd_list_add(&list, first);
    fd_list_add(&list, second);
    taken = fd_list_take(&list, 1);
    assert_int_equal(taken, second);
    assert_int_equal(fd_list_take(&list, 1), -1);
    assert_int_equal(list.count, 2);
    fd_list_close(&list);
    assert_false(is_open(first));
    assert_true(is_open(second));
    fd_close(&taken);
}

static void test_take_beyond_the_list_is_minus_one(void **state)
{
    AUTO_FD_LIST list = { .count = 0 };

    assert_int_equal(fd_list_take(&list, 0), -1);
    fd_list_add(&list, make_descriptor());
    assert_int_equal(fd_list_take(&list, 1), -1);
    assert_int_equal(fd_list_take(&list, SIZE_MAX), -1);
}

static void test_close_empties_and_may_be_repeated(void **state)
{
    struct fd_list list;

    fd_list_init(&list);
    fd_list_close(&list);
    fd_list_add(&list, make_descriptor());
    fd_list_close(&list);
    assert_int_equal(list.count, 0);
    fd_list_close(&list);
}

static void test_list_holds_as_many_as_a_message(void **state)
{
    AUTO_FD_LIST list = { .count = 0 };

    for (size_t i = 0; i < FD_LIST_MAX; i++) {
        fd_list_add(&list, make_descriptor());
    }
    assert_int_equal(list.count, 253);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAK_TEST(test_fd_close_closes_once),
        LEAK_TEST(test_fd_take_moves_ownership),
        LEAK_TEST(test_auto_fd_closes_at_the_end_of_its_scope),
        LEAK_TEST(test_list_closes_what_it_owns),
        LEAK_TEST(test_list_does_not_close_what_was_taken),
        LEAK_TEST(test_take_beyond_the_list_is_minus_one),
        LEAK_TEST(test_close_empties_and_may_be_repeated),
        LEAK_TEST(test_list_holds_as_many_as_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
