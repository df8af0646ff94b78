/* SPDX-License-Identifier: BSD-3-Clause */
/* Serving a client that behaves in every way it can: vfu_run_ctx(). */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1u << 20)

static const uint32_t get_info[4] = { 16 };

static ssize_t fill(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    if (!is_write) {
        memset(buf, 0x5a, count);
    }
    return (ssize_t)count;
}

static int setup_filled(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_region(device->ctx, 0, 2 * MIB, fill,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    device_attach(device);
    return 0;
}

static int run(struct device *device)
{
    errno = 0;
    int result = vfu_run_ctx(device->ctx);

    return result < 0 ? -errno : result;
}

static void send_header(struct device *device, uint16_t command, uint32_t size, uint32_t flags)
{
    const struct vfio_user_header header = {
        .msg_id = ++device->msg_id,
        .cmd = command,
        .msg_size = size,
        .flags = flags,
    };

    device_send(device, &header, sizeof(header), NULL, 0);
}

static void expect_error(struct device *device, int error_no)
{
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.flags, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_equal(device_answer.header.error_no, error_no);
    assert_int_equal(device_answer.size, 0);
}

static void expect_served(struct device *device)
{
    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_GET_INFO, get_info, sizeof(get_info), NULL, 0), 0);
}

/* --- results: the table of api.md 2.2 --- */

static void test_run_before_realize_is_einval(void **state)
{
    assert_int_equal(run(*state), -EINVAL);
}

static void test_run_without_client_is_enotconn(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    assert_int_equal(run(device), -ENOTCONN);
}

static void test_run_without_request_is_zero(void **state)
{
    assert_int_equal(run(*state), 0);
}

static void test_run_counts_what_was_dispatched(void **state)
{
    struct device *device = *state;

    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
    device_send_command(device, 99, 0, "x", 1, NULL, 0);
    assert_int_equal(run(device), 1);
    expect_error(device, EINVAL);
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 16, 0);
    assert_int_equal(run(device), 0);
    expect_error(device, EINVAL);
}

static void test_get_info_describes_the_device(void **state)
{
    const uint32_t wanted[4] = { 16, 3, 9, 5 };
    const uint32_t larger[4] = { 32 };
    const uint32_t smaller[4] = { 15 };

    expect_served(*state);
    assert_int_equal(device_answer.size, 16);
    assert_memory_equal(device_answer.payload, wanted, 16);
    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_GET_INFO, larger, sizeof(larger), NULL, 0), 0);
    assert_memory_equal(device_answer.payload, wanted, 16);
    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_GET_INFO, smaller, sizeof(smaller), NULL, 0),
        EINVAL);
    assert_int_equal(device_request(*state, VFIO_USER_DEVICE_GET_INFO, larger, 15, NULL, 0),
                     EINVAL);
}

static void test_unknown_commands_are_einval(void **state)
{
    static const uint16_t unknown[] = { 0, 6, 11, 12, 14, 15, 16, 17, 18, 19, 255, 65535 };
    const uint8_t payload[32] = { 0 };

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_int_equal(device_request(*state, unknown[i], payload, sizeof(payload), NULL, 0),
                         EINVAL);
    }
}

static void test_failed_command_without_reply_stays_silent(void **state)
{
    struct device *device = *state;

    device_send_command(device, 99, VFIO_USER_F_NO_REPLY, "x", 1, NULL, 0);
    assert_int_equal(run(device), 1);
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 16, VFIO_USER_F_NO_REPLY);
    assert_int_equal(run(device), 0);
    assert_false(device_receive(device, &device_answer));
    expect_served(device);
}

static void test_pipelined_commands_are_answered_in_order(void **state)
{
    struct device *device = *state;

    for (int i = 0; i < 50; i++) {
        device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL,
                            0);
    }
    device->msg_id -= 50;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(run(device), 1);
    }
    assert_int_equal(run(device), 0);
    for (int i = 0; i < 50; i++) {
        device->msg_id++;
        assert_true(device_receive(device, &device_answer)); /* compares the id */
    }
}

/* --- framing --- */

