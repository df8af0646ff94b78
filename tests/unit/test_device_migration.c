/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that migrates: api.md sections 2.9, 3.6 and 4.10. */
#include "tests/unit/test_device_helper.h"

#include <errno.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096u
#define MIB (1u << 20)

#define MIGRATION VFIO_DEVICE_FEATURE_MIGRATION
#define STATE VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
#define START VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define STOP_LOG VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
#define REPORT VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

enum {
    ERROR = VFIO_USER_DEVICE_STATE_ERROR,
    STOP = VFIO_USER_DEVICE_STATE_STOP,
    RUNNING = VFIO_USER_DEVICE_STATE_RUNNING,
    STOP_COPY = VFIO_USER_DEVICE_STATE_STOP_COPY,
    RESUMING = VFIO_USER_DEVICE_STATE_RESUMING,
    PRE_COPY = VFIO_USER_DEVICE_STATE_PRE_COPY,
};

static struct {
    char arcs[32];  /* that the device was asked to take: S R C M(resume) P */
    int steps_left; /* until an arc fails; < 0: never */
    int result;     /* of that arc */
    int error;      /* errno of it */
    ssize_t data_result;
    uint64_t data_count; /* what the last data callback was given */
    char data[16];
    int data_calls;
    int resets;
    int quiesced;
} program;

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    static const char letters[] = {
        [VFU_MIGR_STATE_STOP] = 'S',          [VFU_MIGR_STATE_RUNNING] = 'R',
        [VFU_MIGR_STATE_STOP_AND_COPY] = 'C', [VFU_MIGR_STATE_PRE_COPY] = 'P',
        [VFU_MIGR_STATE_RESUME] = 'M',
    };

    program.arcs[strlen(program.arcs)] = letters[state];
    if (program.steps_left >= 0 && program.steps_left-- == 0) {
        errno = program.error;
        return program.result;
    }
    return 0;
}

static ssize_t on_read(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    const char *bytes = buf;

    program.data_calls++;
    program.data_count = count;
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(bytes[i], 0);
    }
    if (program.data_result >= 0 && (uint64_t)program.data_result <= count) {
        memset(buf, 0x5a, (size_t)program.data_result);
    }
    errno = program.error;
    return program.data_result;
}

static ssize_t on_write(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    program.data_calls++;
    program.data_count = count;
    memcpy(program.data, buf, count < sizeof(program.data) ? count : sizeof(program.data));
    errno = program.error;
    return program.data_result;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    program.resets++;
    errno = program.error;
    return type == VFU_RESET_DEVICE ? program.result : 0;
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    program.quiesced++;
    return 0;
}

static ssize_t on_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return (ssize_t)count;
}

static const vfu_migration_callbacks_t callbacks = {
    .version = VFU_MIGR_CALLBACKS_VERS,
    .transition = on_transition,
    .read_data = on_read,
    .write_data = on_write,
};

