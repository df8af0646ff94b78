/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/poller.h"

#include "ipc/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#define NANOSECONDS 1000000000ull

int poller_init(struct poller *poller)
{
    poller->alarm = -1;
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    return poller->epoll >= 0 ? 0 : -errno;
}

void poller_fini(struct poller *poller)
{
    fd_close(&poller->alarm);
    fd_close(&poller->epoll);
}

int poller_watch(struct poller *poller, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };

    if (epoll_ctl(poller->epoll, EPOLL_CTL_MOD, fd, &event) == 0 ||
        epoll_ctl(poller->epoll, EPOLL_CTL_ADD, fd, &event) == 0) {
        return 0;
    }
    return -errno;
}

void poller_set_alarm(struct poller *poller, uint64_t deadline)
{
    const struct itimerspec time = {
        .it_value = { .tv_sec = (time_t)(deadline / NANOSECONDS),
                      .tv_nsec = (long)(deadline % NANOSECONDS) },
    };

    fd_close(&poller->alarm);
    if (deadline == 0) {
        return;
    }
    poller->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (poller->alarm >= 0 && (timerfd_settime(poller->alarm, TFD_TIMER_ABSTIME, &time, NULL) < 0 ||
                               poller_watch(poller, poller->alarm, EPOLLIN) < 0)) {
        fd_close(&poller->alarm);
    }
}
