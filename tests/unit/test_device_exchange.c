/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to the client from outside of callbacks, where half a command may be there, or half a
 * reply. One thread plays both sides: what the client answers lies ready before the device asks.
 */
#include "device/inbox.h"
#include "device/progress.h"
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST 0x10000u
#define LARGE (1u << 20)

#define REPLY VFIO_USER_F_TYPE_REPLY

static uint32_t count_inside; /* of requests, as seen in the last callback */

static ssize_t access_region(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    count_inside = *ctx->requests;
    if (!is_write) {
        memset(buf, 0x3c, count);
    }
    return (ssize_t)count;
}

static int setup(void **state)
{
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .addr = GUEST, .size = LARGE };
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, NULL, NULL), 0);
    assert_int_equal(vfu_setup_region(device->ctx, 0, LARGE, access_region,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    device_attach(device);
    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0), 0);
    return 0;
}

/* Returns 0 or the errno. */
static int copy(struct device *device, void *data, size_t count, bool is_write)
{
    _Alignas(max_align_t) char sg[64];

    assert_int_equal(vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)GUEST, count, (dma_sg_t *)sg, 1,
                                     is_write ? PROT_WRITE : PROT_READ),
                     1);
    errno = 0;
    return (is_write ? vfu_sgl_write(device->ctx, (dma_sg_t *)sg, 1, data, 0)
                     : vfu_sgl_read(device->ctx, (dma_sg_t *)sg, 1, data, 0)) == 0
               ? 0
               : errno;
}

static void say(struct device *device, uint16_t id, uint16_t command, uint32_t flags,
                const void *payload, size_t size)
{
    const struct vfio_user_header header = {
        .msg_id = id,
        .cmd = command,
        .msg_size = (uint32_t)(sizeof(header) + size),
        .flags = flags,
    };

    device_send(device, &header, sizeof(header), NULL, 0);
    if (size > 0) {
        device_send(device, payload, size, NULL, 0);
    }
}

/* The answer to DMA_READ @id of 8 bytes. */
static void say_answer(struct device *device, uint16_t id, uint64_t value)
{
    const uint64_t payload[3] = { GUEST, 8, value };

    say(device, id, VFIO_USER_DMA_READ, REPLY, payload, sizeof(payload));
}

static void say_get_info(struct device *device, uint16_t id)
{
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };

    say(device, id, VFIO_USER_DEVICE_GET_INFO, 0, &ask, sizeof(ask));
}

/* Receives the header of what the device says next; the rest is skipped. */
static struct vfio_user_header hear(struct device *device)
{
    struct vfio_user_header header;
    uint8_t rest[4096];

    assert_int_equal(read(device->client, &header, sizeof(header)), sizeof(header));
    assert_true(header.msg_size - sizeof(header) <= sizeof(rest));
    if (header.msg_size > sizeof(header)) {
        assert_int_equal(read(device->client, rest, header.msg_size - sizeof(header)),
                         header.msg_size - sizeof(header));
    }
    return header;
}

static void expect(struct device *device, uint16_t id, uint16_t command, uint32_t flags)
{
    struct vfio_user_header header = hear(device);

    assert_int_equal(header.msg_id, id);
    assert_int_equal(header.cmd, command);
    assert_int_equal(header.flags, flags);
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    return poll(&poll_fd, 1, 0) == 1;
}

/* api.md 2.7: EBADF */
static void test_without_client_is_ebadf(void **state)
{
    struct device *device = *state;
    _Alignas(max_align_t) char sg[64];
    uint8_t data[8];

    assert_int_equal(
        vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)GUEST, 8, (dma_sg_t *)sg, 1, PROT_READ), 1);
    device->ctx->attached = false;
    assert_int_equal(vfu_sgl_read(device->ctx, (dma_sg_t *)sg, 1, data, 0), -1);
    assert_int_equal(errno, EBADF);
    device->ctx->attached = true;
}

static void test_answer_that_lies_ready(void **state)
{
    struct device *device = *state;
    uint64_t value = 0;

    say_answer(device, 0, 77);
    assert_int_equal(copy(device, &value, 8, false), 0);
    assert_int_equal(value, 77);
    expect(device, 0, VFIO_USER_DMA_READ, 0);
    /* Nothing is left. */
    assert_false(is_readable(vfu_get_poll_fd(device->ctx)));
    assert_int_equal(vfu_run_ctx(device->ctx), 0);
}