static int setup_migratable(void **state)
{
    struct device *device;

    memset(&program, 0, sizeof(program));
    program.steps_left = -1;
    device_setup_created(state);
    device = *state;
    assert_int_equal(vfu_setup_region(device->ctx, 0, PAGE, on_access,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    assert_int_equal(vfu_setup_device_dma(device->ctx, 10, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_reset_cb(device->ctx, on_reset), 0);
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
    return 0;
}

static int setup(void **state)
{
    setup_migratable(state);
    device_attach(*state);
    return 0;
}

/* Sends a feature with @size bytes behind the header. Returns the errno of the reply. */
static int feature(struct device *device, uint32_t flags, uint32_t argsz, const void *data,
                   size_t size)
{
    uint8_t payload[256];
    const struct vfio_user_device_feature head = { .argsz = argsz, .flags = flags };

    assert_true(sizeof(head) + size <= sizeof(payload));
    memcpy(payload, &head, sizeof(head));
    if (size > 0) {
        memcpy(payload + sizeof(head), data, size);
    }
    return device_request(device, VFIO_USER_DEVICE_FEATURE, payload, sizeof(head) + size, NULL, 0);
}

static int set_state(struct device *device, uint32_t state)
{
    const struct vfio_user_device_feature_mig_state wanted = { .device_state = state,
                                                               .data_fd = 77 };
    int err;

    memset(program.arcs, 0, sizeof(program.arcs));
    err = feature(device, STATE | SET, 16, &wanted, sizeof(wanted));
    if (err == 0) {
        /* api.md 4.10.1: the reply is a copy of the request. */
        assert_int_equal(device_answer.size, 16);
        assert_memory_equal(device_answer.payload + 8, &wanted, sizeof(wanted));
    }
    return err;
}

static uint32_t get_state(struct device *device)
{
    const struct vfio_user_device_feature_mig_state *state =
        (const void *)(device_answer.payload + 8);

    assert_int_equal(feature(device, STATE | GET, 16, NULL, 0), 0);
    assert_int_equal(device_answer.size, 16);
    assert_int_equal(state->data_fd, 0);
    return state->device_state;
}

/* From RUNNING. */
static void go_to(struct device *device, uint32_t state)
{
    assert_int_equal(set_state(device, RUNNING), 0);
    assert_int_equal(set_state(device, state), 0);
    assert_int_equal(get_state(device), state);
}

/* --- set-up --- */

/* api.md 2.9. */
static void test_setup_checks_its_arguments(void **state)
{
    struct device *device = *state;
    vfu_migration_callbacks_t bad[5] = { callbacks, callbacks, callbacks, callbacks, callbacks };

    bad[0].version = 1;
    bad[1].version = 3;
    bad[2].transition = NULL;
    bad[3].read_data = NULL;
    bad[4].write_data = NULL;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &bad[i]), -1);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, NULL), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
}

/* api.md 2.1, 2.9: also while a client is attached; a second call starts anew. */
static void test_setup_late_and_again(void **state)
{
    struct device *device = *state;

    memset(&program, 0, sizeof(program));
    program.steps_left = -1;
    assert_int_equal(feature(device, STATE | GET, 16, NULL, 0), EINVAL);
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
    assert_int_equal(get_state(device), RUNNING);
    go_to(device, STOP);
    assert_int_equal(vfu_setup_device_migration_callbacks(device->ctx, &callbacks), 0);
    assert_int_equal(get_state(device), RUNNING);
}

static const char *answered_json(void)
{
    return (const char *)device_answer.payload + sizeof(struct vfio_user_version);
}

/* api.md 4.1: the reply to VERSION says so, with the page size. */
static void test_version_tells_of_migration(void **state)
{
    char text[64];

    snprintf(text, sizeof(text), "\"migration\":{\"pgsize\":%ld}", sysconf(_SC_PAGESIZE));
    device_attach(*state);
    assert_non_null(strstr(answered_json(), text));
}

static void test_version_of_a_device_that_cannot_migrate(void **state)
{
    device_attach(*state);
    assert_null(strstr(answered_json(), "migration"));
}

static int attach_with(struct device *device, const char *json)
{
    char payload[256] = { 0, 0, 1, 0 };
    size_t size = 4 + (size_t)snprintf(payload + 4, sizeof(payload) - 4, "%s", json) + 1;
    int err;

    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, 0, payload, size, NULL, 0);
    err = vfu_attach_ctx(device->ctx) < 0 ? errno : 0;
    assert_true(device_receive(device, &device_answer));
    return err;
}

