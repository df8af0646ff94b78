/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/ipc_helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

size_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

static size_t before;

int count_before(void **state)
{
    before = count_descriptors();
    return 0;
}

int count_after(void **state)
{
    assert_int_equal(count_descriptors(), before);
    return 0;
}

void make_pair(int type, int pair[2])
{
    assert_return_code(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), errno);
}

void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

int make_descriptor(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

void borrow_many(struct fd_list *list, int fd, size_t count)
{
    fd_list_init(list);
    for (size_t i = 0; i < count; i++) {
        fd_list_add(list, fd);
    }
}

void expect_received(const struct fd_list *list, size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++) {
        int flags = fcntl(list->fds[i], F_GETFD);

        assert_true(flags >= 0);
        assert_true(flags & FD_CLOEXEC);
    }
}
