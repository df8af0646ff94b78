/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP and DMA_UNMAP: protocol.md sections 3.2 and 3.3. */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ VFIO_USER_F_DMA_REGION_READ
#define WRITE VFIO_USER_F_DMA_REGION_WRITE
#define MMAP VFIO_USER_F_DMA_REGION_MMAP
#define FILE_IO VFIO_USER_F_DMA_REGION_FILE_IO
#define RW (READ | WRITE)
#define PAGE 4096u
#define TIB ((uint64_t)1 << 40)

static int map(struct vfu_client *client, uint64_t iova, uint64_t size, uint32_t flags, int fd,
               uint64_t offset)
{
    return vfu_client_dma_map(client, iova, size, flags, fd, offset);
}

/* Makes the device copy; returns 0 or the errno that it saw. */
static int guest_access(struct vfu_client *client, enum test_register how, uint64_t iova,
                        uint64_t count, uint64_t scratch)
{
    device_set(client, TEST_REG_GUEST_ADDRESS, iova);
    device_set(client, TEST_REG_GUEST_COUNT, count);
    device_set(client, how, scratch);
    return (int)device_get(client, TEST_REG_RESULT);
}

/* The device reads these bytes at @iova. */
static void expect_device_reads(struct vfu_client *client, uint64_t iova, const void *bytes,
                                size_t count)
{
    uint8_t got[256];

    assert_true(count <= sizeof(got));
    assert_int_equal(guest_access(client, TEST_REG_GUEST_READ, iova, count, 0), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0, got, count), 0);
    assert_memory_equal(got, bytes, count);
}

static void device_writes(struct vfu_client *client, uint64_t iova, const void *bytes, size_t count)
{
    assert_int_equal(vfu_client_region_write(client, 0, 0, bytes, count), 0);
    assert_int_equal(guest_access(client, TEST_REG_GUEST_WRITE, iova, count, 0), 0);
}

static uint8_t *map_here(int fd, size_t size)
{
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static uint64_t maps(struct vfu_client *client)
{
    return device_get(client, TEST_REG_MAPS);
}

/* How many mappings of a memfd named "guest" the server's processes have. */
static size_t server_mappings(const struct server *server)
{
    pid_t pids[64];
    size_t count = server_processes(server, pids, 64);
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        char path[64], line[512];
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/maps", (int)pids[i]);
        file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            found += strstr(line, "/memfd:guest") != NULL;
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    return found;
}

/* --- mapping: what goes wrong, in the order of the table --- */

static void test_map_short_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_dma_map request = { .argsz = 32, .flags = RW, .size = PAGE };

    expect_answer(fixture->client, VFIO_USER_DMA_MAP, &request, 31, NULL, 0, EINVAL);
    expect_answer(fixture->client, VFIO_USER_DMA_MAP, &request, 1, NULL, 0, EINVAL);
    request.argsz = 31;
    expect_answer(fixture->client, VFIO_USER_DMA_MAP, &request, 32, NULL, 0, EINVAL);
    assert_int_equal(maps(fixture->client), 0);
}

static void test_map_with_access_flag_and_no_descriptor_is_einval(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(map(fixture->client, 0, PAGE, RW | MMAP, -1, 0), EINVAL);
    assert_int_equal(map(fixture->client, 0, PAGE, RW | FILE_IO, -1, 0), EINVAL);
}

static void test_map_unknown_flags_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t flags[] = { MMAP | FILE_IO, RW | MMAP | FILE_IO, 16, RW | 16, 0x80000000 };
    int fd = memory_create(PAGE);

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        assert_int_equal(map(fixture->client, 0, PAGE, flags[i], fd, 0), EINVAL);
    }
    assert_int_equal(maps(fixture->client), 0);
    close(fd);
}

static void test_map_above_the_limit_is_enospc(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(map(fixture->client, 0, 8 * TIB + PAGE, RW, -1, 0), ENOSPC);
    assert_int_equal(map(fixture->client, 0, 8 * TIB, RW, -1, 0), 0);
}

static void test_map_size_0_is_einval(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(PAGE);

    assert_int_equal(map(fixture->client, PAGE, 0, RW, -1, 0), EINVAL);
    assert_int_equal(map(fixture->client, PAGE, 0, RW, fd, 0), EINVAL);
    close(fd);
}