/* What the watchdog of the broker goes by. */
static void test_waiting_for_the_client_is_no_hang(void **state)
{
    struct device *device = *state;
    uint32_t *requests = device->ctx->requests;
    uint32_t before = *requests;
    uint64_t value;

    assert_int_equal(before % 2, 0);
    say_answer(device, 0, 1);
    assert_int_equal(copy(device, &value, 8, false), 0);
    assert_int_equal(*requests, before);
    expect(device, 0, VFIO_USER_DMA_READ, 0);
    progress_step(requests); /* as in a callback */
    say_answer(device, 1, 1);
    assert_int_equal(copy(device, &value, 8, false), 0);
    assert_int_equal(*requests, before + 3);
    progress_step(requests);
    expect(device, 1, VFIO_USER_DMA_READ, 0);
}

static void test_request_is_counted_on_both_sides(void **state)
{
    const struct vfio_user_region_access access = { .count = 8 };
    struct device *device = *state;

    for (int i = 0; i < 3; i++) {
        uint32_t before = *device->ctx->requests;

        say(device, 9, VFIO_USER_REGION_READ, 0, &access, sizeof(access));
        assert_int_equal(vfu_run_ctx(device->ctx), 1);
        assert_int_equal(count_inside, before + 1);
        assert_int_equal(*device->ctx->requests, before + 2);
        assert_int_equal(before % 2, 0);
        expect(device, 9, VFIO_USER_REGION_READ, REPLY);
    }
}

/* The program's descriptor tells of commands that no socket holds any more. */
static void test_commands_in_between_wake_the_program(void **state)
{
    struct device *device = *state;
    uint64_t value;

    for (uint16_t i = 0; i < 3; i++) {
        say_get_info(device, (uint16_t)(50 + i));
    }
    say_answer(device, 0, 1);
    assert_int_equal(copy(device, &value, 8, false), 0);
    expect(device, 0, VFIO_USER_DMA_READ, 0);
    for (uint16_t i = 0; i < 3; i++) {
        assert_true(is_readable(vfu_get_poll_fd(device->ctx)));
        assert_int_equal(vfu_run_ctx(device->ctx), 1);
        expect(device, (uint16_t)(50 + i), VFIO_USER_DEVICE_GET_INFO, REPLY);
    }
    assert_int_equal(vfu_run_ctx(device->ctx), 0);
    assert_false(is_readable(vfu_get_poll_fd(device->ctx)));
}

/* Half a command is there: it goes on first. */
static void test_half_a_command_before_the_answer(void **state)
{
    struct device *device = *state;
    const struct vfio_user_device_info ask = { .argsz = sizeof(ask) };

    for (uint16_t round = 0; round < 3; round++) {
        const struct vfio_user_header header = {
            .msg_id = 60,
            .cmd = VFIO_USER_DEVICE_GET_INFO,
            .msg_size = sizeof(header) + sizeof(ask),
        };
        const size_t first = round == 0 ? 1 : round == 1 ? sizeof(header) : sizeof(header) + 3;
        uint8_t message[sizeof(header) + sizeof(ask)];
        uint64_t value = 0;

        memcpy(message, &header, sizeof(header));
        memcpy(message + sizeof(header), &ask, sizeof(ask));
        device_send(device, message, first, NULL, 0);
        assert_int_equal(vfu_run_ctx(device->ctx), 0);
        device_send(device, message + first, sizeof(message) - first, NULL, 0);
        say_answer(device, round, 5);
        assert_int_equal(copy(device, &value, 8, false), 0);
        assert_int_equal(value, 5);
        expect(device, round, VFIO_USER_DMA_READ, 0);
        assert_int_equal(vfu_run_ctx(device->ctx), 1);
        expect(device, 60, VFIO_USER_DEVICE_GET_INFO, REPLY);
    }
}

