/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker itself, over the control channel, which a device process has to keep. What breaks the
 * rules ends the session; what keeps to them gains nothing.
 */
#include "ipc/control.h"
#include "tests/escape/attempts.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vfio-user/vfio-user.h>

#define GROUP "channel"

#define WIRE_HEADER offsetof(struct control_message, body)

/* Whatever is sent, by the table or not. */
static long send_datagram(const struct surroundings *s, const void *bytes, size_t size,
                          size_t fd_count, int flags)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(FD_LIST_MAX * sizeof(int))];
    } control = { .room = { 0 } };
    struct iovec iov = { (void *)(uintptr_t)bytes, size };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd_count > 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        /* All of them are descriptor 0. */
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    }
    return result_of(syscall(SYS_sendmsg, s->control, &message, flags | MSG_NOSIGNAL));
}

/* In the jail the end has to come from outside. */
static long await_end(const struct surroundings *s, long result)
{
    while (s->jailed) {
        syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
    }
    return result;
}

static long send_message(const struct surroundings *s, const struct control_message *message,
                         size_t body_size, size_t fd_count)
{
    uint8_t wire[sizeof(*message)];
    size_t tail = message->tail_size <= CONTROL_TAIL_MAX ? message->tail_size : 0;

    memcpy(wire, message, WIRE_HEADER + body_size);
    memcpy(wire + WIRE_HEADER + body_size, message->tail, tail);
    return send_datagram(s, wire, WIRE_HEADER + body_size + tail, fd_count, 0);
}

static long violate(const struct surroundings *s, const struct control_message *message,
                    size_t body_size, size_t fd_count)
{
    return await_end(s, send_message(s, message, body_size, fd_count) > 0 ? 0 : -EIO);
}

static long violate_plain(const struct surroundings *s, uint32_t type, size_t fd_count)
{
    const struct control_message message = { .type = type };

    return violate(s, &message, 0, fd_count);
}

static long unknown_type(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_TYPE_MAX, 0);
}

static long type_zero(const struct surroundings *s)
{
    return violate_plain(s, 0, 0);
}

static long type_of_another_channel(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_WAITING, 0);
}

static long sealed_again(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_SEALED, 0);
}

static long notify_again(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_NOTIFY, 1);
}

static long ready_again(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_READY, 0);
}

static long negotiated_again(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_NEGOTIATED, 0);
}

/* As if from the gate. */
static long wrong_direction(const struct surroundings *s)
{
    return violate_plain(s, CONTROL_CLIENT, 1);
}

/* Memory can only be declared before there is a client. */
static long region_too_late(const struct surroundings *s)
{
    const struct control_message message = { .type = CONTROL_REGION, .body.region.index = 5 };

    return violate(s, &message, sizeof(message.body.region), 1);
}

static long io_fd_too_late(const struct surroundings *s)
{
    const struct control_message message = {
        .type = CONTROL_IO_FD,
        .body.io_fd.kind = DESCRIPTOR_EVENTFD,
    };

    return violate(s, &message, sizeof(message.body.io_fd), 1);
}

/* Wants the start of a reply sent with what it names. */
static long send_with(const struct surroundings *s, uint16_t what, uint16_t count, uint16_t index)
{
    struct control_message message = {
        .type = CONTROL_SEND,
        .tail_size = 16,
        .body.send = { .what = what, .count = count },
    };

    for (size_t i = 0; i <= FD_LIST_MAX; i++) {
        message.body.send.index[i] = index;
    }
    return violate(s, &message, sizeof(message.body.send), 0);
}

static long send_undeclared_region(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_REGION, 1, 5);
}

static long send_impossible_region(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_REGION, 1, UINT16_MAX);
}

static long send_two_regions(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_REGION, 2, 0);
}

static long send_undeclared_io_fd(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_IO_FDS, 1, 0);
}

static long send_impossible_io_fds(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_IO_FDS, UINT16_MAX, UINT16_MAX);
}

