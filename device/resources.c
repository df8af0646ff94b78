/* SPDX-License-Identifier: BSD-3-Clause */
/* What surrounds the program, by name: files that it was given, the policy that it runs under. */
#include "ipc/control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <vfio-user/vfu-broker.h>

#define NAME_MAX_LENGTH 64
#define OPEN_MAX_COUNT 64
#define VARIABLE_PREFIX "VFU_RESOURCE_"
#define WRITABLE_PREFIX "rw:"

/* What was opened standalone. */
static struct {
    char name[NAME_MAX_LENGTH + 1];
    int fd;
} opened[OPEN_MAX_COUNT];
static size_t opened_count;
static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER;

static const char letters_and_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static bool name_is_valid(const char *name)
{
    size_t length = name != NULL ? strlen(name) : 0;

    for (size_t i = 0; i < length; i++) {
        if (strchr(letters_and_digits, name[i]) == NULL && strchr("_.-", name[i]) == NULL) {
            return false;
        }
    }
    return length >= 1 && length <= NAME_MAX_LENGTH;
}

/* Looks into "name=fd,name=fd". Returns the descriptor or -ENOENT. */
static int find_inherited(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *item = list; item != NULL; item = strchr(item, ',')) {
        item += *item == ',';
        if (strncmp(item, name, length) == 0 && item[length] == '=') {
            return atoi(item + length + 1); /* the broker wrote it */
        }
    }
    return -ENOENT;
}

/* Opens what the environment says. Returns the descriptor or a negative errno. */
static int open_named(const char *name)
{
    char variable[sizeof(VARIABLE_PREFIX) + NAME_MAX_LENGTH] = VARIABLE_PREFIX;
    char *end = variable + sizeof(VARIABLE_PREFIX) - 1;
    const size_t prefix = sizeof(WRITABLE_PREFIX) - 1;
    const char *path;
    int flags = O_RDONLY;
    int fd;

    for (; *name != '\0'; name++) {
        *end++ = strchr(letters_and_digits, *name) != NULL ? *name : '_';
    }
    path = getenv(variable);
    if (path == NULL) {
        return -ENOENT;
    }
    if (strncmp(path, WRITABLE_PREFIX, prefix) == 0) {
        path += prefix;
        flags = O_RDWR;
    }
    fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 ? fd : -errno;
}

static int find_or_open(const char *name)
{
    int fd;

    for (size_t i = 0; i < opened_count; i++) {
        if (strcmp(opened[i].name, name) == 0) {
            return opened[i].fd;
        }
    }
    if (opened_count == OPEN_MAX_COUNT) {
        return -ENOSPC;
    }
    fd = open_named(name);
    if (fd >= 0) {
        strcpy(opened[opened_count].name, name);
        opened[opened_count++].fd = fd;
    }
    return fd;
}

int vfu_resource_fd(const char *name)
{
    int fd;

    if (!name_is_valid(name)) {
        fd = -EINVAL;
    } else if (getenv(CONTROL_ENV) != NULL) {
        fd = find_inherited(getenv(CONTROL_RESOURCES_ENV), name);
    } else {
        pthread_mutex_lock(&opened_lock);
        fd = find_or_open(name);
        pthread_mutex_unlock(&opened_lock);
    }
    if (fd < 0) {
        errno = -fd;
        return -1;
    }
    return fd;
}

const char *vfu_policy_name(void)
{
    return getenv(CONTROL_ENV) != NULL ? getenv(CONTROL_POLICY_ENV) : NULL;
}