static void test_message_in_single_bytes_is_served(void **state)
{
    struct device *device = *state;
    struct {
        struct vfio_user_header header;
        uint32_t payload[4];
    } message = { .header = { .cmd = VFIO_USER_DEVICE_GET_INFO, .msg_size = 32 },
                  .payload = { 16 } };
    const uint8_t *bytes = (const uint8_t *)&message;

    message.header.msg_id = ++device->msg_id;
    for (size_t i = 0; i < sizeof(message); i++) {
        assert_int_equal(run(device), 0);
        device_send(device, bytes + i, 1, NULL, 0);
    }
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.size, 16);
}

static void test_descriptors_on_the_first_byte_alone_arrive(void **state)
{
    struct device *device = *state;
    struct {
        struct vfio_user_header header;
        uint32_t set[5];
    } message = { .header = { .cmd = VFIO_USER_DEVICE_SET_IRQS, .msg_size = 36 },
                  .set = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 } };
    const uint8_t *bytes = (const uint8_t *)&message;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t value = 0;

    message.header.msg_id = ++device->msg_id;
    device_send(device, bytes, 1, &fd, 1);
    assert_int_equal(run(device), 0);
    device_send(device, bytes + 1, sizeof(message) - 1, NULL, 0);
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.error_no, 0);
    assert_int_equal(irqs_signal(&device->ctx->session.irqs, VFU_DEV_ERR_IRQ, 0), 0);
    assert_int_equal(eventfd_read(fd, &value), 0);
    assert_int_equal(value, 1);
    close(fd);
}

static void test_descriptors_of_the_next_message_stay_with_it(void **state)
{
    struct device *device = *state;
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };
    int fd = eventfd(0, EFD_CLOEXEC);

    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    device_send_command(device, VFIO_USER_DEVICE_SET_IRQS, 0, set, sizeof(set), &fd, 1);
    assert_int_equal(run(device), 1);
    assert_int_equal(run(device), 1);
    device->msg_id--;
    assert_true(device_receive(device, &device_answer));
    device->msg_id++;
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.error_no, 0);
    assert_true(eventfd_slot_get(&device->ctx->session.irqs.tables[VFU_DEV_ERR_IRQ].eventfds[0]) >=
                0);
    close(fd);
}

static void test_descriptors_where_none_belong_are_dropped(void **state)
{
    struct device *device = *state;
    size_t before = device_count_descriptors();
    int fd = eventfd(0, EFD_CLOEXEC);

    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_GET_INFO, get_info, sizeof(get_info), &fd, 1), 0);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, &fd, 1), 0);
    close(fd);
    assert_int_equal(device_count_descriptors(), before);
}

static void test_253_descriptors_leave_nothing_behind(void **state)
{
    struct device *device = *state;
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };
    size_t before = device_count_descriptors();
    int fds[253];
    int fd = eventfd(0, EFD_CLOEXEC);

    for (int i = 0; i < 253; i++) {
        fds[i] = fd;
    }
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), fds, 253),
                     EINVAL);
    close(fd);
    assert_int_equal(device_count_descriptors(), before);
}

/* The kernel drops what does not fit, and says no more than that. */
static void test_descriptors_beyond_the_processs_limit_are_the_end(void **state)
{
    struct device *device = *state;
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };
    size_t before = device_count_descriptors();
    struct rlimit usual;
    struct rlimit low;
    int fds[100];
    const char *preload = getenv("LD_PRELOAD");

    if (preload != NULL && strstr(preload, "vgpreload") != NULL) {
        skip(); /* valgrind keeps the kernel's limit as it is */
    }

    for (int i = 0; i < 100; i++) {
        fds[i] = device->client;
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    low = usual;
    low.rlim_cur = 40;
    device_send_command(device, VFIO_USER_DEVICE_SET_IRQS, 0, set, sizeof(set), fds, 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(run(device), -ENOTCONN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(device_count_descriptors(), before - 1); /* the connection */
    device_attach(device);
    expect_served(device);
}

static void test_size_below_a_header_is_einval_and_the_end(void **state)
{
    struct device *device = *state;

    send_header(device, VFIO_USER_DEVICE_GET_INFO, 15, 0);
    assert_int_equal(run(device), -ENOTCONN);
    expect_error(device, EINVAL);
    assert_true(device_closed_connection(device));
    device_attach(device);
    expect_served(device);
}

static void test_size_above_the_limit_is_einval_and_the_end(void **state)
{
    struct device *device = *state;

    send_header(device, VFIO_USER_REGION_WRITE, MIB + 33, 0);
    assert_int_equal(run(device), -ENOTCONN);
    expect_error(device, EINVAL);
    assert_true(device_closed_connection(device));
}

static void test_largest_message_is_served(void **state)
{
    struct device *device = *state;
    uint8_t *payload = calloc(1, MIB + 16);
    struct vfio_user_region_access *access = (void *)payload;
    size_t sent = 0;

    assert_non_null(payload);
    access->count = MIB;
    send_header(device, VFIO_USER_REGION_WRITE, MIB + 32, 0);
    while (sent < MIB + 16) {
        ssize_t n = send(device->client, payload + sent, MIB + 16 - sent, MSG_DONTWAIT);

        sent += n > 0 ? (size_t)n : 0;
        assert_true(run(device) == (sent == MIB + 16 ? 1 : 0));
    }
    free(payload);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.size, 16);
    /* What it took is given back with the next short one. */
    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device->ctx->connection.frame.capacity, FRAME_INLINE_SIZE);
}