static long send_nothing(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_IO_FDS, 0, 0);
}

static long send_unknown(const struct surroundings *s)
{
    return send_with(s, UINT16_MAX, 1, 0);
}

/* It belongs to the negotiation. */
static long twin_socket_too_late(const struct surroundings *s)
{
    return send_with(s, CONTROL_SEND_TWIN, 0, 0);
}

static long message_253_descriptors(const struct surroundings *s)
{
    const struct control_message message = { .type = CONTROL_TAKE, .body.take.size = 16 };

    return violate(s, &message, sizeof(message.body.take), FD_LIST_MAX);
}

static long message_too_long(const struct surroundings *s)
{
    static uint8_t bytes[4 * CONTROL_TAIL_MAX] = { CONTROL_TAKE };

    return await_end(s, send_datagram(s, bytes, sizeof(bytes), 0, 0) > 0 ? 0 : -EIO);
}

static long message_too_short(const struct surroundings *s)
{
    return await_end(s, send_datagram(s, "abc", 3, 0, 0) > 0 ? 0 : -EIO);
}

/* To a receiver this looks like the end of the channel, which has not come. */
static long message_empty(const struct surroundings *s)
{
    return await_end(s, send_datagram(s, "", 0, 0, 0));
}

static long tail_size_lies(const struct surroundings *s)
{
    const struct control_message message = {
        .type = CONTROL_TAKE,
        .tail_size = UINT32_MAX,
        .body.take.size = 16,
    };

    return violate(s, &message, sizeof(message.body.take), 0);
}

/* Room that is said to be filled, and is not, would be whatever was there before. */
static long tail_missing(const struct surroundings *s)
{
    const uint32_t wire[] = { CONTROL_SEND, CONTROL_TAIL_MAX, 0, 0 };

    return await_end(s, send_datagram(s, wire, sizeof(wire), 0, 0) > 0 ? 0 : -EIO);
}

static long body_missing(const struct surroundings *s)
{
    const uint32_t wire[] = { CONTROL_TAKE, 0 };

    return await_end(s, send_datagram(s, wire, sizeof(wire), 0, 0) > 0 ? 0 : -EIO);
}

static long bytes_left_over(const struct surroundings *s)
{
    const uint32_t wire[] = { CONTROL_TAKE, 0, 16, 0, 0 };

    return await_end(s, send_datagram(s, wire, sizeof(wire), 0, 0) > 0 ? 0 : -EIO);
}

/* Requests without end, whose answers nobody reads. */
static long requests_without_end(const struct surroundings *s)
{
    const struct {
        uint32_t type;
        uint32_t tail_size;
        struct control_take take;
    } request = { .type = CONTROL_TAKE, .take.size = 1 };
    long result;

    do {
        result = send_datagram(s, &request, sizeof(request), 0, s->jailed ? 0 : MSG_DONTWAIT);
    } while (result > 0);
    return await_end(s, result);
}

/* --- rules kept ----------------------------------------------------------------------------- */

/* How many descriptors arrive with the answer, or -errno as the gate tells it. */
static long take_answer(const struct surroundings *s)
{
    struct {
        uint32_t type;
        uint32_t tail_size;
        struct control_taken taken;
        uint8_t tail[CONTROL_TAIL_MAX];
    } answer = { .type = 0 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(FD_LIST_MAX * sizeof(int))];
    } control = { .room = { 0 } };
    struct iovec iov = { &answer, sizeof(answer) };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    long result = syscall(SYS_recvmsg, s->control, &message, MSG_CMSG_CLOEXEC);

    if (result < 0 || answer.type != CONTROL_TAKEN || answer.taken.result != 16) {
        return -EIO;
    }
    if (answer.taken.fds_error != 0) {
        return message.msg_controllen == 0 ? -answer.taken.fds_error : -EIO;
    }
    return message.msg_controllen > 0;
}