/* The half that is there came with descriptors: they stay with it. */
static void test_half_a_command_keeps_its_descriptors(void **state)
{
    struct device *device = *state;
    const struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFU_DEV_ERR_IRQ,
        .count = 1,
    };
    const struct vfio_user_header header = {
        .msg_id = 61,
        .cmd = VFIO_USER_DEVICE_SET_IRQS,
        .msg_size = sizeof(header) + 20,
    };
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    size_t before = device_count_descriptors();
    uint64_t value;

    device_send(device, &header, sizeof(header), &event, 1);
    assert_int_equal(vfu_run_ctx(device->ctx), 0);
    device_send(device, &set, 20, NULL, 0);
    say_answer(device, 0, 5);
    assert_int_equal(copy(device, &value, 8, false), 0);
    expect(device, 0, VFIO_USER_DMA_READ, 0);
    assert_int_equal(vfu_run_ctx(device->ctx), 1);
    expect(device, 61, VFIO_USER_DEVICE_SET_IRQS, REPLY);
    assert_int_equal(device_count_descriptors(), before + 1);
    close(event);
}

/* A reply that the client has not read to its end cannot be cut in two by a command. */
static void *read_everything(void *opaque)
{
    struct device *device = opaque;
    static uint8_t bytes[LARGE + 4096];
    size_t have = 0;
    const size_t reply = sizeof(struct vfio_user_header) + 16 + LARGE;

    while (have < reply + 32) {
        struct pollfd fd = { .fd = device->client, .events = POLLIN };
        ssize_t n;

        poll(&fd, 1, 10000);
        n = read(device->client, bytes + have, sizeof(bytes) - have);
        if (n <= 0) {
            return NULL;
        }
        have += (size_t)n;
    }
    for (size_t i = 32; i < reply; i++) {
        if (bytes[i] != 0x3c) {
            return NULL;
        }
    }
    return bytes + reply;
}

static void test_command_follows_the_rest_of_a_reply(void **state)
{
    struct device *device = *state;
    const struct vfio_user_region_access access = { .count = LARGE };
    struct vfio_user_header header;
    pthread_t reader;
    uint64_t value = 0;
    void *command;

    say(device, 70, VFIO_USER_REGION_READ, 0, &access, sizeof(access));
    assert_int_equal(vfu_run_ctx(device->ctx), 1);
    say_answer(device, 0, 9);
    assert_int_equal(pthread_create(&reader, NULL, read_everything, device), 0);
    assert_int_equal(copy(device, &value, 8, false), 0);
    assert_int_equal(value, 9);
    assert_int_equal(pthread_join(reader, &command), 0);
    assert_non_null(command);
    memcpy(&header, command, sizeof(header));
    assert_int_equal(header.cmd, VFIO_USER_DMA_READ);
    assert_int_equal(header.flags, 0);
}

/* W41: the session ends in vfu_run_ctx(), not under the caller. */
static int lost;

static int count_lost(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    lost += type == VFU_RESET_LOST_CONN;
    return 0;
}

static void test_lost_client_is_left_to_vfu_run_ctx(void **state)
{
    struct device *device = *state;
    uint64_t value;

    lost = 0;
    vfu_setup_device_reset_cb(device->ctx, count_lost);
    close(device->client);
    device->client = -1;
    assert_int_equal(copy(device, &value, 8, false), ENOTCONN);
    assert_int_equal(copy(device, &value, 8, true), ENOTCONN);
    assert_int_equal(lost, 0);
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(lost, 1);
    device_attach(device);
}

/* So does one that breaks the protocol, and whose socket has nothing more to say. */
static void test_broken_stream_wakes_the_program(void **state)
{
    struct device *device = *state;
    struct pollfd poll_fd = { .fd = vfu_get_poll_fd(device->ctx), .events = POLLIN };
    uint64_t value;

    say(device, 0, VFIO_USER_DMA_READ, 2, NULL, 0);
    assert_int_equal(copy(device, &value, 8, false), EINVAL);
    assert_int_equal(poll(&poll_fd, 1, 10000), 1);
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
}

/* What the commands in between brought goes with the client. */
static void test_end_of_the_session_drops_what_waits(void **state)
{
    struct device *device = *state;
    int event = eventfd(0, EFD_CLOEXEC);
    size_t before = device_count_descriptors();
    const struct vfio_user_header header = {
        .cmd = VFIO_USER_DEVICE_SET_IRQS,
        .msg_size = sizeof(header) + 4,
    };
    uint64_t value;

    for (int i = 0; i < 5; i++) {
        device_send(device, &header, sizeof(header), &event, 1);
        device_send(device, "    ", 4, NULL, 0);
    }
    say_answer(device, 0, 1);
    assert_int_equal(copy(device, &value, 8, false), 0);
    assert_int_equal(device_count_descriptors(), before + 5);
    vfu_destroy_ctx(device->ctx);
    device->ctx = NULL;
    /* Gone are also epoll, timer, listener, client and zeros. */
    assert_int_equal(device_count_descriptors(), before - 5);
    close(event);
}

