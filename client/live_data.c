/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a device's data from one server to another. Both work at the same time, and each has
 * the next command already when it has done one.
 */
#include "client/internal.h"

#define DEPTH 2u /* commands on their way to each server */

struct window {
    struct vfu_client *client;
    uint16_t ids[DEPTH];
    unsigned first;
    unsigned count;
};

static void window_push(struct window *window, uint16_t id)
{
    window->ids[(window->first + window->count) % DEPTH] = id;
    window->count++;
}

static uint16_t window_pop(struct window *window)
{
    uint16_t id = window->ids[window->first];

    window->first = (window->first + 1) % DEPTH;
    window->count--;
    return id;
}

/* After a failure: what the commands came to does not matter. */
static void window_forget(struct window *window)
{
    while (window->count > 0) {
        vfu_client_forget(window->client, window_pop(window));
    }
}

static int ask(struct window *reads, uint32_t size)
{
    uint16_t id;
    int result = vfu_client_migration_submit_read(reads->client, size, &id);

    if (result == 0) {
        window_push(reads, id);
    }
    return result;
}

static int collect_write(struct window *writes)
{
    return vfu_client_collect(writes->client, window_pop(writes), NULL);
}

/* Passes the oldest piece on; @n says how long it was. */
static int pass_on(struct window *reads, struct window *writes, uint32_t size, uint32_t *n)
{
    struct vfu_client_message piece = { .size = 0 };
    const uint8_t *data;
    uint16_t id;
    int result =
        vfu_client_migration_collect_read(reads->client, window_pop(reads), size, &piece, &data, n);

    if (result == 0 && *n > 0 && writes->count == DEPTH) {
        result = collect_write(writes);
    }
    if (result == 0 && *n > 0) {
        result = vfu_client_migration_submit_write(writes->client, data, *n, &id);
        if (result == 0) {
            window_push(writes, id);
        }
    }
    vfu_client_message_recycle(reads->client, &piece);
    return result;
}

static uint32_t smaller(uint32_t size, uint64_t limit)
{
    return size < limit ? size : (uint32_t)limit;
}

int live_copy_data(struct vfu_client *from, struct vfu_client *to, uint32_t chunk, uint64_t limit,
                   uint64_t *bytes)
{
    uint32_t size =
        smaller(smaller(chunk, from->max_data_xfer_size), to->server.max_data_xfer_size);
    struct window reads = { .client = from }, writes = { .client = to };
    bool more = true;
    int result = 0;

    while (result == 0 && (more || reads.count > 0)) {
        uint32_t n = 0;

        if (more && reads.count < DEPTH) {
            result = ask(&reads, size);
            continue;
        }
        result = pass_on(&reads, &writes, size, &n);
        *bytes += n;
        /* Less than was asked for: there is no more, or none for now. */
        more = more && n == size && *bytes < limit;
    }
    while (result == 0 && writes.count > 0) {
        result = collect_write(&writes);
    }
    window_forget(&reads);
    window_forget(&writes);
    return result;
}
