/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every kind of descriptor that a client could send, against every command that may carry one,
 * under each policy: the exact verdict, and not one descriptor too many or too few afterwards.
 */
#include "broker/vetting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vfio-user/vfio-user.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ALL_KINDS (MEMORY_KIND_MEMFD | MEMORY_KIND_TMPFS | MEMORY_KIND_HUGETLBFS)

static struct policy policy;
static struct vetting vetting;

static int set_up(void **state)
{
    return vetting_init(&vetting, &policy);
}

static int tear_down(void **state)
{
    return close(vetting.proc_fds);
}

/* As policies say when they say nothing of it, but for the access. */
static void use_policy(enum dma_access access)
{
    policy = (struct policy){ .dma_access = access, .dma_memory = ALL_KINDS };
}

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* --- specimens ------------------------------------------------------------------------------ */

static int must(int fd)
{
    if (fd < 0) {
        fail_msg("a specimen cannot be made: %s", strerror(errno));
    }
    return fd;
}

/* @fd again, with other flags of open(2). Consumes @fd. */
static int reopen(int fd, int flags)
{
    char path[40];
    int again;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = must(open(path, flags | O_CLOEXEC));
    close(fd);
    return again;
}

static int make_memfd(void)
{
    int fd = must(memfd_create("specimen", MFD_CLOEXEC | MFD_ALLOW_SEALING));

    assert_int_equal(ftruncate(fd, 4096), 0);
    return fd;
}

static int make_memfd_without_seals(void)
{
    return must(memfd_create("specimen", MFD_CLOEXEC));
}

