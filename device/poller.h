/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one descriptor that a program waits on: an epoll instance that is readable when there is
 * something to do for the library. Made before a jail closes; afterwards only epoll_ctl(2) and
 * read(2) are called.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct poller {
    int epoll;  /* owned */
    int timer;  /* expires POLLER_TICK_SECONDS after it was read at the latest; owned; -1: none */
    int client; /* watched; -1: none */
    uint32_t events; /* EPOLL* that it is watched for */
    bool ticking;    /* the timer is watched */
};

#define POLLER_NONE ((struct poller){ .epoll = -1, .timer = -1, .client = -1 })

/* How late a deadline may be noticed. */
#define POLLER_TICK_SECONDS 1

/* @timed: deadlines shall be noticed too. Returns 0 or a negative errno. */
int poller_init(struct poller *poller, bool timed);
void poller_fini(struct poller *poller);

/* Watches @fd for @events (EPOLL*) from now on. Returns 0 or a negative errno. */
int poller_watch(struct poller *poller, int fd, uint32_t events);

/* The same for nothing of it, not even its end. */
void poller_ignore(struct poller *poller, int fd);

/*
 * What is awaited of the client whose socket is @sock: input, or @room for output. While a
 * deadline runs (@timed) it is readable once a tick too, and this has to be called after each.
 */
void poller_expect(struct poller *poller, int sock, bool room, bool timed);

/* Has to come before the client's socket is closed: another process may have it open as well. */
void poller_forget_client(struct poller *poller);
