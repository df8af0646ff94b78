/* SPDX-License-Identifier: BSD-3-Clause */
/* REGION_WRITE_MULTI: protocol.md section 3.15. */
#include "tests/protocol/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG 7
#define LARGEST 43690u /* 8 + 24 * n bytes in a message of 1 MiB and 32 bytes */

static struct vfio_user_region_write write_of(uint32_t region, uint64_t offset, uint32_t count,
                                              uint64_t value)
{
    struct vfio_user_region_write write = { .offset = offset, .region = region, .count = count };

    memcpy(write.data, &value, sizeof(value));
    return write;
}

/* As a message; @wr_cnt and @payload are what it claims and what it has. */
static void multi(struct wire *wire, uint64_t wr_cnt, const struct vfio_user_region_write *writes,
                  size_t bytes)
{
    wire_begin(wire, 9, VFIO_USER_REGION_WRITE_MULTI);
    wire_add(wire, &wr_cnt, sizeof(wr_cnt));
    wire_add(wire, writes, bytes);
}

static void expect_done(struct vfu_client *client, const struct vfio_user_region_write *writes,
                        size_t count, uint64_t expected)
{
    uint64_t done = UINT64_MAX;

    assert_int_equal(vfu_client_region_write_multi(client, writes, count, &done), 0);
    assert_int_equal(done, expected);
}

static uint64_t scratch(struct vfu_client *client, uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(vfu_client_region_read(client, 0, offset, &value, sizeof(value)), 0);
    return value;
}

/* --- negotiation --- */

static void negotiate_with(struct vfu_client *client, const char *json,
                           struct vfu_client_message *reply)
{
    const uint16_t numbers[2] = { 0, 1 };
    struct wire wire;

    wire_begin(&wire, 1, VFIO_USER_VERSION);
    wire_add(&wire, numbers, sizeof(numbers));
    wire_add(&wire, json, strlen(json) + 1);
    assert_int_equal(vfu_client_raw_send(client, wire.bytes, wire.size, NULL, 0), 0);
    expect_reply(client, 1, VFIO_USER_VERSION, 0, reply);
}

static void expect_unavailable(struct vfu_client *client, const char *json)
{
    const struct vfio_user_region_write one = write_of(0, 0, 4, 1);
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct wire wire;

    negotiate_with(client, json, &reply);
    assert_null(memmem(reply.payload, reply.size, "write_multiple", 14));
    multi(&wire, 1, &one, sizeof(one));
    wire_expect(client, &wire, NULL, 0, EINVAL);
    assert_int_equal(device_get(client, TEST_REG_ACCESSES), 1);
}

static void test_unless_negotiated_it_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_unavailable(fixture->client, "{}");
}

static void test_declined_by_the_client_it_is_einval(void **state)
{
    struct fixture *fixture = *state;

    expect_unavailable(fixture->client, "{\"capabilities\":{\"write_multiple\":false}}");
}

static void test_of_another_type_it_is_not_negotiated(void **state)
{
    struct fixture *fixture = *state;

    expect_unavailable(fixture->client, "{\"capabilities\":{\"write_multiple\":1}}");
}

static void test_the_reply_confirms_it(void **state)
{
    struct fixture *fixture = *state;
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };

    negotiate_with(fixture->client, "{\"capabilities\":{\"write_multiple\":true}}", &reply);
    assert_non_null(memmem(reply.payload, reply.size, "\"write_multiple\":true", 21));
}

/* --- bad requests: nothing of them is done --- */

static void expect_einval(struct vfu_client *client, uint64_t wr_cnt,
                          const struct vfio_user_region_write *writes, size_t bytes)
{
    struct wire wire;

    multi(&wire, wr_cnt, writes, bytes);
    wire_expect(client, &wire, NULL, 0, EINVAL);
}

