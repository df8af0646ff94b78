/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/device_feature.h"

#include "device/context.h"
#include "device/dirty_log.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE
#define OPERATIONS (~(uint32_t)VFIO_DEVICE_FEATURE_MASK)

/* Largest bitmap of a report: for 32 GiB in pages of 4 KiB. More takes several requests. */
#define MAX_REPORT_BYTES VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE

struct operation {
    size_t size; /* of what is behind the header of the request, bytes; at least */
    /* NULL: the feature has no such operation. Returns 0 or a negative errno. */
    int (*handle)(struct vfu_ctx *ctx, const struct request *request, struct reply *reply);
};

struct feature {
    struct operation get;
    struct operation set; /* the device is quiet then; the reply is the request */
};

/* What is behind the header. */
static void *data_of(const struct request *request)
{
    struct vfio_user_device_feature *feature = request->payload;

    return feature->data;
}

/*
 * Makes the reply to a GET, with @size bytes behind its header. Returns them or NULL; *@err is why.
 */
static void *reply_to_get(const struct request *request, struct reply *reply, size_t size, int *err)
{
    const struct vfio_user_device_feature *wanted = request->payload;
    struct vfio_user_device_feature *answer;

    *err = -EINVAL;
    if (wanted->argsz < sizeof(*answer) + size) {
        return NULL;
    }
    *err = -ENOMEM;
    answer = reply_payload(reply, sizeof(*answer) + size);
    if (answer == NULL) {
        return NULL;
    }
    *err = 0;
    answer->argsz = (uint32_t)(sizeof(*answer) + size);
    answer->flags = wanted->flags;
    memset(answer->data, 0, size);
    return answer->data;
}

static int get_migration(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct vfio_user_device_feature_migration *migration;
    int err;

    migration = reply_to_get(request, reply, sizeof(*migration), &err);
    if (migration != NULL) {
        migration->flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY;
    }
    return err;
}

static int get_state(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    struct vfio_user_device_feature_mig_state *state;
    int err;

    state = reply_to_get(request, reply, sizeof(*state), &err);
    if (state != NULL) {
        state->device_state = ctx->session.migration.state;
    }
    return err;
}

static int set_state(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_device_feature_mig_state *state = data_of(request);

    return migration_set_state(ctx, state->device_state);
}

/* The ranges are not looked at: all memory is logged. */
static int start_logging(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_device_feature_dma_logging_control *control = data_of(request);
    size_t room = request->size - sizeof(struct vfio_user_device_feature) - sizeof(*control);

    if (room / sizeof(control->ranges[0]) < control->num_ranges) {
        return -EINVAL;
    }
    return dirty_log_start(&ctx->session.dma, control->page_size);
}

static int stop_logging(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    dirty_log_stop(&ctx->session.dma);
    return 0;
}

static int report_dirty_pages(struct vfu_ctx *ctx, const struct request *request,
                              struct reply *reply)
{
    const struct vfio_user_device_feature_dma_logging_report *wanted = data_of(request);
    const struct vfio_user_device_feature *feature = request->payload;
    struct vfio_user_device_feature_dma_logging_report *answer;
    struct dma *dma = &ctx->session.dma;
    struct dirty_report report;
    uint64_t size;
    int err;

    if (!dma->enabled || wanted->page_size == 0 || wanted->length < wanted->page_size) {
        return -EINVAL;
    }
    size = dirty_log_report_size(wanted->length, wanted->page_size);
    if (size > MAX_REPORT_BYTES ||
        feature->argsz < sizeof(*feature) + sizeof(*wanted) + (size_t)size) {
        return -EINVAL;
    }
    err = dirty_log_prepare(dma, wanted->iova, wanted->length, wanted->page_size, &report);
    if (err < 0) {
        return err;
    }
    answer = reply_to_get(request, reply, sizeof(*answer) + (size_t)size, &err);
    if (answer == NULL) {
        return err;
    }
    *answer = *wanted;
    report.pages = (void *)answer->bitmap; /* on a multiple of 8 */
    dirty_log_collect(dma, &report);
    return 0;
}

static const struct feature features[] = {
    /* clang-format off */
    [VFIO_DEVICE_FEATURE_MIGRATION] = { .get = { 0, get_migration } },
    [VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE] = {
        .get = { 0, get_state },
        .set = { sizeof(struct vfio_user_device_feature_mig_state), set_state },
    },
    [VFIO_DEVICE_FEATURE_DMA_LOGGING_START] = {
        .set = { sizeof(struct vfio_user_device_feature_dma_logging_control), start_logging },
    },
    [VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP] = { .set = { 0, stop_logging } },
    [VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT] = {
        .get = { sizeof(struct vfio_user_device_feature_dma_logging_report), report_dirty_pages },
    },
    /* clang-format on */
};
#define FEATURE_COUNT (sizeof(features) / sizeof(features[0]))

/* The feature that a request is about; NULL if there is none, or not for this device. */
static const struct feature *find_feature(const struct vfu_ctx *ctx, uint32_t flags)
{
    uint32_t number = flags & VFIO_DEVICE_FEATURE_MASK;
    const struct feature *feature = number < FEATURE_COUNT ? &features[number] : NULL;

    if (!ctx->session.migration.enabled || feature == NULL ||
        (feature->get.handle == NULL && feature->set.handle == NULL)) {
        return NULL;
    }
    return feature;
}

/* Operations of a feature; all of them can be asked for. */
static uint32_t supported_operations(const struct feature *feature)
{
    return (feature->get.handle != NULL ? GET : 0) | (feature->set.handle != NULL ? SET : 0) |
           PROBE;
}

/* The answer is the request, once more. */
static int echo(const struct request *request, struct reply *reply)
{
    void *answer = reply_payload(reply, request->size);

    if (answer == NULL) {
        return -ENOMEM;
    }
    memcpy(answer, request->payload, request->size);
    return 0;
}

static int run_operation(struct vfu_ctx *ctx, const struct operation *operation,
                         const struct request *request, struct reply *reply)
{
    if (request->size - sizeof(struct vfio_user_device_feature) < operation->size) {
        return -EINVAL;
    }
    return operation->handle(ctx, request, reply);
}

int device_feature_handle(struct vfu_ctx *ctx, const struct request *request, struct reply *reply)
{
    const struct vfio_user_device_feature *wanted = request->payload;
    const struct feature *feature = find_feature(ctx, wanted->flags);
    uint32_t operations = wanted->flags & OPERATIONS;
    int err;

    if (feature == NULL || (operations & ~supported_operations(feature)) || operations == 0 ||
        operations == (GET | SET)) {
        return -EINVAL;
    }
    if (operations == GET) {
        return run_operation(ctx, &feature->get, request, reply);
    }
    if (wanted->argsz < request->size) {
        return -EINVAL;
    }
    err = operations == SET ? run_operation(ctx, &feature->set, request, reply) : 0;
    return err < 0 ? err : echo(request, reply);
}

bool device_feature_quiesces(const struct vfu_ctx *ctx, const struct request *request)
{
    const struct vfio_user_device_feature *wanted = request->payload;
    const struct feature *feature;

    if (request->size < sizeof(*wanted) || (wanted->flags & OPERATIONS) != SET) {
        return false;
    }
    feature = find_feature(ctx, wanted->flags);
    return feature != NULL && feature->set.handle != NULL;
}