static void test_map_that_wraps_is_einval(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(map(fixture->client, (uint64_t)0 - PAGE, 2 * PAGE, RW, -1, 0), EINVAL);
    assert_int_equal(map(fixture->client, UINT64_MAX, 2, RW, -1, 0), EINVAL);
    /* To the very end is fine. */
    assert_int_equal(map(fixture->client, (uint64_t)0 - PAGE, PAGE, RW, -1, 0), 0);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, (uint64_t)0 - PAGE, PAGE), 0);
}

static void test_map_again_is_a_success_that_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(2 * PAGE);
    size_t before;

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, fd, PAGE), 0);
    before = server_descriptors(&fixture->server);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(map(fixture->client, PAGE, PAGE, RW, fd, PAGE), 0);
    }
    assert_int_equal(maps(fixture->client), 1);
    server_expect_descriptors(&fixture->server, before);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), ENOENT);
    close(fd);
}

static void test_map_again_without_descriptor_is_a_success(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, -1, 0), 0);
    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, -1, 0), 0);
    assert_int_equal(maps(fixture->client), 1);
}

static void test_map_again_with_a_difference_is_einval(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(2 * PAGE), other = memory_create(2 * PAGE);

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, fd, 0), 0);
    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, fd, PAGE), EINVAL);
    assert_int_equal(map(fixture->client, PAGE, PAGE, READ, fd, 0), EINVAL);
    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, other, 0), EINVAL);
    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, -1, 0), EINVAL);
    assert_int_equal(maps(fixture->client), 1);
    close(fd);
    close(other);
}

static void test_map_overlap_is_einval(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(8 * PAGE);
    const struct {
        uint64_t iova, size;
    } bad[] = {
        { 4 * PAGE, PAGE },     { 4 * PAGE, 3 * PAGE }, { 5 * PAGE, PAGE }, { 3 * PAGE, 2 * PAGE },
        { 5 * PAGE, 2 * PAGE }, { 3 * PAGE, 4 * PAGE }, { 0, 8 * PAGE },    { 6 * PAGE - 1, 1 },
    };

    assert_int_equal(map(fixture->client, 4 * PAGE, 2 * PAGE, RW, fd, 0), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(map(fixture->client, bad[i].iova, bad[i].size, RW, fd, 0), EINVAL);
        assert_int_equal(map(fixture->client, bad[i].iova, bad[i].size, RW, -1, 0), EINVAL);
    }
    /* Neighbours do not overlap. */
    assert_int_equal(map(fixture->client, 6 * PAGE, PAGE, RW, fd, 0), 0);
    assert_int_equal(map(fixture->client, 3 * PAGE, PAGE, RW, fd, 0), 0);
    assert_int_equal(maps(fixture->client), 3);
    close(fd);
}

static void test_too_many_maps_are_einval(void **state)
{
    struct fixture *fixture = *state;

    for (uint64_t i = 0; i < TEST_DEVICE_MAX_MAPS; i++) {
        assert_int_equal(map(fixture->client, i * PAGE, PAGE, RW, -1, 0), 0);
    }
    assert_int_equal(map(fixture->client, TEST_DEVICE_MAX_MAPS * PAGE, PAGE, RW, -1, 0), EINVAL);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, 0, PAGE), 0);
    assert_int_equal(map(fixture->client, TEST_DEVICE_MAX_MAPS * PAGE, PAGE, RW, -1, 0), 0);
}

static void test_map_writable_of_a_read_only_file_is_eacces(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(PAGE), read_only;
    const uint8_t bytes[4] = { 1, 2, 3, 4 };
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), 4);
    assert_int_equal(map(fixture->client, 0, PAGE, RW, read_only, 0), EACCES);
    assert_int_equal(map(fixture->client, 0, PAGE, WRITE, read_only, 0), EACCES);
    assert_int_equal(maps(fixture->client), 0);
    assert_int_equal(map(fixture->client, 0, PAGE, READ, read_only, 0), 0);
    /* Nor when it is mapped already, by somebody who may write. */
    assert_int_equal(map(fixture->client, TIB, PAGE, RW, fd, 0), 0);
    assert_int_equal(map(fixture->client, 2 * TIB, PAGE, RW, read_only, 0), EACCES);
    expect_device_reads(fixture->client, 0, bytes, sizeof(bytes));
    close(read_only);
    close(fd);
}

