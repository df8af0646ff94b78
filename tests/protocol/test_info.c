/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, and what a client does with the answers. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BAR4_INFO_SIZE (32u + 16u + 2u * 16u)

/* Asks with a payload of @size bytes that begins with @head; @reply gets the answer. */
static void ask(struct vfu_client *client, uint16_t command, const void *head, size_t head_size,
                size_t size, struct vfu_client_message *reply)
{
    static const uint8_t zero[4096];
    struct wire wire;

    wire_command(&wire, 5, command, head, head_size);
    wire_add(&wire, zero, size - head_size);
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(client, 5, command, 0, reply);
}

/* --- DEVICE_GET_INFO --- */

static void test_device_info(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_device_info info;

    assert_int_equal(vfu_client_get_device_info(fixture->client, &info), 0);
    assert_int_equal(info.argsz, 16);
    assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
    assert_int_equal(info.num_regions, 9);
    assert_int_equal(info.num_irqs, 5);
}

static void test_device_info_ignores_what_else_is_asked(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_device_info odd = { 32, 0xffffffff, 1, 2 };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct vfio_user_device_info info;

    ask(fixture->client, VFIO_USER_DEVICE_GET_INFO, &odd, sizeof(odd), 32, &reply);
    assert_int_equal(reply.size, sizeof(info));
    memcpy(&info, reply.payload, sizeof(info));
    assert_int_equal(info.argsz, 16);
    assert_int_equal(info.flags, 3);
    assert_int_equal(info.num_regions, 9);
    assert_int_equal(info.num_irqs, 5);
}

static void test_device_info_bad_sizes_are_einval(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_device_info info = { .argsz = 16 };

    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_INFO, &info, 15, NULL, 0, EINVAL);
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_INFO, &info, 1, NULL, 0, EINVAL);
    info.argsz = 15;
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_INFO, &info, 16, NULL, 0, EINVAL);
    info.argsz = 0;
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_INFO, &info, 16, NULL, 0, EINVAL);
}

/* --- GET_IRQ_INFO --- */

static void test_irq_info(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t counts[] = { 1, TEST_DEVICE_MSI_COUNT, TEST_DEVICE_MSIX_COUNT, 1, 1 };

    for (uint32_t i = 0; i < 5; i++) {
        struct vfio_irq_info info;

        assert_int_equal(vfu_client_get_irq_info(fixture->client, i, &info), 0);
        assert_int_equal(info.argsz, 16);
        assert_int_equal(info.flags, VFIO_IRQ_INFO_EVENTFD);
        assert_int_equal(info.index, i);
        assert_int_equal(info.count, counts[i]);
    }
}

static void test_irq_info_ignores_what_else_is_asked(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_irq_info odd = { .argsz = 4096, .flags = 7, .index = 2, .count = 99 };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct vfio_irq_info info;

    ask(fixture->client, VFIO_USER_DEVICE_GET_IRQ_INFO, &odd, sizeof(odd), 200, &reply);
    assert_int_equal(reply.size, sizeof(info));
    memcpy(&info, reply.payload, sizeof(info));
    assert_int_equal(info.argsz, 16);
    assert_int_equal(info.flags, VFIO_IRQ_INFO_EVENTFD);
    assert_int_equal(info.count, TEST_DEVICE_MSIX_COUNT);
}

static void test_irq_info_bad_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_irq_info info = { .argsz = 16 };

    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, 15, NULL, 0, EINVAL);
    info.argsz = 15;
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0, EINVAL);
    info.argsz = 16;
    info.index = 5;
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0, EINVAL);
    info.index = UINT32_MAX;
    expect_answer(fixture->client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0, EINVAL);
}

/* --- GET_REGION_INFO --- */

static void test_region_info_of_plain_regions(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint32_t index;
        uint32_t flags;
        uint64_t size;
    } regions[] = {
        { 0, 3, TEST_DEVICE_BAR0_SIZE },
        { 1, 1, TEST_DEVICE_BAR1_SIZE },
        { 2, 2, TEST_DEVICE_BAR2_SIZE },
        { 3, 3, TEST_DEVICE_BAR3_SIZE },
        { 5, 0, 0 },
        { 6, 0, 0 },
        { 7, 3, TEST_DEVICE_CONFIG_SIZE },
        { 8, 3, TEST_DEVICE_VGA_SIZE },
    };

    for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
        const struct vfio_region_info question = { .argsz = 32, .index = regions[i].index };
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        struct vfio_region_info info;

        ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &question, 32, 32, &reply);
        assert_int_equal(reply.size, 32);
        assert_int_equal(reply.fds.count, 0);
        memcpy(&info, reply.payload, sizeof(info));
        assert_int_equal(info.argsz, 32);
        assert_int_equal(info.flags, regions[i].flags);
        assert_int_equal(info.index, regions[i].index);
        assert_int_equal(info.cap_offset, 0);
        assert_int_equal(info.size, regions[i].size);
        assert_int_equal(info.offset, 0);
    }
}