static void test_count_that_does_not_fit_the_message_is_einval(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_write writes[2] = { write_of(0, 0, 4, 1), write_of(0, 8, 4, 2) };
    const uint8_t few[8] = { 0 };

    expect_einval(fixture->client, 1, writes, sizeof(writes));
    expect_einval(fixture->client, 3, writes, sizeof(writes));
    expect_einval(fixture->client, 2, writes, sizeof(writes) - 1);
    expect_einval(fixture->client, 1, writes, sizeof(writes[0]) + 1);
    expect_einval(fixture->client, 0, writes, sizeof(writes[0]));
    /* 24 * n wraps to what the message has. */
    expect_einval(fixture->client, 0xaaaaaaaaaaaaaaacu, writes, sizeof(writes[0]));
    expect_einval(fixture->client, UINT64_MAX, writes, sizeof(writes));
    expect_answer(fixture->client, VFIO_USER_REGION_WRITE_MULTI, few, 7, NULL, 0, EINVAL);
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 1);
}

static void test_one_bad_write_keeps_all_from_being_done(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_write bad[] = {
        write_of(0, 0, 0, 0),                         /* no bytes */
        write_of(0, 0, 9, 0),                         /* more than there are */
        write_of(0, 0, UINT32_MAX, 0),                /* */
        write_of(9, 0, 4, 0),                         /* no such region */
        write_of(UINT32_MAX, 0, 4, 0),                /* */
        write_of(6, 0, 4, 0),                         /* one without size */
        write_of(1, 0, 4, 0),                         /* read-only */
        write_of(8, 0, 4, 0),                         /* that nobody handles */
        write_of(0, TEST_DEVICE_BAR0_SIZE - 3, 4, 0), /* beyond its end */
        write_of(0, UINT64_MAX - 1, 4, 0),            /* around the end of the numbers */
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct vfio_user_region_write writes[3] = {
            write_of(0, 0, 4, 1),
            bad[i],
            write_of(0, 8, 4, 1),
        };

        expect_einval(fixture->client, 3, writes, sizeof(writes));
    }
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 1);
    assert_int_equal(scratch(fixture->client, 0), 0);
}

/* --- good ones --- */

static void test_writes_are_done_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_region_write writes[100];

    for (uint32_t i = 0; i < 100; i++) {
        writes[i] = write_of(0, 0x40, 8, i);
    }
    expect_done(fixture->client, writes, 100, 100);
    assert_int_equal(scratch(fixture->client, 0x40), 99);
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 102);
}

static void test_only_the_counted_bytes_are_written(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_write writes[] = {
        write_of(0, 0x10, 1, 0x1111111111111111), write_of(0, 0x20, 2, 0x2222222222222222),
        write_of(0, 0x30, 3, 0x3333333333333333), write_of(0, 0x40, 4, 0x4444444444444444),
        write_of(0, 0x50, 7, 0x5555555555555555), write_of(0, 0x60, 8, 0x6666666666666666),
    };

    expect_done(fixture->client, writes, 6, 6);
    assert_int_equal(scratch(fixture->client, 0x10), 0x11);
    assert_int_equal(scratch(fixture->client, 0x20), 0x2222);
    assert_int_equal(scratch(fixture->client, 0x30), 0x333333);
    assert_int_equal(scratch(fixture->client, 0x40), 0x44444444);
    assert_int_equal(scratch(fixture->client, 0x50), 0x55555555555555);
    assert_int_equal(scratch(fixture->client, 0x60), 0x6666666666666666);
}

static void test_writes_reach_any_region(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_write writes[] = {
        write_of(2, 4, 4, 0x01020304),
        write_of(3, 0x10, 1, 0x7f),
        write_of(CONFIG, 0x3c, 1, 0x2a), /* the interrupt line */
        write_of(4, 0x8000, 8, 0x0807060504030201),
    };
    const uint32_t first = 0x01020304;
    uint64_t value = 0;

    expect_done(fixture->client, writes, 4, 4);
    assert_true(device_get(fixture->client, TEST_REG_WRITTEN) == test_device_hash(&first, 4));
    assert_int_equal(vfu_client_region_read(fixture->client, 3, 0x10, &value, 1), 0);
    assert_int_equal(value, 0x7f);
    assert_int_equal(vfu_client_region_read(fixture->client, CONFIG, 0x3c, &value, 1), 0);
    assert_int_equal(value, 0x2a);
    assert_int_equal(vfu_client_region_read(fixture->client, 4, 0x8000, &value, 8), 0);
    assert_int_equal(value, 0x0807060504030201);
}