/* api.md 2.2: EINVAL for another page size, while migration is set up. */
static void test_version_checks_the_page_size(void **state)
{
    struct device *device = *state;
    char json[128];
    const char *bad[] = { "0", "1", "2097152", "-4096", "9223372036854775807" };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(json, sizeof(json), "{\"capabilities\":{\"migration\":{\"pgsize\":%s}}}", bad[i]);
        assert_int_equal(attach_with(device, json), EINVAL);
        assert_int_equal(device_answer.header.error_no, EINVAL);
    }
    snprintf(json, sizeof(json), "{\"capabilities\":{\"migration\":{\"pgsize\":%ld}}}",
             sysconf(_SC_PAGESIZE));
    assert_int_equal(attach_with(device, json), 0);
}

static void test_version_page_size_matters_to_migration_only(void **state)
{
    assert_int_equal(attach_with(*state, "{\"capabilities\":{\"migration\":{\"pgsize\":1}}}"), 0);
}

/* --- features --- */

/* api.md 4.10.1: the whole table of operations. */
static void test_feature_operations(void **state)
{
    struct device *device = *state;
    const struct {
        uint32_t number;
        uint32_t operations;
    } features[] = {
        { MIGRATION, GET }, { STATE, GET | SET },
        { START, SET },     { STOP_LOG, SET },
        { REPORT, GET },    { 0, 0 },
        { 3, 0 },           { 5, 0 },
        { 9, 0 },           { 11, 0 },
        { 0xffff, 0 },
    };

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        uint32_t number = features[i].number;
        uint32_t known = features[i].operations;
        int expected = known != 0 ? 0 : EINVAL;

        assert_int_equal(feature(device, number | PROBE, 8, NULL, 0), expected);
        if (expected == 0) {
            assert_int_equal(device_answer.size, 8);
        }
        for (uint32_t operation = GET; operation <= SET; operation <<= 1) {
            assert_int_equal(feature(device, number | PROBE | operation, 8, NULL, 0),
                             known & operation ? 0 : EINVAL);
            if (!(known & operation)) {
                assert_int_equal(feature(device, number | operation, 64, "\0\0\0\0\0\0\0", 8),
                                 EINVAL);
            }
        }
        assert_int_equal(feature(device, number | PROBE | GET | SET, 8, NULL, 0),
                         known == (GET | SET) ? 0 : EINVAL);
        assert_int_equal(feature(device, number | GET | SET, 64, "\2\0\0\0\0\0\0", 8), EINVAL);
        assert_int_equal(feature(device, number, 64, NULL, 0), EINVAL);
        assert_int_equal(feature(device, number | PROBE | 0x80000, 8, NULL, 0), EINVAL);
        assert_int_equal(feature(device, number | PROBE | 0x80000000, 8, NULL, 0), EINVAL);
    }
    assert_string_equal(program.arcs, "");
}

/* api.md 4.10.1: sizes of request and reply. */
static void test_feature_sizes(void **state)
{
    struct device *device = *state;
    const uint32_t half[2] = { 16, STATE | GET };
    const uint8_t more[16] = { STOP };

    assert_int_equal(device_request(device, VFIO_USER_DEVICE_FEATURE, half, 7, NULL, 0), EINVAL);
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_FEATURE, half, 8, NULL, 0), 0);
    /* GET: argsz is for the reply. */
    assert_int_equal(feature(device, STATE | GET, 15, NULL, 0), EINVAL);
    assert_int_equal(feature(device, MIGRATION | GET, 15, NULL, 0), EINVAL);
    assert_int_equal(feature(device, MIGRATION | GET, 4096, more, 16), 0);
    assert_int_equal(device_answer.size, 16);
    assert_int_equal(((uint32_t *)device_answer.payload)[0], 16);
    assert_int_equal(((uint32_t *)device_answer.payload)[1], MIGRATION | GET);
    /* PROBE and SET: argsz is for the request, which comes back. */
    assert_int_equal(feature(device, STATE | PROBE | SET, 23, more, 16), EINVAL);
    assert_int_equal(feature(device, STATE | PROBE | SET, 24, more, 16), 0);
    assert_int_equal(device_answer.size, 24);
    assert_memory_equal(device_answer.payload + 8, more, 16);
    assert_int_equal(feature(device, STATE | SET, 15, more, 8), EINVAL);
    assert_int_equal(feature(device, STATE | SET, 23, more, 16), EINVAL);
    /* A structure that is not there whole (7.1 W3). */
    assert_int_equal(feature(device, STATE | SET, 64, more, 7), EINVAL);
    assert_int_equal(feature(device, STATE | SET, 64, NULL, 0), EINVAL);
    assert_int_equal(feature(device, START | SET, 64, more, 15), EINVAL);
    assert_int_equal(feature(device, REPORT | GET, 64, more, 16), EINVAL);
    assert_string_equal(program.arcs, "");
    assert_int_equal(feature(device, STATE | SET, 24, more, 16), 0);
    assert_int_equal(device_answer.size, 24);
    assert_string_equal(program.arcs, "S");
}

