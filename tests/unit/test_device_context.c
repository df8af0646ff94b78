/* SPDX-License-Identifier: BSD-3-Clause */
/* Creating and destroying contexts, and their log. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int create_error(vfu_trans_t trans, const char *path, int flags, int dev_type)
{
    errno = 0;
    assert_null(vfu_create_ctx(trans, path, flags, NULL, (vfu_dev_type_t)dev_type));
    return errno;
}

/* api.md 2.2: in this order; a file that is there is neither used nor removed. */
static void test_create_bad_arguments(void **state)
{
    struct device *device = *state;
    const char *path = device->path;
    char long_path[109];
    size_t before = device_count_descriptors();

    memset(long_path, 'x', 108);
    long_path[108] = '\0';
    assert_int_equal(create_error(VFU_TRANS_SOCK, path, 2, 0), EINVAL);
    assert_int_equal(create_error(VFU_TRANS_PIPE, path, 0, 0), ENOTSUP);
    assert_int_equal(create_error(VFU_TRANS_MAX, path, 0, 0), ENOTSUP);
    assert_int_equal(create_error(VFU_TRANS_SOCK, path, 0, 1), ENOTSUP);
    assert_int_equal(create_error(VFU_TRANS_SOCK, NULL, 0, 0), EINVAL);
    assert_int_equal(create_error(VFU_TRANS_SOCK, long_path, 0, 0), ENAMETOOLONG);
    assert_int_equal(create_error(VFU_TRANS_SOCK, path, 0, 0), EADDRINUSE);
    assert_int_equal(create_error(VFU_TRANS_SOCK, "/nonexistent/socket", 0, 0), ENOENT);
    assert_int_equal(access(path, F_OK), 0); /* the first context's file */
    assert_int_equal(device_count_descriptors(), before);
}

static void test_create_longest_path(void **state)
{
    struct device *device = *state;
    char path[108];
    vfu_ctx_t *ctx;
    int n = snprintf(path, sizeof(path), "%s/", device->dir);

    memset(path + n, 'x', sizeof(path) - (size_t)n - 1);
    path[107] = '\0';
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(access(path, F_OK), 0);
    vfu_destroy_ctx(ctx);
    assert_int_equal(access(path, F_OK), -1);
}

/* api.md 2.2 [C] */
static void test_create_empty_path_is_an_abstract_address(void **state)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, "", 0, NULL, VFU_DEV_TYPE_PCI);

    assert_non_null(ctx);
    assert_int_equal(create_error(VFU_TRANS_SOCK, "", 0, 0), EADDRINUSE);
    vfu_destroy_ctx(ctx);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, "", 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    vfu_destroy_ctx(ctx);
}

static void test_private_is_what_was_given(void **state)
{
    struct device *device = *state;

    assert_ptr_equal(vfu_get_private(device->ctx), device);
}

static void test_all_descriptors_are_close_on_exec(void **state)
{
    struct device *device = *state;
    const struct irq_table *table = &device->ctx->session.irqs.tables[VFU_DEV_ERR_IRQ];
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };

    int event = eventfd_slot_get(&table->eventfds[0]);
    int ours[3] = { vfu_get_poll_fd(device->ctx), device->ctx->connection.sock, event };
    int fd = device_memory(1);

    close(fd);
    fd = dup(STDERR_FILENO); /* not an eventfd: nothing is kept */
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), &fd, 1),
                     EINVAL);
    close(fd);
    assert_int_equal(event, -1);
    for (int i = 0; i < 2; i++) {
        assert_true(fcntl(ours[i], F_GETFD) & FD_CLOEXEC);
    }
}

static void test_destroy_null_is_fine(void **state)
{
    vfu_destroy_ctx(NULL);
}

static void test_destroy_leaves_a_file_that_took_the_place(void **state)
{
    struct device *device = *state;
    vfu_ctx_t *ctx;
    char path[80];
    int fd;

    snprintf(path, sizeof(path), "%s/other", device->dir);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    vfu_destroy_ctx(ctx);
    assert_int_equal(unlink(path), 0);
}

