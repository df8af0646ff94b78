/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: what a client sets up, and what a program triggers. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

#define MSIX_COUNT 8

static struct {
    int calls;
    uint32_t start;
    uint32_t count;
    bool mask;
} last_mask;

static void on_mask(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    last_mask.calls++;
    last_mask.start = start;
    last_mask.count = count;
    last_mask.mask = mask;
}

static int setup_irqs(void **state)
{
    struct device *device;

    memset(&last_mask, 0, sizeof(last_mask));
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, MSIX_COUNT), 0);
    assert_int_equal(vfu_setup_irq_state_callback(device->ctx, VFU_DEV_INTX_IRQ, on_mask), 0);
    device_attach(device);
    return 0;
}

static int set_irqs_data(struct device *device, uint32_t flags, uint32_t index, uint32_t start,
                         uint32_t count, const uint8_t *data, size_t size, const int *fds,
                         size_t fd_count)
{
    uint8_t payload[20 + 64] = { 0 };
    const uint32_t header[] = { 20, flags, index, start, count };

    assert_true(size <= 64);
    memcpy(payload, header, sizeof(header));
    if (size > 0) {
        memcpy(payload + 20, data, size);
    }
    return device_request(device, VFIO_USER_DEVICE_SET_IRQS, payload, 20 + size, fds, fd_count);
}

static int set_irqs(struct device *device, uint32_t flags, uint32_t index, uint32_t start,
                    uint32_t count)
{
    return set_irqs_data(device, flags, index, start, count, NULL, 0, NULL, 0);
}

/* Gives interrupts @start and up the @count eventfds. */
static int assign(struct device *device, uint32_t index, uint32_t start, uint32_t count,
                  const int *fds)
{
    return set_irqs_data(device, TRIGGER | EVENTFD, index, start, count, NULL, 0, fds, count);
}

static int new_eventfd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static uint64_t count_of(int fd)
{
    eventfd_t value = 0;

    return eventfd_read(fd, &value) == 0 ? value : 0;
}

static int trigger(struct device *device, uint32_t index)
{
    errno = 0;
    return vfu_irq_trigger(device->ctx, index) == 0 ? 0 : errno;
}

/* --- set-up --- */

static void test_nr_irqs_unknown_type_is_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_NUM_IRQS, 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_setup_irq_state_callback(device->ctx, VFU_DEV_NUM_IRQS, on_mask), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_nr_irqs_two_err_irqs_are_einval(void **state)
{
    struct device *device = *state;

    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_ERR_IRQ, 2), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_REQ_IRQ, 0), 0);
}

static void test_trigger_before_realize_is_einval(void **state)
{
    assert_int_equal(trigger(*state, 0), EINVAL);
}

static void test_nr_irqs_raised_late_works(void **state)
{
    struct device *device = *state;
    int fd = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 20, 1, &fd), EINVAL);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 32), 0);
    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 20, 1, &fd), 0);
    assert_int_equal(trigger(device, 20), 0);
    assert_int_equal(count_of(fd), 1);
    close(fd);
}

static void test_nr_irqs_lowered_late_drops_eventfds(void **state)
{
    struct device *device = *state;
    int fd = new_eventfd();
    size_t before = device_count_descriptors();

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 7, 1, &fd), 0);
    assert_int_equal(device_count_descriptors(), before + 1);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 4), 0);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(trigger(device, 7), EINVAL);
    assert_int_equal(vfu_setup_device_nr_irqs(device->ctx, VFU_DEV_MSIX_IRQ, 8), 0);
    assert_int_equal(trigger(device, 7), ENOENT);
    close(fd);
}

/* --- information --- */

static uint32_t count_in_info(struct device *device, uint32_t index)
{
    const struct vfio_irq_info request = { .argsz = 16, .index = index };
    const struct vfio_irq_info *reply = (const void *)device_answer.payload;

    assert_int_equal(
        device_request(device, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, sizeof(request), NULL, 0),
        0);
    assert_int_equal(device_answer.size, 16);
    assert_int_equal(reply->argsz, 16);
    assert_int_equal(reply->flags, VFIO_IRQ_INFO_EVENTFD);
    assert_int_equal(reply->index, index);
    return reply->count;
}

static void test_info_tells_counts(void **state)
{
    assert_int_equal(count_in_info(*state, VFU_DEV_INTX_IRQ), 1);
    assert_int_equal(count_in_info(*state, VFU_DEV_MSI_IRQ), 0);
    assert_int_equal(count_in_info(*state, VFU_DEV_MSIX_IRQ), MSIX_COUNT);
    assert_int_equal(count_in_info(*state, VFU_DEV_ERR_IRQ), 1);
    assert_int_equal(count_in_info(*state, VFU_DEV_REQ_IRQ), 1);
}

