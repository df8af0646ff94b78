/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of any content, with descriptors, on a control channel in any state. Whatever comes,
 * it is a message that the table permits, or an error; and no descriptor stays.
 *
 * Input: role, state bit, then for each datagram: its number of descriptors, its size (2 bytes,
 * little endian), its bytes.
 */
#include "ipc/control.h"
#include "ipc/fd.h"
#include "ipc/socket.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_FDS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int lowest_free(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    return fd;
}

static void send_datagram(int sock, const uint8_t *data, size_t size, size_t fds_count)
{
    struct fd_list fds = { .count = 0 };

    for (size_t i = 0; i < fds_count % (MAX_FDS + 1); i++) {
        fd_list_add(&fds, STDERR_FILENO);
    }
    if (socket_send(sock, data, size, MSG_DONTWAIT, &fds) != (ssize_t)size) {
        err(1, "send");
    }
}

static void receive_datagram(struct control_channel *channel)
{
    struct control_message message;
    AUTO_FD_LIST fds = { .count = 0 };
    int result = control_receive(channel, &message, &fds, MSG_DONTWAIT);

    if (result < 0 && fds.count != 0) {
        errx(1, "descriptors left after an error");
    }
    if (result == 1 && strcmp(control_type_name(message.type), "unknown") == 0) {
        errx(1, "unknown message let through");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2];
    int before = lowest_free();
    struct control_channel channel;

    if (size < 2 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return 0;
    }
    channel = (struct control_channel){
        .fd = pair[0],
        .role = data[0] & 1 ? CONTROL_BROKER_END : CONTROL_CHILD_END,
        .state = 1u << (data[1] % 17),
    };
    data += 2;
    size -= 2;
    while (size >= 3) {
        size_t length = data[1] | (size_t)data[2] << 8;

        length = length < size - 3 ? length : size - 3;
        if (length > 0) {
            send_datagram(pair[1], data + 3, length, data[0]);
            receive_datagram(&channel);
        }
        data += 3 + length;
        size -= 3 + length;
    }
    close(pair[0]);
    close(pair[1]);
    if (lowest_free() != before) {
        errx(1, "a descriptor was kept");
    }
    return 0;
}