/* api.md 4.10.1: STOP_COPY and PRE_COPY, always. */
static void test_feature_migration_flags(void **state)
{
    assert_int_equal(feature(*state, MIGRATION | GET, 16, NULL, 0), 0);
    assert_int_equal(*(uint64_t *)(device_answer.payload + 8), 5);
}

/* api.md 4.10.1: without migration there is no feature at all, logging included. */
static void test_feature_without_migration_is_einval(void **state)
{
    for (uint32_t number = 0; number < 12; number++) {
        assert_int_equal(feature(*state, number | PROBE, 8, NULL, 0), EINVAL);
        assert_int_equal(feature(*state, number | GET, 64, NULL, 0), EINVAL);
        assert_int_equal(feature(*state, number | SET, 64, "\0\20\0\0\0\0\0\0\0\0\0\0\0\0\0", 16),
                         EINVAL);
    }
}

/* api.md 4.8 with 7.3 W39: asked for what changes something. */
static void test_feature_quiesces(void **state)
{
    struct device *device = *state;
    const struct {
        uint32_t flags;
        int asked;
    } requests[] = {
        { STATE | SET, 1 },         { START | SET, 1 },     { STOP_LOG | SET, 1 },
        { STATE | GET, 0 },         { MIGRATION | GET, 0 }, { REPORT | GET, 0 },
        { STATE | SET | PROBE, 0 }, { START | PROBE, 0 },
    };

    vfu_setup_device_quiesce_cb(device->ctx, on_quiesce);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        program.quiesced = 0;
        feature(device, requests[i].flags, 64, "\2\0\0\0\0\0\0", 8);
        assert_int_equal(program.quiesced, requests[i].asked);
    }
    /* Also if there is nothing to change. */
    program.quiesced = 0;
    assert_int_equal(set_state(device, RUNNING), 0);
    assert_int_equal(program.quiesced, 1);
}

/* --- states --- */

/* api.md 4.10.2: every pair, with the arcs in between. */
static void test_state_arcs(void **state)
{
    struct device *device = *state;
    static const uint32_t states[] = { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY };
    static const char *const arcs[5][5] = {
        { "", "R", "C", "M", "RP" },   { "S", "", "SC", "SM", "P" },
        { "S", "SR", "", "SM", NULL }, { "S", "SR", "SC", "", "SRP" },
        { "RS", "R", "C", "RSM", "" },
    };

    for (int from = 0; from < 5; from++) {
        for (int to = 0; to < 5; to++) {
            go_to(device, states[from]);
            if (arcs[from][to] == NULL) {
                assert_int_equal(set_state(device, states[to]), EINVAL);
                assert_string_equal(program.arcs, "");
                assert_int_equal(get_state(device), states[from]);
            } else {
                assert_int_equal(set_state(device, states[to]), 0);
                assert_string_equal(program.arcs, arcs[from][to]);
                assert_int_equal(get_state(device), states[to]);
            }
        }
    }
}

