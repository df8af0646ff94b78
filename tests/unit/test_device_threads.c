/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device whose own threads use guest memory and raise interrupts, while its client changes both
 * and comes and goes. What the threads find can be checked; what they must not do to each other is
 * for ThreadSanitizer to tell, under which tests/run.sh runs this test too. api.md 4.14 [C]: which
 * calls those are.
 */
#include "tests/unit/test_device_helper.h"

#include "device/dirty_log.h"
#include "device/memory_guard.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)
#define THREADS 3
#define VECTORS 4
#define ROUNDS 300
#define REGIONS 600 /* that come and go */

/* Stays for as long as a client does. */
#define HOME (REGIONS * 2 * PAGE)
#define HOME_SIZE (16 * PAGE)
#define OTHER (HOME + 2 * HOME_SIZE)

static struct {
    vfu_ctx_t *ctx;
    pthread_t threads[THREADS];
    bool stop;
    unsigned long turns[THREADS];
    /* The device's own rule, for memory that it uses: as the header says. */
    pthread_rwlock_t home_lock;
    bool home_usable;
    /* And the rule for all of it: nothing while the device is quiet. */
    pthread_rwlock_t quiet_lock;
    bool obeys_quiesce; /* these devices need no other rule */
    bool shrinks;       /* memory goes away */
} shared;

static int on_quiesce(vfu_ctx_t *ctx)
{
    /* vfu_device_quiesced() follows when the lock is there: as if the threads took their time. */
    errno = EBUSY;
    return -1;
}

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if ((uintptr_t)info->iova.iov_base == HOME) {
        pthread_rwlock_wrlock(&shared.home_lock);
        shared.home_usable = true;
        pthread_rwlock_unlock(&shared.home_lock);
    }
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if ((uintptr_t)info->iova.iov_base == HOME) {
        pthread_rwlock_wrlock(&shared.home_lock);
        shared.home_usable = false;
        pthread_rwlock_unlock(&shared.home_lock);
    }
}

/* cmocka's own failures jump, which only its thread can do. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static dma_sg_t *entry_new(void)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());

    CHECK(sg != NULL);
    return sg;
}

/* Looks for a region that may or may not be there. */
static void look_up(dma_sg_t *sg, unsigned region)
{
    vfu_dma_addr_t address = (vfu_dma_addr_t)(uintptr_t)(region * 2 * PAGE + 8);
    int n = vfu_addr_to_sgl(shared.ctx, address, 8, sg, 1, PROT_WRITE);

    CHECK(n == 1 || (n == -1 && errno == ENOENT));
    if (n == 1) {
        uint64_t words[5];

        memcpy(words, sg, sizeof(words));
        CHECK(words[0] == region * 2 * PAGE && words[2] == 8 && words[3] == 8);
        CHECK(!vfu_sg_is_mappable(shared.ctx, sg)); /* no descriptor */
    }
}

/* Uses memory, when the device knows that it is there. */
static void use_home(dma_sg_t *sg, unsigned turn)
{
    uint64_t place = HOME + turn * 64 % HOME_SIZE;
    struct iovec iov;
    char byte = 1;

    pthread_rwlock_rdlock(&shared.home_lock);
    if (shared.home_usable) {
        CHECK(vfu_addr_to_sgl(shared.ctx, (vfu_dma_addr_t)(uintptr_t)place, 1, sg, 1, PROT_WRITE) ==
              1);
        if (vfu_sgl_get(shared.ctx, sg, &iov, 1, 0) == 0) {
            __atomic_store_n((char *)iov.iov_base, byte, __ATOMIC_RELAXED);
            vfu_sgl_put(shared.ctx, sg, &iov, 1);
        } else {
            CHECK(errno == EFAULT && shared.shrinks);
        }
    }
    pthread_rwlock_unlock(&shared.home_lock);
}

/* As a program does that has promised to be quiet. */
static void become_quiet(void)
{
    pthread_rwlock_wrlock(&shared.quiet_lock);
    assert_int_equal(vfu_device_quiesced(shared.ctx, 0), 0);
    pthread_rwlock_unlock(&shared.quiet_lock);
}

/* Uses any memory that it finds, at any time when the device is not quiet. */
static void use_anything(dma_sg_t *sg, unsigned turn)
{
    vfu_dma_addr_t address = (vfu_dma_addr_t)(uintptr_t)(HOME + turn * 64 % HOME_SIZE);
    struct iovec iov;
    char byte = 1;

    pthread_rwlock_rdlock(&shared.quiet_lock);
    if (vfu_addr_to_sgl(shared.ctx, address, 1, sg, 1, PROT_WRITE) == 1) {
        CHECK(vfu_sgl_get(shared.ctx, sg, &iov, 1, 0) == 0);
        __atomic_store_n((char *)iov.iov_base, byte, __ATOMIC_RELAXED);
        vfu_sgl_put(shared.ctx, sg, &iov, 1);
        CHECK(vfu_sg_is_mappable(shared.ctx, sg));
    }
    pthread_rwlock_unlock(&shared.quiet_lock);
}

