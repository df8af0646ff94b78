/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration, dirty pages, quiesce and scatter-gather lists: protocol.md sections 3.3, 3.16 to 3.18,
 * 4.6, 4.7 and 5.7; api.md sections 2.7, 4.8, 4.10 and 4.11.
 */
#include "tests/protocol/harness.h"

#include "tests/protocol/test-device-migration.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define MIB (1u << 20)
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)
#define FILE_IO VFIO_USER_F_DMA_REGION_FILE_IO

enum {
    STOP = VFIO_USER_DEVICE_STATE_STOP,
    RUNNING = VFIO_USER_DEVICE_STATE_RUNNING,
    STOP_COPY = VFIO_USER_DEVICE_STATE_STOP_COPY,
    RESUMING = VFIO_USER_DEVICE_STATE_RESUMING,
    PRE_COPY = VFIO_USER_DEVICE_STATE_PRE_COPY,
};

static uint64_t get(struct vfu_client *client, enum migration_register reg)
{
    return device_get(client, (enum test_register)reg);
}

static void set(struct vfu_client *client, enum migration_register reg, uint64_t value)
{
    device_set(client, (enum test_register)reg, value);
}

static void go_to(struct vfu_client *client, uint32_t state)
{
    uint32_t now;

    assert_int_equal(vfu_client_migration_set_state(client, state), 0);
    assert_int_equal(vfu_client_migration_get_state(client, &now), 0);
    assert_int_equal(now, state);
}

static void map(struct vfu_client *client, uint64_t iova, uint64_t size, uint32_t flags)
{
    int fd = memory_create(size);

    assert_int_equal(vfu_client_dma_map(client, iova, size, flags, fd, 0), 0);
    close(fd);
}

/* The device does this with guest memory and its scratch memory. */
static int guest_access(struct vfu_client *client, enum migration_register how, uint64_t iova,
                        uint64_t count)
{
    set(client, MIG_REG_ADDRESS, iova);
    set(client, MIG_REG_COUNT, count);
    set(client, how, 1);
    return (int)get(client, MIG_REG_RESULT);
}

/* --- migration --- */

static void test_version_tells_of_migration(void **state)
{
    struct fixture *fixture = *state;
    const struct vfu_client_capabilities *server = vfu_client_server_capabilities(fixture->client);

    assert_int_equal(server->migration_pgsize, sysconf(_SC_PAGESIZE));
}

/* protocol.md 5.7: the source's steps, with the device's data in pieces. */
static void test_source_from_start_to_end(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    uint8_t *data = malloc(MIB);
    uint64_t flags, total = 3 * MIB + 77, position = 0;
    uint32_t n;

    assert_non_null(data);
    assert_int_equal(
        vfu_client_feature_get(client, VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0, &flags, 8), 0);
    assert_int_equal(flags, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY);
    set(client, MIG_REG_LEFT, total);
    go_to(client, PRE_COPY);
    assert_int_equal(get(client, MIG_REG_STATE), VFU_MIGR_STATE_PRE_COPY);
    assert_int_equal(vfu_client_migration_read(client, data, 1000, &n), 0);
    assert_int_equal(n, 1000);
    expect_served(client);
    go_to(client, STOP_COPY);
    position = n;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(data[i], migration_byte(i));
    }
    while (vfu_client_migration_read(client, data, MIB, &n) == 0 && n > 0) {
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(data[i], migration_byte(position + i));
        }
        position += n;
    }
    assert_int_equal(position, total);
    go_to(client, STOP);
    go_to(client, RUNNING);
    assert_int_equal(get(client, MIG_REG_STATE), VFU_MIGR_STATE_RUNNING);
    assert_int_equal(get(client, MIG_REG_ARCS), 4);
    free(data);
}

static void test_destination_from_start_to_end(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    uint8_t *data = malloc(MIB);

    assert_non_null(data);
    memset(data, 3, MIB);
    go_to(client, RESUMING);
    assert_int_equal(vfu_client_migration_write(client, data, MIB), 0);
    assert_int_equal(vfu_client_migration_write(client, data, 0), 0);
    assert_int_equal(vfu_client_migration_write(client, data, 5), 0);
    go_to(client, RUNNING);
    assert_int_equal(get(client, MIG_REG_TAKEN), MIB + 5);
    assert_int_equal(get(client, MIG_REG_SUM), 3 * (MIB + 5));
    free(data);
}

