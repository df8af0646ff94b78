/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory that goes away under the device. */
#include "tests/unit/test_device_helper.h"

#include "device/memory_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define PAGES 32
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)
#define GONE 0x100000 /* guest addresses of the two regions */
#define STAYS 0x900000

static union {
    uint64_t words[5];
    char bytes[40];
} entry;

static unsigned lines;
static int memory[2];

static void on_log(vfu_ctx_t *ctx, int level, const char *message)
{
    lines += strstr(message, "guest memory has gone") != NULL;
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static int map_part(struct device *device, uint64_t address, int fd, uint64_t offset, uint64_t size)
{
    const struct vfio_user_dma_map request = {
        .argsz = 32,
        .flags = RW,
        .offset = offset,
        .addr = address,
        .size = size,
    };

    return device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), &fd, 1);
}

static int map(struct device *device, uint64_t address, int fd)
{
    return map_part(device, address, fd, 0, PAGES * PAGE);
}

static int setup_guarded(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    lines = 0;
    vfu_setup_log(device->ctx, on_log, LOG_WARNING);
    vfu_setup_device_dma(device->ctx, 3000, NULL, on_removed);
    device_attach(device);
    for (int i = 0; i < 2; i++) {
        memory[i] = device_memory(PAGES * PAGE);
        assert_int_equal(map(device, i == 0 ? GONE : STAYS, memory[i]), 0);
    }
    return 0;
}

static int teardown_guarded(void **state)
{
    close(memory[0]);
    close(memory[1]);
    return device_teardown(state);
}

static dma_sg_t *entry_of(struct device *device, uint64_t address, size_t length)
{
    assert_int_equal(vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)address, length,
                                     (dma_sg_t *)&entry, 1, PROT_READ | PROT_WRITE),
                     1);
    return (dma_sg_t *)&entry;
}

static uint8_t *pointer(struct device *device, uint64_t address, size_t length)
{
    struct iovec iov;

    assert_int_equal(vfu_sgl_get(device->ctx, entry_of(device, address, length), &iov, 1, 0), 0);
    return iov.iov_base;
}

static int direct(struct device *device, uint64_t address, void *data, size_t length, bool is_write)
{
    dma_sg_t *sg = entry_of(device, address, length);
    int result = is_write ? vfu_sgl_write(device->ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS)
                          : vfu_sgl_read(device->ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS);

    return result == 0 ? 0 : errno;
}

/* How many mappings of a file this process has. */
static size_t count_mappings(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t count = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        count += strstr(line, name) != NULL;
    }
    fclose(maps);
    return count;
}

/* cmocka has a handler of its own for each test, which comes after that of its setup. */
static void guard(void)
{
    assert_int_equal(memory_guard_install(), 0);
}

/* A request, after which the library has the occasion to log. */
static void ask_anything(struct device *device)
{
    uint8_t byte;

    assert_int_equal(device_config_read(device, 0, &byte, 1), 0);
}

static void test_truncated_memory_reads_zeros(void **state)
{
    uint8_t *memory_here = pointer(*state, GONE, PAGES * PAGE);

    guard();
    memset(memory_here, 0xaa, PAGES * PAGE);
    assert_int_equal(ftruncate(memory[0], 0), 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(memory_here[i * PAGE + i], 0);
    }
}

/* What is written there is not lost while somebody works with it, and seen nowhere else. */
static void test_truncated_memory_can_be_written(void **state)
{
    uint8_t *memory_here = pointer(*state, GONE, PAGES * PAGE);

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    memory_here[5 * PAGE] = 1;
    memory_here[9 * PAGE] = 2;
    assert_int_equal(memory_here[5 * PAGE], 1);
    assert_int_equal(memory_here[9 * PAGE], 2);
    assert_int_equal(memory_here[3 * PAGE], 0);
}

static void test_what_is_left_of_the_file_stays(void **state)
{
    uint8_t *memory_here = pointer(*state, GONE, PAGES * PAGE);

    guard();
    memset(memory_here, 0xaa, PAGES * PAGE);
    assert_int_equal(ftruncate(memory[0], PAGE), 0);
    assert_int_equal(memory_here[PAGE], 0);
    assert_int_equal(memory_here[0], 0xaa);
}

