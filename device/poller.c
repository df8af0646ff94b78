/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/poller.h"

#include "ipc/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

/*
 * A periodic timer that has expired stands still until it is read: one that nobody waits for
 * costs nothing, and to set it again takes no other call than read(2).
 */
static int create_timer(void)
{
    static const struct itimerspec period = {
        .it_value = { .tv_sec = POLLER_TICK_SECONDS },
        .it_interval = { .tv_sec = POLLER_TICK_SECONDS },
    };
    AUTO_FD timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (timer < 0 || timerfd_settime(timer, 0, &period, NULL) < 0) {
        return -errno;
    }
    return fd_take(&timer);
}

int poller_init(struct poller *poller, bool timed)
{
    *poller = POLLER_NONE;
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll < 0) {
        return -errno;
    }
    if (timed) {
        poller->timer = create_timer();
    }
    return !timed || poller->timer >= 0 ? 0 : poller->timer;
}

void poller_fini(struct poller *poller)
{
    fd_close(&poller->timer);
    fd_close(&poller->epoll);
}

static int control(const struct poller *poller, int operation, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };

    return epoll_ctl(poller->epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int poller_watch(struct poller *poller, int fd, uint32_t events)
{
    int err = control(poller, EPOLL_CTL_MOD, fd, events);

    return err == -ENOENT ? control(poller, EPOLL_CTL_ADD, fd, events) : err;
}

void poller_ignore(struct poller *poller, int fd)
{
    control(poller, EPOLL_CTL_DEL, fd, 0);
}

/* Until the next tick it has not expired, so that whoever waits sleeps. */
static void tick(struct poller *poller, bool timed)
{
    uint64_t expirations;

    if (poller->timer < 0) {
        return;
    }
    if (timed && read(poller->timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN) {
        return;
    }
    if (timed != poller->ticking &&
        control(poller, timed ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, poller->timer, EPOLLIN) == 0) {
        poller->ticking = timed;
    }
}

void poller_expect(struct poller *poller, int sock, bool room, bool timed)
{
    uint32_t events = room ? EPOLLOUT : EPOLLIN | EPOLLRDHUP;

    if ((sock != poller->client || events != poller->events) &&
        poller_watch(poller, sock, events) == 0) {
        poller->client = sock;
        poller->events = events;
    }
    tick(poller, timed);
}

void poller_forget_client(struct poller *poller)
{
    if (poller->client >= 0) {
        poller_ignore(poller, poller->client);
        poller->client = -1;
    }
    tick(poller, false);
}