static void test_map_beyond_the_end_of_the_file_is_einval(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(2 * PAGE), empty = memory_create(0);

    assert_int_equal(map(fixture->client, 0, 2 * PAGE + 1, RW, fd, 0), EINVAL);
    assert_int_equal(map(fixture->client, 0, PAGE, RW, fd, 2 * PAGE), EINVAL);
    assert_int_equal(map(fixture->client, 0, 2 * PAGE, RW, fd, 1), EINVAL);
    assert_int_equal(map(fixture->client, 0, PAGE, RW, fd, UINT64_MAX), EINVAL);
    assert_int_equal(map(fixture->client, 0, PAGE, RW, fd, UINT64_MAX - PAGE + 1), EINVAL);
    assert_int_equal(map(fixture->client, 0, 1, RW, empty, 0), EINVAL);
    assert_int_equal(map(fixture->client, 0, 2 * PAGE, RW, fd, 0), 0);
    assert_int_equal(maps(fixture->client), 1);
    close(fd);
    close(empty);
}

/* api.md 4.6.1: what is not memory, none of which may be mapped, wait, or be kept. */
static void test_map_of_what_is_no_memory_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char fifo[sizeof(fixture->server.dir) + 8];
    int pipe_fds[2], pair[2], bad[5];
    size_t before = server_descriptors(&fixture->server);

    snprintf(fifo, sizeof(fifo), "%s/fifo", fixture->server.dir);
    assert_return_code(mkfifo(fifo, 0600), errno);
    assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
    bad[0] = open(fifo, O_RDWR | O_CLOEXEC);
    bad[1] = pipe_fds[0];
    bad[2] = pipe_fds[1];
    bad[3] = pair[0];
    bad[4] = eventfd(0, EFD_CLOEXEC);
    for (size_t i = 0; i < 5; i++) {
        assert_true(bad[i] >= 0);
        assert_int_equal(map(fixture->client, 0, PAGE, READ, bad[i], 0), ENODEV);
        assert_int_equal(map(fixture->client, 0, PAGE, RW, bad[i], 0), ENODEV);
        assert_int_equal(map(fixture->client, 0, PAGE, RW | MMAP, bad[i], 0), ENODEV);
        assert_int_equal(map(fixture->client, 0, PAGE, RW | FILE_IO, bad[i], 0), ENODEV);
        assert_int_equal(map(fixture->client, 0, 0, RW, bad[i], 0), EINVAL); /* comes first */
        close(bad[i]);
    }
    close(pair[1]);
    unlink(fifo);
    assert_int_equal(maps(fixture->client), 0);
    server_expect_descriptors(&fixture->server, before);
    expect_served(fixture->client);
}

/* --- mapping: what works --- */

static void test_memory_is_shared(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t iova = 0x100000000;
    int fd = memory_create(16 * PAGE);
    uint8_t *memory = map_here(fd, 16 * PAGE);
    const uint8_t bytes[] = "written by the guest";
    const uint8_t answer[] = "written by the device";

    assert_int_equal(map(fixture->client, iova, 8 * PAGE, RW, fd, 4 * PAGE), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_IOVA), iova);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_SIZE), 8 * PAGE);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_MAPPED), 1);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_PROT), PROT_READ | PROT_WRITE);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_PAGE), PAGE);

    memcpy(memory + 4 * PAGE + 100, bytes, sizeof(bytes));
    expect_device_reads(fixture->client, iova + 100, bytes, sizeof(bytes));
    device_writes(fixture->client, iova + 8 * PAGE - sizeof(answer), answer, sizeof(answer));
    assert_memory_equal(memory + 12 * PAGE - sizeof(answer), answer, sizeof(answer));
    munmap(memory, 16 * PAGE);
    close(fd);
}

static void test_memory_stays_when_the_client_closes_its_descriptor(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(PAGE);
    uint8_t *memory = map_here(fd, PAGE);

    assert_int_equal(map(fixture->client, 0, PAGE, RW | MMAP, fd, 0), 0);
    close(fd);
    memory[17] = 42;
    expect_device_reads(fixture->client, 17, memory + 17, 1);
    munmap(memory, PAGE);
}