/* api.md 4.10.2, 7.1 W8: no such state, and no callback. */
static void test_state_bad_targets_are_einval(void **state)
{
    struct device *device = *state;
    const uint32_t bad[] = { ERROR, 5, 7, 8, 9, 255, 256, 0x80000000, 0xffffffff };
    const uint32_t from[] = { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY };

    for (size_t i = 0; i < 5; i++) {
        go_to(device, from[i]);
        for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
            assert_int_equal(set_state(device, bad[j]), EINVAL);
            assert_string_equal(program.arcs, "");
        }
        assert_int_equal(get_state(device), from[i]);
    }
}

/* api.md 3.6: the client gets the errno, the state is the last that was reached. */
static void test_state_refused_by_the_device(void **state)
{
    struct device *device = *state;

    program.result = -1;
    program.error = ENOSPC;
    program.steps_left = 1;
    assert_int_equal(set_state(device, STOP_COPY), ENOSPC);
    assert_string_equal(program.arcs, "SC");
    assert_int_equal(get_state(device), STOP);
    program.steps_left = 0;
    assert_int_equal(set_state(device, PRE_COPY), ENOSPC);
    assert_string_equal(program.arcs, "R");
    assert_int_equal(get_state(device), STOP);
    /* 7.3 W42: -1 without an errno, and results that are not 0, are failures. */
    program.error = 0;
    program.steps_left = 0;
    assert_int_equal(set_state(device, RUNNING), EINVAL);
    program.result = 1;
    program.error = ENOENT;
    program.steps_left = 0;
    assert_int_equal(set_state(device, RUNNING), EINVAL);
    assert_int_equal(get_state(device), STOP);
}

static const struct vfio_user_region_access bar_access = { 0, 0, 0 };

static int access_bar(struct device *device, uint16_t command)
{
    return device_request(device, command, &bar_access, sizeof(bar_access), NULL, 0);
}

/* api.md 4.2, 4.10.3: what is executed in which state; the rest counts for no request. */
static void test_state_filters_commands(void **state)
{
    struct device *device = *state;
    const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .size = PAGE };
    const struct vfio_user_dma_unmap unmap = { .argsz = 24, .size = PAGE };
    const struct vfio_user_device_info info = { .argsz = 16 };
    const struct vfio_irq_set irqs = { .argsz = 20, .flags = 0x21, .index = VFU_DEV_ERR_IRQ };
    const struct vfio_irq_info irq_info = { .argsz = 16 };
    const struct vfio_region_info region_info = { .argsz = 32 };
    const struct {
        uint16_t command;
        const void *payload;
        size_t size;
    } others[] = {
        { VFIO_USER_DMA_MAP, &map, sizeof(map) },
        { VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap) },
        { VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info) },
        { VFIO_USER_DEVICE_SET_IRQS, &irqs, 20 },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, &irq_info, sizeof(irq_info) },
        { VFIO_USER_DEVICE_GET_REGION_INFO, &region_info, sizeof(region_info) },
    };
    const struct {
        uint32_t state;
        int others; /* errno */
        int access;
    } expected[] = {
        { RUNNING, 0, 0 },
        { PRE_COPY, 0, 0 },
        { RESUMING, 0, 0 },
        { STOP, EINVAL, 0 },
        { STOP_COPY, EINVAL, EINVAL },
    };

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        go_to(device, expected[i].state);
        for (size_t j = 0; j < sizeof(others) / sizeof(others[0]); j++) {
            device_send_command(device, others[j].command, 0, others[j].payload, others[j].size,
                                NULL, 0);
            assert_int_equal(vfu_run_ctx(device->ctx), expected[i].others == 0);
            assert_true(device_receive(device, &device_answer));
            assert_int_equal(device_answer.header.error_no, expected[i].others);
        }
        assert_int_equal(access_bar(device, VFIO_USER_REGION_READ), expected[i].access);
        assert_int_equal(access_bar(device, VFIO_USER_REGION_WRITE), expected[i].access);
    }
}