static void test_info_bad_arguments_are_einval(void **state)
{
    struct vfio_irq_info request = { .argsz = 15 };

    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, sizeof(request), NULL, 0),
        EINVAL);
    request = (struct vfio_irq_info){ .argsz = 16, .index = VFU_DEV_NUM_IRQS };
    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, sizeof(request), NULL, 0),
        EINVAL);
    request.index = 0;
    assert_int_equal(device_request(*state, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, 15, NULL, 0),
                     EINVAL);
}

/* --- DEVICE_SET_IRQS --- */

static void test_set_bad_arguments_are_einval(void **state)
{
    static const struct {
        uint32_t flags, index, start, count;
    } bad[] = {
        { TRIGGER | NONE, VFU_DEV_NUM_IRQS, 0, 0 }, /* index */
        { NONE, VFU_DEV_MSIX_IRQ, 0, 1 },           /* no action */
        { TRIGGER | MASK | NONE, VFU_DEV_MSIX_IRQ, 0, 1 },
        { TRIGGER, VFU_DEV_MSIX_IRQ, 0, 1 }, /* no data type */
        { TRIGGER | NONE | EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1 },
        { TRIGGER | NONE, VFU_DEV_MSIX_IRQ, MSIX_COUNT, 0 },
        { TRIGGER | NONE, VFU_DEV_MSI_IRQ, 0, 0 }, /* no such interrupts at all */
        { TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 1, MSIX_COUNT },
        { TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 1, UINT32_MAX },
        { MASK | NONE, VFU_DEV_ERR_IRQ, 0, 1 },
        { UNMASK | NONE, VFU_DEV_REQ_IRQ, 0, 1 },
        { TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 1, 0 },
        { TRIGGER | EVENTFD, VFU_DEV_MSIX_IRQ, 0, 0 },
        { MASK | NONE, VFU_DEV_MSIX_IRQ, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(set_irqs(*state, bad[i].flags, bad[i].index, bad[i].start, bad[i].count),
                         EINVAL);
    }
}

static void test_set_short_payload_and_argsz_are_einval(void **state)
{
    uint32_t header[] = { 19, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 0 };

    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_SET_IRQS, header, sizeof(header), NULL, 0), EINVAL);
    header[0] = 20;
    assert_int_equal(device_request(*state, VFIO_USER_DEVICE_SET_IRQS, header, 19, NULL, 0),
                     EINVAL);
    assert_int_equal(
        device_request(*state, VFIO_USER_DEVICE_SET_IRQS, header, sizeof(header), NULL, 0), 0);
}

static void test_set_bools_must_match_count(void **state)
{
    const uint8_t bools[] = { 1, 1, 1 };

    assert_int_equal(
        set_irqs_data(*state, TRIGGER | BOOL, VFU_DEV_MSIX_IRQ, 0, 2, bools, 3, NULL, 0), EINVAL);
    assert_int_equal(
        set_irqs_data(*state, TRIGGER | BOOL, VFU_DEV_MSIX_IRQ, 0, 2, bools, 1, NULL, 0), EINVAL);
    assert_int_equal(
        set_irqs_data(*state, TRIGGER | BOOL, VFU_DEV_MSIX_IRQ, 0, 3, bools, 3, NULL, 0), 0);
}

static void test_set_wrong_number_of_descriptors_is_einval(void **state)
{
    struct device *device = *state;
    size_t before;
    int fds[2] = { new_eventfd(), new_eventfd() };

    before = device_count_descriptors();
    assert_int_equal(
        set_irqs_data(device, TRIGGER | EVENTFD, VFU_DEV_MSIX_IRQ, 0, 3, NULL, 0, fds, 2), EINVAL);
    assert_int_equal(
        set_irqs_data(device, TRIGGER | EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1, NULL, 0, fds, 2), EINVAL);
    assert_int_equal(set_irqs_data(device, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 2, NULL, 0, fds, 2),
                     EINVAL);
    assert_int_equal(device_count_descriptors(), before);
    close(fds[0]);
    close(fds[1]);
}

