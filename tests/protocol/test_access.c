/* SPDX-License-Identifier: BSD-3-Clause */
/* REGION_READ and REGION_WRITE outside config space: protocol.md sections 3.9 and 3.10. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1024u * 1024u)

static void request(struct wire *wire, uint16_t command, uint32_t region, uint64_t offset,
                    uint32_t count, size_t data_size)
{
    static const uint8_t zero[512];
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = region,
        .count = count,
    };

    wire_begin(wire, 6, command);
    wire_add(wire, &access, sizeof(access));
    wire_add(wire, zero, data_size);
}

static void expect_read(struct vfu_client *client, uint32_t region, uint64_t offset, uint32_t count,
                        int error)
{
    struct wire wire;

    request(&wire, VFIO_USER_REGION_READ, region, offset, count, 0);
    wire_expect(client, &wire, NULL, 0, error);
}

static void expect_write(struct vfu_client *client, uint32_t region, uint64_t offset,
                         uint32_t count, size_t data_size, int error)
{
    struct wire wire;

    request(&wire, VFIO_USER_REGION_WRITE, region, offset, count, data_size);
    wire_expect(client, &wire, NULL, 0, error);
}

/* --- bad requests, in the order of the table --- */

static void test_short_requests_are_einval(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t payload[16] = { 0 };

    expect_answer(fixture->client, VFIO_USER_REGION_READ, payload, 15, NULL, 0, EINVAL);
    expect_answer(fixture->client, VFIO_USER_REGION_READ, payload, 1, NULL, 0, EINVAL);
    expect_answer(fixture->client, VFIO_USER_REGION_WRITE, payload, 15, NULL, 0, EINVAL);
}

static void test_count_above_the_limit_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 1, 0, MIB + 1, EINVAL);
    expect_read(fixture->client, 1, 0, UINT32_MAX, EINVAL);
    expect_write(fixture->client, 2, 0, MIB + 1, 8, EINVAL);
}

static void test_write_with_another_number_of_bytes_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_write(fixture->client, 0, 0, 4, 3, EINVAL);
    expect_write(fixture->client, 0, 0, 4, 5, EINVAL);
    expect_write(fixture->client, 0, 0, 4, 0, EINVAL);
    expect_write(fixture->client, 0, 0, 0, 4, EINVAL);
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 1);
}

static void test_bad_region_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 9, 0, 4, EINVAL);
    expect_read(fixture->client, UINT32_MAX, 0, 4, EINVAL);
    expect_write(fixture->client, 9, 0, 4, 4, EINVAL);
}

static void test_beyond_the_region_is_einval(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        uint32_t region;
        uint64_t offset;
        uint32_t count;
    } bad[] = {
        { 0, TEST_DEVICE_BAR0_SIZE, 1 },
        { 0, TEST_DEVICE_BAR0_SIZE - 1, 2 },
        { 0, TEST_DEVICE_BAR0_SIZE - 4, 8 },
        { 0, UINT64_MAX, 1 },
        { 0, UINT64_MAX - 3, 8 },
        { 3, TEST_DEVICE_BAR3_SIZE, 4 },
        { 4, TEST_DEVICE_BAR4_SIZE, 4 },
        { 5, 0, 1 }, /* absent */
        { 6, 0, 1 },
        { 1, TEST_DEVICE_BAR1_SIZE - 4, 8 },
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_read(fixture->client, bad[i].region, bad[i].offset, bad[i].count, EINVAL);
        expect_write(fixture->client, bad[i].region, bad[i].offset, bad[i].count, bad[i].count,
                     EINVAL);
    }
}

static void test_count_0_is_a_success_without_payload(void **state)
{
    struct fixture *fixture = *state;
    const uint16_t commands[] = { VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE };

    for (size_t i = 0; i < 2; i++) {
        AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
        struct wire wire;

        request(&wire, commands[i], 0, 16, 0, 0);
        assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
        expect_reply(fixture->client, 6, commands[i], 0, &reply);
        assert_int_equal(reply.size, 0);
    }
    /* The device was not asked. */
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 1);
}