static void test_protection_is_what_the_flags_say(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint32_t flags;
        uint64_t prot;
        int read, write;
    } cases[] = {
        { READ, PROT_READ, 0, EACCES },
        { WRITE, PROT_WRITE, EACCES, 0 },
        { RW, PROT_READ | PROT_WRITE, 0, 0 },
        { 0, PROT_NONE, EACCES, EACCES },
    };
    int fd = memory_create(PAGE);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vfu_client *client = fixture->client;

        assert_int_equal(map(client, 0, PAGE, cases[i].flags, fd, 0), 0);
        assert_int_equal(device_get(client, TEST_REG_MAP_PROT), cases[i].prot);
        assert_int_equal(guest_access(client, TEST_REG_GUEST_READ, 0, 8, 0), cases[i].read);
        assert_int_equal(guest_access(client, TEST_REG_GUEST_WRITE, 0, 8, 0), cases[i].write);
        assert_int_equal(vfu_client_dma_unmap(client, 0, PAGE), 0);
    }
    close(fd);
}

/* The mapping begins at a page, the region does not. */
static void test_unaligned_map_is_shared_too(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(4 * PAGE);
    uint8_t *memory = map_here(fd, 4 * PAGE);

    for (size_t i = 0; i < 4 * PAGE; i++) {
        memory[i] = (uint8_t)(i * 3 + (i >> 8));
    }
    assert_int_equal(map(fixture->client, 0x123, 2 * PAGE, RW, fd, 0xff0), 0);
    expect_device_reads(fixture->client, 0x123, memory + 0xff0, 64);
    expect_device_reads(fixture->client, 0x123 + 2 * PAGE - 64, memory + 0xff0 + 2 * PAGE - 64, 64);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, 0x123, 2 * PAGE), 0);
    munmap(memory, 4 * PAGE);
    close(fd);
}

static void test_map_without_descriptor_has_no_address(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, -1, 0), 0);
    assert_int_equal(maps(fixture->client), 1);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_MAPPED), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_PROT), PROT_READ | PROT_WRITE);
    assert_int_equal(guest_access(fixture->client, TEST_REG_GUEST_READ, PAGE, 8, 0), ENOENT);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAPS), 1);
}

/* The device touches it through its address, page after page: each is a fault, until all is zeros.
 */
static void test_memory_that_is_truncated_reads_as_zeros(void **state)
{
    static const uint8_t zeros[16];
    static const uint8_t bytes[16] = "still there";
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    int going = memory_create(16 * PAGE);
    int staying = memory_create(PAGE);

    assert_int_equal(map(client, 0, 16 * PAGE, RW, going, 0), 0);
    assert_int_equal(map(client, 16 * PAGE, PAGE, RW, staying, 0), 0);
    device_writes(client, 8 * PAGE, bytes, sizeof(bytes));
    device_writes(client, 16 * PAGE, bytes, sizeof(bytes));
    assert_int_equal(ftruncate(going, 0), 0);
    for (uint64_t page = 0; page < 16; page++) {
        expect_device_reads(client, page * PAGE, zeros, sizeof(zeros));
    }
    device_writes(client, 0, bytes, sizeof(bytes));
    expect_device_reads(client, 16 * PAGE, bytes, sizeof(bytes));
    assert_int_equal(vfu_client_dma_unmap(client, 0, 16 * PAGE), 0);
    assert_int_equal(server_mappings(&fixture->server), 1);
    close(going);
    close(staying);
}

/* What takes its place has the same protection. */
static void test_memory_of_one_direction_that_is_truncated(void **state)
{
    static const uint8_t zeros[16];
    static const uint8_t bytes[16] = "into the void";
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    int fd = memory_create(2 * PAGE);

    assert_int_equal(map(client, 0, PAGE, READ, fd, 0), 0);
    assert_int_equal(map(client, PAGE, PAGE, WRITE, fd, PAGE), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    expect_device_reads(client, 0, zeros, sizeof(zeros));
    device_writes(client, PAGE, bytes, sizeof(bytes));
    close(fd);
}

static void test_map_for_file_access_has_no_address(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(PAGE);

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW | FILE_IO, fd, 0), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_MAP_MAPPED), 0);
    assert_int_equal(server_mappings(&fixture->server), 0);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    server_expect_descriptors(&fixture->server, before);
    close(fd);
}