static void test_region_info_of_plain_region_stays_small(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_region_info question = { .argsz = 4064 };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    /* As SPDK's client asks. */
    ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &question, 32, 4064, &reply);
    assert_int_equal(reply.size, 32);
}

static void test_region_info_ignores_what_else_is_asked(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_region_info odd = {
        .argsz = 32,
        .flags = 0xffffffff,
        .index = 3,
        .cap_offset = 7,
        .size = 1,
        .offset = 2,
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct vfio_region_info info;

    ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &odd, 32, 32, &reply);
    memcpy(&info, reply.payload, sizeof(info));
    assert_int_equal(info.flags, 3);
    assert_int_equal(info.cap_offset, 0);
    assert_int_equal(info.size, TEST_DEVICE_BAR3_SIZE);
    assert_int_equal(info.offset, 0);
}

static void test_region_info_bad_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_region_info info = { .argsz = 32 };
    const uint16_t command = VFIO_USER_DEVICE_GET_REGION_INFO;

    expect_answer(fixture->client, command, &info, 31, NULL, 0, EINVAL);
    expect_answer(fixture->client, command, &info, 4, NULL, 0, EINVAL);
    info.argsz = 31;
    expect_answer(fixture->client, command, &info, 32, NULL, 0, EINVAL);
    info.argsz = 0;
    expect_answer(fixture->client, command, &info, 32, NULL, 0, EINVAL);
    info.argsz = 32;
    info.index = 9;
    expect_answer(fixture->client, command, &info, 32, NULL, 0, EINVAL);
    info.index = UINT32_MAX;
    expect_answer(fixture->client, command, &info, 32, NULL, 0, EINVAL);
}

/* api.md 4.5: too little room: the answer says how much it takes, and no capability, no descriptor;
 * clients ask again with that. */
static void test_region_info_truncated(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t rooms[] = { 32, 33, 48, BAR4_INFO_SIZE - 1 };

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        const struct vfio_region_info question = { .argsz = rooms[i], .index = 4 };
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        struct vfio_region_info info;

        ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &question, 32, 32, &reply);
        assert_int_equal(reply.size, rooms[i]);
        assert_int_equal(reply.fds.count, 0);
        memcpy(&info, reply.payload, sizeof(info));
        assert_int_equal(info.argsz, BAR4_INFO_SIZE);
        assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                                         VFIO_REGION_INFO_FLAG_MMAP);
        assert_int_equal(info.index, 4);
        assert_int_equal(info.cap_offset, 0);
        assert_int_equal(info.size, TEST_DEVICE_BAR4_SIZE);
        assert_int_equal(info.offset, TEST_DEVICE_BAR4_OFFSET);
        for (size_t at = sizeof(info); at < reply.size; at++) {
            assert_int_equal(reply.payload[at], 0);
        }
    }
}

static void check_whole_info(const struct vfu_client_message *reply)
{
    const struct vfio_region_sparse_mmap_area areas[] = {
        { TEST_DEVICE_AREA0_OFFSET, TEST_DEVICE_AREA0_SIZE },
        { TEST_DEVICE_AREA1_OFFSET, TEST_DEVICE_AREA1_SIZE },
    };
    const struct vfio_region_info_cap_sparse_mmap expected = {
        .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1, .next = 0 },
        .nr_areas = 2,
    };
    struct vfio_region_info info;

    assert_int_equal(reply->size, BAR4_INFO_SIZE);
    assert_int_equal(reply->fds.count, 1);
    memcpy(&info, reply->payload, sizeof(info));
    assert_int_equal(info.argsz, BAR4_INFO_SIZE);
    assert_int_equal(info.flags, 3 | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
    assert_int_equal(info.cap_offset, 32);
    assert_int_equal(info.size, TEST_DEVICE_BAR4_SIZE);
    assert_int_equal(info.offset, TEST_DEVICE_BAR4_OFFSET);
    assert_memory_equal(reply->payload + 32, &expected, sizeof(expected));
    assert_memory_equal(reply->payload + 48, areas, sizeof(areas));
}

static void test_region_info_with_exact_room(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_region_info question = { .argsz = BAR4_INFO_SIZE, .index = 4 };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &question, 32, 32, &reply);
    check_whole_info(&reply);
}