static void test_region_without_handler_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 8, 0, 4, EINVAL);
    expect_write(fixture->client, 8, 0, 4, 4, EINVAL);
}

static void test_what_the_device_refuses_is_its_errno(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 0, TEST_REG_FAILS, 8, EIO);
    expect_write(fixture->client, 0, TEST_REG_FAILS, 8, 8, EIO);
    expect_read(fixture->client, 0, TEST_REG_END, 8, ENXIO);
    expect_served(fixture->client);
}

static void test_device_without_errno_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 0, TEST_REG_NO_ERRNO, 8, EINVAL);
    expect_write(fixture->client, 0, TEST_REG_NO_ERRNO, 8, 8, EINVAL);
    expect_served(fixture->client);
}

static void test_device_that_handles_less_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_read(fixture->client, 0, TEST_REG_SHORT, 8, EINVAL);
    expect_write(fixture->client, 0, TEST_REG_SHORT, 8, 8, EINVAL);
    expect_read(fixture->client, 0, TEST_REG_SHORT, 1, EINVAL);
}

static void test_region_flags_are_enforced(void **state)
{
    struct fixture *fixture = *state;

    expect_write(fixture->client, 1, 0, 4, 4, EINVAL);
    expect_read(fixture->client, 2, 0, 4, EINVAL);
    expect_read(fixture->client, 1, 0, 4, 0);
    expect_write(fixture->client, 2, 0, 4, 4, 0);
    assert_int_equal(device_get(fixture->client, TEST_REG_WRITES), 1);
}

/* --- good ones --- */

static void test_replies_repeat_the_request(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_access expected = { .offset = 5, .region = 1, .count = 3 };
    AUTO_VFU_CLIENT_MESSAGE read = { .size = 0 };
    AUTO_VFU_CLIENT_MESSAGE write = { .size = 0 };
    struct wire wire;

    request(&wire, VFIO_USER_REGION_READ, 1, 5, 3, 0);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(fixture->client, 6, VFIO_USER_REGION_READ, 0, &read);
    assert_int_equal(read.size, 16 + 3);
    assert_memory_equal(read.payload, &expected, 16);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(read.payload[16 + i], test_device_bar1_byte(5 + i));
    }
    request(&wire, VFIO_USER_REGION_WRITE, 3, 8, 4, 4);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(fixture->client, 6, VFIO_USER_REGION_WRITE, 0, &write);
    assert_int_equal(write.size, 16);
    assert_memory_equal(write.payload, wire.bytes + 16, 16);
}

static void test_bytes_after_a_read_request_are_ignored(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct wire wire;

    request(&wire, VFIO_USER_REGION_READ, 1, 0, 4, 100);
    assert_int_equal(vfu_client_raw_send(fixture->client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(fixture->client, 6, VFIO_USER_REGION_READ, 0, &reply);
    assert_int_equal(reply.size, 20);
    expect_served(fixture->client);
}

static void test_all_sizes_and_alignments(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t counts[] = { 1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 255 };
    uint8_t expected[TEST_DEVICE_SCRATCH_SIZE] = { 0 };
    uint8_t got[TEST_DEVICE_SCRATCH_SIZE];
    uint8_t seed = 1;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (uint64_t offset = 0; offset < 9; offset++) {
            for (uint32_t j = 0; j < counts[i]; j++) {
                expected[offset + j] = seed++;
            }
            assert_int_equal(
                vfu_client_region_write(fixture->client, 0, offset, expected + offset, counts[i]),
                0);
            assert_int_equal(vfu_client_region_read(fixture->client, 0, offset, got, counts[i]), 0);
            assert_memory_equal(got, expected + offset, counts[i]);
        }
    }
    assert_int_equal(vfu_client_region_read(fixture->client, 0, 0, got, sizeof(got)), 0);
    assert_memory_equal(got, expected, sizeof(got));
}

static void test_each_access_reaches_the_device_once(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t data[256] = { 0 };

    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(vfu_client_region_write(fixture->client, 0, i, data, sizeof(data)), 0);
    }
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 11);
}

