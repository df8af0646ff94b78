/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many contexts in one process: a thousand that one thread polls, and one for each of several
 * threads. The clients are played by the test's own thread.
 */
#include "client/client.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-user/libvfio-user.h>

#define MANY 1000
#define THREADS 16
#define ROUNDS 50 /* of each client of a thread of its own */

/* A context's listener, epoll instance, timer and connection, its client, and all that is else. */
#define DESCRIPTORS (5 * MANY + 100)

#define TIMEOUT_MS 60000

struct device {
    vfu_ctx_t *ctx;
    struct vfu_client *client;
    char path[64];
    bool attached;
    uint64_t value; /* BAR0's only register */
    unsigned lost;  /* clients */
};

static char dir[32];
static struct device devices[MANY];

/* --- devices --- */

static ssize_t access_register(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    struct device *device = vfu_get_private(ctx);
    uint8_t *at = (uint8_t *)&device->value + offset;

    if ((size_t)offset + count > sizeof(device->value)) {
        errno = ENXIO;
        return -1;
    }
    memcpy(is_write ? at : (uint8_t *)buf, is_write ? (uint8_t *)buf : at, count);
    if (is_write) {
        vfu_irq_trigger(ctx, 0);
    }
    return (ssize_t)count;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    struct device *device = vfu_get_private(ctx);

    device->lost += type == VFU_RESET_LOST_CONN;
    return 0;
}

static void create_device(struct device *device, unsigned number, int flags)
{
    *device = (struct device){ .ctx = NULL };
    snprintf(device->path, sizeof(device->path), "%s/%u", dir, number);
    device->ctx = vfu_create_ctx(VFU_TRANS_SOCK, device->path, flags, device, VFU_DEV_TYPE_PCI);
    assert_non_null(device->ctx);
    assert_int_equal(
        vfu_pci_init(device->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(device->ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096,
                                      access_register, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                                      NULL, 0, -1, 0),
                     0);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
}

static size_t count_descriptors(void)
{
    DIR *fds = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(fds);
    while (readdir(fds) != NULL) {
        count++;
    }
    closedir(fds);
    return count;
}

/* --- a thousand in one thread --- */

static atomic_bool stopping;
static atomic_ulong failures; /* results that no call should have had */

static void serve(struct device *device)
{
    if (!device->attached) {
        device->attached = vfu_attach_ctx(device->ctx) == 0;
        failures += !device->attached && errno != EAGAIN;
    } else if (vfu_run_ctx(device->ctx) < 0) {
        device->attached = false;
        failures += errno != ENOTCONN;
    }
}

/* Waits for all of them at once, for nothing else and without a look at the time. */
static void *serve_all(void *opaque)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int *wake = opaque;
    struct epoll_event events[64] = { { .events = EPOLLIN, .data.ptr = NULL } };

    failures += epoll_ctl(epoll, EPOLL_CTL_ADD, *wake, &events[0]) < 0;
    for (size_t i = 0; i < MANY; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &devices[i] };

        failures += epoll_ctl(epoll, EPOLL_CTL_ADD, vfu_get_poll_fd(devices[i].ctx), &event) < 0;
    }
    while (!stopping) {
        int n = epoll_wait(epoll, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL) {
                serve(events[i].data.ptr);
            }
        }
    }
    close(epoll);
    return NULL;
}

static void send_bytes(struct device *device, const void *bytes, size_t size)
{
    assert_int_equal(vfu_client_raw_send(device->client, bytes, size, NULL, 0), 0);
}

struct access {
    struct vfio_user_header header;
    struct vfio_user_region_access access;
    uint64_t value;
};

static size_t build(struct access *message, bool is_write, uint64_t value)
{
    size_t size = is_write ? sizeof(*message) : offsetof(struct access, value);

    *message = (struct access){
        .header = { .cmd = is_write ? VFIO_USER_REGION_WRITE : VFIO_USER_REGION_READ,
                    .msg_size = (uint32_t)size },
        .access = { .count = sizeof(value) },
        .value = value,
    };
    return size;
}

/* Returns the register's value of a reply to a read, 0 of one to a write. */
static uint64_t receive_value(struct device *device)
{
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    uint64_t value = 0;

    assert_int_equal(vfu_client_raw_receive(device->client, &reply), 1);
    assert_int_equal(reply.header.error_no, 0);
    if (reply.header.cmd == VFIO_USER_REGION_READ) {
        assert_int_equal(reply.size, sizeof(struct vfio_user_region_access) + sizeof(value));
        memcpy(&value, reply.payload + sizeof(struct vfio_user_region_access), sizeof(value));
    }
    return value;
}

/* All of them have a command before anybody waits for a reply. */
static void access_all(bool is_write, uint64_t base)
{
    struct access message;

    for (size_t i = 0; i < MANY; i++) {
        size_t size = build(&message, is_write, base + i);

        send_bytes(&devices[i], &message, size);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(receive_value(&devices[i]), is_write ? 0 : base + i);
    }
}