/* Outside there is no gate: the descriptor is taken as it comes. */
static long take_directly(const struct surroundings *s)
{
    char bytes[16];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    long result = syscall(SYS_recvmsg, s->client, &message, MSG_CMSG_CLOEXEC);

    return result == 16 ? message.msg_controllen > 0 : -EIO;
}

/* The client sends a pipe. Asks for it as belonging to @command; waits until it is there. */
static long take_pipe_as(const struct surroundings *s, uint32_t size, uint16_t command)
{
    const struct control_message message = {
        .type = CONTROL_TAKE,
        .body.take = { .size = size, .command = command },
    };
    uint8_t byte;

    if (!s->jailed) {
        return take_directly(s);
    }
    while (syscall(SYS_recvfrom, s->client, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) != 1) {
    }
    if (send_message(s, &message, sizeof(message.body.take), 0) < 0) {
        return -EIO;
    }
    return take_answer(s);
}

static long take_as_memory(const struct surroundings *s)
{
    return take_pipe_as(s, 16, VFIO_USER_DMA_MAP);
}

static long take_as_interrupt(const struct surroundings *s)
{
    return take_pipe_as(s, 16, VFIO_USER_DEVICE_SET_IRQS);
}

static long take_as_incomplete(const struct surroundings *s)
{
    return take_pipe_as(s, 16, 0);
}

static long take_as_unknown(const struct surroundings *s)
{
    return take_pipe_as(s, 16, 0xffff);
}

static long take_too_much(const struct surroundings *s)
{
    return take_pipe_as(s, UINT32_MAX, 0xffff);
}

#define REFUSED STOPPED(-EINVAL, "vetting")
#define BREACH(name, run) ATTEMPT(name, run, ENDS_SESSION(EPROTO), RETURNS(0))
#define SENDING(name, run) ATTEMPT(name, run, ENDS_SESSION(EINVAL), RETURNS(0))
#define TAKING(name, run) ATTEMPT(name, run, REFUSED, RETURNS(1), .client = CLIENT_SENDS_DESCRIPTOR)

static const struct attempt table[] = {
    BREACH("unknown-type", unknown_type),
    BREACH("type-zero", type_zero),
    BREACH("type-of-another-channel", type_of_another_channel),
    BREACH("sealed-again", sealed_again),
    BREACH("notify-again", notify_again),
    BREACH("ready-again", ready_again),
    BREACH("negotiated-again", negotiated_again),
    BREACH("wrong-direction", wrong_direction),
    BREACH("region-too-late", region_too_late),
    BREACH("io-fd-too-late", io_fd_too_late),
    SENDING("send-undeclared-region", send_undeclared_region),
    SENDING("send-impossible-region", send_impossible_region),
    SENDING("send-two-regions", send_two_regions),
    SENDING("send-undeclared-io-fd", send_undeclared_io_fd),
    SENDING("send-impossible-io-fds", send_impossible_io_fds),
    SENDING("send-nothing", send_nothing),
    SENDING("send-unknown", send_unknown),
    SENDING("twin-socket-too-late", twin_socket_too_late),
    BREACH("message-253-descriptors", message_253_descriptors),
    BREACH("message-too-long", message_too_long),
    BREACH("message-too-short", message_too_short),
    BREACH("message-empty", message_empty),
    BREACH("tail-size-lies", tail_size_lies),
    BREACH("tail-missing", tail_missing),
    BREACH("body-missing", body_missing),
    BREACH("bytes-left-over", bytes_left_over),
    ATTEMPT("requests-without-end", requests_without_end, ENDS_SESSION(EAGAIN), FAILS(EAGAIN)),
    TAKING("take-as-memory", take_as_memory),
    TAKING("take-as-interrupt", take_as_interrupt),
    TAKING("take-as-incomplete", take_as_incomplete),
    TAKING("take-as-unknown", take_as_unknown),
    TAKING("take-too-much", take_too_much),
};

const struct attempt_group attempts_channel = { table, sizeof(table) / sizeof(table[0]) };