static void test_reply_to_nothing_is_drained(void **state)
{
    struct device *device = *state;

    device_send_command(device, VFIO_USER_DMA_READ, VFIO_USER_F_TYPE_REPLY, "0123456789", 10, NULL,
                        0);
    assert_int_equal(run(device), 0);
    assert_false(device_receive(device, &device_answer));
    expect_served(device);
}

static void test_unknown_type_is_the_end(void **state)
{
    struct device *device = *state;

    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 2, get_info, sizeof(get_info), NULL, 0);
    assert_int_equal(run(device), -ENOTCONN);
    assert_true(device_closed_connection(device));
}

static void test_out_of_band_data_is_the_end(void **state)
{
    struct device *device = *state;
    int calls = 0;

    if (send(device->client, "!", 1, MSG_OOB) < 0) {
        assert_int_equal(errno, EOPNOTSUPP);
        skip(); /* a kernel without it */
    }
    while (run(device) == 0) {
        assert_true(++calls < 1000);
    }
    assert_int_equal(run(device), -ENOTCONN);
    device_attach(device);
}

/* --- clients that owe something --- */

static void test_half_a_message_times_out(void **state)
{
    struct device *device = *state;

    device->ctx->transport->stall_seconds = 1;
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    assert_int_equal(run(device), 0);
    usleep(1100 * 1000);
    assert_int_equal(run(device), -ENOTCONN);
    assert_true(device_closed_connection(device));
}

static void test_idle_client_never_times_out(void **state)
{
    struct device *device = *state;

    device->ctx->transport->stall_seconds = 1;
    device->ctx->transport->handshake_seconds = 1;
    expect_served(device);
    usleep(1100 * 1000);
    assert_int_equal(run(device), 0);
    expect_served(device);
}

/* Makes the device answer with more than its socket takes. */
static void request_much(struct device *device)
{
    const struct vfio_user_region_access read = { .count = MIB };

    device_send_command(device, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
    assert_int_equal(run(device), 1);
}

static void test_unread_reply_times_out(void **state)
{
    struct device *device = *state;

    device->ctx->transport->stall_seconds = 1;
    request_much(device);
    assert_int_equal(run(device), 0);
    usleep(1100 * 1000);
    assert_int_equal(run(device), -ENOTCONN);
}

static void test_unread_reply_holds_back_further_commands(void **state)
{
    struct device *device = *state;

    request_much(device);
    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(run(device), 0);
    }
    device->msg_id--;
    assert_true(device_receive(device, &device_answer)); /* runs the device as it reads */
    assert_int_equal(device_answer.size, 16 + MIB);
    assert_int_equal(device_answer.payload[16 + MIB - 1], 0x5a);
    device->msg_id++;
    run(device);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.size, 16);
    assert_int_equal(device->ctx->connection.reply.capacity, REPLY_INLINE_SIZE);
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    return poll(&poll_fd, 1, 0) > 0;
}