static void test_refused_arcs(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    uint32_t now;

    set(client, MIG_REG_FAIL, ENOSPC);
    assert_int_equal(vfu_client_migration_set_state(client, STOP), ENOSPC);
    assert_int_equal(vfu_client_migration_get_state(client, &now), 0);
    assert_int_equal(now, RUNNING);
    for (uint32_t bad = 5; bad < 12; bad += bad == 5 ? 2 : 1) {
        assert_int_equal(vfu_client_migration_set_state(client, bad), EINVAL);
    }
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_ERROR), EINVAL);
    go_to(client, STOP_COPY);
    assert_int_equal(vfu_client_migration_set_state(client, PRE_COPY), EINVAL);
    go_to(client, STOP_COPY);
}

/* A stopped device is told of nothing but its migration; a reset is the way out. */
static void test_stopped_device(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    struct vfio_user_device_info info;
    char byte;

    go_to(client, STOP);
    assert_int_equal(vfu_client_get_device_info(client, &info), EINVAL);
    assert_int_equal(vfu_client_dma_map(client, 0, PAGE, RW, -1, 0), EINVAL);
    assert_int_equal(vfu_client_dma_unmap_all(client), EINVAL);
    assert_int_equal(vfu_client_irq_disable(client, VFU_DEV_MSIX_IRQ), EINVAL);
    expect_served(client);
    go_to(client, STOP_COPY);
    assert_int_equal(vfu_client_region_read(client, 0, 0, &byte, 1), EINVAL);
    assert_int_equal(vfu_client_reset_device(client), 0);
    expect_served(client);
    assert_int_equal(vfu_client_get_device_info(client, &info), 0);
    go_to(client, RUNNING);
}

static void test_probes(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    assert_int_equal(vfu_client_feature_probe(client, VFIO_DEVICE_FEATURE_MIGRATION, 0), 0);
    assert_int_equal(vfu_client_feature_probe(client, VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
                                              VFIO_DEVICE_FEATURE_SET),
                     0);
    assert_int_equal(vfu_client_feature_probe(client, VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
                                              VFIO_DEVICE_FEATURE_GET),
                     EINVAL);
    assert_int_equal(vfu_client_feature_probe(client, 11, 0), EINVAL); /* DMA_BUF, of some builds */
}

/* --- guest memory and dirty pages --- */

static void check_access(struct vfu_client *client, enum migration_register read,
                         enum migration_register write, uint32_t flags, uint64_t iova)
{
    uint8_t bytes[100], back[100];

    map(client, iova, 4 * PAGE, RW | flags);
    memset(bytes, 0x3c, sizeof(bytes));
    assert_int_equal(vfu_client_region_write(client, 0, 0, bytes, sizeof(bytes)), 0);
    assert_int_equal(guest_access(client, write, iova + PAGE - 50, sizeof(bytes)), 0);
    memset(back, 0, sizeof(back));
    assert_int_equal(vfu_client_region_write(client, 0, 0, back, sizeof(back)), 0);
    assert_int_equal(guest_access(client, read, iova + PAGE - 50, sizeof(bytes)), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 0, back, sizeof(back)), 0);
    assert_memory_equal(back, bytes, sizeof(bytes));
    assert_int_equal(get(client, MIG_REG_ENTRIES), 1);
}

static void test_access_to_mapped_memory(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    check_access(client, MIG_REG_MAPPED_READ, MIG_REG_MAPPED_WRITE, 0, 0);
    check_access(client, MIG_REG_COPY_READ, MIG_REG_COPY_WRITE, 0, 0x10000);
}

static void test_access_to_memory_as_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    check_access(client, MIG_REG_COPY_READ, MIG_REG_COPY_WRITE, FILE_IO, 0);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, 0, 8), EFAULT);
}

static void test_access_over_several_regions(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    map(client, 0, PAGE, RW);
    map(client, PAGE, PAGE, RW);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, PAGE - 10, 20), 0);
    assert_int_equal(get(client, MIG_REG_ENTRIES), 2);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, 2 * PAGE - 10, 20), ENOENT);
    assert_int_equal(guest_access(client, MIG_REG_COPY_WRITE, PAGE - 10, 20), ENOTSUP);
    assert_int_equal(vfu_client_dma_unmap(client, PAGE, PAGE), 0);
    map(client, PAGE, PAGE, VFIO_USER_F_DMA_REGION_READ);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, PAGE - 10, 20), EACCES);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, PAGE - 10, 20), 0);
}

