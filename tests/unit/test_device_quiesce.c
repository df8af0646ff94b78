/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that has to be quiet first: api.md sections 2.2, 2.5, 3.5 and 4.8. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)

static struct {
    int answer; /* of the quiesce callback: >= 0, or an errno as a negative number */
    int asked;
    int resets;
    int lost;
    int added;
    int removed;
    int inner_error; /* errno of vfu_device_quiesced() in a callback */
    char order[32];  /* of callbacks */
} program;

static void note(char what)
{
    size_t length = strlen(program.order);

    assert_true(length < sizeof(program.order) - 1);
    program.order[length] = what;
}

/* api.md 3.5: guest memory can be used in the callback. */
static void use_memory(vfu_ctx_t *ctx)
{
    uint64_t entry[5];

    if (vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)0x10000, 8, (dma_sg_t *)entry, 1, PROT_WRITE) == 1) {
        vfu_sgl_put(ctx, (dma_sg_t *)entry, NULL, 1);
    }
}

static int quiet(vfu_ctx_t *ctx)
{
    program.asked++;
    use_memory(ctx);
    note('q');
    if (program.answer >= 0) {
        return program.answer;
    }
    errno = -program.answer;
    return -1;
}

static int quiet_with_inner_call(vfu_ctx_t *ctx)
{
    assert_int_equal(vfu_device_quiesced(ctx, 0), -1);
    program.inner_error = errno;
    return quiet(ctx);
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    if (type == VFU_RESET_LOST_CONN) {
        program.lost++;
        note('l');
    } else {
        program.resets++;
        note('r');
    }
    return 0;
}

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    program.added++;
    note('a');
    if (vfu_device_quiesced(ctx, 0) == -1) {
        program.inner_error = errno;
    }
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    program.removed++;
    note('u');
}

static ssize_t on_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return (ssize_t)count;
}

static void create(struct device *device)
{
    struct pxcap express = { .hdr.id = PCI_CAP_ID_EXP, .pxdcap.flrc = 1 };

    memset(&program, 0, sizeof(program));
    assert_int_equal(vfu_pci_init(device->ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    assert_int_equal(vfu_pci_add_capability(device->ctx, 0x80, 0, &express), 0x80);
    assert_int_equal(vfu_setup_region(device->ctx, 0, PAGE, on_access,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    vfu_setup_device_quiesce_cb(device->ctx, quiet);
}

static int setup(void **state)
{
    struct device *device;

    device_setup_created(state);
    device = *state;
    create(device);
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, on_added, on_removed), 0);
    device_attach(device);
    return 0;
}

static int setup_without_dma(void **state)
{
    device_setup_created(state);
    create(*state);
    device_attach(*state);
    return 0;
}

static int run(struct device *device)
{
    errno = 0;
    int result = vfu_run_ctx(device->ctx);

    return result < 0 ? -errno : result;
}

static int done(struct device *device, int quiesce_errno)
{
    errno = 0;
    int result = vfu_device_quiesced(device->ctx, quiesce_errno);

    return result < 0 ? -errno : result;
}

static void expect_reply(struct device *device, int error)
{
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.flags, error == 0
                                                     ? VFIO_USER_F_TYPE_REPLY
                                                     : VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_equal(device_answer.header.error_no, error);
}

static const struct vfio_user_dma_map some_map = {
    .argsz = 32,
    .flags = RW,
    .addr = 0x10000,
    .size = PAGE,
};

static void send_map(struct device *device, uint32_t flags, int fd)
{
    device_send_command(device, VFIO_USER_DMA_MAP, flags, &some_map, sizeof(some_map), &fd,
                        fd >= 0);
}

static void send_reset(struct device *device)
{
    device_send_command(device, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
}

/* Parks the end of a session whose client has gone. */
static void lose_client(struct device *device)
{
    close(device->client);
    device->client = -1;
}

/* --- which requests --- */

static int asked_for(struct device *device, uint16_t command, const void *payload, size_t size)
{
    program.asked = 0;
    device_request(device, command, payload, size, NULL, 0);
    return program.asked;
}

static int asked_for_write(struct device *device, uint32_t region, uint64_t offset, uint32_t count)
{
    uint8_t payload[sizeof(struct vfio_user_region_access) + 64] = { 0 };
    const struct vfio_user_region_access access = { offset, region, count };

    memcpy(payload, &access, sizeof(access));
    return asked_for(device, VFIO_USER_REGION_WRITE, payload, sizeof(access) + count);
}

/* api.md 4.8, with the precise conditions of 7.3 W39. */
static void test_asked_for_these_requests(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .addr = 0x10000, .size = PAGE };
    const struct vfio_user_device_info info = { .argsz = 16 };
    const struct vfio_user_region_access read = { 0x88, VFU_PCI_DEV_CFG_REGION_IDX, 2 };

    assert_int_equal(asked_for(device, VFIO_USER_DMA_MAP, &some_map, sizeof(some_map)), 1);
    assert_int_equal(asked_for(device, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap)), 1);
    /* Also if the request turns out to be invalid. */
    assert_int_equal(asked_for(device, VFIO_USER_DMA_MAP, &some_map, 8), 1);
    assert_int_equal(asked_for(device, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap)), 1);
    assert_int_equal(asked_for(device, VFIO_USER_DEVICE_RESET, NULL, 0), 1);
    assert_int_equal(asked_for(device, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), 0);
    assert_int_equal(asked_for(device, VFIO_USER_REGION_READ, &read, sizeof(read)), 0);
    assert_int_equal(asked_for(device, 99, &info, sizeof(info)), 0);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_CFG_REGION_IDX, 0x88, 2), 1);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_CFG_REGION_IDX, 0x80, 16), 1);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_CFG_REGION_IDX, 0x86, 2), 0);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_CFG_REGION_IDX, 0x8a, 2), 0);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_CFG_REGION_IDX, 0x07, 1), 0);
    assert_int_equal(asked_for_write(device, VFU_PCI_DEV_BAR0_REGION_IDX, 0x88, 2), 0);
}

