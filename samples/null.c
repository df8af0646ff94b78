/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * null SOCKET_PATH: a device with nothing in it, served by a thread of its own, until a signal ends
 * the program. It shows how a program that has other things to do lends a thread to a context.
 */
#include <err.h>
#include <errno.h>
#include <libvfio-user.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
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

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    stop = 1;
}

/* Did one client, and not this program, make vfu_attach_ctx() fail? The next one may do better. */
static bool is_clients_fault(int error)
{
    return error == EINVAL || error == EFAULT || error == ENOMSG || error == ECONNABORTED ||
           error == ECONNRESET || error == ETIMEDOUT;
}

static void *serve(void *opaque)
{
    vfu_ctx_t *ctx = opaque;

    while (vfu_attach_ctx(ctx) == 0 || errno == EINTR || is_clients_fault(errno)) {
        while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
        }
    }
    /* Under the broker the next client gets a new process. */
    exit(errno == ESHUTDOWN ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Signals end the first thread's waits and nothing else. @waiting is the mask for these. */
static void catch_signals(sigset_t *waiting)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked;

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, waiting);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    sigset_t waiting;
    vfu_ctx_t *ctx;

    if (argc != 2) {
        errx(2, "usage: null SOCKET_PATH");
    }
    catch_signals(&waiting); /* before there are threads, which inherit the mask */
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[1], 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL ||
        vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0 || state_block_describe(ctx, &migration) < 0 ||
        vfu_realize_ctx(ctx) < 0) {
        err(EXIT_FAILURE, "%s", argv[1]);
    }
    errno = pthread_create(&thread, NULL, serve, ctx);
    if (errno != 0) {
        err(EXIT_FAILURE, "a thread");
    }
    /* What a program does here, it does in the jail: a wait that is allowed there. */
    while (!stop) {
        ppoll(NULL, 0, NULL, &waiting);
    }

    /* The thread may be waiting in the library; the context is nobody's when it has ended. */
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    vfu_destroy_ctx(ctx);
    return EXIT_SUCCESS;
}
