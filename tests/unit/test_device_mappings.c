/* SPDX-License-Identifier: BSD-3-Clause */
/* Where files of guest memory are mapped: once, as far as that is safe. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define TIB (1ull << 40)
#define READ VFIO_USER_F_DMA_REGION_READ
#define WRITE VFIO_USER_F_DMA_REGION_WRITE
#define RW (READ | WRITE)
#define FILE_PAGES 16

static vfu_dma_info_t last; /* of the last region */
static int memory;          /* a file of FILE_PAGES pages, each of which begins with its number */

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    last = *info;
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static int numbered_memory(void)
{
    int fd = device_memory(FILE_PAGES * PAGE);

    for (uint64_t i = 0; i < FILE_PAGES; i++) {
        assert_int_equal(pwrite(fd, &i, sizeof(i), (off_t)(i * PAGE)), sizeof(i));
    }
    return fd;
}

static int setup(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_dma(device->ctx, 100, on_added, on_removed), 0);
    device_attach(device);
    memory = numbered_memory();
    return 0;
}

static int teardown(void **state)
{
    close(memory);
    return device_teardown(state);
}

static int map(struct device *device, uint64_t address, uint32_t flags, int fd, uint64_t offset,
               uint64_t size)
{
    const struct vfio_user_dma_map request = {
        .argsz = 32,
        .flags = flags,
        .offset = offset,
        .addr = address,
        .size = size,
    };

    return device_request(device, VFIO_USER_DMA_MAP, &request, sizeof(request), &fd, 1);
}

/* One page of the file, at the same guest address as in the file. */
static void map_page(struct device *device, uint32_t flags, uint64_t page)
{
    assert_int_equal(map(device, page * PAGE, flags, memory, page * PAGE, PAGE), 0);
}

static void unmap(struct device *device, uint64_t address, uint64_t size)
{
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = address, .size = size };

    assert_int_equal(
        device_request(device, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0), 0);
}

static void unmap_page(struct device *device, uint64_t page)
{
    unmap(device, page * PAGE, PAGE);
}

/* How many pages of @fd are mapped here with these permissions ("rw-s"; NULL: any). */
static uint64_t mapped_pages(int fd, const char *permissions)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long long start, end, inode;
    char found[8], line[512];
    struct stat status;
    uint64_t pages = 0;

    assert_non_null(maps);
    assert_int_equal(fstat(fd, &status), 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%llx-%llx %7s %*s %*s %llu", &start, &end, found, &inode) == 4 &&
            strstr(line, "memfd:") != NULL && inode == status.st_ino &&
            (permissions == NULL || strcmp(found, permissions) == 0)) {
            pages += (end - start) / PAGE;
        }
    }
    fclose(maps);
    return pages;
}

static uint64_t number_at(const void *address)
{
    return *(const volatile uint64_t *)address;
}

/* --- one mapping for many --- */

static void test_parts_of_a_file_share_one_mapping(void **state)
{
    uint8_t *start;

    map_page(*state, RW, 3);
    start = (uint8_t *)last.vaddr - 3 * PAGE;
    for (uint64_t page = 0; page < FILE_PAGES; page++) {
        if (page != 3) {
            map_page(*state, RW, page);
            assert_ptr_equal(last.vaddr, start + page * PAGE);
        }
        assert_int_equal(number_at(start + page * PAGE), page);
    }
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
}

/* api.md 1.4: whole pages, but not those of other regions. */
static void test_program_learns_of_its_part_only(void **state)
{
    map_page(*state, RW, 0);
    assert_int_equal(map(*state, TIB, RW, memory, 2 * PAGE + 8, PAGE), 0);
    assert_int_equal(last.mapping.iov_len, 2 * PAGE);
    assert_ptr_equal((uint8_t *)last.mapping.iov_base + 8, last.vaddr);
    assert_int_equal((uintptr_t)last.mapping.iov_base % PAGE, 0);
    assert_int_equal(number_at(last.mapping.iov_base), 2);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
}

/* A guest may see the same memory twice. */
static void test_same_part_twice(void **state)
{
    map_page(*state, RW, 1);
    assert_int_equal(map(*state, TIB, RW, memory, PAGE, PAGE), 0);
    unmap_page(*state, 1);
    assert_int_equal(number_at(last.vaddr), 1);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
}

/* --- what must not be shared --- */

