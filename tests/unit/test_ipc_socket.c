/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/socket.h"

#include "tests/unit/ipc_helper.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void test_bytes_without_descriptors(void **state)
{
    AUTO_FD_LIST fds = { .count = 0 };
    char buffer[16];
    int pair[2];

    make_pair(SOCK_STREAM, pair);
    assert_int_equal(socket_send(pair[0], "hello", 5, 0, NULL), 5);
    assert_int_equal(socket_send(pair[0], " you", 4, 0, &fds), 4);
    assert_int_equal(socket_receive(pair[1], buffer, sizeof(buffer), 0, &fds), 9);
    assert_memory_equal(buffer, "hello you", 9);
    assert_int_equal(fds.count, 0);
    close_pair(pair);
}

static void pass(int type, size_t count)
{
    AUTO_FD_LIST received = { .count = 0 };
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    eventfd_t value;
    char byte;

    make_pair(type, pair);
    borrow_many(&sent, fd, count);
    assert_int_equal(socket_send(pair[0], "x", 1, 0, &sent), 1);
    assert_int_equal(socket_receive(pair[1], &byte, 1, 0, &received), 1);
    assert_int_equal(byte, 'x');
    expect_received(&received, count);
    /* They are what was sent. */
    assert_return_code(eventfd_write(received.fds[count - 1], 3), errno);
    assert_return_code(eventfd_read(fd, &value), errno);
    assert_int_equal(value, 3);
    close(fd);
    close_pair(pair);
}

static void test_descriptors_pass(void **state)
{
    pass(SOCK_STREAM, 1);
    pass(SOCK_STREAM, 16);
    pass(SOCK_SEQPACKET, 1);
}

static void test_253_descriptors_pass(void **state)
{
    pass(SOCK_STREAM, FD_LIST_MAX);
    pass(SOCK_SEQPACKET, FD_LIST_MAX);
}

static void test_sending_borrows(void **state)
{
    struct fd_list sent;
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_STREAM, pair);
    borrow_many(&sent, fd, 5);
    assert_int_equal(socket_send(pair[0], "x", 1, 0, &sent), 1);
    assert_int_equal(sent.count, 5);
    assert_return_code(eventfd_write(fd, 1), errno);
    close(fd);
    close_pair(pair);
}

static void test_unexpected_descriptors_are_eproto(void **state)
{
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    char buffer[4];

    make_pair(SOCK_STREAM, pair);
    borrow_many(&sent, fd, 3);
    assert_int_equal(socket_send(pair[0], "abcd", 4, 0, &sent), 4);
    assert_int_equal(socket_receive(pair[1], buffer, sizeof(buffer), 0, NULL), -EPROTO);
    close(fd);
    close_pair(pair);
}

/* A limit of descriptors cuts control data off: that is an error, and the others are closed. */
static void test_truncated_descriptors_are_eproto(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    struct rlimit old, low;
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    size_t before;
    char byte;

    make_pair(SOCK_STREAM, pair);
    borrow_many(&sent, fd, 20);
    assert_int_equal(socket_send(pair[0], "x", 1, 0, &sent), 1);
    assert_return_code(getrlimit(RLIMIT_NOFILE, &old), errno);
    before = count_descriptors();
    low = (struct rlimit){ before + 5, old.rlim_max };
    assert_return_code(setrlimit(RLIMIT_NOFILE, &low), errno);
    assert_int_equal(socket_receive(pair[1], &byte, 1, 0, &received), -EPROTO);
    assert_return_code(setrlimit(RLIMIT_NOFILE, &old), errno);
    assert_int_equal(received.count, 0);
    assert_int_equal(count_descriptors(), before);
    close(fd);
    close_pair(pair);
}

/* Credentials come along where SO_PASSCRED is set: nobody has asked for them here. */
static void test_foreign_control_data_is_eproto(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    const int on = 1;
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    char byte;

    make_pair(SOCK_STREAM, pair);
    assert_return_code(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), errno);
    borrow_many(&sent, fd, 2);
    assert_int_equal(socket_send(pair[0], "x", 1, 0, &sent), 1);
    assert_int_equal(socket_receive(pair[1], &byte, 1, 0, &received), -EPROTO);
    assert_int_equal(received.count, 0);
    close(fd);
    close_pair(pair);
}

static void test_nothing_there_is_eagain(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    int pair[2];
    char byte;

    make_pair(SOCK_STREAM, pair);
    assert_int_equal(socket_receive(pair[1], &byte, 1, MSG_DONTWAIT, &received), -EAGAIN);
    assert_int_equal(socket_peek(pair[1], &byte, 1), -EAGAIN);
    close_pair(pair);
}

static void test_end_of_stream_is_0(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    int pair[2];
    char byte;

    make_pair(SOCK_STREAM, pair);
    close(pair[0]);
    assert_int_equal(socket_peek(pair[1], &byte, 1), 0);
    assert_int_equal(socket_receive(pair[1], &byte, 1, 0, &received), 0);
    close(pair[1]);
}

