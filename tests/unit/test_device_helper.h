/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device in the test's own process, and a client that speaks to it byte by byte. The device never
 * waits, so that one thread can play both sides.
 */
#pragma once

#include "device/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

#define DEVICE_REPLY_MAX (2u << 20)

struct device {
    vfu_ctx_t *ctx;
    int client; /* the client's socket, or -1 */
    char dir[32];
    char path[64];
    uint16_t msg_id; /* of the last request */
};

/* The reply to the last request. */
struct answer {
    struct vfio_user_header header;
    uint8_t payload[DEVICE_REPLY_MAX];
    size_t size; /* of the payload */
    int fd;      /* came with it; -1: none; the test closes it */
};

/* Makes a context that is neither realized nor attached. Fails the test on any error. */
void device_create(struct device *device);
void device_destroy(struct device *device);

/* Connects the client's socket without saying anything. */
void device_connect(struct device *device);

/* Realizes, connects, and exchanges versions. */
void device_attach(struct device *device);

void device_send(struct device *device, const void *bytes, size_t size, const int *fds,
                 size_t fd_count);

/* Sends a command with the next message id. */
void device_send_command(struct device *device, uint16_t command, uint32_t flags,
                         const void *payload, size_t size, const int *fds, size_t fd_count);

/* Receives a reply to the last command, if there is one: returns false if there is not. */
bool device_receive(struct device *device, struct answer *answer);

/* Whether the client finds its connection closed. */
bool device_closed_connection(struct device *device);

/* Sends a command, lets the device run, and returns the errno of the reply: 0 for success. */
int device_request(struct device *device, uint16_t command, const void *payload, size_t size,
                   const int *fds, size_t fd_count);

/* The reply to the last device_request(). */
extern struct answer device_answer;

/* Reads or writes config space as a client. Returns the errno of the reply. */
int device_config_read(struct device *device, uint64_t offset, void *data, uint32_t count);
int device_config_write(struct device *device, uint64_t offset, const void *data, uint32_t count);

/* A memory file with seals allowed. */
int device_memory(size_t size);

/* Descriptors that this process has. */
size_t device_count_descriptors(void);

/* cmocka fixtures: an attached device, and one that was only created. */
int device_setup_attached(void **state);
int device_setup_created(void **state);
int device_teardown(void **state);