static void test_more_than_one_descriptor_closes_the_rest(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_dma_map request = { .argsz = 32, .flags = RW, .size = PAGE };
    int fds[3] = { memory_create(PAGE), memory_create(PAGE), memory_create(PAGE) };
    const uint8_t byte = 7;
    size_t with_one;

    assert_int_equal(map(fixture->client, 0, PAGE, RW, fds[0], 0), 0);
    with_one = server_descriptors(&fixture->server);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, 0, PAGE), 0);
    expect_answer(fixture->client, VFIO_USER_DMA_MAP, &request, sizeof(request), fds, 3, 0);
    server_expect_descriptors(&fixture->server, with_one);
    assert_int_equal(pwrite(fds[0], &byte, 1, 5), 1);
    expect_device_reads(fixture->client, 5, &byte, 1);
    for (size_t i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

static void test_many_maps_of_one_file(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(TEST_DEVICE_MAX_MAPS * PAGE);
    uint8_t *memory = map_here(fd, TEST_DEVICE_MAX_MAPS * PAGE);

    /* The order is not that of the addresses. */
    for (uint64_t i = 0; i < TEST_DEVICE_MAX_MAPS; i++) {
        uint64_t page = i * 37 % TEST_DEVICE_MAX_MAPS;

        memory[page * PAGE] = (uint8_t)page;
        assert_int_equal(map(fixture->client, page * 16 * PAGE, PAGE, RW, fd, page * PAGE), 0);
    }
    assert_int_equal(server_mappings(&fixture->server), 1);
    for (uint64_t page = 0; page < TEST_DEVICE_MAX_MAPS; page++) {
        expect_device_reads(fixture->client, page * 16 * PAGE, memory + page * PAGE, 1);
        assert_int_equal(vfu_client_dma_unmap(fixture->client, page * 16 * PAGE, PAGE), 0);
    }
    /* For the next one. */
    assert_int_equal(server_mappings(&fixture->server), 1);
    assert_int_equal(vfu_client_dma_unmap_all(fixture->client), 0);
    assert_int_equal(server_mappings(&fixture->server), 0);
    munmap(memory, TEST_DEVICE_MAX_MAPS * PAGE);
    close(fd);
}

static void test_maps_sent_back_to_back(void **state)
{
    struct fixture *fixture = *state;
    int fd = memory_create(32 * PAGE);
    uint16_t ids[32];

    for (uint64_t i = 0; i < 32; i++) {
        const struct vfio_user_dma_map request = {
            .argsz = 32,
            .flags = RW,
            .offset = i * PAGE,
            .addr = i * PAGE,
            .size = PAGE,
        };
        const struct vfu_client_request command = {
            .command = VFIO_USER_DMA_MAP,
            .head = &request,
            .head_size = sizeof(request),
            .fds = &fd,
            .fd_count = 1,
        };
        assert_int_equal(vfu_client_submit(fixture->client, &command, &ids[i]), 0);
    }
    /* QEMU waits for the last one only. */
    for (uint64_t i = 32; i-- > 0;) {
        assert_int_equal(vfu_client_collect(fixture->client, ids[i], NULL), 0);
    }
    assert_int_equal(maps(fixture->client), 32);
    close(fd);
}

/* --- unmapping --- */

static void unmap_request(struct vfu_client *client, uint32_t argsz, uint32_t flags, uint64_t addr,
                          uint64_t size, size_t payload, int error)
{
    uint8_t bytes[64] = { 0 };
    const struct vfio_user_dma_unmap request = {
        .argsz = argsz,
        .flags = flags,
        .addr = addr,
        .size = size,
    };

    memcpy(bytes, &request, sizeof(request));
    expect_answer(client, VFIO_USER_DMA_UNMAP, bytes, payload, NULL, 0, error);
}

static void test_unmap_bad_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    assert_int_equal(map(client, PAGE, PAGE, RW, -1, 0), 0);
    unmap_request(client, 24, 2, PAGE, 0, 24, EINVAL); /* ALL with an address */
    unmap_request(client, 24, 2, 0, PAGE, 24, EINVAL);
    unmap_request(client, 24, 3, 0, 0, 24, EINVAL);
    unmap_request(client, 24, 4, PAGE, PAGE, 24, EINVAL);
    unmap_request(client, 24, 0x80000000, PAGE, PAGE, 24, EINVAL);
    unmap_request(client, 24, 0, PAGE, PAGE, 23, EINVAL);
    unmap_request(client, 24, 0, PAGE, PAGE, 4, EINVAL);
    unmap_request(client, 23, 0, PAGE, PAGE, 24, EINVAL);
    unmap_request(client, 0, 0, PAGE, PAGE, 24, EINVAL);
    unmap_request(client, 1048577, 0, PAGE, PAGE, 24, EINVAL);
    unmap_request(client, 40, 1, PAGE, PAGE, 24, EINVAL); /* bitmap asked for, no room */
    unmap_request(client, 48, 1, PAGE, PAGE, 40, EINVAL); /* logging is off */
    assert_int_equal(device_get(client, TEST_REG_UNMAPS), 0);
    assert_int_equal(vfu_client_dma_unmap(client, PAGE, PAGE), 0);
}