static void test_not_asked_for_dma_without_dma(void **state)
{
    assert_int_equal(asked_for(*state, VFIO_USER_DMA_MAP, &some_map, sizeof(some_map)), 0);
}

/* The device may be reset by any of several writes in one message. */
static void test_asked_for_one_of_several_writes(void **state)
{
    struct device *device = *state;
    struct {
        uint64_t count;
        struct vfio_user_region_write writes[2];
    } __attribute__((packed)) multi = {
        .count = 2,
        .writes = { { .region = 0, .count = 8 },
                    { .offset = 0x88, .region = VFU_PCI_DEV_CFG_REGION_IDX, .count = 2 } },
    };

    device->ctx->session.client.write_multiple = true;
    assert_int_equal(asked_for(device, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)), 1);
    multi.writes[1].offset = 0x8a;
    assert_int_equal(asked_for(device, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)), 0);
    assert_int_equal(asked_for(device, VFIO_USER_REGION_WRITE_MULTI, &multi, 4), 0);
}

/* --- synchronous --- */

/* api.md 3.5: any result that is not negative is 0. */
static void test_quiet_at_once(void **state)
{
    for (int answer = 0; answer < 2; answer++) {
        program.answer = answer;
        send_reset(*state);
        assert_int_equal(run(*state), 1);
        expect_reply(*state, 0);
        assert_int_equal(program.resets, answer + 1);
        assert_int_equal(program.asked, answer + 1);
    }
    assert_int_equal(done(*state, 0), -EINVAL);
}

/* api.md 2.2, 3.5: the client gets the errno, nothing is done, and it counts for 0 requests. */
static void test_refusal_is_the_answer(void **state)
{
    struct device *device = *state;

    program.answer = -EPERM;
    send_reset(device);
    assert_int_equal(run(device), 0);
    expect_reply(device, EPERM);
    assert_int_equal(program.resets, 0);
    /* Without an errno it is EINVAL (api.md 7.3 W42). */
    program.answer = -5000;
    send_reset(device);
    assert_int_equal(run(device), 0);
    expect_reply(device, EINVAL);
    program.answer = 0;
    send_reset(device);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
    assert_int_equal(done(device, 0), -EINVAL);
}

static void test_refused_map_keeps_no_descriptor(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    size_t before = device_count_descriptors();

    program.answer = -EPERM;
    send_map(device, 0, fd);
    assert_int_equal(run(device), 0);
    expect_reply(device, EPERM);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(program.added, 0);
    close(fd);
}

/* --- asynchronous --- */