static void *run_thread(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    dma_sg_t *sg = entry_new();

    for (unsigned turn = number; !__atomic_load_n(&shared.stop, __ATOMIC_RELAXED); turn++) {
        if (shared.obeys_quiesce) {
            use_anything(sg, turn);
        } else {
            look_up(sg, turn * 31 % REGIONS);
            use_home(sg, turn);
        }
        CHECK(vfu_irq_trigger(shared.ctx, turn % VECTORS) == 0 || errno == ENOENT);
        __atomic_fetch_add(&shared.turns[number], 1, __ATOMIC_RELAXED);
    }
    free(sg);
    return NULL;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t on_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return 0;
}

static int start(void **state, bool obeys_quiesce)
{
    const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_data,
                                                  on_data };
    pthread_rwlockattr_t attributes;
    struct device *device;

    device_setup_created(state);
    device = *state;
    memset(&shared, 0, sizeof(shared));
    shared.ctx = device->ctx;
    shared.obeys_quiesce = obeys_quiesce;
    /* Threads that are never done must not keep the context's thread out for ever. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    assert_int_equal(pthread_rwlock_init(&shared.home_lock, &attributes), 0);
    assert_int_equal(pthread_rwlock_init(&shared.quiet_lock, &attributes), 0);
    pthread_rwlockattr_destroy(&attributes);
    if (obeys_quiesce) {
        vfu_setup_device_quiesce_cb(device->ctx, on_quiesce);
    }
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
    assert_int_equal(vfu_setup_device_dma(device->ctx, REGIONS + 1, on_added, on_removed), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSI_IRQ, VECTORS), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, VECTORS), 0);
    device_attach(device);
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&shared.threads[i], NULL, run_thread, (void *)i), 0);
    }
    return 0;
}

static int setup(void **state)
{
    return start(state, false);
}

static int setup_quiescing(void **state)
{
    return start(state, true);
}

static void stop_threads(void)
{
    if (!shared.stop) {
        __atomic_store_n(&shared.stop, true, __ATOMIC_RELAXED);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(shared.threads[i], NULL);
        }
    }
}

static int teardown(void **state)
{
    stop_threads();
    pthread_rwlock_destroy(&shared.home_lock);
    pthread_rwlock_destroy(&shared.quiet_lock);
    return device_teardown(state);
}

/* Sends a request, waits for the device to be quiet if it has to be, and expects success. */
static void request(struct device *device, uint16_t command, const void *payload, size_t size,
                    int fd)
{
    device_send_command(device, command, 0, payload, size, &fd, fd >= 0);
    if (vfu_run_ctx(device->ctx) < 0) {
        assert_int_equal(errno, EBUSY);
        become_quiet();
    }
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.flags, VFIO_USER_F_TYPE_REPLY);
}

static void map(struct device *device, uint64_t address, uint64_t size, int fd)
{
    const struct vfio_user_dma_map wanted = {
        .argsz = 32,
        .flags = RW,
        .addr = address,
        .size = size,
    };

    request(device, VFIO_USER_DMA_MAP, &wanted, sizeof(wanted), fd);
}

static void unmap(struct device *device, uint64_t address, uint64_t size)
{
    const struct vfio_user_dma_unmap wanted = { .argsz = 24, .addr = address, .size = size };

    request(device, VFIO_USER_DMA_UNMAP, &wanted, sizeof(wanted), -1);
}

static void set_logging(struct device *device, uint64_t page_size)
{
    const struct {
        struct vfio_user_device_feature head;
        struct vfio_user_device_feature_dma_logging_control control;
    } wanted = {
        .head = { sizeof(wanted), VFIO_DEVICE_FEATURE_SET |
                                      (page_size != 0 ? VFIO_DEVICE_FEATURE_DMA_LOGGING_START
                                                      : VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP) },
        .control = { .page_size = page_size },
    };

    request(device, VFIO_USER_DEVICE_FEATURE, &wanted, sizeof(wanted), -1);
}