static void test_no_writes_are_done_successfully(void **state)
{
    struct fixture *fixture = *state;

    expect_done(fixture->client, NULL, 0, 0);
}

static void test_the_first_refused_one_ends_it(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t refusing[] = { TEST_REG_FAILS, TEST_REG_SHORT, TEST_REG_NO_ERRNO };

    for (uint64_t i = 0; i < 3; i++) {
        const struct vfio_user_region_write writes[] = {
            write_of(0, 8 * i, 8, 1),
            write_of(0, 0x100, 8, i + 1),
            write_of(0, refusing[i], 8, 1),
            write_of(0, 0x100, 8, 99),
        };

        expect_done(fixture->client, writes, 4, 2);
        assert_int_equal(scratch(fixture->client, 0x100), i + 1);
        expect_done(fixture->client, writes + 2, 2, 0);
    }
}

static void test_largest_message_is_executed(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_region_write *writes = calloc(LARGEST, sizeof(*writes));

    assert_non_null(writes);
    for (uint32_t i = 0; i < LARGEST; i++) {
        writes[i] = write_of(0, 8 * (i % 64), 8, i);
    }
    expect_done(fixture->client, writes, LARGEST, LARGEST);
    assert_int_equal(scratch(fixture->client, 8 * ((LARGEST - 1) % 64)), LARGEST - 1);
    free(writes);
}

/* As QEMU sends them. */
static void test_without_reply_they_come_before_the_next_command(void **state)
{
    struct fixture *fixture = *state;
    struct vfio_user_region_write writes[200];

    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            writes[i] = write_of(0, 0x40, 4, 200 * round + i);
        }
        assert_int_equal(vfu_client_region_post_multi(fixture->client, writes, 200), 0);
    }
    assert_int_equal(scratch(fixture->client, 0x40), 9999);
    assert_int_equal(device_get(fixture->client, TEST_REG_ACCESSES), 10002);
}

static void test_without_reply_failures_are_silent(void **state)
{
    struct fixture *fixture = *state;
    const struct vfio_user_region_write bad = write_of(9, 0, 4, 1);
    const struct vfio_user_region_write refused = write_of(0, TEST_REG_FAILS, 4, 1);

    assert_int_equal(vfu_client_region_post_multi(fixture->client, &bad, 1), 0);
    assert_int_equal(vfu_client_region_post_multi(fixture->client, &refused, 1), 0);
    expect_served(fixture->client);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONNECTED_TEST(test_unless_negotiated_it_is_einval),
        CONNECTED_TEST(test_declined_by_the_client_it_is_einval),
        CONNECTED_TEST(test_of_another_type_it_is_not_negotiated),
        CONNECTED_TEST(test_the_reply_confirms_it),
        PROTOCOL_TEST(test_count_that_does_not_fit_the_message_is_einval),
        PROTOCOL_TEST(test_one_bad_write_keeps_all_from_being_done),
        PROTOCOL_TEST(test_writes_are_done_in_order),
        PROTOCOL_TEST(test_only_the_counted_bytes_are_written),
        PROTOCOL_TEST(test_writes_reach_any_region),
        PROTOCOL_TEST(test_no_writes_are_done_successfully),
        PROTOCOL_TEST(test_the_first_refused_one_ends_it),
        PROTOCOL_TEST(test_largest_message_is_executed),
        PROTOCOL_TEST(test_without_reply_they_come_before_the_next_command),
        PROTOCOL_TEST(test_without_reply_failures_are_silent),
    };

    return harness_run(argc, argv, tests);
}
