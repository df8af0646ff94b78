/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * null SOCKET_PATH: a device with nothing in it, served by a thread of its own, until a signal ends
 * the program. It shows how a program that has other things to do lends a thread to a context.
 */
#include <err.h>
#include <errno.h>
#include <libvfio-user.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "state_block.h"

/* It can migrate, with nothing. */
static void save(vfu_ctx_t *ctx, void *state)
{
}

static bool load(vfu_ctx_t *ctx, const void *state)
{
    return true;
}

static void clear(vfu_ctx_t *ctx)
{
}

static const struct state_block migration = {
    .name = "null",
    .save = save,
    .load = load,
    .clear = clear,
};

static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    state_block_reset();
    return 0;
}

static void *serve(void *opaque)
{
    vfu_ctx_t *ctx = opaque;

    while (vfu_attach_ctx(ctx) == 0 || errno == EINTR) {
        while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    sigset_t signals;
    vfu_ctx_t *ctx;
    int number;

    if (argc != 2) {
        errx(2, "usage: null SOCKET_PATH");
    }
    /* Before there are threads, which inherit it. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[1], 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL ||
        vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 || state_block_describe(ctx, &migration) < 0 ||
        vfu_realize_ctx(ctx) < 0) {
        err(EXIT_FAILURE, "%s", argv[1]);
    }
    number = pthread_create(&thread, NULL, serve, ctx);
    if (number != 0) {
        errno = number;
        err(EXIT_FAILURE, "a thread");
    }
    sigwait(&signals, &number);

    /* The thread may be waiting in the library; the context is nobody's when it has ended. */
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    vfu_destroy_ctx(ctx);
    return EXIT_SUCCESS;
}