/* The pages of HOME that have been written since the last time. */
static uint64_t dirty_pages(struct device *device)
{
    const struct {
        struct vfio_user_device_feature head;
        struct vfio_user_device_feature_dma_logging_report report;
    } wanted = {
        .head = { 40, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT },
        .report = { HOME, HOME_SIZE, PAGE },
    };

    request(device, VFIO_USER_DEVICE_FEATURE, &wanted, sizeof(wanted), -1);
    return *(uint64_t *)(device_answer.payload + 32);
}

static void set_irqs(struct device *device, uint32_t type, uint32_t start, const int *fds,
                     uint32_t count)
{
    const struct vfio_irq_set request = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
                 (count > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
        .index = type,
        .start = start,
        .count = count,
    };

    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, &request, 20, fds, count),
                     0);
}

/* Waits until every thread has had some turns since the last time. */
static void let_threads_work(void)
{
    for (int i = 0; i < THREADS; i++) {
        unsigned long since = __atomic_load_n(&shared.turns[i], __ATOMIC_RELAXED);

        while (__atomic_load_n(&shared.turns[i], __ATOMIC_RELAXED) < since + 10) {
            sched_yield();
        }
    }
}

static void reconnect(struct device *device)
{
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    if (errno == EBUSY) {
        become_quiet();
        assert_int_equal(vfu_run_ctx(device->ctx), -1);
    }
    assert_int_equal(errno, ENOTCONN);
    device_attach(device);
}

/* Lookups while the regions change that they look for. */
static void test_regions_come_and_go(void **state)
{
    struct device *device = *state;

    for (unsigned round = 0; round < ROUNDS / 60; round++) {
        for (unsigned i = 0; i < REGIONS; i++) {
            map(device, i * 7 % REGIONS * 2 * PAGE, PAGE, -1);
        }
        let_threads_work();
        for (unsigned i = 0; i < REGIONS; i++) {
            unmap(device, i * 11 % REGIONS * 2 * PAGE, PAGE);
        }
        let_threads_work();
    }
}

/* Memory in use while others come and go, and sessions end. */
static void test_sessions_end(void **state)
{
    struct device *device = *state;
    int fd = device_memory(HOME_SIZE);

    for (unsigned round = 0; round < ROUNDS / 3; round++) {
        map(device, HOME, HOME_SIZE, fd);
        map(device, round % REGIONS * 2 * PAGE, PAGE, -1);
        if (round % 10 == 0) {
            let_threads_work();
        }
        if (round % 2 == 0) {
            unmap(device, HOME, HOME_SIZE);
        }
        reconnect(device);
    }
    close(fd);
}

/* Pages are marked while the log begins, is read, and ends. */
static void test_log_comes_and_goes(void **state)
{
    struct device *device = *state;
    int fd = device_memory(HOME_SIZE);

    map(device, HOME, HOME_SIZE, fd);
    for (unsigned round = 0; round < ROUNDS / 3; round++) {
        set_logging(device, PAGE << round % 3);
        if (round % 10 == 0) {
            let_threads_work();
            assert_true(dirty_pages(device) != 0);
        }
        dirty_pages(device);
        map(device, round % REGIONS * 2 * PAGE, PAGE, -1);
        unmap(device, round % REGIONS * 2 * PAGE, PAGE);
        set_logging(device, 0);
        if (round % 7 == 0) {
            unmap(device, HOME, HOME_SIZE);
            map(device, HOME, HOME_SIZE, fd);
        }
    }
    close(fd);
}

/*
 * Faults while other regions of the same file go, and their slots are used again: whoever looks for
 * the region of a fault finds any of them.
 */
static void test_memory_goes_away(void **state)
{
    struct device *device = *state;

    assert_int_equal(memory_guard_install(), 0); /* cmocka has put its own handler first */
    shared.shrinks = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int fd = device_memory(HOME_SIZE);

        map(device, OTHER, HOME_SIZE, fd);
        map(device, HOME, HOME_SIZE, fd);
        assert_int_equal(ftruncate(fd, 0), 0);
        unmap(device, OTHER, HOME_SIZE);
        map(device, OTHER, PAGE, -1);
        if (round % 10 == 0) {
            let_threads_work();
        }
        unmap(device, OTHER, PAGE);
        unmap(device, HOME, HOME_SIZE);
        close(fd);
    }
}

#define SWEPT_PAGES 4096u
#define SWEPT_SIZE (SWEPT_PAGES * PAGE)
#define SWEEPS 50

static struct {
    pthread_barrier_t begin;
    unsigned done; /* threads that have written all their pages in this sweep */
} sweeping;