static void test_unmap_of_anything_but_a_map_is_enoent(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    assert_int_equal(vfu_client_dma_unmap(client, PAGE, PAGE), ENOENT);
    assert_int_equal(map(client, 4 * PAGE, 2 * PAGE, RW, -1, 0), 0);
    assert_int_equal(map(client, 6 * PAGE, PAGE, RW, -1, 0), 0);
    assert_int_equal(vfu_client_dma_unmap(client, 4 * PAGE, PAGE), ENOENT);
    assert_int_equal(vfu_client_dma_unmap(client, 5 * PAGE, PAGE), ENOENT);
    assert_int_equal(vfu_client_dma_unmap(client, 4 * PAGE, 3 * PAGE), ENOENT); /* both of them */
    assert_int_equal(vfu_client_dma_unmap(client, 0, 16 * PAGE), ENOENT);
    assert_int_equal(vfu_client_dma_unmap(client, 4 * PAGE, 0), ENOENT);
    assert_int_equal(device_get(client, TEST_REG_UNMAPS), 0);
    assert_int_equal(vfu_client_dma_unmap(client, 4 * PAGE, 2 * PAGE), 0);
    assert_int_equal(vfu_client_dma_unmap(client, 6 * PAGE, PAGE), 0);
}

static void test_unmap_answers_its_request(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = PAGE, .size = PAGE };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct wire wire;

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, -1, 0), 0);
    wire_command(&wire, 8, VFIO_USER_DMA_UNMAP, &request, sizeof(request));
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(fixture->client, 8, VFIO_USER_DMA_UNMAP, 0, &reply);
    assert_int_equal(reply.size, sizeof(request));
    assert_memory_equal(reply.payload, &request, sizeof(request));
}

static void test_unmap_ends_the_sharing(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(PAGE);

    assert_int_equal(map(fixture->client, PAGE, PAGE, RW, fd, 0), 0);
    assert_int_equal(server_mappings(&fixture->server), 1);
    assert_int_equal(vfu_client_dma_unmap(fixture->client, PAGE, PAGE), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAPS), 1);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAP_IOVA), PAGE);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAP_SIZE), PAGE);
    assert_int_equal(server_mappings(&fixture->server), 0);
    server_expect_descriptors(&fixture->server, before);
    assert_int_equal(guest_access(fixture->client, TEST_REG_GUEST_READ, PAGE, 8, 0), ENOENT);
    close(fd);
}

static void test_unmap_all(void **state)
{
    struct fixture *fixture = *state;
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(8 * PAGE);

    assert_int_equal(vfu_client_dma_unmap_all(fixture->client), 0);
    for (uint64_t i = 8; i-- > 0;) {
        assert_int_equal(map(fixture->client, i * 2 * PAGE, PAGE, RW, fd, i * PAGE), 0);
    }
    assert_int_equal(vfu_client_dma_unmap_all(fixture->client), 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAPS), 8);
    /* In ascending order. */
    assert_int_equal(device_get(fixture->client, TEST_REG_UNMAP_IOVA), 14 * PAGE);
    assert_int_equal(server_mappings(&fixture->server), 0);
    server_expect_descriptors(&fixture->server, before);
    assert_int_equal(vfu_client_dma_unmap_all(fixture->client), 0);
    close(fd);
}