/* --- order of the end --- */

static char order[64];

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    strcat(order, "unregister ");
    assert_non_null(vfu_pci_get_config_space(ctx));
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    assert_int_equal(type, VFU_RESET_LOST_CONN);
    assert_non_null(vfu_get_private(ctx));
    strcat(order, "reset ");
    if (ctx->realized &&
        eventfd_slot_get(&ctx->session.irqs.tables[VFU_DEV_ERR_IRQ].eventfds[0]) >= 0) {
        strcat(order, "irqs ");
    }
    strcat(order, connection_is_open(&ctx->connection) ? "client " : "");
    strcat(order, access(((struct device *)vfu_get_private(ctx))->path, F_OK) == 0 ? "path" : "");
    return -1;
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    fail();
    return -1;
}

/*
 * api.md 2.2 [C]: regions go, then the device is reset, while eventfds, connection and socket are
 * still there; and nobody asks whether it is quiet.
 */
static void test_destroy_unregisters_then_resets(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 1, .size = 4096 };
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };
    int event = eventfd(0, EFD_CLOEXEC);

    order[0] = '\0';
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, on_added, on_removed), 0);
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    device_attach(device);
    assert_int_equal(device_request(device, VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0), 0);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), &event, 1),
                     0);
    vfu_setup_device_quiesce_cb(device->ctx, on_quiesce);
    vfu_destroy_ctx(device->ctx);
    assert_string_equal(order, "unregister reset irqs client path");
    assert_int_equal(access(device->path, F_OK), -1);
    device->ctx = NULL;
    close(event);
}

static void test_destroy_resets_also_what_was_never_attached(void **state)
{
    struct device *device = *state;

    order[0] = '\0';
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    vfu_realize_ctx(device->ctx);
    vfu_destroy_ctx(device->ctx);
    assert_string_equal(order, "reset path");
    device->ctx = NULL;
}

/* api.md 2.2 [C] */
static void test_destroy_leaves_the_programs_descriptors(void **state)
{
    struct device *device = *state;
    int fd = device_memory(4096);

    assert_int_equal(vfu_setup_region(device->ctx, 0, 4096, NULL,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, fd, 0),
                     0);
    vfu_destroy_ctx(device->ctx);
    device->ctx = NULL;
    assert_int_equal(close(fd), 0);
}

static void test_contexts_come_and_go_without_a_trace(void **state)
{
    struct device *device = *state;
    size_t before;

    vfu_destroy_ctx(device->ctx);
    before = device_count_descriptors();
    for (int i = 0; i < 20; i++) {
        rmdir(device->dir);
        device_create(device);
        device_attach(device);
        close(device->client);
        device->client = -1;
        vfu_destroy_ctx(device->ctx);
    }
    device->ctx = NULL;
    assert_int_equal(device_count_descriptors(), before);
}

/* --- log --- */

static struct {
    int lines;
    int level;
    int err;
    char text[LOG_LINE_MAX + 10];
} seen;

static void on_line(vfu_ctx_t *ctx, int level, const char *message)
{
    seen.lines++;
    seen.level = level;
    snprintf(seen.text, sizeof(seen.text), "%s", message);
    errno = ENOTTY; /* a sink does what it wants */
}

static void test_log_without_function_is_nothing(void **state)
{
    struct device *device = *state;

    memset(&seen, 0, sizeof(seen));
    vfu_log(device->ctx, LOG_EMERG, "nobody hears");
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_DEBUG), 0);
    assert_int_equal(vfu_setup_log(device->ctx, NULL, LOG_DEBUG), 0);
    vfu_log(device->ctx, LOG_EMERG, "nobody hears");
    assert_int_equal(seen.lines, 0);
}

static void test_log_follows_the_level(void **state)
{
    struct device *device = *state;

    memset(&seen, 0, sizeof(seen));
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_WARNING), 0);
    vfu_log(device->ctx, LOG_NOTICE, "too much");
    assert_int_equal(seen.lines, 0);
    vfu_log(device->ctx, LOG_WARNING, "number %d", 5);
    assert_int_equal(seen.lines, 1);
    assert_int_equal(seen.level, LOG_WARNING);
    assert_string_equal(seen.text, "number 5");
}