static void test_copying_from_and_to_it_is_efault(void **state)
{
    uint8_t data[3 * PAGE];

    guard();
    assert_int_equal(ftruncate(memory[0], PAGE), 0);
    assert_int_equal(direct(*state, GONE, data, PAGE, false), 0);
    assert_int_equal(direct(*state, GONE, data, sizeof(data), false), EFAULT);
    /* From now on, whatever is left of it. */
    assert_int_equal(direct(*state, GONE, data, PAGE, false), EFAULT);
    assert_int_equal(direct(*state, GONE, data, 1, true), EFAULT);
}

static void test_writing_to_it_is_efault(void **state)
{
    uint8_t data[PAGE] = { 1 };

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    assert_int_equal(direct(*state, GONE, data, sizeof(data), true), EFAULT);
}

static void test_other_calls_are_efault_afterwards(void **state)
{
    struct device *device = *state;
    volatile uint8_t *memory_here = pointer(device, GONE, PAGE);
    struct iovec iov;
    dma_sg_t *sg;

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    sg = entry_of(device, GONE, PAGE);
    assert_true(vfu_sg_is_mappable(device->ctx, sg));
    assert_int_equal(memory_here[0], 0);
    assert_false(vfu_sg_is_mappable(device->ctx, sg));
    errno = 0;
    assert_int_equal(vfu_sgl_get(device->ctx, sg, &iov, 1, 0), -1);
    assert_int_equal(errno, EFAULT);
}

static void test_other_regions_and_the_session_go_on(void **state)
{
    uint8_t data[4] = "abc";
    uint8_t back[4];

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    assert_int_equal(direct(*state, GONE, back, sizeof(back), false), EFAULT);
    assert_int_equal(direct(*state, STAYS, data, sizeof(data), true), 0);
    assert_int_equal(direct(*state, STAYS, back, sizeof(back), false), 0);
    assert_memory_equal(data, back, sizeof(data));
    ask_anything(*state);
}

static void test_region_that_is_mapped_anew_is_whole(void **state)
{
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .addr = GONE, .size = PAGES * PAGE };
    uint8_t byte;

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    assert_int_equal(direct(*state, GONE, &byte, 1, false), EFAULT);
    assert_int_equal(device_request(*state, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0),
                     0);
    assert_int_equal(ftruncate(memory[0], PAGES * PAGE), 0);
    assert_int_equal(map(*state, GONE, memory[0]), 0);
    assert_int_equal(direct(*state, GONE, &byte, 1, false), 0);
}

/* Regions of one file, which is mapped once. */
static void test_other_parts_of_the_file_go_on(void **state)
{
    struct device *device = *state;
    const uint64_t half = PAGES / 2 * PAGE;
    uint8_t byte;
    int file = device_memory(PAGES * PAGE);

    guard();
    assert_int_equal(map_part(device, 0, file, 0, half), 0);
    assert_int_equal(map_part(device, half, file, half, half), 0);
    assert_int_equal(map_part(device, PAGES * PAGE, file, half - PAGE, 2 * PAGE), 0);
    memset(pointer(device, 0, half), 0xaa, half);
    assert_int_equal(ftruncate(file, (off_t)half), 0);
    assert_int_equal(direct(device, half, &byte, 1, false), EFAULT);
    assert_int_equal(direct(device, PAGES * PAGE, &byte, 1, false), EFAULT); /* has that page too */
    for (uint64_t i = 0; i < half; i += PAGE) {
        assert_int_equal(direct(device, i, &byte, 1, false), 0);
        assert_int_equal(byte, 0xaa);
    }
    close(file);
}

static void test_new_regions_have_no_zeros_of_old_ones(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .addr = 0, .size = 2 * PAGE };
    uint8_t byte = 0xaa;
    int file = device_memory(PAGES * PAGE);

    guard();
    assert_int_equal(map_part(device, 0, file, 0, 2 * PAGE), 0);
    assert_int_equal(map_part(device, 9 * PAGE, file, 9 * PAGE, PAGE), 0); /* keeps the mapping */
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(direct(device, 0, &byte, 1, false), EFAULT);
    assert_int_equal(ftruncate(file, PAGES * PAGE), 0);
    byte = 0xaa;
    assert_int_equal(pwrite(file, &byte, 1, 0), 1);
    assert_int_equal(map_part(device, GONE * 2, file, 0, 2 * PAGE), 0);
    byte = 0;
    assert_int_equal(direct(device, GONE * 2, &byte, 1, false), 0);
    assert_int_equal(byte, 0xaa);
    assert_int_equal(device_request(device, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0),
                     0);
    assert_int_equal(map_part(device, 0, file, 0, 2 * PAGE), 0);
    assert_int_equal(direct(device, 0, &byte, 1, false), 0);
    assert_int_equal(byte, 0xaa);
    close(file);
}