/* --- threads --- */

static void *claim(void *opaque)
{
    struct device *device = opaque;
    uint64_t value;

    return (void *)(intptr_t)copy(device, &value, 8, false);
}

/* In a context that waits, the thread inside has the connection. */
static void test_another_thread_of_a_waiting_context_is_ebusy(void **state)
{
    struct device *device = *state;
    unsigned long before;
    pthread_t thread;
    void *result;

    assert_true(context_claim(device->ctx, &before));
    device->ctx->nonblocking = false;
    assert_int_equal(pthread_create(&thread, NULL, claim, device), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, EBUSY);
    device->ctx->nonblocking = true;
    context_release(device->ctx, before);
}

/* In one that does not wait, it waits for its turn. */
static void test_another_thread_takes_its_turn(void **state)
{
    struct device *device = *state;
    unsigned long before;
    pthread_t thread;
    void *result;

    assert_true(context_claim(device->ctx, &before));
    say_answer(device, 0, 3);
    assert_int_equal(pthread_create(&thread, NULL, claim, device), 0);
    assert_int_equal(vfu_run_ctx(device->ctx), 0); /* nested: still ours; the reply is dropped */
    say_answer(device, 0, 3);
    context_release(device->ctx, before);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
}

/* --- the inbox --- */

static void test_inbox_keeps_order_and_descriptors(void **state)
{
    struct inbox inbox = { .messages = 0 };
    struct frame frame;
    struct vetting vetting = { .error = 0 };

    assert_int_equal(frame_init(&frame, 1 << 20), 0);
    for (uint16_t i = 0; i < 10; i++) {
        const struct vfio_user_header header = { .msg_id = i, .msg_size = sizeof(header) };

        assert_int_equal(frame_load(&frame, &header, sizeof(header)), 0);
        for (uint16_t j = 0; j < i; j++) {
            fd_list_add(&frame.fds, dup(STDERR_FILENO));
        }
        vetting.count = i;
        assert_int_equal(inbox_put(&inbox, &frame, &vetting), 0);
        assert_false(frame_started(&frame));
        assert_int_equal(frame.fds.count, 0);
    }
    assert_int_equal(inbox.messages, 10);
    assert_int_equal(inbox.bytes, 160);
    assert_int_equal(inbox.descriptors, 45);
    for (uint16_t i = 0; i < 5; i++) {
        assert_int_equal(inbox_get(&inbox, &frame, &vetting), 0);
        assert_int_equal(frame_header(&frame)->msg_id, i);
        assert_int_equal(frame.fds.count, i);
        assert_int_equal(vetting.count, i);
        frame_reset(&frame);
    }
    inbox_clear(&inbox);
    assert_true(inbox_is_empty(&inbox));
    assert_int_equal(inbox.messages, 0);
    assert_int_equal(inbox.bytes, 0);
    assert_int_equal(inbox.descriptors, 0);
    frame_fini(&frame);
}

#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(test_without_client_is_ebadf),
        ATTACHED(test_answer_that_lies_ready),
        ATTACHED(test_waiting_for_the_client_is_no_hang),
        ATTACHED(test_request_is_counted_on_both_sides),
        ATTACHED(test_commands_in_between_wake_the_program),
        ATTACHED(test_half_a_command_before_the_answer),
        ATTACHED(test_half_a_command_keeps_its_descriptors),
        ATTACHED(test_command_follows_the_rest_of_a_reply),
        ATTACHED(test_lost_client_is_left_to_vfu_run_ctx),
        ATTACHED(test_broken_stream_wakes_the_program),
        ATTACHED(test_end_of_the_session_drops_what_waits),
        ATTACHED(test_another_thread_of_a_waiting_context_is_ebusy),
        ATTACHED(test_another_thread_takes_its_turn),
        cmocka_unit_test(test_inbox_keeps_order_and_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
