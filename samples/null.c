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
