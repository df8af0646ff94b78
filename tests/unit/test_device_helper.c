/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test_device_helper.h"

#include "ipc/socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct answer device_answer = { .fd = -1 };

void device_create(struct device *device)
{
    *device = (struct device){ .client = -1, .dir = "/tmp/device-XXXXXX" };
    assert_non_null(mkdtemp(device->dir));
    snprintf(device->path, sizeof(device->path), "%s/s", device->dir);
    device->ctx = vfu_create_ctx(VFU_TRANS_SOCK, device->path, LIBVFIO_USER_FLAG_ATTACH_NB, device,
                                 VFU_DEV_TYPE_PCI);
    assert_non_null(device->ctx);
}

void device_destroy(struct device *device)
{
    vfu_destroy_ctx(device->ctx);
    if (device->client >= 0) {
        close(device->client);
    }
    if (device_answer.fd >= 0) {
        close(device_answer.fd);
        device_answer.fd = -1;
    }
    assert_int_equal(rmdir(device->dir), 0); /* the socket file is gone */
}

void device_connect(struct device *device)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (device->client >= 0) {
        close(device->client);
    }
    device->client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(device->client >= 0);
    strcpy(address.sun_path, device->path);
    assert_int_equal(connect(device->client, (struct sockaddr *)&address, sizeof(address)), 0);
}

void device_attach(struct device *device)
{
    const char payload[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8}}";

    assert_int_equal(vfu_realize_ctx(device->ctx), 0);
    device_connect(device);
    device_send_command(device, VFIO_USER_VERSION, 0, payload, sizeof(payload), NULL, 0);
    assert_int_equal(vfu_attach_ctx(device->ctx), 0);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.flags, VFIO_USER_F_TYPE_REPLY);
}

void device_send(struct device *device, const void *bytes, size_t size, const int *fds,
                 size_t fd_count)
{
    struct fd_list list = { .count = fd_count };

    if (fd_count > 0) {
        memcpy(list.fds, fds, fd_count * sizeof(*fds));
    }
    assert_int_equal(socket_send(device->client, bytes, size, 0, &list), size);
}

void device_send_command(struct device *device, uint16_t command, uint32_t flags,
                         const void *payload, size_t size, const int *fds, size_t fd_count)
{
    uint8_t *message = calloc(1, sizeof(struct vfio_user_header) + size);
    struct vfio_user_header *header = (struct vfio_user_header *)message;

    assert_non_null(message);
    header->msg_id = ++device->msg_id;
    header->cmd = command;
    header->msg_size = (uint32_t)(sizeof(*header) + size);
    header->flags = flags;
    if (size > 0) {
        memcpy(header + 1, payload, size);
    }
    device_send(device, message, sizeof(*header) + size, fds, fd_count);
    free(message);
}

/* Receives exactly @size bytes, letting the device send what it still has. */
static bool receive_all(struct device *device, void *buffer, size_t size, int *fd)
{
    size_t have = 0;
    int patience = 1000;

    while (have < size) {
        struct fd_list fds = { .count = 0 };
        ssize_t n = socket_receive(device->client, (uint8_t *)buffer + have, size - have, 0, &fds);

        if (fds.count > 0) {
            assert_int_equal(fds.count, 1);
            assert_int_equal(*fd, -1);
            *fd = fds.fds[0];
        }
        if (n == -EAGAIN && have > 0 && patience-- > 0) {
            vfu_run_ctx(device->ctx);
            continue;
        }
        if (n <= 0) {
            assert_int_equal(have, 0);
            return false;
        }
        have += (size_t)n;
    }
    return true;
}

bool device_receive(struct device *device, struct answer *answer)
{
    if (answer->fd >= 0) {
        close(answer->fd);
    }
    answer->fd = -1;
    answer->size = 0;
    if (!receive_all(device, &answer->header, sizeof(answer->header), &answer->fd)) {
        return false;
    }
    assert_int_equal(answer->header.msg_id, device->msg_id);
    assert_true(answer->header.msg_size >= sizeof(answer->header));
    answer->size = answer->header.msg_size - sizeof(answer->header);
    assert_true(answer->size <= sizeof(answer->payload));
    if (answer->size > 0) {
        /* Descriptors come with the first byte or not at all. */
        int none = -1;

        assert_true(receive_all(device, answer->payload, answer->size, &none));
        assert_int_equal(none, -1);
    }
    return true;
}

bool device_closed_connection(struct device *device)
{
    char byte;
    ssize_t n = recv(device->client, &byte, 1, 0);

    return n == 0 || (n < 0 && errno == ECONNRESET);
}

int device_request(struct device *device, uint16_t command, const void *payload, size_t size,
                   const int *fds, size_t fd_count)
{
    device_send_command(device, command, 0, payload, size, fds, fd_count);
    assert_true(vfu_run_ctx(device->ctx) >= 0);
    assert_true(device_receive(device, &device_answer));
    assert_int_equal(device_answer.header.cmd, command);
    if (device_answer.header.flags == VFIO_USER_F_TYPE_REPLY) {
        return 0;
    }
    assert_int_equal(device_answer.header.flags, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_equal(device_answer.size, 0);
    assert_true(device_answer.header.error_no > 0);
    return (int)device_answer.header.error_no;
}

int device_config_read(struct device *device, uint64_t offset, void *data, uint32_t count)
{
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = VFU_PCI_DEV_CFG_REGION_IDX,
        .count = count,
    };
    int err = device_request(device, VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0);

    if (err == 0) {
        assert_int_equal(device_answer.size, sizeof(access) + count);
        memcpy(data, device_answer.payload + sizeof(access), count);
    }
    return err;
}

int device_config_write(struct device *device, uint64_t offset, const void *data, uint32_t count)
{
    uint8_t payload[sizeof(struct vfio_user_region_access) + PCI_CFG_SPACE_EXP_SIZE];
    const struct vfio_user_region_access access = {
        .offset = offset,
        .region = VFU_PCI_DEV_CFG_REGION_IDX,
        .count = count,
    };

    assert_true(count <= PCI_CFG_SPACE_EXP_SIZE);
    memcpy(payload, &access, sizeof(access));
    memcpy(payload + sizeof(access), data, count);
    return device_request(device, VFIO_USER_REGION_WRITE, payload, sizeof(access) + count, NULL, 0);
}

int device_memory(size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

size_t device_count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

int device_setup_created(void **state)
{
    struct device *device = malloc(sizeof(*device));

    assert_non_null(device);
    device_create(device);
    *state = device;
    return 0;
}

int device_setup_attached(void **state)
{
    device_setup_created(state);
    device_attach(*state);
    return 0;
}

int device_teardown(void **state)
{
    device_destroy(*state);
    free(*state);
    return 0;
}