static void test_poll_fd_is_readable_when_there_is_something_to_do(void **state)
{
    struct device *device = *state;
    int fd = vfu_get_poll_fd(device->ctx);
    static uint8_t buffer[MIB];

    assert_false(is_readable(fd));
    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    assert_true(is_readable(fd));
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
    assert_false(is_readable(fd));

    request_much(device);
    assert_false(is_readable(fd)); /* nothing but to wait for the client */
    while (reply_is_pending(&device->ctx->connection.reply)) {
        while (recv(device->client, buffer, sizeof(buffer), 0) > 0) {
        }
        assert_true(is_readable(fd));
        assert_int_equal(run(device), 0);
    }
    while (recv(device->client, buffer, sizeof(buffer), 0) > 0) {
    }
    assert_false(is_readable(fd));

    close(device->client);
    device->client = -1;
    assert_true(is_readable(fd));
    assert_int_equal(run(device), -ENOTCONN);
    assert_false(is_readable(fd));
    device_connect(device);
    assert_true(is_readable(fd));
    assert_int_equal(vfu_attach_ctx(device->ctx), -1);
    assert_int_equal(errno, EAGAIN);
    assert_false(is_readable(fd)); /* the rest is up to the client */
    device_send_command(device, VFIO_USER_VERSION, 0, "\0\0\0", 4, NULL, 0);
    assert_true(is_readable(fd));
    assert_int_equal(vfu_attach_ctx(device->ctx), 0);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(vfu_get_poll_fd(device->ctx), fd);
    assert_false(is_readable(fd));
}

static int attach(struct device *device)
{
    return vfu_attach_ctx(device->ctx) == 0 ? 0 : -errno;
}

/* Calls @step whenever there seems to be something to do, until it does not return @pending. */
static int step_when_readable(struct device *device, int (*step)(struct device *), int pending)
{
    struct pollfd fd = { .fd = vfu_get_poll_fd(device->ctx), .events = POLLIN };
    int result;

    do {
        assert_int_equal(poll(&fd, 1, 10000), 1);
        result = step(device);
    } while (result == pending);
    return result;
}

static void test_poll_fd_is_readable_when_a_client_stalls(void **state)
{
    struct device *device = *state;
    int fd = vfu_get_poll_fd(device->ctx);

    device->ctx->transport->stall_seconds = 1;
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    assert_int_equal(run(device), 0);
    assert_int_equal(step_when_readable(device, run, 0), -ENOTCONN);
    assert_false(is_readable(fd));

    device->ctx->transport->handshake_seconds = 1;
    device_connect(device);
    assert_int_equal(attach(device), -EAGAIN);
    assert_int_equal(step_when_readable(device, attach, -EAGAIN), -ETIMEDOUT);
    assert_false(is_readable(fd));
}

/* Whoever waits sleeps meanwhile, and afterwards the clock does not wake anybody. */
static void test_poll_fd_is_not_readable_all_the_time_while_a_client_stalls(void **state)
{
    struct device *device = *state;
    struct pollfd fd = { .fd = vfu_get_poll_fd(device->ctx), .events = POLLIN };
    unsigned ticks = 0;

    device->ctx->transport->stall_seconds = 2;
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    while (run(device) == 0) {
        assert_int_equal(poll(&fd, 1, 10000), 1);
        ticks++;
    }
    assert_in_range(ticks, 1, 5);
    assert_int_equal(poll(&fd, 1, 1500), 0);
}

static void test_out_of_band_data_inside_a_message_is_the_end(void **state)
{
    struct device *device = *state;

    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    assert_int_equal(run(device), 0);
    if (send(device->client, "!", 1, MSG_OOB) < 0) {
        assert_int_equal(errno, EOPNOTSUPP);
        skip();
    }
    assert_int_equal(run(device), -ENOTCONN);
}

/* --- the end of a client --- */

static struct {
    int count;
    vfu_reset_type_t last;
    int err;
} resets;

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    resets.count++;
    resets.last = type;
    errno = resets.err;
    return resets.err < 0 ? -1 : resets.err == 0 ? 0 : -1;
}

static int setup_reset(void **state)
{
    memset(&resets, 0, sizeof(resets));
    setup_filled(state);
    return vfu_setup_device_reset_cb(((struct device *)*state)->ctx, on_reset);
}