static void test_each_protection_has_its_own(void **state)
{
    map_page(*state, RW, 0);
    map_page(*state, READ, 1);
    map_page(*state, READ, 2);
    map_page(*state, 0, 3);
    map_page(*state, WRITE, 4);
    assert_int_equal(mapped_pages(memory, "rw-s"), FILE_PAGES);
    assert_int_equal(mapped_pages(memory, "r--s"), FILE_PAGES);
    assert_int_equal(mapped_pages(memory, "---s"), FILE_PAGES);
    assert_int_equal(mapped_pages(memory, "-w-s"), FILE_PAGES);
}

static void test_each_file_has_its_own(void **state)
{
    int other = numbered_memory();

    map_page(*state, RW, 0);
    assert_int_equal(map(*state, TIB, RW, other, PAGE, PAGE), 0);
    assert_int_equal(mapped_pages(other, NULL), FILE_PAGES);
    assert_int_equal(number_at(last.vaddr), 1);
    close(other);
}

/* Opens the file anew. */
static int reopen(int flags)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    fd = open(path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* What the file is mapped as already is no reason to let somebody write who may not. */
static void test_descriptor_must_allow_it(void **state)
{
    const int read_only = reopen(O_RDONLY);
    const int write_only = reopen(O_WRONLY);
    const int path_only = reopen(O_PATH);

    for (uint32_t flags = 0; flags <= RW; flags++) {
        assert_int_equal(map(*state, TIB * (flags + 1), flags, memory, 0, PAGE), 0);
        assert_int_equal(map(*state, PAGE, flags, write_only, 0, PAGE), EACCES);
        assert_int_equal(map(*state, PAGE, flags, path_only, 0, PAGE), EBADF);
    }
    assert_int_equal(map(*state, PAGE, RW, read_only, 0, PAGE), EACCES);
    assert_int_equal(map(*state, PAGE, WRITE, read_only, 0, PAGE), EACCES);
    assert_int_equal(map(*state, PAGE, READ, read_only, 0, PAGE), 0);
    close(read_only);
    close(write_only);
    close(path_only);
}

static void test_no_more_than_the_policy_allows_is_mapped(void **state)
{
    struct device *device = *state;
    int other = numbered_memory();

    device->ctx->transport->max_dma_bytes = FILE_PAGES * PAGE + PAGE;
    map_page(device, RW, 0);
    assert_int_equal(map(device, TIB, RW, other, 3 * PAGE, 2 * PAGE), 0);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
    assert_int_equal(mapped_pages(other, NULL), 2);
    unmap(device, TIB, 2 * PAGE);
    assert_int_equal(mapped_pages(other, NULL), 0);
    close(other);
}

static void test_larger_file_than_a_region_is_mapped_in_parts(void **state)
{
    int large = device_memory(8 * TIB + PAGE);

    assert_int_equal(map(*state, 0, RW, large, 8 * TIB, PAGE), 0);
    assert_int_equal(map(*state, PAGE, RW, large, 0, PAGE), 0);
    assert_int_equal(mapped_pages(large, NULL), 2);
    close(large);
}

/* --- files that change --- */

static void test_file_that_has_grown(void **state)
{
    uint64_t number = FILE_PAGES;

    map_page(*state, RW, 0);
    assert_int_equal(ftruncate(memory, 2 * FILE_PAGES * PAGE), 0);
    assert_int_equal(pwrite(memory, &number, sizeof(number), FILE_PAGES * PAGE), sizeof(number));
    map_page(*state, RW, FILE_PAGES);
    assert_int_equal(number_at(last.vaddr), FILE_PAGES);
    map_page(*state, RW, 2);
    assert_int_equal(number_at(last.vaddr), 2);
    unmap_page(*state, 0);
    assert_int_equal(mapped_pages(memory, NULL), 3 * FILE_PAGES); /* the first one is idle */
}

static void test_file_that_has_shrunk_is_einval(void **state)
{
    map_page(*state, RW, 0);
    assert_int_equal(ftruncate(memory, 4 * PAGE), 0);
    assert_int_equal(map(*state, TIB, RW, memory, 4 * PAGE, PAGE), EINVAL);
    map_page(*state, RW, 3);
    assert_int_equal(number_at(last.vaddr), 3);
}

/* --- what stays, and for how long --- */

static void test_mapping_waits_for_the_next_part(void **state)
{
    void *address;

    map_page(*state, RW, 1);
    address = last.vaddr;
    unmap_page(*state, 1);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
    map_page(*state, RW, 1);
    assert_ptr_equal(last.vaddr, address);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
}

/* Memory that is unplugged must not be held. */
static void test_region_that_was_all_of_its_file_leaves_nothing(void **state)
{
    map_page(*state, RW, 1);
    assert_int_equal(map(*state, TIB, RW, memory, 0, FILE_PAGES * PAGE), 0);
    unmap_page(*state, 1);
    assert_int_equal(mapped_pages(memory, NULL), FILE_PAGES);
    unmap(*state, TIB, FILE_PAGES * PAGE);
    assert_int_equal(mapped_pages(memory, NULL), 0);
}

static void test_few_idle_mappings_stay(void **state)
{
    int files[DMA_MAPPINGS_IDLE + 3];
    size_t idle = 0;

    for (size_t i = 0; i < DMA_MAPPINGS_IDLE + 3; i++) {
        files[i] = numbered_memory();
        assert_int_equal(map(*state, i * PAGE, RW, files[i], 0, PAGE), 0);
    }
    for (size_t i = 0; i < DMA_MAPPINGS_IDLE + 3; i++) {
        unmap(*state, i * PAGE, PAGE);
    }
    for (size_t i = 0; i < DMA_MAPPINGS_IDLE + 3; i++) {
        idle += mapped_pages(files[i], NULL) != 0;
        close(files[i]);
    }
    assert_int_equal(idle, DMA_MAPPINGS_IDLE);
}

static void test_more_files_than_are_remembered(void **state)
{
    const struct dma_mappings *mappings = &((struct device *)*state)->ctx->session.dma.mappings;
    int files[DMA_MAPPINGS_KNOWN + 4];
    size_t left = 0;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < DMA_MAPPINGS_KNOWN + 4; i++) {
            if (round == 0) {
                files[i] = numbered_memory();
            }
            assert_int_equal(map(*state, (round * 100u + i) * PAGE, RW, files[i], PAGE, PAGE), 0);
            assert_int_equal(number_at(last.vaddr), 1);
        }
    }
    assert_int_equal(mappings->count, DMA_MAPPINGS_KNOWN);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < DMA_MAPPINGS_KNOWN + 4; i++) {
            unmap(*state, (round * 100u + i) * PAGE, PAGE);
        }
    }
    for (size_t i = 0; i < DMA_MAPPINGS_KNOWN + 4; i++) {
        left += mapped_pages(files[i], NULL);
        close(files[i]);
    }
    assert_int_equal(left, DMA_MAPPINGS_IDLE * FILE_PAGES);
    assert_int_equal(mappings->bytes, left * PAGE);
}

