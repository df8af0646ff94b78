/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/eventfd_slot.h"

#include "device/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * The state is a pointer to the holder and, in the upper 16 bits, the number of threads that use
 * it now. Users come and go by changing the state, as long as the holder is in it. The one who
 * takes it out adds the users that there were to the holder's own count, and each of them then
 * takes itself off there; who makes that count 0 frees the holder. Until then it cannot be in any
 * state again, so a user who finds it there finds itself counted there.
 */
struct holder {
    int eventfd;
    int users; /* less than 0 until those are added that there were */
};

#define USER_SHIFT 48
#define ONE_USER (1ull << USER_SHIFT)
#define POINTER_MASK (ONE_USER - 1)

static struct holder *holder_of(uint64_t state)
{
    return (struct holder *)(uintptr_t)(state & POINTER_MASK);
}

static struct holder *holder_new(int eventfd)
{
    struct holder *holder = malloc(sizeof(*holder));

    if (holder != NULL) {
        *holder = (struct holder){ .eventfd = eventfd };
    }
    return holder;
}

/* The holder is in no slot any more; adds @users to those that use it. */
static void retire(struct holder *holder, int users)
{
    if (__atomic_add_fetch(&holder->users, users, __ATOMIC_ACQ_REL) == 0) {
        close(holder->eventfd);
        free(holder);
    }
}

int eventfd_slot_set(struct eventfd_slot *slot, int eventfd)
{
    struct holder *holder = eventfd >= 0 ? holder_new(eventfd) : NULL;
    uint64_t old = __atomic_exchange_n(&slot->state, (uintptr_t)holder, __ATOMIC_SEQ_CST);

    if (holder_of(old) != NULL) {
        retire(holder_of(old), (int)(old >> USER_SHIFT));
    }
    if (eventfd >= 0 && holder == NULL) {
        close(eventfd);
        return -ENOMEM;
    }
    return 0;
}

int eventfd_slot_get(const struct eventfd_slot *slot)
{
    const struct holder *holder = holder_of(__atomic_load_n(&slot->state, __ATOMIC_RELAXED));

    return holder != NULL ? holder->eventfd : -1;
}

bool eventfd_slot_is_set(const struct eventfd_slot *slot)
{
    return holder_of(__atomic_load_n(&slot->state, __ATOMIC_SEQ_CST)) != NULL;
}

/* Returns NULL if the slot is empty. */
static struct holder *begin_use(struct eventfd_slot *slot)
{
    uint64_t state = __atomic_load_n(&slot->state, __ATOMIC_RELAXED);

    do {
        /* 65,535 threads in one write: whoever comes next does without. */
        if (holder_of(state) == NULL || state >> USER_SHIFT == UINT16_MAX) {
            return NULL;
        }
    } while (!__atomic_compare_exchange_n(&slot->state, &state, state + ONE_USER, true,
                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    return holder_of(state);
}

static void end_use(struct eventfd_slot *slot, struct holder *holder)
{
    uint64_t state = __atomic_load_n(&slot->state, __ATOMIC_RELAXED);

    while (holder_of(state) == holder) {
        if (__atomic_compare_exchange_n(&slot->state, &state, state - ONE_USER, true,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            return;
        }
    }
    retire(holder, -1);
}

/*
 * Only eventfds come here, so there is no SIGPIPE. The write blocks if the client has made the
 * counter full (2^64 - 2) and the eventfd blocking; O_NONBLOCK belongs to the open file
 * description, so it would be the client's to clear again, and its reads would change.
 */
static int write_one(int eventfd)
{
    const uint64_t one = 1;
    ssize_t n;

    progress_enter_call();
    do {
        n = write(eventfd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    progress_leave_call();
    return n < 0 ? -errno : 0;
}

int eventfd_slot_signal(struct eventfd_slot *slot)
{
    struct holder *holder = begin_use(slot);
    int err;

    if (holder == NULL) {
        return -ENOENT;
    }
    err = write_one(holder->eventfd);
    end_use(slot, holder);
    return err;
}