static void test_log_unknown_level_is_einval_and_changes_nothing(void **state)
{
    struct device *device = *state;

    memset(&seen, 0, sizeof(seen));
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_INFO), 0);
    assert_int_equal(vfu_setup_log(device->ctx, NULL, LOG_DEBUG + 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_setup_log(device->ctx, NULL, -1), -1);
    vfu_log(device->ctx, LOG_INFO, "still here");
    assert_int_equal(seen.lines, 1);
}

/* api.md 2.3 [C] */
static void test_log_keeps_errno(void **state)
{
    struct device *device = *state;
    char wanted[64];

    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_INFO), 0);
    snprintf(wanted, sizeof(wanted), "why: %s", strerror(ENOSPC));
    errno = ENOSPC;
    vfu_log(device->ctx, LOG_INFO, "why: %m");
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(seen.text, wanted);
}

static void test_log_cuts_long_lines(void **state)
{
    struct device *device = *state;
    char *text = malloc(3 * LOG_LINE_MAX);

    assert_non_null(text);
    memset(text, 'a', 3 * LOG_LINE_MAX - 1);
    text[3 * LOG_LINE_MAX - 1] = '\0';
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_INFO), 0);
    vfu_log(device->ctx, LOG_INFO, "%s", text);
    assert_int_equal(strlen(seen.text), LOG_LINE_MAX - 1);
    free(text);
}

static void test_log_without_format_is_nothing(void **state)
{
    struct device *device = *state;
    const char *none = NULL;

    memset(&seen, 0, sizeof(seen));
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_INFO), 0);
    vfu_log(device->ctx, LOG_INFO, none, 1);
    assert_int_equal(seen.lines, 0);
}

static void test_log_of_client_mistakes_is_limited(void **state)
{
    struct device *device = *state;

    memset(&seen, 0, sizeof(seen));
    assert_int_equal(vfu_setup_log(device->ctx, on_line, LOG_DEBUG), 0);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(device_request(device, 99, "x", 1, NULL, 0), EINVAL);
    }
    assert_true(seen.lines >= LOG_CLIENT_LINES);
    assert_true(seen.lines <= 5 * LOG_CLIENT_LINES); /* even on a slow machine */
}

static int teardown_context(void **state)
{
    struct device *device = *state;

    if (device->ctx != NULL) {
        return device_teardown(state);
    }
    if (device->client >= 0) {
        close(device->client);
    }
    assert_int_equal(rmdir(device->dir), 0);
    free(device);
    return 0;
}

#define PLAIN(test) cmocka_unit_test(test)
#define CREATED(test) cmocka_unit_test_setup_teardown(test, device_setup_created, teardown_context)
#define ATTACHED(test) cmocka_unit_test_setup_teardown(test, device_setup_attached, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_create_bad_arguments),
        CREATED(test_create_longest_path),
        PLAIN(test_create_empty_path_is_an_abstract_address),
        CREATED(test_private_is_what_was_given),
        ATTACHED(test_all_descriptors_are_close_on_exec),
        PLAIN(test_destroy_null_is_fine),
        CREATED(test_destroy_leaves_a_file_that_took_the_place),
        CREATED(test_destroy_unregisters_then_resets),
        CREATED(test_destroy_resets_also_what_was_never_attached),
        CREATED(test_destroy_leaves_the_programs_descriptors),
        CREATED(test_contexts_come_and_go_without_a_trace),
        CREATED(test_log_without_function_is_nothing),
        CREATED(test_log_follows_the_level),
        CREATED(test_log_unknown_level_is_einval_and_changes_nothing),
        CREATED(test_log_keeps_errno),
        CREATED(test_log_cuts_long_lines),
        CREATED(test_log_without_format_is_nothing),
        ATTACHED(test_log_of_client_mistakes_is_limited),
    };

    return cmocka_run_group_tests_name("device_context", tests, NULL, NULL);
}