static void test_unmap_all_leaves_nothing(void **state)
{
    const struct vfio_user_dma_unmap request = { .argsz = 24, .flags = VFIO_DMA_UNMAP_FLAG_ALL };

    map_page(*state, RW, 1);
    map_page(*state, READ, 2);
    unmap_page(*state, 1);
    assert_int_equal(
        device_request(*state, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0), 0);
    assert_int_equal(mapped_pages(memory, NULL), 0);
}

static void test_lost_client_leaves_nothing(void **state)
{
    struct device *device = *state;

    map_page(device, RW, 1);
    map_page(device, READ, 2);
    unmap_page(device, 1);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(mapped_pages(memory, NULL), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_parts_of_a_file_share_one_mapping),
        TEST(test_program_learns_of_its_part_only),
        TEST(test_same_part_twice),
        TEST(test_each_protection_has_its_own),
        TEST(test_each_file_has_its_own),
        TEST(test_descriptor_must_allow_it),
        TEST(test_no_more_than_the_policy_allows_is_mapped),
        TEST(test_larger_file_than_a_region_is_mapped_in_parts),
        TEST(test_file_that_has_grown),
        TEST(test_file_that_has_shrunk_is_einval),
        TEST(test_mapping_waits_for_the_next_part),
        TEST(test_region_that_was_all_of_its_file_leaves_nothing),
        TEST(test_few_idle_mappings_stay),
        TEST(test_more_files_than_are_remembered),
        TEST(test_unmap_all_leaves_nothing),
        TEST(test_lost_client_leaves_nothing),
    };

    return cmocka_run_group_tests_name("device_mappings", tests, NULL, NULL);
}