static void test_set_descriptor_that_is_no_eventfd_is_einval(void **state)
{
    struct device *device = *state;
    int good = new_eventfd();
    int memory = device_memory(4096);
    int path = open("/", O_PATH | O_CLOEXEC);
    int pipe_fds[2];
    size_t before;

    assert_int_equal(pipe(pipe_fds), 0);
    before = device_count_descriptors();
    for (int i = 0; i < 3; i++) {
        const int bad[] = { pipe_fds[1], memory, path };
        const int fds[] = { good, bad[i] };

        assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 2, fds), EINVAL);
        assert_int_equal(device_count_descriptors(), before);
        assert_int_equal(trigger(device, 0), ENOENT); /* not half of it */
    }
    close(good);
    close(memory);
    close(path);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_set_keeps_exactly_one_descriptor_each(void **state)
{
    struct device *device = *state;
    int fds[MSIX_COUNT];
    size_t before;

    for (int i = 0; i < MSIX_COUNT; i++) {
        fds[i] = new_eventfd();
    }
    before = device_count_descriptors();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, MSIX_COUNT, fds), 0);
        assert_int_equal(device_count_descriptors(), before + MSIX_COUNT);
    }
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 0), 0);
    assert_int_equal(device_count_descriptors(), before);
    for (int i = 0; i < MSIX_COUNT; i++) {
        close(fds[i]);
    }
}

static void test_set_without_descriptors_takes_away_that_range(void **state)
{
    struct device *device = *state;
    int fds[MSIX_COUNT];

    for (int i = 0; i < MSIX_COUNT; i++) {
        fds[i] = new_eventfd();
    }
    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, MSIX_COUNT, fds), 0);
    assert_int_equal(set_irqs(device, TRIGGER | EVENTFD, VFU_DEV_MSIX_IRQ, 4, 2), 0);
    for (uint32_t i = 0; i < MSIX_COUNT; i++) {
        assert_int_equal(trigger(device, i), i == 4 || i == 5 ? ENOENT : 0);
        close(fds[i]);
    }
}

static void test_set_trigger_none_signals_the_range(void **state)
{
    struct device *device = *state;
    int fds[2] = { new_eventfd(), new_eventfd() };

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 1, 2, fds), 0);
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 2), 0);
    assert_int_equal(count_of(fds[0]), 1);
    assert_int_equal(count_of(fds[1]), 0);
    close(fds[0]);
    close(fds[1]);
}

static void test_set_trigger_bool_signals_those_that_are_true(void **state)
{
    struct device *device = *state;
    int fds[3] = { new_eventfd(), new_eventfd(), new_eventfd() };
    const uint8_t bools[] = { 1, 0, 2 };

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 3, fds), 0);
    assert_int_equal(
        set_irqs_data(device, TRIGGER | BOOL, VFU_DEV_MSIX_IRQ, 0, 3, bools, 3, NULL, 0), 0);
    assert_int_equal(count_of(fds[0]), 1);
    assert_int_equal(count_of(fds[1]), 0);
    assert_int_equal(count_of(fds[2]), 1);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

static void test_set_trigger_on_full_eventfd_is_eagain(void **state)
{
    struct device *device = *state;
    int fd = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 1, &fd), 0);
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 1), EAGAIN);
    assert_int_equal(trigger(device, 0), EAGAIN);
    close(fd);
}

static void test_set_mask_and_unmask_reach_the_program(void **state)
{
    struct device *device = *state;
    int fd = new_eventfd();
    size_t before = device_count_descriptors();

    assert_int_equal(set_irqs(device, MASK | NONE, VFU_DEV_INTX_IRQ, 0, 1), 0);
    assert_int_equal(last_mask.calls, 1);
    assert_int_equal(last_mask.start, 0);
    assert_int_equal(last_mask.count, 1);
    assert_true(last_mask.mask);
    assert_int_equal(
        set_irqs_data(device, UNMASK | EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, NULL, 0, &fd, 1), 0);
    assert_int_equal(last_mask.calls, 2);
    assert_false(last_mask.mask);
    assert_int_equal(device_count_descriptors(), before + 1); /* the resample eventfd is kept */
    assert_int_equal(set_irqs(device, UNMASK | EVENTFD, VFU_DEV_INTX_IRQ, 0, 1), 0);
    assert_int_equal(last_mask.calls, 3);
    assert_int_equal(device_count_descriptors(), before);
    assert_int_equal(set_irqs(device, MASK | NONE, VFU_DEV_MSIX_IRQ, 0, 3), 0);
    assert_int_equal(last_mask.calls, 3);
    close(fd);
}

/* --- vfu_irq_trigger --- */

static void test_trigger_unknown_interrupt_is_einval(void **state)
{
    assert_int_equal(trigger(*state, MSIX_COUNT), EINVAL);
}