/* SPDK's client does that. */
static void test_unmap_with_a_descriptor_succeeds_and_keeps_nothing(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = 0, .size = PAGE };
    size_t before = server_descriptors(&fixture->server);
    int fd = memory_create(PAGE);

    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(map(fixture->client, 0, PAGE, RW, fd, 0), 0);
        expect_answer(fixture->client, VFIO_USER_DMA_UNMAP, &request, sizeof(request), &fd, 1, 0);
    }
    server_expect_descriptors(&fixture->server, before);
    close(fd);
}

/* --- a device without DMA --- */

static void test_device_without_dma_accepts_and_ignores(void **state)
{
    const struct vfio_user_dma_unmap request = { .argsz = 24, .addr = 0, .size = PAGE };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct server server;
    struct vfu_client *client;
    struct wire wire;
    size_t before;
    int fd = memory_create(PAGE), event = eventfd(0, EFD_CLOEXEC);

    server_start(&server, "no-dma");
    client = server_negotiate(&server);
    before = server_descriptors(&server);
    assert_int_equal(map(client, 0, PAGE, RW, fd, 0), 0);
    assert_int_equal(map(client, 0, PAGE, RW, fd, 0), 0);
    assert_int_equal(map(client, 0, PAGE, RW, event, 0), 0); /* whatever it is */
    server_expect_descriptors(&server, before);
    assert_int_equal(server_mappings(&server), 0);
    /* The answer has its 24 bytes all the same. */
    wire_command(&wire, 1, VFIO_USER_DMA_UNMAP, &request, sizeof(request));
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(client, 1, VFIO_USER_DMA_UNMAP, 0, &reply);
    assert_int_equal(reply.size, sizeof(request));
    assert_memory_equal(reply.payload, &request, sizeof(request));
    vfu_client_free(client);
    server_stop(&server);
    close(event);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_map_short_requests_are_einval),
        PROTOCOL_TEST(test_map_with_access_flag_and_no_descriptor_is_einval),
        PROTOCOL_TEST(test_map_unknown_flags_are_einval),
        PROTOCOL_TEST(test_map_above_the_limit_is_enospc),
        PROTOCOL_TEST(test_map_size_0_is_einval),
        PROTOCOL_TEST(test_map_that_wraps_is_einval),
        PROTOCOL_TEST(test_map_again_is_a_success_that_changes_nothing),
        PROTOCOL_TEST(test_map_again_without_descriptor_is_a_success),
        PROTOCOL_TEST(test_map_again_with_a_difference_is_einval),
        PROTOCOL_TEST(test_map_overlap_is_einval),
        PROTOCOL_TEST(test_too_many_maps_are_einval),
        PROTOCOL_TEST(test_map_writable_of_a_read_only_file_is_eacces),
        PROTOCOL_TEST(test_map_beyond_the_end_of_the_file_is_einval),
        PROTOCOL_TEST(test_map_of_what_is_no_memory_is_refused),
        PROTOCOL_TEST(test_memory_is_shared),
        PROTOCOL_TEST(test_memory_stays_when_the_client_closes_its_descriptor),
        PROTOCOL_TEST(test_protection_is_what_the_flags_say),
        PROTOCOL_TEST(test_unaligned_map_is_shared_too),
        PROTOCOL_TEST(test_map_without_descriptor_has_no_address),
        PROTOCOL_TEST(test_map_for_file_access_has_no_address),
        PROTOCOL_TEST(test_more_than_one_descriptor_closes_the_rest),
        PROTOCOL_TEST(test_many_maps_of_one_file),
        PROTOCOL_TEST(test_maps_sent_back_to_back),
        PROTOCOL_TEST(test_unmap_bad_requests_are_einval),
        PROTOCOL_TEST(test_unmap_of_anything_but_a_map_is_enoent),
        PROTOCOL_TEST(test_unmap_answers_its_request),
        PROTOCOL_TEST(test_unmap_ends_the_sharing),
        PROTOCOL_TEST(test_memory_that_is_truncated_reads_as_zeros),
        PROTOCOL_TEST(test_memory_of_one_direction_that_is_truncated),
        PROTOCOL_TEST(test_unmap_all),
        PROTOCOL_TEST(test_unmap_with_a_descriptor_succeeds_and_keeps_nothing),
        cmocka_unit_test(test_device_without_dma_accepts_and_ignores),
    };

    return harness_run(argc, argv, tests);
}