static void test_io_region_and_its_last_byte(void **state)
{
    struct fixture *fixture = *state;
    uint8_t byte = 0x5a;

    assert_int_equal(
        vfu_client_region_write(fixture->client, 3, TEST_DEVICE_BAR3_SIZE - 1, &byte, 1), 0);
    byte = 0;
    assert_int_equal(
        vfu_client_region_read(fixture->client, 3, TEST_DEVICE_BAR3_SIZE - 1, &byte, 1), 0);
    assert_int_equal(byte, 0x5a);
}

static void test_largest_read(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *data = malloc(MIB);

    assert_non_null(data);
    assert_int_equal(vfu_client_region_read(fixture->client, 1, MIB, data, MIB), 0);
    for (size_t i = 0; i < MIB; i++) {
        assert_int_equal(data[i], test_device_bar1_byte(MIB + i));
    }
    free(data);
}

static void test_larger_reads_are_split_by_the_client(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *data = malloc(TEST_DEVICE_BAR1_SIZE);

    assert_non_null(data);
    assert_int_equal(vfu_client_region_read(fixture->client, 1, 0, data, TEST_DEVICE_BAR1_SIZE), 0);
    for (size_t i = 0; i < TEST_DEVICE_BAR1_SIZE; i += 4093) {
        assert_int_equal(data[i], test_device_bar1_byte(i));
    }
    free(data);
}

static void test_mappable_region_is_accessible_by_messages_throughout(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t offsets[] = { 0, TEST_DEVICE_AREA0_OFFSET - 2, TEST_DEVICE_AREA0_OFFSET,
                                 TEST_DEVICE_AREA1_OFFSET + 8, TEST_DEVICE_BAR4_SIZE - 4 };

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        uint32_t value = 0x1000 + (uint32_t)i, got = 0;

        assert_int_equal(vfu_client_region_write(fixture->client, 4, offsets[i], &value, 4), 0);
        assert_int_equal(vfu_client_region_read(fixture->client, 4, offsets[i], &got, 4), 0);
        assert_int_equal(got, value);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROTOCOL_TEST(test_short_requests_are_einval),
        PROTOCOL_TEST(test_count_above_the_limit_is_einval),
        PROTOCOL_TEST(test_write_with_another_number_of_bytes_is_einval),
        PROTOCOL_TEST(test_bad_region_is_einval),
        PROTOCOL_TEST(test_beyond_the_region_is_einval),
        PROTOCOL_TEST(test_count_0_is_a_success_without_payload),
        PROTOCOL_TEST(test_region_without_handler_is_einval),
        PROTOCOL_TEST(test_what_the_device_refuses_is_its_errno),
        PROTOCOL_TEST(test_device_without_errno_is_einval),
        PROTOCOL_TEST(test_device_that_handles_less_is_einval),
        PROTOCOL_TEST(test_region_flags_are_enforced),
        PROTOCOL_TEST(test_replies_repeat_the_request),
        PROTOCOL_TEST(test_bytes_after_a_read_request_are_ignored),
        PROTOCOL_TEST(test_all_sizes_and_alignments),
        PROTOCOL_TEST(test_each_access_reaches_the_device_once),
        PROTOCOL_TEST(test_io_region_and_its_last_byte),
        PROTOCOL_TEST(test_largest_read),
        PROTOCOL_TEST(test_larger_reads_are_split_by_the_client),
        PROTOCOL_TEST(test_mappable_region_is_accessible_by_messages_throughout),
    };

    return harness_run(argc, argv, tests);
}