/* The kernel has no more than 65530 mappings for a process. */
static void test_many_parts_that_are_gone_become_one(void **state)
{
    enum { PARTS = 2000 };
    struct device *device = *state;
    int file = device_memory(2 * PARTS * PAGE);
    uint8_t byte;

    guard();
    for (uint64_t i = 0; i < PARTS; i++) {
        assert_int_equal(map_part(device, (2 * PARTS + i) * PAGE, file, 2 * i * PAGE, PAGE), 0);
    }
    assert_int_equal(ftruncate(file, 0), 0);
    for (uint64_t i = 0; i < PARTS; i++) {
        assert_int_equal(direct(device, (2 * PARTS + i) * PAGE, &byte, 1, false), EFAULT);
    }
    assert_in_range(count_mappings("/memfd:zeros"), 1, 3);
    close(file);
}

/*
 * Those of a client are never all that the process can have: a page in the middle of one can still
 * become another, and the program's allocations work.
 */
static void test_client_cannot_take_all_mappings(void **state)
{
    struct device *device = *state;
    int file = device_memory(0);
    uint64_t address = STAYS * 2;
    uint8_t byte;
    int err;

    guard();
    vfu_setup_device_dma(device->ctx, 100000, NULL, on_removed);
    assert_int_equal(ftruncate(file, (8ll << 40) + (off_t)PAGE), 0); /* too large to share */
    while ((err = map_part(device, address, file, 0, 3 * PAGE)) == 0) {
        address += 3 * PAGE;
    }
    assert_int_equal(err, ENOMEM);
    assert_int_equal(ftruncate(file, 0), 0);
    for (uint64_t i = 1; i <= 2000; i++) {
        assert_int_equal(direct(device, address - i * 3 * PAGE + PAGE, &byte, 1, false), EFAULT);
    }
    for (int i = 0; i < 1000; i++) {
        assert_ptr_not_equal(
            mmap(NULL, PAGE, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            MAP_FAILED);
    }
    close(file);
}

/* What this process keeps in its files of zeros, in bytes. */
static uint64_t memory_of_zeros(void)
{
    uint64_t bytes = 0;

    for (int fd = 0; fd < 256; fd++) {
        char path[32], target[64];
        struct stat status;
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof(target));
        if (n > 0 && memmem(target, (size_t)n, "memfd:zeros", 11) != NULL) {
            assert_int_equal(fstat(fd, &status), 0);
            bytes += (uint64_t)status.st_blocks * 512;
        }
    }
    return bytes;
}

static void lose_memory(struct device *device, uint64_t address)
{
    volatile uint8_t *memory_here = pointer(device, address, PAGES * PAGE);

    for (uint64_t i = 0; i < PAGES; i++) {
        memory_here[i * PAGE] = 1;
    }
}

static void unmap(struct device *device, uint64_t address)
{
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .addr = address, .size = PAGES * PAGE };

    assert_int_equal(device_request(device, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0),
                     0);
}

static void test_zeros_go_with_the_session(void **state)
{
    struct device *device = *state;

    guard();
    assert_int_equal(ftruncate(memory[0], 0), 0);
    lose_memory(device, GONE);
    assert_true(memory_of_zeros() >= PAGES * PAGE);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(memory_of_zeros(), 0);
    device_attach(device);
    guard();
    assert_int_equal(map(device, GONE, memory[1]), 0);
    assert_int_equal(ftruncate(memory[1], 0), 0);
    lose_memory(device, GONE);
}