static void connect_all(void)
{
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(vfu_client_connect(devices[i].path, TIMEOUT_MS, &devices[i].client), 0);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(vfu_client_negotiate(devices[i].client), 0);
    }
}

static void disconnect_all(void)
{
    for (size_t i = 0; i < MANY; i++) {
        devices[i].client = vfu_client_free(devices[i].client);
    }
}

/* Every second client sends all of a command but its last byte; the others are served. */
static void stall_half_of_them(void)
{
    struct access message;
    size_t size = build(&message, true, 7);

    for (size_t i = 0; i < MANY; i += 2) {
        send_bytes(&devices[i], &message, size - 1);
    }
    for (size_t i = 1; i < MANY; i += 2) {
        send_bytes(&devices[i], &message, size);
        assert_int_equal(receive_value(&devices[i]), 0);
    }
    for (size_t i = 0; i < MANY; i += 2) {
        send_bytes(&devices[i], (uint8_t *)&message + size - 1, 1);
        assert_int_equal(receive_value(&devices[i]), 0);
    }
}

/* A soft limit is there to be raised; a hard one that is too low is a reason to fail. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < DESCRIPTORS) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    if (limit.rlim_cur < DESCRIPTORS) {
        fail_msg("%d contexts with clients take %d descriptors, the hard limit is %ju", MANY,
                 DESCRIPTORS, (uintmax_t)limit.rlim_max);
    }
}

/* api.md 3, vfu_get_poll_fd, and W13: with ATTACH_NB nobody waits for anybody. */
static void test_a_thousand_contexts_are_polled_by_one_thread(void **state)
{
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    size_t before = count_descriptors();
    pthread_t thread;

    allow_descriptors();
    for (unsigned i = 0; i < MANY; i++) {
        create_device(&devices[i], i, LIBVFIO_USER_FLAG_ATTACH_NB);
    }
    assert_int_equal(pthread_create(&thread, NULL, serve_all, &wake), 0);
    for (uint64_t client = 0; client < 2; client++) {
        connect_all();
        access_all(true, client * MANY + 1);
        access_all(false, client * MANY + 1);
        stall_half_of_them();
        disconnect_all();
    }
    connect_all(); /* when their predecessors' loss has been noticed */
    disconnect_all();
    stopping = true;
    assert_int_equal(eventfd_write(wake, 1), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(failures, 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(devices[i].lost >= 2);
        vfu_destroy_ctx(devices[i].ctx);
    }
    assert_int_equal(count_descriptors(), before);
    close(wake);
}

/* --- one in each thread --- */

/*
 * Creates its context itself: that is independent too. Then blocking calls, as simple programs
 * make them, until the second client is gone.
 */
static void *create_and_serve(void *opaque)
{
    struct device *device = opaque;

    create_device(device, (unsigned)(device - devices), 0);
    for (int client = 0; client < 2; client++) {
        failures += vfu_attach_ctx(device->ctx) < 0;
        failures += vfu_run_ctx(device->ctx) == 0 || errno != ENOTCONN;
    }
    vfu_destroy_ctx(device->ctx);
    return NULL;
}

static void *be_client(void *opaque)
{
    struct device *device = opaque;
    unsigned number = (unsigned)(device - devices);
    struct vfu_client *client = NULL;
    char path[64];
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    snprintf(path, sizeof(path), "%s/%u", dir, number);
    for (int turn = 0; turn < 2; turn++) {
        eventfd_t signalled = 0;
        int err;

        while ((err = vfu_client_connect(path, TIMEOUT_MS, &client)) == -ENOENT ||
               err == -ECONNREFUSED) {
            usleep(1000);
        }
        failures += err < 0 || vfu_client_negotiate(client) != 0 ||
                    vfu_client_irq_assign(client, VFU_DEV_MSIX_IRQ, 0, &event, 1) != 0;
        for (uint64_t i = 0; i < ROUNDS && failures == 0; i++) {
            uint64_t value = number * ROUNDS + i, back = 0;

            failures += vfu_client_region_write(client, 0, 0, &value, sizeof(value)) != 0 ||
                        vfu_client_region_read(client, 0, 0, &back, sizeof(back)) != 0 ||
                        back != value;
        }
        failures += eventfd_read(event, &signalled) < 0 || signalled != ROUNDS;
        client = vfu_client_free(client);
    }
    close(event);
    return NULL;
}

static void test_contexts_of_different_threads_are_independent(void **state)
{
    pthread_t clients[THREADS], servers[THREADS];

    failures = 0;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&servers[i], NULL, create_and_serve, &devices[i]), 0);
        assert_int_equal(pthread_create(&clients[i], NULL, be_client, &devices[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(clients[i], NULL), 0);
        assert_int_equal(pthread_join(servers[i], NULL), 0);
    }
    assert_int_equal(failures, 0);
}

/* --- set-up --- */

static int make_directory(void **state)
{
    strcpy(dir, "/tmp/contexts-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    return rmdir(dir);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_thousand_contexts_are_polled_by_one_thread),
        TEST(test_contexts_of_different_threads_are_independent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