static void test_trigger_without_eventfd_is_enoent(void **state)
{
    assert_int_equal(trigger(*state, 0), ENOENT);
    assert_int_equal(trigger(*state, MSIX_COUNT - 1), ENOENT);
}

static void test_trigger_uses_the_type_set_last(void **state)
{
    struct device *device = *state;
    int intx = new_eventfd();
    int msix = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_INTX_IRQ, 0, 1, &intx), 0);
    assert_int_equal(trigger(device, 0), 0);
    assert_int_equal(count_of(intx), 1);
    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 1, &msix), 0);
    assert_int_equal(trigger(device, 0), 0);
    assert_int_equal(count_of(msix), 1);
    assert_int_equal(count_of(intx), 0);
    close(intx);
    close(msix);
}

static void test_trigger_survives_late_disable_of_another_type(void **state)
{
    struct device *device = *state;
    int intx = new_eventfd();
    int msix = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_INTX_IRQ, 0, 1, &intx), 0);
    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 1, &msix), 0);
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_INTX_IRQ, 0, 0), 0);
    assert_int_equal(trigger(device, 0), 0);
    assert_int_equal(count_of(msix), 1);
    close(intx);
    close(msix);
}

static void test_trigger_falls_back_to_the_type_that_is_left(void **state)
{
    struct device *device = *state;
    int intx = new_eventfd();
    int msix = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_INTX_IRQ, 0, 1, &intx), 0);
    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 1, &msix), 0);
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_MSIX_IRQ, 0, 0), 0);
    assert_int_equal(trigger(device, 0), 0);
    assert_int_equal(count_of(intx), 1);
    close(intx);
    close(msix);
}

static void test_trigger_never_signals_err_and_req(void **state)
{
    struct device *device = *state;
    int err = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_ERR_IRQ, 0, 1, &err), 0);
    assert_int_equal(trigger(device, 0), ENOENT);
    assert_int_equal(set_irqs(device, TRIGGER | NONE, VFU_DEV_ERR_IRQ, 0, 1), 0);
    assert_int_equal(count_of(err), 1);
    close(err);
}

static void test_eventfds_are_closed_when_the_client_is_gone(void **state)
{
    struct device *device = *state;
    size_t before = device_count_descriptors(); /* with both ends of the connection */
    int fd = new_eventfd();

    assert_int_equal(assign(device, VFU_DEV_MSIX_IRQ, 0, 1, &fd), 0);
    assert_int_equal(assign(device, VFU_DEV_REQ_IRQ, 0, 1, &fd), 0);
    close(fd);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(device_count_descriptors(), before - 2);
    assert_int_equal(trigger(device, 0), ENOENT);
}

#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, device_teardown)
#define IRQS(test) cmocka_unit_test_setup_teardown(test, setup_irqs, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_nr_irqs_unknown_type_is_einval),
        CREATED(test_nr_irqs_two_err_irqs_are_einval),
        CREATED(test_trigger_before_realize_is_einval),
        IRQS(test_nr_irqs_raised_late_works),
        IRQS(test_nr_irqs_lowered_late_drops_eventfds),
        IRQS(test_info_tells_counts),
        IRQS(test_info_bad_arguments_are_einval),
        IRQS(test_set_bad_arguments_are_einval),
        IRQS(test_set_short_payload_and_argsz_are_einval),
        IRQS(test_set_bools_must_match_count),
        IRQS(test_set_wrong_number_of_descriptors_is_einval),
        IRQS(test_set_descriptor_that_is_no_eventfd_is_einval),
        IRQS(test_set_keeps_exactly_one_descriptor_each),
        IRQS(test_set_without_descriptors_takes_away_that_range),
        IRQS(test_set_trigger_none_signals_the_range),
        IRQS(test_set_trigger_bool_signals_those_that_are_true),
        IRQS(test_set_trigger_on_full_eventfd_is_eagain),
        IRQS(test_set_mask_and_unmask_reach_the_program),
        IRQS(test_trigger_unknown_interrupt_is_einval),
        IRQS(test_trigger_without_eventfd_is_enoent),
        IRQS(test_trigger_uses_the_type_set_last),
        IRQS(test_trigger_survives_late_disable_of_another_type),
        IRQS(test_trigger_falls_back_to_the_type_that_is_left),
        IRQS(test_trigger_never_signals_err_and_req),
        IRQS(test_eventfds_are_closed_when_the_client_is_gone),
    };

    return cmocka_run_group_tests_name("device_irqs", tests, NULL, NULL);
}