/* Zeros are memory too, which is there until the session ends. */
static void test_memory_that_goes_again_and_again_is_einval(void **state)
{
    struct device *device = *state;
    unsigned times = 0;

    guard();
    unmap(device, STAYS);
    device->ctx->transport->max_dma_bytes = 4 * PAGES * PAGE;
    for (int err = 0; err == 0; times++) {
        assert_in_range(times, 0, 5);
        assert_int_equal(ftruncate(memory[0], 0), 0);
        lose_memory(device, GONE);
        unmap(device, GONE);
        assert_int_equal(ftruncate(memory[0], PAGES * PAGE), 0);
        err = map(device, GONE, memory[0]);
        assert_true(err == 0 || err == EINVAL);
    }
    assert_true(times > 1);
    assert_true(memory_of_zeros() <= 5 * PAGES * PAGE);
}

static void test_log_says_so_once(void **state)
{
    volatile uint8_t *here[2] = { pointer(*state, GONE, PAGE), pointer(*state, STAYS, PAGE) };

    guard();
    ask_anything(*state);
    assert_int_equal(lines, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ftruncate(memory[i], 0), 0);
        assert_int_equal(here[i][0], 0);
        ask_anything(*state);
        ask_anything(*state);
    }
    assert_int_equal(lines, 1);
}

static void test_hole_reads_zeros_and_is_no_fault(void **state)
{
    uint8_t *memory_here = pointer(*state, GONE, PAGES * PAGE);
    uint8_t byte = 1;

    guard();
    memory_here[0] = 0xaa;
    assert_int_equal(
        fallocate(memory[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGES * PAGE), 0);
    assert_int_equal(memory_here[0], 0);
    assert_int_equal(direct(*state, GONE, &byte, 1, false), 0);
    assert_int_equal(byte, 0);
}

/* --- what is not ours ------------------------------------------------------------------------ */

static sigjmp_buf jump;
static void *volatile fault;

static void on_bus(int number, siginfo_t *info, void *context)
{
    fault = info->si_addr;
    siglongjmp(jump, 1);
}

/* Memory of the program's own, whose file is truncated. */
static volatile uint8_t *own_memory(void)
{
    int fd = device_memory(PAGE);
    volatile uint8_t *own = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(own, MAP_FAILED);
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    return own;
}

static void test_program_s_handler_gets_what_is_not_ours(void **state)
{
    volatile uint8_t *ours = pointer(*state, GONE, PAGE);
    volatile uint8_t *own = own_memory();
    struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

    sigaction(SIGBUS, &action, NULL);
    guard();
    fault = NULL;
    assert_int_equal(ftruncate(memory[0], 0), 0);
    if (sigsetjmp(jump, 1) == 0) {
        assert_int_equal(ours[0], 0);
        (void)own[7];
        fail_msg("no fault");
    }
    assert_ptr_equal(fault, (void *)&own[7]);
}

/* How a child ends that touches its own memory, or sends itself the signal. */
static int end_of_child(volatile uint8_t *own)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        signal(SIGBUS, SIG_DFL);
        guard();
        if (own != NULL) {
            (void)own[0];
        } else {
            raise(SIGBUS);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void test_without_a_handler_it_kills_as_ever(void **state)
{
    assert_int_equal(end_of_child(own_memory()), SIGBUS);
    assert_int_equal(end_of_child(NULL), SIGBUS);
}

#define GUARDED(test) cmocka_unit_test_setup_teardown(test, setup_guarded, teardown_guarded)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(test_without_a_handler_it_kills_as_ever),
        GUARDED(test_truncated_memory_reads_zeros),
        GUARDED(test_truncated_memory_can_be_written),
        GUARDED(test_what_is_left_of_the_file_stays),
        GUARDED(test_copying_from_and_to_it_is_efault),
        GUARDED(test_writing_to_it_is_efault),
        GUARDED(test_other_calls_are_efault_afterwards),
        GUARDED(test_other_regions_and_the_session_go_on),
        GUARDED(test_region_that_is_mapped_anew_is_whole),
        GUARDED(test_other_parts_of_the_file_go_on),
        GUARDED(test_new_regions_have_no_zeros_of_old_ones),
        GUARDED(test_many_parts_that_are_gone_become_one),
        GUARDED(test_client_cannot_take_all_mappings),
        GUARDED(test_zeros_go_with_the_session),
        GUARDED(test_memory_that_goes_again_and_again_is_einval),
        GUARDED(test_log_says_so_once),
        GUARDED(test_hole_reads_zeros_and_is_no_fault),
        GUARDED(test_program_s_handler_gets_what_is_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