static int seal(int fd, int seals)
{
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int make_sealed_memfd(void)
{
    return seal(make_memfd(), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

static int make_shrink_sealed_memfd(void)
{
    return seal(make_memfd(), F_SEAL_SHRINK);
}

/* -1 on a host without huge pages. */
static int make_hugetlb_memfd(void)
{
    return memfd_create("specimen", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
}

static int make_readonly_memfd(void)
{
    return reopen(make_memfd(), O_RDONLY);
}

static int make_writeonly_memfd(void)
{
    return reopen(make_memfd(), O_WRONLY);
}

static int make_path_of_memfd(void)
{
    return reopen(make_memfd(), O_PATH);
}

#define TMPFS "/dev/shm"

static int make_tmpfs_file(void)
{
    return must(open(TMPFS, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

static int make_tmpfs_writeonly_file(void)
{
    return must(open(TMPFS, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
}

static int make_tmpfs_directory(void)
{
    return must(open(TMPFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int make_tmpfs_fifo(void)
{
    char directory[] = TMPFS "/vetting-XXXXXX";
    char path[sizeof(directory) + 5];
    int fd;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/fifo", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    fd = must(open(path, O_RDWR | O_CLOEXEC));
    unlink(path);
    rmdir(directory);
    return fd;
}

/* On whatever disk this host has: ext4, overlay, ... */
static int make_disk_file(void)
{
    static const char *const candidates[] = { "/proc/self/exe", "/etc/passwd", "/bin/sh" };

    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
        int fd = must(open(candidates[i], O_RDONLY | O_CLOEXEC));
        struct statfs fs;

        if (fstatfs(fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC) {
            return fd;
        }
        close(fd);
    }
    fail_msg("no file outside of memory");
    return -1;
}

static int make_own_memory(void)
{
    return must(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
}

static int make_proc_file(void)
{
    return must(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
}

static int make_directory(void)
{
    return must(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int make_zero_device(void)
{
    return must(open("/dev/zero", O_RDWR | O_CLOEXEC));
}

static int first_of(int pair[2])
{
    close(pair[1]);
    return pair[0];
}

static int make_pipe(void)
{
    int ends[2];

    must(pipe2(ends, O_CLOEXEC));
    return first_of(ends);
}

static int make_stream_socket(void)
{
    int ends[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    return first_of(ends);
}

static int make_network_socket(void)
{
    return must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int make_epoll(void)
{
    return must(epoll_create1(EPOLL_CLOEXEC));
}

static int make_timerfd(void)
{
    return must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
}

static int make_signalfd(void)
{
    sigset_t none;

    sigemptyset(&none);
    return must(signalfd(-1, &none, SFD_CLOEXEC));
}

static int make_inotify(void)
{
    return must(inotify_init1(IN_CLOEXEC));
}

static int make_terminal(void)
{
    return must(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
}

static int make_pidfd(void)
{
    return must((int)syscall(SYS_pidfd_open, getpid(), 0));
}

static int make_namespace(void)
{
    return must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
}

/* Memory without seals; -1 where the kernel has none of it, or this process may not have it. */
static int make_secret_memory(void)
{
    return (int)syscall(SYS_memfd_secret, O_CLOEXEC);
}

/* -1 where that is not allowed. */
static int make_ring(void)
{
    uint64_t parameters[15] = { 0 }; /* struct io_uring_params */

    return (int)syscall(SYS_io_uring_setup, 1, parameters);
}

static int make_userfaultfd(void)
{
    return (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
}

static int make_eventfd(void)
{
    return must(eventfd(0, EFD_CLOEXEC));
}

static int make_semaphore_eventfd(void)
{
    return must(eventfd(7, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
}

static int make_full_eventfd(void)
{
    const uint64_t most = UINT64_MAX - 1;
    int fd = make_eventfd();

    assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
    return fd;
}

static int make_path_of_eventfd(void)
{
    return reopen(make_eventfd(), O_PATH);
}

enum class {
    CLASS_MEMORY,
    CLASS_UNREADABLE_MEMORY,
    CLASS_EVENTFD,
    CLASS_OTHER,
};

struct specimen {
    const char *name;
    int (*make)(void);
    enum class class;
};

static const struct specimen specimens[] = {
    { "memfd", make_memfd, CLASS_MEMORY },
    { "memfd that cannot be sealed", make_memfd_without_seals, CLASS_MEMORY },
    { "sealed memfd", make_sealed_memfd, CLASS_MEMORY },
    { "memfd of huge pages", make_hugetlb_memfd, CLASS_MEMORY },
    { "read-only memfd", make_readonly_memfd, CLASS_MEMORY },
    { "file on tmpfs", make_tmpfs_file, CLASS_MEMORY },
    { "write-only memfd", make_writeonly_memfd, CLASS_UNREADABLE_MEMORY },
    { "write-only file on tmpfs", make_tmpfs_writeonly_file, CLASS_UNREADABLE_MEMORY },
    { "eventfd", make_eventfd, CLASS_EVENTFD },
    { "eventfd that is a semaphore", make_semaphore_eventfd, CLASS_EVENTFD },
    { "eventfd that is full and blocks", make_full_eventfd, CLASS_EVENTFD },
    { "O_PATH of a memfd", make_path_of_memfd, CLASS_OTHER },
    { "O_PATH of an eventfd", make_path_of_eventfd, CLASS_OTHER },
    { "directory on tmpfs", make_tmpfs_directory, CLASS_OTHER },
    { "FIFO on tmpfs", make_tmpfs_fifo, CLASS_OTHER },
    { "file on a disk", make_disk_file, CLASS_OTHER },
    { "/proc/self/mem", make_own_memory, CLASS_OTHER },
    { "/proc/self/status", make_proc_file, CLASS_OTHER },
    { "directory", make_directory, CLASS_OTHER },
    { "/dev/zero", make_zero_device, CLASS_OTHER },
    { "pipe", make_pipe, CLASS_OTHER },
    { "UNIX socket", make_stream_socket, CLASS_OTHER },
    { "network socket", make_network_socket, CLASS_OTHER },
    { "epoll", make_epoll, CLASS_OTHER },
    { "timerfd", make_timerfd, CLASS_OTHER },
    { "signalfd", make_signalfd, CLASS_OTHER },
    { "inotify", make_inotify, CLASS_OTHER },
    { "terminal", make_terminal, CLASS_OTHER },
    { "pidfd", make_pidfd, CLASS_OTHER },
    { "namespace", make_namespace, CLASS_OTHER },
    { "secret memory", make_secret_memory, CLASS_OTHER },
    { "io_uring", make_ring, CLASS_OTHER },
    { "userfaultfd", make_userfaultfd, CLASS_OTHER },
};

/* --- verdicts ------------------------------------------------------------------------------- */

/* Of one descriptor. */
struct expected {
    int error;
    enum vetting_reason reason;
    enum descriptor_kind kind; /* without an error; 0: the command does not look at it */
};

static const struct expected unused = { 0, VETTING_OK, 0 };
static const struct expected withheld = { 0, VETTING_OK, DESCRIPTOR_WITHHELD };
static const struct expected memory = { 0, VETTING_OK, DESCRIPTOR_MEMORY };
static const struct expected read_only = { 0, VETTING_OK, DESCRIPTOR_READ_ONLY };
static const struct expected interrupt = { 0, VETTING_OK, DESCRIPTOR_EVENTFD };
static const struct expected not_expected = { EINVAL, VETTING_NOT_EXPECTED, 0 };
static const struct expected not_memory = { EINVAL, VETTING_NOT_MEMORY, 0 };
static const struct expected not_eventfd = { EINVAL, VETTING_NOT_EVENTFD, 0 };
static const struct expected wrong_kind = { EINVAL, VETTING_MEMORY_KIND, 0 };
static const struct expected unknown = { EINVAL, VETTING_UNKNOWN, 0 };
static const struct expected unreadable = { EACCES, VETTING_MEMORY_ACCESS, 0 };
static const struct expected unsealed = { EACCES, VETTING_MEMORY_SEALS, 0 };

static const uint16_t commands[] = { VFIO_USER_DMA_MAP,
                                     VFIO_USER_DEVICE_SET_IRQS,
                                     VFIO_USER_VERSION,
                                     VFIO_USER_DEVICE_GET_REGION_INFO,
                                     VFIO_USER_DEVICE_GET_REGION_IO_FDS,
                                     0 };

static const struct expected *expected_memory(enum class class, enum dma_access access)
{
    if (access == DMA_ACCESS_NONE) {
        return &withheld;
    }
    if (class == CLASS_UNREADABLE_MEMORY) {
        return &unreadable;
    }
    return access == DMA_ACCESS_RO ? &read_only : &memory;
}

static bool is_memory(enum class class)
{
    return class == CLASS_MEMORY || class == CLASS_UNREADABLE_MEMORY;
}

static const struct expected *expected_of(enum class class, uint16_t command,
                                          enum dma_access access)
{
    switch (command) {
    case VFIO_USER_DMA_MAP:
        return is_memory(class) ? expected_memory(class, access) : &not_memory;
    case VFIO_USER_DEVICE_SET_IRQS:
        return class == CLASS_EVENTFD ? &interrupt : &not_eventfd;
    case VFIO_USER_VERSION:
        return &not_expected;
    case 0:
        return is_memory(class)         ? expected_memory(class, access)
               : class == CLASS_EVENTFD ? &interrupt
                                        : &unknown;
    default:
        return &unused;
    }
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static bool passes(const struct expected *expected)
{
    return expected->error == 0 &&
           (expected->kind == DESCRIPTOR_MEMORY || expected->kind == DESCRIPTOR_READ_ONLY ||
            expected->kind == DESCRIPTOR_EVENTFD);
}

/* Judges one descriptor, which is the list's. */
static void check_one(const char *name, int fd, uint16_t command, const struct expected *expected)
{
    struct fd_list fds = { .count = 1, .fds = { fd } };
    struct verdict verdict;
    struct stat before, after;

    assert_int_equal(fstat(fd, &before), 0);

    vetting_judge(&vetting, command, &fds, &verdict);
    if (verdict.error != expected->error || verdict.reason != expected->reason) {
        fail_msg("%s, command %u: errno %d for %s, wanted %d for %s", name, command, verdict.error,
                 vetting_reason_name(verdict.reason), expected->error,
                 vetting_reason_name(expected->reason));
    }
    assert_int_equal(verdict.count, expected->kind != 0);
    assert_int_equal(verdict.count > 0 ? verdict.kind[0] : 0, expected->kind);
    assert_int_equal(fds.count, passes(expected));
    if (verdict.count == 0 || verdict.kind[0] != DESCRIPTOR_READ_ONLY) {
        assert_int_equal(is_open(fd), passes(expected));
    } else {
        assert_int_equal(fcntl(fds.fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    }
    if (passes(expected)) {
        assert_int_equal(fstat(fds.fds[0], &after), 0);
        assert_int_equal(after.st_ino, before.st_ino);
        assert_int_equal(after.st_dev, before.st_dev);
    }
    fd_list_close(&fds);
}

static void check_matrix(enum dma_access access)
{
    size_t before = open_descriptors();

    use_policy(access);
    for (size_t i = 0; i < ARRAY_SIZE(specimens); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(commands); j++) {
            int fd = specimens[i].make();

            if (fd >= 0) {
                check_one(specimens[i].name, fd, commands[j],
                          expected_of(specimens[i].class, commands[j], access));
            }
            assert_int_equal(open_descriptors(), before);
        }
    }
}

static void test_every_kind_and_command_without_dma(void **state)
{
    check_matrix(DMA_ACCESS_NONE);
}

static void test_every_kind_and_command_with_dma(void **state)
{
    check_matrix(DMA_ACCESS_RW);
}

/* Each specimen is reopened as root here; the gate's rights are for the broker's tests. */
static void test_every_kind_and_command_with_dma_that_reads(void **state)
{
    check_matrix(DMA_ACCESS_RO);
}

static void test_memory_of_a_kind_that_is_not_listed_is_einval(void **state)
{
    static const struct {
        int (*make)(void);
        unsigned kind;
    } kinds[] = {
        { make_memfd, MEMORY_KIND_MEMFD },
        { make_readonly_memfd, MEMORY_KIND_MEMFD },
        { make_tmpfs_file, MEMORY_KIND_TMPFS },
        { make_hugetlb_memfd, MEMORY_KIND_HUGETLBFS },
    };

    use_policy(DMA_ACCESS_RW);
    for (unsigned listed = 0; listed <= ALL_KINDS; listed++) {
        policy.dma_memory = listed;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            int fd = kinds[i].make();

            if (fd >= 0) {
                check_one("memory", fd, VFIO_USER_DMA_MAP,
                          listed & kinds[i].kind ? &memory : &wrong_kind);
            }
        }
    }
}

static void test_memory_without_a_required_seal_is_eacces(void **state)
{
    use_policy(DMA_ACCESS_RW);
    policy.dma_seals = F_SEAL_SHRINK;
    check_one("unsealed memfd", make_memfd(), VFIO_USER_DMA_MAP, &unsealed);
    check_one("unsealed memfd", make_memfd(), 0, &unsealed);
    check_one("tmpfs file", make_tmpfs_file(), VFIO_USER_DMA_MAP, &unsealed);
    check_one("read-only memfd", make_readonly_memfd(), VFIO_USER_DMA_MAP, &unsealed);
    check_one("memfd with the seal", make_shrink_sealed_memfd(), VFIO_USER_DMA_MAP, &memory);
    check_one("memfd with more seals", make_sealed_memfd(), VFIO_USER_DMA_MAP, &memory);
    check_one("eventfd", make_eventfd(), VFIO_USER_DEVICE_SET_IRQS, &interrupt);
    policy.dma_seals = F_SEAL_SHRINK | F_SEAL_GROW;
    check_one("memfd with one of two", make_shrink_sealed_memfd(), VFIO_USER_DMA_MAP, &unsealed);
    check_one("memfd with both", make_sealed_memfd(), VFIO_USER_DMA_MAP, &memory);
}

static void test_seals_do_not_matter_where_nothing_is_mapped(void **state)
{
    use_policy(DMA_ACCESS_NONE);
    policy.dma_seals = F_SEAL_SHRINK;
    policy.dma_memory = MEMORY_KIND_HUGETLBFS;
    check_one("unsealed memfd", make_memfd(), VFIO_USER_DMA_MAP, &withheld);
}

/* --- many ----------------------------------------------------------------------------------- */

static void test_no_descriptors_are_fine_for_every_command(void **state)
{
    use_policy(DMA_ACCESS_RW);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct fd_list fds = { .count = 0 };
        struct verdict verdict = { .error = 1, .count = 1 };

        vetting_judge(&vetting, commands[i], &fds, &verdict);
        assert_int_equal(verdict.error, 0);
        assert_int_equal(verdict.count, 0);
        assert_int_equal(fds.count, 0);
    }
}

/* As many as a message can carry; each eventfd holds its index. */
static void fill_with_eventfds(struct fd_list *fds)
{
    fd_list_init(fds);
    for (unsigned i = 0; i < FD_LIST_MAX; i++) {
        fd_list_add(fds, must(eventfd(i + 1, EFD_CLOEXEC | EFD_NONBLOCK)));
    }
}

static void expect_eventfd(int fd, uint64_t index)
{
    uint64_t value = 0;

    assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, index + 1);
}

static void test_253_eventfds_pass_in_order(void **state)
{
    size_t before = open_descriptors();
    struct verdict verdict;
    struct fd_list fds;

    use_policy(DMA_ACCESS_NONE);
    fill_with_eventfds(&fds);
    vetting_judge(&vetting, VFIO_USER_DEVICE_SET_IRQS, &fds, &verdict);
    assert_int_equal(verdict.error, 0);
    assert_int_equal(verdict.count, FD_LIST_MAX);
    assert_int_equal(fds.count, FD_LIST_MAX);
    for (size_t i = 0; i < FD_LIST_MAX; i++) {
        assert_int_equal(verdict.kind[i], DESCRIPTOR_EVENTFD);
        expect_eventfd(fds.fds[i], i);
    }
    fd_list_close(&fds);
    assert_int_equal(open_descriptors(), before);
}

static void test_one_bad_descriptor_of_253_closes_all(void **state)
{
    static const size_t places[] = { 0, 1, 126, FD_LIST_MAX - 1 };

    use_policy(DMA_ACCESS_RW);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        size_t before = open_descriptors();
        struct verdict verdict;
        struct fd_list fds;

        fill_with_eventfds(&fds);
        close(fds.fds[places[i]]);
        fds.fds[places[i]] = make_pipe();
        vetting_judge(&vetting, VFIO_USER_DEVICE_SET_IRQS, &fds, &verdict);
        assert_int_equal(verdict.error, EINVAL);
        assert_int_equal(verdict.reason, VETTING_NOT_EVENTFD);
        assert_int_equal(verdict.count, 0);
        assert_int_equal(fds.count, 0);
        assert_int_equal(open_descriptors(), before);
    }
}

/* Other servers take the first and close the rest unseen. */
static void test_253_descriptors_for_one_mapping_leave_the_first(void **state)
{
    size_t before = open_descriptors();
    struct verdict verdict;
    struct fd_list fds;
    int first;

    use_policy(DMA_ACCESS_RW);
    fill_with_eventfds(&fds);
    close(fds.fds[0]);
    fds.fds[0] = first = make_memfd();
    vetting_judge(&vetting, VFIO_USER_DMA_MAP, &fds, &verdict);
    assert_int_equal(verdict.error, 0);
    assert_int_equal(verdict.count, 1);
    assert_int_equal(verdict.kind[0], DESCRIPTOR_MEMORY);
    assert_int_equal(fds.count, 1);
    assert_int_equal(fds.fds[0], first);
    assert_int_equal(open_descriptors(), before + 1);
    fd_list_close(&fds);
    assert_int_equal(open_descriptors(), before);
}

static void test_253_descriptors_for_a_command_without_are_closed(void **state)
{
    static const uint16_t without[] = { VFIO_USER_VERSION, VFIO_USER_DEVICE_GET_REGION_INFO,
                                        VFIO_USER_DEVICE_GET_REGION_IO_FDS };

    use_policy(DMA_ACCESS_RW);
    for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
        size_t before = open_descriptors();
        struct verdict verdict;
        struct fd_list fds;

        fill_with_eventfds(&fds);
        vetting_judge(&vetting, without[i], &fds, &verdict);
        assert_int_equal(verdict.error, without[i] == VFIO_USER_VERSION ? EINVAL : 0);
        assert_int_equal(verdict.count, 0);
        assert_int_equal(fds.count, 0);
        assert_int_equal(open_descriptors(), before);
    }
}

/* Before the header is complete anything may come; memory that is withheld leaves its place. */
static void test_withheld_memory_between_eventfds_leaves_them_in_order(void **state)
{
    size_t before = open_descriptors();
    struct verdict verdict;
    struct fd_list fds;

    use_policy(DMA_ACCESS_NONE);
    fill_with_eventfds(&fds);
    for (size_t i = 0; i < FD_LIST_MAX; i += 2) {
        close(fds.fds[i]);
        fds.fds[i] = make_memfd();
    }
    vetting_judge(&vetting, 0, &fds, &verdict);
    assert_int_equal(verdict.error, 0);
    assert_int_equal(verdict.count, FD_LIST_MAX);
    assert_int_equal(fds.count, FD_LIST_MAX / 2);
    for (size_t i = 0; i < FD_LIST_MAX; i++) {
        assert_int_equal(verdict.kind[i], i % 2 ? DESCRIPTOR_EVENTFD : DESCRIPTOR_WITHHELD);
    }
    for (size_t i = 0; i < fds.count; i++) {
        expect_eventfd(fds.fds[i], 2 * i + 1);
    }
    assert_int_equal(open_descriptors(), before + fds.count);
    fd_list_close(&fds);
    assert_int_equal(open_descriptors(), before);
}

/* What a device process wants its clients to be sent. */
static void test_io_fd_is_an_eventfd_or_memory_that_cannot_shrink(void **state)
{
    int event = eventfd(0, EFD_CLOEXEC);
    int memfd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int path = open("/proc/self", O_PATH | O_CLOEXEC);
    int pipe_fds[2];

    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    assert_true(event >= 0 && memfd >= 0 && path >= 0);
    assert_true(vetting_judge_io_fd(&vetting, event, DESCRIPTOR_EVENTFD));
    assert_false(vetting_judge_io_fd(&vetting, event, DESCRIPTOR_MEMORY));
    assert_false(vetting_judge_io_fd(&vetting, memfd, DESCRIPTOR_MEMORY));
    assert_return_code(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), errno);
    assert_true(vetting_judge_io_fd(&vetting, memfd, DESCRIPTOR_MEMORY));
    assert_false(vetting_judge_io_fd(&vetting, memfd, DESCRIPTOR_EVENTFD));
    for (uint32_t kind = 0; kind < 5; kind++) {
        assert_false(vetting_judge_io_fd(&vetting, pipe_fds[1], (enum descriptor_kind)kind));
        assert_false(vetting_judge_io_fd(&vetting, path, (enum descriptor_kind)kind));
    }
    assert_false(vetting_judge_io_fd(&vetting, event, DESCRIPTOR_WITHHELD));
    assert_false(vetting_judge_io_fd(&vetting, event, (enum descriptor_kind)0));
    close(event);
    close(memfd);
    close(path);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_reason_names_are_bounded(void **state)
{
    for (uint32_t reason = 0; reason < VETTING_REASON_MAX; reason++) {
        assert_string_not_equal(vetting_reason_name(reason), "unknown");
        for (uint32_t other = 0; other < reason; other++) {
            assert_string_not_equal(vetting_reason_name(reason), vetting_reason_name(other));
        }
    }
    assert_string_equal(vetting_reason_name(VETTING_REASON_MAX), "unknown");
    assert_string_equal(vetting_reason_name(UINT32_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_and_command_without_dma),
        cmocka_unit_test(test_every_kind_and_command_with_dma),
        cmocka_unit_test(test_every_kind_and_command_with_dma_that_reads),
        cmocka_unit_test(test_memory_of_a_kind_that_is_not_listed_is_einval),
        cmocka_unit_test(test_memory_without_a_required_seal_is_eacces),
        cmocka_unit_test(test_seals_do_not_matter_where_nothing_is_mapped),
        cmocka_unit_test(test_no_descriptors_are_fine_for_every_command),
        cmocka_unit_test(test_253_eventfds_pass_in_order),
        cmocka_unit_test(test_one_bad_descriptor_of_253_closes_all),
        cmocka_unit_test(test_253_descriptors_for_one_mapping_leave_the_first),
        cmocka_unit_test(test_253_descriptors_for_a_command_without_are_closed),
        cmocka_unit_test(test_withheld_memory_between_eventfds_leaves_them_in_order),
        cmocka_unit_test(test_io_fd_is_an_eventfd_or_memory_that_cannot_shrink),
        cmocka_unit_test(test_reason_names_are_bounded),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
