/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/channels.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct channel {
    bool claimed;
    struct broker_transport *owner;
};

static struct {
    pthread_mutex_t lock;
    int first; /* descriptor */
    size_t count;
    struct channel channels[CONTROL_MAX_CHANNELS];
} process = { .lock = PTHREAD_MUTEX_INITIALIZER };

void channels_lock(void)
{
    pthread_mutex_lock(&process.lock);
}

void channels_unlock(void)
{
    pthread_mutex_unlock(&process.lock);
}

static bool is_channel(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/* Returns how many there are from @first on, or -EINVAL if one of them is none. */
static int parse(const char *first, const char *names)
{
    char *end;
    long fd;
    int count = 1;

    errno = 0;
    fd = strtol(first, &end, 10);
    if (errno != 0 || end == first || *end != '\0' || fd < 0 ||
        fd > INT32_MAX - CONTROL_MAX_CHANNELS) {
        return -EINVAL;
    }
    for (const char *at = names; at != NULL && (at = strchr(at, '/')) != NULL; at++) {
        count++;
    }
    if (count > CONTROL_MAX_CHANNELS) {
        return -EINVAL;
    }
    for (int i = 0; i < count; i++) {
        if (!is_channel((int)fd + i)) {
            return -EINVAL;
        }
    }
    process.first = (int)fd;
    return count;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Returns the index of a free channel, or -EBUSY. */
static int find_free(const char *names, const char *wanted)
{
    int found = -EBUSY;

    for (size_t i = 0; i < process.count; i++) {
        size_t length = names != NULL ? strcspn(names, "/") : 0;
        bool same = strlen(wanted) == length && strncmp(names, wanted, length) == 0;

        if (!process.channels[i].claimed && (same || found < 0)) {
            found = (int)i;
        }
        if (!process.channels[i].claimed && same) {
            break;
        }
        names = names != NULL && names[length] == '/' ? names + length + 1 : NULL;
    }
    return found;
}

int channels_claim(const char *first, const char *path, struct broker_transport *owner, int *fd)
{
    const char *names = getenv(CONTROL_SOCKETS_ENV);
    int count;
    int index;

    count = parse(first, names);
    if (count < 0) {
        return count;
    }
    process.count = (size_t)count;
    index = find_free(names, last_component(path));
    if (index >= 0) {
        process.channels[index] = (struct channel){ .claimed = true, .owner = owner };
        *fd = process.first + index;
    }
    return index;
}

void channels_release(int index)
{
    process.channels[index].owner = NULL;
}

size_t channels_count(void)
{
    return process.count;
}

struct broker_transport *channels_owner(size_t index)
{
    return process.channels[index].owner;
}

int channels_wait_for_end(bool wait)
{
    static const struct timespec no_time;

    for (size_t i = 0; i < process.count; i++) {
        struct pollfd fd = { .fd = process.first + (int)i }; /* to be hung up */
        int n = ppoll(&fd, 1, wait ? NULL : &no_time, NULL);

        if (n <= 0) {
            return n < 0 ? -errno : -EAGAIN;
        }
    }
    return -ESHUTDOWN;
}
