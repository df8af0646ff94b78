/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: reads a register of the card over and over, as a driver polls it, and prints what a
 * read takes: the median, in nanoseconds.
 *
 * guest-register RESOURCE COUNT: file of the BAR below /sys/bus/pci/devices, an I/O port there.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const int64_t *left = a;
    const int64_t *right = b;

    return (*left > *right) - (*left < *right);
}

int main(int argc, char **argv)
{
    size_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    int64_t *times = calloc(count, sizeof(*times));
    int fd = count > 0 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0 || times == NULL) {
        err(1, "usage: guest-register RESOURCE COUNT");
    }
    for (size_t i = 0; i < count; i++) {
        int64_t start = now_ns();
        uint8_t value;

        if (pread(fd, &value, sizeof(value), 0) != sizeof(value)) {
            err(1, "%s", argv[1]);
        }
        times[i] = now_ns() - start;
    }
    qsort(times, count, sizeof(*times), compare);
    printf("%lld\n", (long long)times[count / 2]);
    return 0;
}
