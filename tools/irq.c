/* SPDX-License-Identifier: BSD-3-Clause */
/* Waits for interrupts and counts them. */
#include "tools/vfu.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_VECTORS 2048

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
}

/* The first type that the device has, if @type is -1. Returns the vectors, 0: none. */
static uint32_t find_type(struct vfu_client *client, int *type)
{
    for (int i = *type >= 0 ? *type : 0; i < VFIO_PCI_NUM_IRQS; i++) {
        struct vfio_irq_info info = { .count = 0 };

        if (vfu_client_get_irq_info(client, (uint32_t)i, &info) == 0 && info.count > 0) {
            *type = i;
            return info.count < MAX_VECTORS ? info.count : MAX_VECTORS;
        }
        if (*type >= 0) {
            break;
        }
    }
    return 0;
}

/* Prints each signal of each vector until @wanted have come (0: for ever). Returns how many did. */
static uint64_t count_signals(struct vfu_client *client, int type, const int *eventfds,
                              uint32_t count, uint64_t wanted)
{
    static struct pollfd fds[MAX_VECTORS + 1];
    uint64_t total = 0;

    for (uint32_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){ .fd = eventfds[i], .events = POLLIN };
    }
    fds[count] = (struct pollfd){ .fd = vfu_client_socket(client), .events = POLLRDHUP };
    while (!stopped && (wanted == 0 || total < wanted)) {
        if (poll(fds, count + 1, -1) < 0) {
            continue;
        }
        if (fds[count].revents) {
            fprintf(stderr, "vfu: the device has gone\n");
            break;
        }
        for (uint32_t i = 0; i < count; i++) {
            uint64_t signals;

            if (fds[i].revents && read(eventfds[i], &signals, sizeof(signals)) == 8) {
                total += signals;
                printf("%s %u: %" PRIu64 "\n", vfu_irq_name((unsigned)type), i, signals);
                fflush(stdout);
            }
        }
    }
    return total;
}

int vfu_irq(int argc, char **argv)
{
    static int eventfds[MAX_VECTORS];
    int type = argc > 2 ? vfu_irq_index(argv[2]) : -1;
    uint64_t wanted = 0;
    struct sigaction action = { .sa_handler = on_signal };
    struct vfu_client *client;
    uint32_t count;
    int result;

    if (argc < 2 || argc > 4 || (argc > 2 && type < 0) ||
        (argc > 3 && !vfu_number(argv[3], &wanted))) {
        return vfu_usage("irq", "SOCKET [TYPE [COUNT]]");
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    client = vfu_open(argv[1]);
    count = find_type(client, &type);
    if (count == 0) {
        vfu_client_free(client);
        return vfu_failed("interrupts", -ENOENT);
    }
    for (uint32_t i = 0; i < count; i++) {
        eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (eventfds[i] < 0) {
            result = -errno;
            vfu_client_free(client);
            return vfu_failed("eventfd", result);
        }
    }
    result = vfu_client_irq_assign(client, (uint32_t)type, 0, eventfds, count);
    if (result != 0) {
        vfu_client_free(client);
        return vfu_failed("interrupts", result);
    }
    fprintf(stderr, "waiting for %u vectors of %s\n", count, vfu_irq_name((unsigned)type));
    printf("%" PRIu64 " in all\n", count_signals(client, type, eventfds, count, wanted));
    vfu_client_free(client);
    return VFU_OK;
}