/* api.md 4.8 [C]: parked, EBUSY until the device says so, then executed with its reply. */
static void test_parked_request_is_executed_later(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    const uint32_t info[4] = { 16 };

    program.answer = -EBUSY;
    send_map(device, 0, fd);
    device_send_command(device, VFIO_USER_DEVICE_GET_INFO, 0, info, sizeof(info), NULL, 0);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(program.asked, 1);
    assert_int_equal(program.added, 0);
    assert_false(device_receive(device, &device_answer));
    assert_int_equal(done(device, 0), 0);
    assert_int_equal(program.added, 1);
    device->msg_id--;
    expect_reply(device, 0);
    assert_int_equal(device_answer.header.cmd, VFIO_USER_DMA_MAP);
    device->msg_id++;
    assert_int_equal(done(device, 0), -EINVAL);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
    assert_int_equal(device_answer.header.cmd, VFIO_USER_DEVICE_GET_INFO);
    close(fd);
}

/* api.md 7.3 W37: the client gets an answer, and goes on. */
static void test_parked_request_fails_with_a_reply(void **state)
{
    struct device *device = *state;
    const int errors[][2] = { { EIO, EIO }, { EBUSY, EBUSY }, { -1, EINVAL }, { 99999, EINVAL } };

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        program.answer = -EBUSY;
        send_reset(device);
        assert_int_equal(run(device), -EBUSY);
        assert_int_equal(done(device, errors[i][0]), 0);
        expect_reply(device, errors[i][1]);
        assert_int_equal(device_answer.size, 0);
        assert_int_equal(program.resets, 0);
        assert_int_equal(done(device, 0), -EINVAL);
        assert_int_equal(run(device), 0);
    }
    program.answer = 0;
    send_reset(device);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
}

static void test_parked_request_without_reply(void **state)
{
    struct device *device = *state;

    program.answer = -EBUSY;
    send_map(device, VFIO_USER_F_NO_REPLY, -1);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(done(device, 0), 0);
    assert_int_equal(program.added, 1);
    assert_false(device_receive(device, &device_answer));
    send_map(device, VFIO_USER_F_NO_REPLY, -1);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(done(device, EIO), 0);
    assert_false(device_receive(device, &device_answer));
}

/* api.md 3.2 [C]: the device resets itself; what the client has set up stays. */
static void test_reset_keeps_what_the_client_has_set_up(void **state)
{
    struct device *device = *state;
    const struct vfio_irq_set irqs = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFU_DEV_ERR_IRQ,
        .count = 1,
    };
    const struct irq_table *table = &device->ctx->session.irqs.tables[VFU_DEV_ERR_IRQ];
    int event = eventfd(0, EFD_CLOEXEC);
    uint8_t line = 0x5a;
    uint64_t entry[5];

    assert_int_equal(
        device_request(device, VFIO_USER_DMA_MAP, &some_map, sizeof(some_map), NULL, 0), 0);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, &irqs, 20, &event, 1), 0);
    assert_int_equal(device_config_write(device, PCI_INTERRUPT_LINE, &line, 1), 0);
    send_reset(device);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
    assert_int_equal(program.resets, 1);
    assert_int_equal(program.removed, 0);
    assert_int_equal(
        vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)0x10000, 8, (dma_sg_t *)entry, 1, PROT_WRITE),
        1);
    assert_true(eventfd_slot_get(&table->eventfds[0]) >= 0);
    line = 0;
    assert_int_equal(device_config_read(device, PCI_INTERRUPT_LINE, &line, 1), 0);
    assert_int_equal(line, 0x5a);
    close(event);
}

/* A function level reset is one of the requests. */
static void test_parked_config_write(void **state)
{
    struct device *device = *state;
    struct {
        struct vfio_user_region_access access;
        uint16_t control;
    } __attribute__((packed)) write = {
        .access = { 0x88, VFU_PCI_DEV_CFG_REGION_IDX, 2 },
        .control = PCI_EXP_DEVCTL_BCR_FLR,
    };

    program.answer = -EBUSY;
    device_send_command(device, VFIO_USER_REGION_WRITE, 0, &write, sizeof(write), NULL, 0);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(program.resets, 0);
    assert_int_equal(done(device, 0), 0);
    assert_int_equal(program.resets, 1);
    expect_reply(device, 0);
}