/* Decided otherwise than api.md 4.9: a reset works in every state, and is the way out. */
static void test_state_is_running_after_a_reset(void **state)
{
    struct device *device = *state;
    const uint32_t from[] = { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY };
    const uint64_t control[2] = { PAGE };

    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(feature(device, START | SET, 24, control, sizeof(control)), 0);
        go_to(device, from[i]);
        memset(program.arcs, 0, sizeof(program.arcs));
        program.resets = 0;
        assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
        assert_int_equal(program.resets, 1);
        assert_string_equal(program.arcs, "");
        assert_int_equal(get_state(device), RUNNING);
        assert_int_equal(device->ctx->session.dma.log_shift, 0);
    }
    /* One that fails changes nothing. */
    go_to(device, STOP);
    program.result = -1;
    program.error = EIO;
    assert_int_equal(device_request(device, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), EIO);
    assert_int_equal(get_state(device), STOP);
}

/* api.md 3.2 [C]: the library itself resets nothing then. */
static void test_state_and_log_outlive_a_function_level_reset(void **state)
{
    struct device *device = *state;
    struct pxcap express = { .hdr.id = PCI_CAP_ID_EXP, .pxdcap.flrc = 1 };
    const uint16_t control = PCI_EXP_DEVCTL_BCR_FLR;
    const uint64_t pages[2] = { PAGE, 0 };

    assert_int_equal(vfu_pci_add_capability(device->ctx, 0x80, 0, &express), 0x80);
    assert_int_equal(set_state(device, PRE_COPY), 0);
    assert_int_equal(feature(device, START | SET, 24, pages, sizeof(pages)), 0);
    assert_int_equal(device_config_write(device, 0x80 + PCI_EXP_DEVCTL, &control, 2), 0);
    assert_int_equal(program.resets, 1);
    assert_int_equal(device->ctx->session.migration.state, PRE_COPY);
    assert_int_equal(device->ctx->session.dma.log_shift, 12);
}