/* A client that allows no access does not make the device die of it. */
static void test_access_that_is_not_allowed(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    map(client, 0, PAGE, 0);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, 0, 8), EFAULT);
    assert_int_equal(guest_access(client, MIG_REG_COPY_READ, 0, 8), EPERM);
    expect_served(client);
}

static void test_dirty_pages(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    uint64_t bits[4];

    map(client, 0x100000, 64 * PAGE, RW);
    map(client, 0x100000 + 64 * PAGE, 64 * PAGE, RW | FILE_IO);
    assert_int_equal(vfu_client_dirty_report(client, 0x100000, 64 * PAGE, PAGE, bits), EINVAL);
    assert_int_equal(vfu_client_dirty_start(client, PAGE), 0);
    assert_int_equal(vfu_client_dirty_start(client, 2 * PAGE), EINVAL);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, 0x100000 + 4 * PAGE - 1, 2), 0);
    assert_int_equal(guest_access(client, MIG_REG_COPY_WRITE, 0x100000 + 63 * PAGE, 8), 0);
    assert_int_equal(guest_access(client, MIG_REG_COPY_WRITE, 0x100000 + 64 * PAGE, 8), 0);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, 0x100000, 8), 0);
    /* Both regions at once, then what is left. */
    assert_int_equal(vfu_client_dirty_report(client, 0x100000 + PAGE, 127 * PAGE, PAGE, bits), 0);
    assert_int_equal(bits[0], 1ull << 2 | 1ull << 3 | 1ull << 62 | 1ull << 63);
    assert_int_equal(bits[1], 0);
    assert_int_equal(vfu_client_dirty_report(client, 0x100000, 128 * PAGE, PAGE, bits), 0);
    assert_int_equal(bits[0] | bits[1], 0);
    assert_int_equal(vfu_client_dirty_report(client, 0x900000, PAGE, PAGE, bits), ENOENT);
    /* And in one with the end of a region. */
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, 0x100000 + 9 * PAGE, 8), 0);
    assert_int_equal(vfu_client_dma_unmap_dirty(client, 0x100000, 64 * PAGE, 2 * PAGE, bits), 0);
    assert_int_equal(bits[0], 1ull << 4);
    assert_int_equal(vfu_client_dirty_stop(client), 0);
    assert_int_equal(vfu_client_dirty_stop(client), 0);
    assert_int_equal(vfu_client_dirty_report(client, 0x100000 + 64 * PAGE, PAGE, PAGE, bits),
                     EINVAL);
}

/* --- quiesce --- */

/* api.md 4.8: whatever the device says, there is an answer. */
static void test_quiet_later(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    int fd = memory_create(PAGE);
    uint64_t asked = get(client, MIG_REG_ASKED);
    uint32_t now;

    set(client, MIG_REG_QUIESCE, MIG_QUIET_LATER);
    assert_int_equal(vfu_client_dma_map(client, 0, PAGE, RW, fd, 0), 0);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, 0, 8), 0);
    assert_int_equal(vfu_client_dirty_start(client, PAGE), 0);
    assert_int_equal(vfu_client_migration_set_state(client, STOP), 0);
    assert_int_equal(vfu_client_migration_get_state(client, &now), 0);
    assert_int_equal(now, STOP);
    assert_int_equal(vfu_client_reset_device(client), 0);
    assert_int_equal(vfu_client_dma_unmap(client, 0, PAGE), 0);
    assert_int_equal(get(client, MIG_REG_ASKED), asked + 5);
    close(fd);
}

/* api.md 7.3 W37. */
static void test_not_quiet_at_all(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;

    set(client, MIG_REG_QUIESCE, EIO);
    assert_int_equal(vfu_client_dma_map(client, 0, PAGE, RW, -1, 0), EIO);
    assert_int_equal(device_get(client, TEST_REG_MAPS), 0);
    set(client, MIG_REG_REFUSE, EPERM);
    assert_int_equal(vfu_client_reset_device(client), EPERM);
    assert_int_equal(device_get(client, TEST_REG_RESETS), 0);
    assert_int_equal(vfu_client_dma_map(client, 0, PAGE, RW, -1, 0), 0);
    expect_served(client);
}