/* api.md 4.8 step 2, 7.3 W38: meanwhile the device goes on. */
static void test_device_works_while_a_request_is_parked(void **state)
{
    struct device *device = *state;
    int fd = device_memory(PAGE);
    dma_sg_t *sg = malloc(dma_sg_size());
    struct iovec iov;
    char data[4];

    assert_non_null(sg);
    send_map(device, 0, fd);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
    program.answer = -EBUSY;
    send_reset(device);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(vfu_addr_to_sgl(device->ctx, (vfu_dma_addr_t)0x10000, 4, sg, 1, PROT_WRITE),
                     1);
    assert_int_equal(vfu_sgl_get(device->ctx, sg, &iov, 1, 0), 0);
    vfu_sgl_put(device->ctx, sg, &iov, 1);
    assert_int_equal(vfu_sgl_read(device->ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(vfu_sgl_write(device->ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(done(device, 0), 0);
    expect_reply(device, 0);
    free(sg);
    close(fd);
}

/* api.md 2.5: EINVAL within the quiesce callback, and within those that it lets run. */
static void test_quiesced_in_a_callback_is_einval(void **state)
{
    struct device *device = *state;

    vfu_setup_device_quiesce_cb(device->ctx, quiet_with_inner_call);
    send_reset(device);
    assert_int_equal(run(device), 1);
    assert_int_equal(program.inner_error, EINVAL);
    expect_reply(device, 0);
    program.answer = -EBUSY;
    send_map(device, 0, -1);
    assert_int_equal(run(device), -EBUSY);
    program.inner_error = 0;
    assert_int_equal(done(device, 0), 0);
    assert_int_equal(program.added, 1);
    assert_int_equal(program.inner_error, EINVAL);
    expect_reply(device, 0);
}

static void test_quiesced_without_callback_is_einval(void **state)
{
    struct device *device = *state;

    vfu_setup_device_quiesce_cb(device->ctx, NULL);
    assert_int_equal(done(device, 0), -EINVAL);
    send_reset(device);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
}

/* --- the end of a session --- */

static void map_one(struct device *device)
{
    send_map(device, 0, -1);
    assert_int_equal(run(device), 1);
    expect_reply(device, 0);
    memset(program.order, 0, sizeof(program.order));
}

/* api.md 4.1 [C]: asked first, then regions, then the reset callback. */
static void test_end_of_a_session_in_order(void **state)
{
    map_one(*state);
    lose_client(*state);
    assert_int_equal(run(*state), -ENOTCONN);
    assert_string_equal(program.order, "qul");
    assert_int_equal(run(*state), -ENOTCONN);
    assert_string_equal(program.order, "qul");
}

/* api.md 2.2: EBUSY; then it is done, and ENOTCONN. */
static void test_end_of_a_session_is_parked(void **state)
{
    struct device *device = *state;

    map_one(device);
    program.answer = -EBUSY;
    lose_client(device);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(run(device), -EBUSY);
    assert_string_equal(program.order, "q");
    assert_int_equal(done(device, 0), 0);
    assert_string_equal(program.order, "qul");
    assert_int_equal(run(device), -ENOTCONN);
    program.answer = 0;
    device_attach(device);
}

/* api.md 2.2, 3.5: any other errno is the result, and the next call asks again. */
static void test_end_of_a_session_is_refused(void **state)
{
    struct device *device = *state;

    map_one(device);
    program.answer = -EIO;
    lose_client(device);
    assert_int_equal(run(device), -EIO);
    assert_int_equal(run(device), -EIO);
    assert_string_equal(program.order, "qq");
    program.answer = -EBUSY;
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(done(device, EIO), 0);
    assert_int_equal(program.lost, 0);
    assert_int_equal(run(device), -EBUSY);
    program.answer = 0;
    assert_int_equal(done(device, EIO), 0);
    assert_int_equal(run(device), -ENOTCONN);
    assert_string_equal(program.order, "qqqqqul");
    device_attach(device);
}

/* A stream that has lost its framing is not read again while the end is put off. */
static void test_end_of_a_broken_stream_is_parked(void **state)
{
    struct device *device = *state;
    struct vfio_user_header header = { .cmd = VFIO_USER_DEVICE_GET_INFO, .msg_size = 15 };

    program.answer = -EIO;
    device_send(device, &header, sizeof(header), NULL, 0);
    assert_int_equal(run(device), -EIO);
    send_reset(device);
    assert_int_equal(run(device), -EIO);
    assert_int_equal(program.resets, 0);
    program.answer = 0;
    assert_int_equal(run(device), -ENOTCONN);
}

/* api.md 4.8: the request is executed, and the session ends without asking a second time. */
static void test_client_goes_while_its_request_is_parked(void **state)
{
    struct device *device = *state;

    program.answer = -EBUSY;
    send_map(device, 0, -1);
    assert_int_equal(run(device), -EBUSY);
    lose_client(device);
    assert_int_equal(run(device), -EBUSY);
    assert_int_equal(done(device, 0), 0);
    assert_string_equal(program.order, "qaul");
    assert_int_equal(run(device), -ENOTCONN);
    assert_string_equal(program.order, "qaul");
}

static void test_client_goes_while_its_parked_request_fails(void **state)
{
    struct device *device = *state;

    map_one(device);
    program.answer = -EBUSY;
    send_reset(device);
    assert_int_equal(run(device), -EBUSY);
    lose_client(device);
    assert_int_equal(done(device, EIO), 0);
    assert_int_equal(program.lost, 0);
    program.answer = 0;
    assert_int_equal(run(device), -ENOTCONN);
    assert_string_equal(program.order, "qqul");
}

/* api.md 2.2, 3.5: asked for the request, and again because its reply finds nobody. */
static void test_client_goes_before_its_reply(void **state)
{
    struct device *device = *state;

    send_reset(device);
    lose_client(device);
    assert_int_equal(run(device), 1);
    assert_string_equal(program.order, "qrql");
    assert_int_equal(run(device), -ENOTCONN);
}

static int quiet_once(vfu_ctx_t *ctx)
{
    program.answer = program.asked == 0 ? 0 : -EBUSY;
    return quiet(ctx);
}

static void test_client_goes_before_its_reply_and_the_end_is_parked(void **state)
{
    struct device *device = *state;

    vfu_setup_device_quiesce_cb(device->ctx, quiet_once);
    send_reset(device);
    lose_client(device);
    assert_int_equal(run(device), -EBUSY);
    assert_string_equal(program.order, "qrq");
    assert_int_equal(done(device, 0), 0);
    assert_string_equal(program.order, "qrql");
    assert_int_equal(run(device), -ENOTCONN);
}

/* api.md 2.2, 7.4 W52: destroying asks nobody, and nothing is left of a parked request. */
static void test_destroy_with_a_parked_request(void **state)
{
    size_t before = device_count_descriptors();
    int fd = device_memory(PAGE);
    struct device device;

    device_create(&device);
    create(&device);
    assert_int_equal(vfu_setup_device_dma(device.ctx, 10, on_added, on_removed), 0);
    device_attach(&device);
    map_one(&device);
    program.answer = -EBUSY;
    send_map(&device, 0, fd);
    assert_int_equal(run(&device), -EBUSY);
    device_destroy(&device);
    assert_string_equal(program.order, "qul");
    close(fd);
    assert_int_equal(device_count_descriptors(), before);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_asked_for_these_requests),
        cmocka_unit_test_setup_teardown(test_not_asked_for_dma_without_dma, setup_without_dma,
                                        device_teardown),
        TEST(test_asked_for_one_of_several_writes),
        TEST(test_quiet_at_once),
        TEST(test_refusal_is_the_answer),
        TEST(test_refused_map_keeps_no_descriptor),
        TEST(test_parked_request_is_executed_later),
        TEST(test_parked_request_fails_with_a_reply),
        TEST(test_parked_request_without_reply),
        TEST(test_reset_keeps_what_the_client_has_set_up),
        TEST(test_parked_config_write),
        TEST(test_device_works_while_a_request_is_parked),
        TEST(test_quiesced_in_a_callback_is_einval),
        TEST(test_quiesced_without_callback_is_einval),
        TEST(test_end_of_a_session_in_order),
        TEST(test_end_of_a_session_is_parked),
        TEST(test_end_of_a_session_is_refused),
        TEST(test_end_of_a_broken_stream_is_parked),
        TEST(test_client_goes_while_its_request_is_parked),
        TEST(test_client_goes_while_its_parked_request_fails),
        TEST(test_client_goes_before_its_reply),
        TEST(test_client_goes_before_its_reply_and_the_end_is_parked),
        cmocka_unit_test(test_destroy_with_a_parked_request),
    };

    return cmocka_run_group_tests_name("device_quiesce", tests, NULL, NULL);
}