static void test_sending_to_nobody_is_epipe_and_no_signal(void **state)
{
    int pair[2];

    make_pair(SOCK_STREAM, pair);
    close(pair[1]);
    /* SIGPIPE would end this program. */
    assert_int_equal(socket_send(pair[0], "x", 1, 0, NULL), -EPIPE);
    close(pair[0]);
}

static void test_full_socket_is_eagain(void **state)
{
    static char data[65536];
    int pair[2];
    ssize_t n;

    make_pair(SOCK_STREAM, pair);
    do {
        n = socket_send(pair[0], data, sizeof(data), MSG_DONTWAIT, NULL);
    } while (n > 0);
    assert_int_equal(n, -EAGAIN);
    close_pair(pair);
}

static void test_datagram_larger_than_the_buffer_is_emsgsize(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    char buffer[4];

    make_pair(SOCK_SEQPACKET, pair);
    borrow_many(&sent, fd, 4);
    assert_int_equal(socket_send(pair[0], "12345", 5, 0, &sent), 5);
    assert_int_equal(socket_receive(pair[1], buffer, sizeof(buffer), 0, &received), -EMSGSIZE);
    assert_int_equal(received.count, 0);
    close(fd);
    close_pair(pair);
}

static void test_peek_consumes_nothing(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    char buffer[8];

    make_pair(SOCK_STREAM, pair);
    borrow_many(&sent, fd, 2);
    assert_int_equal(socket_send(pair[0], "abcd", 4, 0, &sent), 4);
    for (size_t i = 0; i < 3; i++) {
        memset(buffer, 0, sizeof(buffer));
        assert_int_equal(socket_peek(pair[1], buffer, sizeof(buffer)), 4);
        assert_memory_equal(buffer, "abcd", 4);
    }
    assert_int_equal(socket_receive(pair[1], buffer, sizeof(buffer), 0, &received), 4);
    expect_received(&received, 2);
    close(fd);
    close_pair(pair);
}

/* What the framing relies on: no call continues behind data that carries descriptors. */
static void test_receive_stops_behind_descriptors(void **state)
{
    struct fd_list sent;
    int pair[2], fd = make_descriptor();
    char buffer[16];

    make_pair(SOCK_STREAM, pair);
    for (size_t i = 1; i <= 2; i++) {
        borrow_many(&sent, fd, i);
        assert_int_equal(socket_send(pair[0], "abcd", 4, 0, &sent), 4);
    }
    assert_int_equal(socket_peek(pair[1], buffer, sizeof(buffer)), 4);
    for (size_t i = 1; i <= 2; i++) {
        AUTO_FD_LIST received = { .count = 0 };

        assert_int_equal(socket_receive(pair[1], buffer, sizeof(buffer), 0, &received), 4);
        expect_received(&received, i);
    }
    close(fd);
    close_pair(pair);
}

/* --- signals --- */

static void on_alarm(int number)
{
}

/* Interrupts again and again, until the other end of @sock is written to by the handler's timer. */
static int written;

static void write_at_third(int number)
{
    static int times;

    if (++times == 3) {
        (void)!write(written, "x", 1);
    }
}

static void test_interrupted_receive_is_repeated(void **state)
{
    AUTO_FD_LIST received = { .count = 0 };
    const struct sigaction action = { .sa_handler = write_at_third };
    const struct sigaction quiet = { .sa_handler = on_alarm };
    const struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
    const struct itimerval never = { { 0, 0 }, { 0, 0 } };
    int pair[2];
    char byte = 0;

    make_pair(SOCK_STREAM, pair);
    written = pair[0];
    assert_return_code(sigaction(SIGALRM, &action, NULL), errno); /* without SA_RESTART */
    assert_return_code(setitimer(ITIMER_REAL, &often, NULL), errno);
    assert_int_equal(socket_receive(pair[1], &byte, 1, 0, &received), 1);
    assert_int_equal(byte, 'x');
    assert_return_code(sigaction(SIGALRM, &quiet, NULL), errno);
    assert_return_code(setitimer(ITIMER_REAL, &never, NULL), errno);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAK_TEST(test_bytes_without_descriptors),
        LEAK_TEST(test_descriptors_pass),
        LEAK_TEST(test_253_descriptors_pass),
        LEAK_TEST(test_sending_borrows),
        LEAK_TEST(test_unexpected_descriptors_are_eproto),
        LEAK_TEST(test_truncated_descriptors_are_eproto),
        LEAK_TEST(test_foreign_control_data_is_eproto),
        LEAK_TEST(test_nothing_there_is_eagain),
        LEAK_TEST(test_end_of_stream_is_0),
        LEAK_TEST(test_sending_to_nobody_is_epipe_and_no_signal),
        LEAK_TEST(test_full_socket_is_eagain),
        LEAK_TEST(test_datagram_larger_than_the_buffer_is_emsgsize),
        LEAK_TEST(test_peek_consumes_nothing),
        LEAK_TEST(test_receive_stops_behind_descriptors),
        LEAK_TEST(test_interrupted_receive_is_repeated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
