/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one descriptor that a program waits on: an epoll instance that is readable when there is
 * something to do for the library.
 */
#pragma once

#include <stdint.h>

struct poller {
    int epoll; /* owned */
    int alarm; /* a timer; owned; -1 while there is no deadline */
};

/* Returns 0 or a negative errno. */
int poller_init(struct poller *poller);
void poller_fini(struct poller *poller);

/* Watches @fd for @events (EPOLL*); one that is closed needs no more attention. */
int poller_watch(struct poller *poller, int fd, uint32_t events);

/*
 * Makes it readable at @deadline as well (CLOCK_MONOTONIC, nanoseconds; 0: never). Where there is
 * no descriptor for a timer the deadline is noticed later, with the next event.
 */
void poller_set_alarm(struct poller *poller, uint64_t deadline);