static void test_device_reset_is_the_programs(void **state)
{
    struct device *device = *state;

    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
    assert_int_equal(device_answer.size, 0);
    assert_int_equal(resets.count, 1);
    assert_int_equal(resets.last, VFU_RESET_DEVICE);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, "surplus", 7, NULL, 0), 0);
    resets.err = EIO;
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), EIO);
    resets.err = -1; /* no errno that could be sent */
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), EINVAL);
}

static void test_client_gone_resets_and_lets_the_next_one_in(void **state)
{
    struct device *device = *state;
    uint16_t command = 7;

    assert_int_equal(device_config_write(device, 4, &command, 2), 0);
    close(device->client);
    device->client = -1;
    assert_int_equal(run(device), -ENOTCONN);
    assert_int_equal(resets.count, 1);
    assert_int_equal(resets.last, VFU_RESET_LOST_CONN);
    assert_int_equal(run(device), -ENOTCONN);
    assert_int_equal(resets.count, 1);
    device_attach(device);
    command = 0;
    assert_int_equal(device_config_read(device, 4, &command, 2), 0);
    assert_int_equal(command, 7); /* config space stays */
}

static char order[64];

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    strcat(order, "unregister ");
}

static int on_lost(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    assert_int_equal(type, VFU_RESET_LOST_CONN);
    strcat(order, "reset ");
    strcat(order, vfu_irq_trigger(ctx, 0) == 0 ? "irqs " : "");
    strcat(order, connection_is_open(&ctx->connection) ? "client" : "");
    return 0;
}

/*
 * api.md 4.1 [C]: regions go, then the device is reset, then eventfds and connection go. What the
 * program has said stays.
 */
static void test_client_gone_takes_its_things_in_order(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 1, .size = 4096 };
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_MSIX_IRQ, 0, 1 };
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t value = 0;

    order[0] = '\0';
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 2), 0);
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, NULL, on_removed), 0);
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_lost), 0);
    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0), 0);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), &event, 1),
                     0);
    close(device->client);
    device->client = -1;
    assert_int_equal(run(device), -ENOTCONN);
    assert_string_equal(order, "unregister reset irqs client");
    assert_int_equal(eventfd_read(event, &value), 0);
    assert_int_equal(vfu_irq_trigger(device->ctx, 0), -1);
    assert_int_equal(errno, ENOENT); /* the count is as it was */
    assert_false(connection_is_open(&device->ctx->connection));
    device_attach(device);
    expect_served(device);
    close(event);
}

static void test_client_gone_inside_a_message_is_the_same(void **state)
{
    struct device *device = *state;

    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    close(device->client);
    device->client = -1;
    assert_int_equal(run(device), -ENOTCONN);
    assert_int_equal(resets.last, VFU_RESET_LOST_CONN);
    device_attach(device);
    expect_served(device);
}

static void test_client_gone_before_its_reply_counts_the_request(void **state)
{
    struct device *device = *state;

    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, get_info, sizeof(get_info), NULL, 0);
    close(device->client);
    device->client = -1;
    assert_int_equal(run(device), 1);
    assert_int_equal(resets.last, VFU_RESET_LOST_CONN);
    assert_int_equal(run(device), -ENOTCONN);
}

/* --- a context that waits --- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
}

static void interrupt_in(useconds_t delay)
{
    const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    const struct itimerval timer = { .it_value = { .tv_usec = delay } };

    interrupted = 0;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

/* api.md 2.2 [C]: how programs wake themselves. */
static void test_blocking_run_is_eintr_after_a_signal(void **state)
{
    struct device *device = *state;

    device->ctx->nonblocking = false;
    interrupt_in(100000);
    assert_int_equal(run(device), -EINTR);
    assert_true(interrupted);
    device->ctx->nonblocking = true;
    expect_served(device);
}

static void test_blocking_run_keeps_half_a_message_over_a_signal(void **state)
{
    struct device *device = *state;

    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    device->ctx->nonblocking = false;
    interrupt_in(100000);
    assert_int_equal(run(device), -EINTR);
    device->ctx->nonblocking = true;
    device_send(device, get_info, sizeof(get_info), NULL, 0);
    assert_int_equal(run(device), 1);
    assert_true(device_receive(device, &device_answer));
}