/* Commands that are sent meanwhile wait, and are answered in order. */
static void test_commands_behind_a_parked_one(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    const struct vfio_user_dma_map request = { .argsz = 32, .flags = RW, .size = PAGE };
    const struct vfu_client_request map_request = {
        .command = VFIO_USER_DMA_MAP,
        .head = &request,
        .head_size = sizeof(request),
    };
    const struct vfu_client_request reset = { .command = VFIO_USER_DEVICE_RESET };
    uint16_t ids[3];

    set(client, MIG_REG_QUIESCE, MIG_QUIET_LATER);
    assert_int_equal(vfu_client_submit(client, &map_request, &ids[0]), 0);
    assert_int_equal(vfu_client_submit(client, &reset, &ids[1]), 0);
    assert_int_equal(vfu_client_submit(client, &map_request, &ids[2]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vfu_client_collect(client, ids[i], NULL), 0);
    }
    expect_served(client);
}

/* The end of a session waits as well; standalone, the next client finds a fresh device. */
static void check_next_client(struct fixture *fixture, enum migration_register reg, uint64_t value)
{
    struct vfu_client *client = fixture->client;
    uint32_t now;

    map(client, 0, PAGE, RW);
    assert_int_equal(vfu_client_dirty_start(client, PAGE), 0);
    go_to(client, PRE_COPY);
    set(client, reg, value);
    vfu_client_free(client);
    client = server_negotiate(&fixture->server);
    fixture->client = client;
    assert_int_equal(vfu_client_migration_get_state(client, &now), 0);
    assert_int_equal(now, RUNNING);
    if (harness_mode() == SERVER_STANDALONE) {
        assert_int_equal(device_get(client, TEST_REG_UNMAPS), 1);
        assert_int_equal(device_get(client, TEST_REG_LOST), 1);
    }
    assert_int_equal(vfu_client_dma_map(client, 0, 64, RW, -1, 0), 0);
}

static void test_end_of_a_session_later(void **state)
{
    check_next_client(*state, MIG_REG_QUIESCE, MIG_QUIET_LATER);
}

static void test_end_of_a_session_refused_once(void **state)
{
    check_next_client(*state, MIG_REG_REFUSE, TEST_REFUSED_AT_THE_END);
}

/* The client takes guest memory away while it reads the device's data. */
static void test_memory_that_goes_away_while_data_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct vfu_client *client = fixture->client;
    int going = memory_create(4 * PAGE);
    uint8_t *data = malloc(MIB);
    uint64_t total = 0;
    uint32_t n = 1;

    assert_non_null(data);
    assert_int_equal(vfu_client_dma_map(client, 0, 4 * PAGE, RW, going, 0), 0);
    map(client, 4 * PAGE, PAGE, RW);
    set(client, MIG_REG_LEFT, MIB + 5);
    go_to(client, PRE_COPY);
    assert_int_equal(vfu_client_migration_read(client, data, 1000, &n), 0);
    total += n;
    assert_return_code(ftruncate(going, 0), errno);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, PAGE, 16), 0);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, PAGE, 16), EFAULT);
    assert_int_equal(guest_access(client, MIG_REG_COPY_WRITE, 0, 16), EFAULT);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_WRITE, 4 * PAGE, 16), 0);
    go_to(client, STOP_COPY);
    while (vfu_client_migration_read(client, data, MIB, &n) == 0 && n > 0) {
        total += n;
    }
    assert_int_equal(total, MIB + 5);
    go_to(client, STOP);
    go_to(client, RUNNING);
    assert_int_equal(guest_access(client, MIG_REG_MAPPED_READ, PAGE, 16), EFAULT);
    assert_int_equal(guest_access(client, MIG_REG_COPY_READ, 4 * PAGE, 16), 0);
    expect_served(client);
    free(data);
    close(going);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_version_tells_of_migration),
        PROTOCOL_TEST(test_source_from_start_to_end),
        PROTOCOL_TEST(test_destination_from_start_to_end),
        PROTOCOL_TEST(test_refused_arcs),
        PROTOCOL_TEST(test_stopped_device),
        PROTOCOL_TEST(test_probes),
        PROTOCOL_TEST(test_access_to_mapped_memory),
        PROTOCOL_TEST(test_access_to_memory_as_a_file),
        PROTOCOL_TEST(test_access_over_several_regions),
        PROTOCOL_TEST(test_access_that_is_not_allowed),
        PROTOCOL_TEST(test_dirty_pages),
        PROTOCOL_TEST(test_quiet_later),
        PROTOCOL_TEST(test_not_quiet_at_all),
        PROTOCOL_TEST(test_commands_behind_a_parked_one),
        PROTOCOL_TEST(test_end_of_a_session_later),
        PROTOCOL_TEST(test_end_of_a_session_refused_once),
        PROTOCOL_TEST(test_memory_that_goes_away_while_data_is_read),
    };

    return harness_run(argc, argv, tests);
}