static void test_region_info_with_more_room(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_region_info question = { .argsz = 4064, .index = 4 };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    ask(fixture->client, VFIO_USER_DEVICE_GET_REGION_INFO, &question, 32, 4064, &reply);
    check_whole_info(&reply);
}

/* --- the descriptor of a region --- */

static void check_area(struct vfu_client *client, const struct vfu_client_region *region,
                       size_t area, uint8_t seed)
{
    uint8_t *memory = vfu_client_region_map(region, area, PROT_READ | PROT_WRITE);
    uint64_t last = region->areas[area].size - 1;
    uint64_t base = region->areas[area].offset;
    uint8_t byte = seed;

    assert_ptr_not_equal(memory, MAP_FAILED);
    /* From the device to the mapping, */
    assert_int_equal(vfu_client_region_write(client, 4, base, &byte, 1), 0);
    byte = (uint8_t)(seed + 1);
    assert_int_equal(vfu_client_region_write(client, 4, base + last, &byte, 1), 0);
    assert_int_equal(memory[0], seed);
    assert_int_equal(memory[last], seed + 1);
    /* and back. */
    memory[1] = (uint8_t)(seed + 2);
    assert_int_equal(vfu_client_region_read(client, 4, base + 1, &byte, 1), 0);
    assert_int_equal(byte, seed + 2);
    assert_return_code(munmap(memory, region->areas[area].size), errno);
}

static void test_areas_are_shared_with_the_device(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_REGION region;

    assert_int_equal(vfu_client_get_region_info(fixture->client, 4, &region), 0);
    assert_true(region.fd >= 0);
    assert_int_equal(region.area_count, 2);
    check_area(fixture->client, &region, 0, 10);
    check_area(fixture->client, &region, 1, 20);
}

static void test_descriptor_is_sent_as_often_as_asked_for(void **state)
{
    struct fixture *fixture = *state;
    size_t own = own_descriptors();
    size_t before;

    expect_served(fixture->client);
    before = server_descriptors(&fixture->server);
    for (size_t i = 0; i < 100; i++) {
        AUTO_VFU_CLIENT_REGION region;

        assert_int_equal(vfu_client_get_region_info(fixture->client, 4, &region), 0);
        assert_true(region.fd >= 0);
    }
    assert_int_equal(own_descriptors(), own);
    server_expect_descriptors(&fixture->server, before);
}

/* What clients can reach must not shrink under the device. */
static void test_shared_memory_cannot_be_truncated(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_REGION region;

    assert_int_equal(vfu_client_get_region_info(fixture->client, 4, &region), 0);
    assert_true(fcntl(region.fd, F_GET_SEALS) & F_SEAL_SHRINK);
    assert_int_equal(ftruncate(region.fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(vfu_client_region_read(fixture->client, 4, 0, &(uint32_t){ 0 }, 4), 0);
}

static void test_plain_region_has_no_descriptor(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_REGION region;

    assert_int_equal(vfu_client_get_region_info(fixture->client, 0, &region), 0);
    assert_int_equal(region.fd, -1);
    assert_int_equal(region.area_count, 0);
    assert_ptr_equal(vfu_client_region_map(&region, 0, PROT_READ), MAP_FAILED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_device_info),
        PROTOCOL_TEST(test_device_info_ignores_what_else_is_asked),
        PROTOCOL_TEST(test_device_info_bad_sizes_are_einval),
        PROTOCOL_TEST(test_irq_info),
        PROTOCOL_TEST(test_irq_info_ignores_what_else_is_asked),
        PROTOCOL_TEST(test_irq_info_bad_requests_are_einval),
        PROTOCOL_TEST(test_region_info_of_plain_regions),
        PROTOCOL_TEST(test_region_info_of_plain_region_stays_small),
        PROTOCOL_TEST(test_region_info_ignores_what_else_is_asked),
        PROTOCOL_TEST(test_region_info_bad_requests_are_einval),
        PROTOCOL_TEST(test_region_info_truncated),
        PROTOCOL_TEST(test_region_info_with_exact_room),
        PROTOCOL_TEST(test_region_info_with_more_room),
        PROTOCOL_TEST(test_areas_are_shared_with_the_device),
        PROTOCOL_TEST(test_descriptor_is_sent_as_often_as_asked_for),
        PROTOCOL_TEST(test_shared_memory_cannot_be_truncated),
        PROTOCOL_TEST(test_plain_region_has_no_descriptor),
    };

    return harness_run(argc, argv, tests);
}