static void test_blocking_run_serves_until_the_client_is_gone(void **state)
{
    struct device *device = *state;

    for (int i = 0; i < 5; i++) {
        device_send_command(device, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
    }
    shutdown(device->client, SHUT_WR);
    device->ctx->nonblocking = false;
    assert_int_equal(run(device), -ENOTCONN);
    assert_int_equal(resets.count, 6);
    device->ctx->nonblocking = true;
}

static void test_blocking_run_times_out_on_half_a_message(void **state)
{
    struct device *device = *state;

    device->ctx->transport->stall_seconds = 1;
    send_header(device, VFIO_USER_DEVICE_GET_INFO, 32, 0);
    device->ctx->nonblocking = false;
    assert_int_equal(run(device), -ENOTCONN);
    device->ctx->nonblocking = true;
}

static void test_blocking_run_times_out_on_an_unread_reply(void **state)
{
    struct device *device = *state;
    const struct vfio_user_region_access read = { .count = MIB };

    device->ctx->transport->stall_seconds = 1;
    device_send_command(device, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
    device->ctx->nonblocking = false;
    assert_int_equal(run(device), -ENOTCONN);
    device->ctx->nonblocking = true;
}

static void test_blocking_run_ends_with_out_of_band_data(void **state)
{
    struct device *device = *state;

    if (send(device->client, "!", 1, MSG_OOB) < 0) {
        assert_int_equal(errno, EOPNOTSUPP);
        skip();
    }
    device->ctx->nonblocking = false;
    assert_int_equal(run(device), -ENOTCONN);
    device->ctx->nonblocking = true;
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)
#define FILLED(test) cmocka_unit_test_setup_teardown(test, setup_filled, device_teardown)
#define RESET(test) cmocka_unit_test_setup_teardown(test, setup_reset, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_run_before_realize_is_einval),
        CREATED(test_run_without_client_is_enotconn),
        ATTACHED(test_run_without_request_is_zero),
        ATTACHED(test_run_counts_what_was_dispatched),
        ATTACHED(test_get_info_describes_the_device),
        ATTACHED(test_unknown_commands_are_einval),
        ATTACHED(test_failed_command_without_reply_stays_silent),
        ATTACHED(test_pipelined_commands_are_answered_in_order),
        ATTACHED(test_message_in_single_bytes_is_served),
        ATTACHED(test_descriptors_on_the_first_byte_alone_arrive),
        ATTACHED(test_descriptors_of_the_next_message_stay_with_it),
        ATTACHED(test_descriptors_where_none_belong_are_dropped),
        ATTACHED(test_253_descriptors_leave_nothing_behind),
        ATTACHED(test_descriptors_beyond_the_processs_limit_are_the_end),
        ATTACHED(test_size_below_a_header_is_einval_and_the_end),
        ATTACHED(test_size_above_the_limit_is_einval_and_the_end),
        FILLED(test_largest_message_is_served),
        ATTACHED(test_reply_to_nothing_is_drained),
        ATTACHED(test_unknown_type_is_the_end),
        ATTACHED(test_out_of_band_data_is_the_end),
        ATTACHED(test_half_a_message_times_out),
        ATTACHED(test_idle_client_never_times_out),
        FILLED(test_unread_reply_times_out),
        FILLED(test_unread_reply_holds_back_further_commands),
        FILLED(test_poll_fd_is_readable_when_there_is_something_to_do),
        ATTACHED(test_poll_fd_is_readable_when_a_client_stalls),
        ATTACHED(test_poll_fd_is_not_readable_all_the_time_while_a_client_stalls),
        ATTACHED(test_out_of_band_data_inside_a_message_is_the_end),
        RESET(test_device_reset_is_the_programs),
        RESET(test_client_gone_resets_and_lets_the_next_one_in),
        RESET(test_client_gone_takes_its_things_in_order),
        RESET(test_client_gone_inside_a_message_is_the_same),
        RESET(test_client_gone_before_its_reply_counts_the_request),
        RESET(test_blocking_run_is_eintr_after_a_signal),
        RESET(test_blocking_run_keeps_half_a_message_over_a_signal),
        RESET(test_blocking_run_serves_until_the_client_is_gone),
        RESET(test_blocking_run_times_out_on_half_a_message),
        RESET(test_blocking_run_times_out_on_an_unread_reply),
        RESET(test_blocking_run_ends_with_out_of_band_data),
    };

    return cmocka_run_group_tests_name("device_run", tests, NULL, NULL);
}