/* Writes every third page once in each sweep, and marks it. */
static void *sweep(void *arg)
{
    dma_sg_t *sg = entry_new();
    struct iovec iov;

    for (uint64_t number = 1; number <= SWEEPS; number++) {
        pthread_barrier_wait(&sweeping.begin);
        for (uint64_t page = (uintptr_t)arg; page < SWEPT_PAGES; page += THREADS) {
            vfu_dma_addr_t address = (vfu_dma_addr_t)(uintptr_t)(HOME + page * PAGE);

            CHECK(vfu_addr_to_sgl(shared.ctx, address, 8, sg, 1, PROT_WRITE) == 1);
            CHECK(vfu_sgl_get(shared.ctx, sg, &iov, 1, 0) == 0);
            __atomic_store_n((uint64_t *)iov.iov_base, number, __ATOMIC_RELAXED);
            vfu_sgl_put(shared.ctx, sg, &iov, 1);
        }
        __atomic_fetch_add(&sweeping.done, 1, __ATOMIC_RELEASE);
    }
    free(sg);
    return NULL;
}

/*
 * Takes the pages that were written, past the socket, because more often is better: what is
 * reported is there to be read. Counts them.
 */
static unsigned read_report(const uint64_t *memory, uint64_t expected)
{
    struct dma *dma = &shared.ctx->session.dma;
    uint64_t words[SWEPT_PAGES / 64] = { 0 };
    struct dirty_report report;
    unsigned count = 0;

    assert_int_equal(dirty_log_prepare(dma, HOME, SWEPT_SIZE, PAGE, &report), 0);
    report.pages = words;
    dirty_log_collect(dma, &report);
    for (uint64_t page = 0; page < SWEPT_PAGES; page++) {
        if (words[page / 64] >> (page % 64) & 1) {
            assert_int_equal(__atomic_load_n(&memory[page * PAGE / 8], __ATOMIC_RELAXED), expected);
            count++;
        }
    }
    return count;
}

/*
 * api.md 4.11: a report may put a page off, but loses none, and tells of none before it is written.
 * Every page is written once in each sweep, while one report follows the other.
 */
static void test_each_write_is_reported_once(void **state)
{
    struct device *device = *state;
    int fd = device_memory(SWEPT_SIZE);
    uint64_t *memory = mmap(NULL, SWEPT_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    pthread_t threads[THREADS];

    stop_threads();
    assert_ptr_not_equal(memory, MAP_FAILED);
    pthread_barrier_init(&sweeping.begin, NULL, THREADS + 1);
    map(device, HOME, SWEPT_SIZE, fd);
    set_logging(device, PAGE);
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sweep, (void *)i), 0);
    }
    for (unsigned number = 1; number <= SWEEPS; number++) {
        unsigned count = 0;
        bool done;

        __atomic_store_n(&sweeping.done, 0, __ATOMIC_RELAXED);
        pthread_barrier_wait(&sweeping.begin);
        do {
            done = __atomic_load_n(&sweeping.done, __ATOMIC_ACQUIRE) == THREADS;
            count += read_report(memory, number);
        } while (!done);
        assert_int_equal(count, SWEPT_PAGES);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&sweeping.begin);
    munmap(memory, SWEPT_SIZE);
    close(fd);
}

/* The number of an eventfd that was taken away is given to something else at once. */
static void test_interrupts_change(void **state)
{
    struct device *device = *state;
    char byte;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t type = round & 1 ? VFU_DEV_MSI_IRQ : VFU_DEV_MSIX_IRQ;
        int fds[VECTORS];
        int sockets[2];

        for (int i = 0; i < VECTORS; i++) {
            fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            assert_true(fds[i] >= 0);
        }
        set_irqs(device, type, 0, fds, VECTORS);
        set_irqs(device, type, 1, fds, 2);
        if (round % 30 == 0) {
            let_threads_work();
        }
        set_irqs(device, type, 0, NULL, 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        sched_yield();
        assert_int_equal(recv(sockets[0], &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(recv(sockets[1], &byte, 1, MSG_DONTWAIT), -1);
        close(sockets[0]);
        close(sockets[1]);
        for (int i = 0; i < VECTORS; i++) {
            close(fds[i]);
        }
    }
}

#define THREADED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        THREADED(test_regions_come_and_go),
        THREADED(test_sessions_end),
        THREADED(test_log_comes_and_goes),
        THREADED(test_memory_goes_away),
        THREADED(test_each_write_is_reported_once),
        THREADED(test_interrupts_change),
        cmocka_unit_test_setup_teardown(test_sessions_end, setup_quiescing, teardown),
        cmocka_unit_test_setup_teardown(test_log_comes_and_goes, setup_quiescing, teardown),
        cmocka_unit_test_setup_teardown(test_interrupts_change, setup_quiescing, teardown),
    };

    return cmocka_run_group_tests_name("device_threads", tests, NULL, NULL);
}