/* api.md 7.3 W36: nothing is left to the next client. */
static void test_state_is_running_after_a_lost_client(void **state)
{
    struct device *device = *state;
    const uint64_t control[2] = { PAGE };

    assert_int_equal(feature(device, START | SET, 24, control, sizeof(control)), 0);
    go_to(device, STOP_COPY);
    close(device->client);
    device->client = -1;
    assert_int_equal(vfu_run_ctx(device->ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    device_attach(device);
    assert_int_equal(get_state(device), RUNNING);
    assert_int_equal(device->ctx->session.dma.log_shift, 0);
}

/* --- data --- */

static int read_data(struct device *device, uint32_t argsz, uint32_t size)
{
    const struct vfio_user_mig_data request = { .argsz = argsz, .size = size };

    program.data_calls = 0;
    return device_request(device, VFIO_USER_MIG_DATA_READ, &request, sizeof(request), NULL, 0);
}

static int write_data(struct device *device, uint32_t argsz, uint32_t size, size_t sent)
{
    struct vfio_user_mig_data *request = calloc(1, sizeof(*request) + sent);
    int err;

    assert_non_null(request);
    request->argsz = argsz;
    request->size = size;
    memset(request->data, 0x77, sent);
    program.data_calls = 0;
    err =
        device_request(device, VFIO_USER_MIG_DATA_WRITE, request, sizeof(*request) + sent, NULL, 0);
    free(request);
    return err;
}

/* api.md 4.10.3: length of the request and size asked for, zero-padded; the fields tell. */
static void test_read_data(void **state)
{
    struct device *device = *state;
    const struct vfio_user_mig_data *answer = (const void *)device_answer.payload;

    for (int i = 0; i < 2; i++) {
        go_to(device, i == 0 ? PRE_COPY : STOP_COPY);
        program.data_result = 3;
        assert_int_equal(read_data(device, 108, 100), 0);
        assert_int_equal(program.data_count, 100);
        assert_int_equal(device_answer.size, 108);
        assert_int_equal(answer->argsz, 11);
        assert_int_equal(answer->size, 3);
        assert_memory_equal(answer->data, "ZZZ\0\0", 5);
        program.data_result = 0;
        assert_int_equal(read_data(device, 108, 100), 0);
        assert_int_equal(answer->size, 0);
        assert_int_equal(answer->argsz, 8);
        assert_int_equal(read_data(device, 8, 0), 0);
        assert_int_equal(program.data_calls, 1);
        assert_int_equal(program.data_count, 0);
        assert_int_equal(device_answer.size, 8);
        program.data_result = MIB;
        assert_int_equal(read_data(device, MIB + 8, MIB), 0);
        assert_int_equal(device_answer.size, MIB + 8);
        assert_int_equal(answer->size, MIB);
        assert_int_equal(answer->data[MIB - 1], 0x5a);
    }
}

/* api.md 4.10.3: and a longer request has a longer reply. */
static void test_read_data_with_a_longer_request(void **state)
{
    struct device *device = *state;
    const uint32_t request[4] = { 18, 10, 1, 2 };

    go_to(device, PRE_COPY);
    program.data_result = 10;
    assert_int_equal(
        device_request(device, VFIO_USER_MIG_DATA_READ, request, sizeof(request), NULL, 0), 0);
    assert_int_equal(device_answer.size, 26);
    assert_memory_equal(device_answer.payload + 8, "ZZZZZZZZZZ\0\0\0\0\0\0\0\0", 18);
}

static void test_read_data_bad_requests_are_einval(void **state)
{
    struct device *device = *state;
    const uint32_t refused[] = { RUNNING, STOP, RESUMING };
    const uint32_t argsz[2] = { 108, 100 };

    for (size_t i = 0; i < 3; i++) {
        go_to(device, refused[i]);
        assert_int_equal(read_data(device, 108, 100), EINVAL);
        assert_int_equal(program.data_calls, 0);
    }
    go_to(device, STOP_COPY);
    assert_int_equal(read_data(device, 107, 100), EINVAL);
    assert_int_equal(read_data(device, 4, 0), EINVAL);
    assert_int_equal(read_data(device, MIB + 16, MIB + 1), EINVAL);
    assert_int_equal(read_data(device, 0xffffffff, 0xffffffff), EINVAL);
    assert_int_equal(device_request(device, VFIO_USER_MIG_DATA_READ, argsz, 7, NULL, 0), EINVAL);
    /* The client's own limit. */
    device->ctx->session.client.max_data_xfer_size = 99;
    assert_int_equal(read_data(device, 108, 100), EINVAL);
    assert_int_equal(program.data_calls, 0);
    assert_int_equal(read_data(device, 107, 99), 0);
}

/* api.md 3.6, 7.1 W8. */
static void test_read_data_callback_results(void **state)
{
    struct device *device = *state;

    go_to(device, STOP_COPY);
    program.data_result = -1;
    program.error = EIO;
    assert_int_equal(read_data(device, 108, 100), EIO);
    program.error = 0;
    assert_int_equal(read_data(device, 108, 100), EINVAL);
    program.data_result = 101;
    assert_int_equal(read_data(device, 108, 100), EINVAL);
    program.data_result = -2;
    assert_int_equal(read_data(device, 108, 100), EINVAL);
    program.data_result = 4294967295;
    assert_int_equal(read_data(device, 108, 100), EINVAL);
}

static void test_write_data(void **state)
{
    struct device *device = *state;

    go_to(device, RESUMING);
    program.data_result = 5;
    assert_int_equal(write_data(device, 13, 5, 5), 0);
    assert_int_equal(device_answer.size, 0);
    assert_int_equal(program.data_count, 5);
    assert_memory_equal(program.data, "wwwww", 6);
    /* What is more than said is ignored. */
    assert_int_equal(write_data(device, 100, 5, 9), 0);
    assert_int_equal(program.data_count, 5);
    program.data_result = 0;
    assert_int_equal(write_data(device, 8, 0, 0), 0);
    assert_int_equal(program.data_calls, 1);
    program.data_result = 100000;
    assert_int_equal(write_data(device, MIB, 100000, 100000), 0);
    assert_int_equal(program.data_count, 100000);
}

static void test_write_data_bad_requests_are_einval(void **state)
{
    struct device *device = *state;
    const uint32_t refused[] = { RUNNING, PRE_COPY, STOP, STOP_COPY };

    program.data_result = 5;
    for (size_t i = 0; i < 4; i++) {
        go_to(device, refused[i]);
        assert_int_equal(write_data(device, 13, 5, 5), EINVAL);
        assert_int_equal(program.data_calls, 0);
    }
    go_to(device, RESUMING);
    assert_int_equal(write_data(device, 12, 5, 5), EINVAL);
    assert_int_equal(write_data(device, 13, 5, 4), EINVAL);
    assert_int_equal(write_data(device, MIB + 9, MIB + 1, 16), EINVAL);
    assert_int_equal(write_data(device, 0xffffffff, 0xffffffff, 16), EINVAL);
    device->ctx->session.client.max_data_xfer_size = 4;
    assert_int_equal(write_data(device, 13, 5, 5), EINVAL);
    assert_int_equal(program.data_calls, 0);
}

/* api.md 3.6: all or nothing. */
static void test_write_data_callback_results(void **state)
{
    struct device *device = *state;
    const ssize_t bad[] = { 0, 4, 6, -2 };

    go_to(device, RESUMING);
    program.error = EILSEQ;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        program.data_result = bad[i];
        assert_int_equal(write_data(device, 13, 5, 5), EINVAL);
    }
    program.data_result = -1;
    assert_int_equal(write_data(device, 13, 5, 5), EILSEQ);
    program.error = 0;
    assert_int_equal(write_data(device, 13, 5, 5), EINVAL);
}

static void test_data_without_migration_is_einval(void **state)
{
    assert_int_equal(read_data(*state, 108, 100), EINVAL);
    assert_int_equal(write_data(*state, 13, 5, 5), EINVAL);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, device_teardown)
#define CREATED(test, setup) cmocka_unit_test_setup_teardown(test, setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREATED(test_setup_checks_its_arguments, device_setup_created),
        CREATED(test_setup_late_and_again, device_setup_attached),
        CREATED(test_version_tells_of_migration, setup_migratable),
        CREATED(test_version_of_a_device_that_cannot_migrate, device_setup_created),
        CREATED(test_version_checks_the_page_size, setup_migratable),
        CREATED(test_version_page_size_matters_to_migration_only, device_setup_created),
        TEST(test_feature_operations),
        TEST(test_feature_sizes),
        TEST(test_feature_migration_flags),
        CREATED(test_feature_without_migration_is_einval, device_setup_attached),
        TEST(test_feature_quiesces),
        TEST(test_state_arcs),
        TEST(test_state_bad_targets_are_einval),
        TEST(test_state_refused_by_the_device),
        TEST(test_state_filters_commands),
        TEST(test_state_is_running_after_a_reset),
        TEST(test_state_and_log_outlive_a_function_level_reset),
        TEST(test_state_is_running_after_a_lost_client),
        TEST(test_read_data),
        TEST(test_read_data_with_a_longer_request),
        TEST(test_read_data_bad_requests_are_einval),
        TEST(test_read_data_callback_results),
        TEST(test_write_data),
        TEST(test_write_data_bad_requests_are_einval),
        TEST(test_write_data_callback_results),
        CREATED(test_data_without_migration_is_einval, device_setup_attached),
    };

    return cmocka_run_group_tests_name("device_migration", tests, NULL, NULL);
}
