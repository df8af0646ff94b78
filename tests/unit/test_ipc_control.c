/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of the control channels: each message, in each state, from each side, with each wrong
 * shape. What is expected is written down here once more, from the picture in ipc/control.h.
 */
#include "ipc/control.h"

#include "tests/unit/ipc_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define S(state) CONTROL_STATE_##state
#define BROKER CONTROL_BROKER_END
#define CHILD CONTROL_CHILD_END

/* type and tail size, ahead of the body */
#define WIRE_HEADER 8u

static const struct expected {
    enum control_type type;
    const char *name;
    enum control_role from;
    uint32_t states;
    uint32_t next; /* 0: the state stays */
    size_t body;
    size_t tail;
    size_t min_fds;
    size_t max_fds;
    bool once;
} table[] = {
    { CONTROL_SEAL, "SEAL", BROKER, S(START), S(SEALING), 40, 4096, 0, 2, true },
    { CONTROL_NOTIFY, "NOTIFY", CHILD, S(SEALING), S(FILTERED), 0, 0, 1, 1, true },
    { CONTROL_SEALED, "SEALED", CHILD, S(FILTERED), S(SEALED), 0, 0, 0, 0, true },
    { CONTROL_REGION, "REGION", CHILD, S(SEALED), 0, 8, 0, 1, 1, false },
    { CONTROL_IO_FD, "IO_FD", CHILD, S(SEALED), 0, 8, 0, 1, 1, false },
    { CONTROL_READY, "READY", CHILD, S(SEALED), S(READY), 0, 0, 0, 0, true },
    { CONTROL_CLIENT, "CLIENT", BROKER, S(READY), S(SERVING), 0, 0, 1, 1, true },
    { CONTROL_TAKE, "TAKE", CHILD, S(SERVING), S(TAKING), 8, 0, 0, 0, false },
    { CONTROL_TAKEN, "TAKEN", BROKER, S(TAKING), S(SERVING), 268, 4096, 0, 253, false },
    { CONTROL_SEND, "SEND", CHILD, S(SERVING), S(SENDING), 512, 4096, 0, 0, false },
    { CONTROL_SENT, "SENT", BROKER, S(SENDING), S(SERVING), 8, 0, 0, 1, false },
    { CONTROL_NEGOTIATED, "NEGOTIATED", CHILD, S(SERVING), 0, 0, 0, 0, 0, true },
    { CONTROL_DETACHED, "DETACHED", CHILD, S(SERVING) | S(TAKING) | S(SENDING), S(OVER), 0, 0, 0, 0,
      true },
    { CONTROL_DEVICE, "DEVICE", BROKER, S(IDLE), S(PREPARING), 0, 0, 1, 1, true },
    { CONTROL_WAITING, "WAITING", CHILD, S(PREPARING), S(WAITING), 0, 0, 0, 0, true },
    { CONTROL_LISTEN, "LISTEN", BROKER, S(WAITING), S(ACCEPTING), 0, 0, 1, 1, true },
    { CONTROL_CANDIDATE, "CANDIDATE", CHILD, S(ACCEPTING), S(JUDGING), 16, 0, 0, 0, false },
    { CONTROL_VERDICT, "VERDICT", BROKER, S(JUDGING), S(REFUSING), 8, 0, 0, 0, false },
    { CONTROL_REFUSED, "REFUSED", CHILD, S(REFUSING), S(ACCEPTING), 0, 0, 0, 0, false },
    { CONTROL_PROBE, "PROBE", BROKER, S(BUSY), S(PROBING), 0, 0, 0, 0, false },
    { CONTROL_PROBED, "PROBED", CHILD, S(PROBING), S(BUSY), 8, 0, 0, 0, false },
    { CONTROL_REPORT, "REPORT", CHILD, S(ACCEPTING) | S(BUSY) | S(PROBING), 0, 16, 0, 0, 0, false },
    { CONTROL_ENDED, "ENDED", CHILD,
      S(PREPARING) | S(WAITING) | S(ACCEPTING) | S(BUSY) | S(PROBING), S(OVER), 8, 0, 0, 0, true },
};

#define MESSAGES (sizeof(table) / sizeof(table[0]))

static const uint32_t states[] = {
    S(START),   S(SEALING),  S(FILTERED), S(SEALED),    S(READY),   S(SERVING),
    S(TAKING),  S(SENDING),  S(IDLE),     S(PREPARING), S(WAITING), S(ACCEPTING),
    S(JUDGING), S(REFUSING), S(BUSY),     S(PROBING),   S(OVER),
};

#define STATES (sizeof(states) / sizeof(states[0]))

static enum control_role other(enum control_role role)
{
    return role == BROKER ? CHILD : BROKER;
}

static struct control_channel channel_at(int fd, enum control_role role, uint32_t state)
{
    return (struct control_channel){ .fd = fd, .role = role, .state = (enum control_state)state };
}

/* Sends what a peer that keeps to no rule can send. */
static void send_wire(int sock, uint32_t type, uint32_t tail_size, size_t bytes_after_header,
                      int fd, size_t fd_count)
{
    static uint8_t wire[sizeof(struct control_message) + 64];
    struct iovec iov = { .iov_base = wire, .iov_len = WIRE_HEADER + bytes_after_header };
    union {
        char bytes[CMSG_SPACE(FD_LIST_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    assert_true(iov.iov_len <= sizeof(wire));
    memset(wire, 0, sizeof(wire));
    memcpy(wire, &type, sizeof(type));
    memcpy(wire + 4, &tail_size, sizeof(tail_size));
    if (fd_count > 0) {
        struct cmsghdr *c = &control.align;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        for (size_t i = 0; i < fd_count; i++) {
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
        }
    }
    assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), iov.iov_len);
}

/* Receives on a channel in @state; nothing of it may stay open but what a success hands over. */
static int receive(int sock, enum control_role role, uint32_t state, uint32_t seen,
                   struct control_channel *after)
{
    static struct control_message message;
    AUTO_FD_LIST fds = { .count = 0 };
    struct control_channel channel = channel_at(sock, role, state);
    int result;

    channel.seen = seen;
    result = control_receive(&channel, &message, &fds, MSG_DONTWAIT);
    if (result < 0) {
        assert_int_equal(fds.count, 0);
        /* The state is that of before. */
        assert_int_equal(channel.state, state);
        assert_int_equal(channel.seen, seen);
    }
    if (after != NULL) {
        *after = channel;
    }
    return result;
}

static bool is_permitted(const struct expected *expected, enum control_role from, uint32_t state)
{
    return expected->from == from && (expected->states & state);
}

/* --- the table --- */

static void test_sending_follows_the_table(void **state)
{
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t i = 0; i < MESSAGES; i++) {
        for (size_t j = 0; j < STATES; j++) {
            for (int role = BROKER; role <= CHILD; role++) {
                struct control_channel channel =
                    channel_at(pair[0], (enum control_role)role, states[j]);
                struct control_message message = { .type = table[i].type };
                bool permitted = is_permitted(&table[i], (enum control_role)role, states[j]);
                struct fd_list fds;
                char byte;

                borrow_many(&fds, fd, table[i].min_fds);
                assert_int_equal(control_send(&channel, &message, &fds, MSG_DONTWAIT),
                                 permitted ? 0 : -EPROTO);
                assert_int_equal(channel.state,
                                 permitted && table[i].next ? table[i].next : states[j]);
                /* What is forbidden is not sent. */
                assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), permitted ? 1 : -1);
            }
        }
    }
    close(fd);
    close_pair(pair);
}

static void test_receiving_follows_the_table(void **state)
{
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t i = 0; i < MESSAGES; i++) {
        for (size_t j = 0; j < STATES; j++) {
            for (int role = BROKER; role <= CHILD; role++) {
                enum control_role from = other((enum control_role)role);
                bool permitted = is_permitted(&table[i], from, states[j]);
                struct control_channel after;

                send_wire(pair[0], table[i].type, 0, table[i].body, fd, table[i].min_fds);
                assert_int_equal(receive(pair[1], (enum control_role)role, states[j], 0, &after),
                                 permitted ? 1 : -EPROTO);
                assert_int_equal(after.state,
                                 permitted && table[i].next ? table[i].next : states[j]);
            }
        }
    }
    close(fd);
    close_pair(pair);
}

static void test_verdict_decides_the_state(void **state)
{
    struct control_channel sender, receiver;
    struct control_message message = { .type = CONTROL_VERDICT, .body.verdict.admit = 1 };
    AUTO_FD_LIST fds = { .count = 0 };
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    sender = channel_at(pair[0], BROKER, S(JUDGING));
    receiver = channel_at(pair[1], CHILD, S(JUDGING));
    assert_int_equal(control_send(&sender, &message, NULL, 0), 0);
    assert_int_equal(control_receive(&receiver, &message, &fds, 0), 1);
    assert_int_equal(sender.state, S(BUSY));
    assert_int_equal(receiver.state, S(BUSY));
    close_pair(pair);
}

static void test_once_is_once(void **state)
{
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t i = 0; i < MESSAGES; i++) {
        uint32_t first = table[i].states & -table[i].states; /* one of the states */
        struct control_channel channel = channel_at(pair[0], table[i].from, first);
        struct control_message message = { .type = table[i].type };
        int expected = table[i].once ? -EPROTO : 0;
        struct control_channel after;
        struct fd_list fds;

        borrow_many(&fds, fd, table[i].min_fds);
        assert_int_equal(control_send(&channel, &message, &fds, 0), 0);
        assert_int_equal(receive(pair[1], other(table[i].from), first, 0, &after), 1);
        channel.state = (enum control_state)first;
        assert_int_equal(control_send(&channel, &message, &fds, 0), expected);
        if (expected != 0) {
            send_wire(pair[0], table[i].type, 0, table[i].body, fd, table[i].min_fds);
        }
        assert_int_equal(receive(pair[1], other(table[i].from), first, after.seen, NULL),
                         table[i].once ? -EPROTO : 1);
    }
    close(fd);
    close_pair(pair);
}

/* --- shapes --- */

/* The right state and side, but @size bytes, @tail announced ones, @fds descriptors. */
static int receive_shape(const struct expected *expected, size_t size, uint32_t tail, size_t fds)
{
    uint32_t first = expected->states & -expected->states;
    int pair[2], fd = make_descriptor(), result;

    make_pair(SOCK_SEQPACKET, pair);
    send_wire(pair[0], expected->type, tail, size, fd, fds);
    result = receive(pair[1], other(expected->from), first, 0, NULL);
    close(fd);
    close_pair(pair);
    return result;
}

static void test_wrong_sizes_are_eproto(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        const struct expected *e = &table[i];

        assert_int_equal(receive_shape(e, e->body, 0, e->min_fds), 1);
        assert_int_equal(receive_shape(e, e->body + 1, 0, e->min_fds), -EPROTO);
        assert_int_equal(receive_shape(e, e->body + 4096, 0, e->min_fds), -EPROTO);
        assert_int_equal(receive_shape(e, sizeof(struct control_message), 0, e->min_fds), -EPROTO);
        if (e->body > 0) {
            assert_int_equal(receive_shape(e, e->body - 1, 0, e->min_fds), -EPROTO);
            assert_int_equal(receive_shape(e, 0, 0, e->min_fds), -EPROTO);
        }
    }
}

static void test_wrong_tails_are_eproto(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        const struct expected *e = &table[i];
        int with_tail = e->tail > 0 ? 1 : -EPROTO;

        assert_int_equal(receive_shape(e, e->body + 1, 1, e->min_fds), with_tail);
        assert_int_equal(receive_shape(e, e->body + 4096, 4096, e->min_fds), with_tail);
        /* Announced and not there, or there and not announced. */
        assert_int_equal(receive_shape(e, e->body, 1, e->min_fds), -EPROTO);
        assert_int_equal(receive_shape(e, e->body, UINT32_MAX, e->min_fds), -EPROTO);
        assert_int_equal(receive_shape(e, e->body + 100, 99, e->min_fds), -EPROTO);
        assert_int_equal(receive_shape(e, e->body + 100, 101, e->min_fds), -EPROTO);
    }
}

static void test_wrong_numbers_of_descriptors_are_eproto(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        const struct expected *e = &table[i];

        assert_int_equal(receive_shape(e, e->body, 0, e->max_fds), 1);
        assert_int_equal(receive_shape(e, e->body, 0, FD_LIST_MAX),
                         e->max_fds == FD_LIST_MAX ? 1 : -EPROTO);
        if (e->max_fds < FD_LIST_MAX) {
            assert_int_equal(receive_shape(e, e->body, 0, e->max_fds + 1), -EPROTO);
        }
        if (e->min_fds > 0) {
            assert_int_equal(receive_shape(e, e->body, 0, e->min_fds - 1), -EPROTO);
        }
    }
}

static void test_sending_a_wrong_shape_is_eproto(void **state)
{
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t i = 0; i < MESSAGES; i++) {
        uint32_t first = table[i].states & -table[i].states;
        struct control_channel channel = channel_at(pair[0], table[i].from, first);
        struct control_message message = { .type = table[i].type };
        struct fd_list fds;

        if (table[i].max_fds < FD_LIST_MAX) {
            borrow_many(&fds, fd, table[i].max_fds + 1);
            assert_int_equal(control_send(&channel, &message, &fds, 0), -EPROTO);
        }
        if (table[i].min_fds > 0) {
            assert_int_equal(control_send(&channel, &message, NULL, 0), -EPROTO);
        }
        borrow_many(&fds, fd, table[i].min_fds);
        message.tail_size = (uint32_t)table[i].tail + 1;
        assert_int_equal(control_send(&channel, &message, &fds, 0), -EPROTO);
        message.tail_size = UINT32_MAX;
        assert_int_equal(control_send(&channel, &message, &fds, 0), -EPROTO);
        assert_int_equal(channel.state, first);
    }
    assert_int_equal(recv(pair[1], &(char){ 0 }, 1, MSG_DONTWAIT), -1);
    close(fd);
    close_pair(pair);
}

static void test_unknown_types_are_eproto(void **state)
{
    const uint32_t types[] = {
        0, CONTROL_TYPE_MAX, CONTROL_TYPE_MAX + 1, 32, 0x80000000, UINT32_MAX
    };
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (size_t j = 0; j < STATES; j++) {
            struct control_channel channel = channel_at(pair[0], BROKER, states[j]);
            const struct control_message message = { .type = types[i] };

            assert_int_equal(control_send(&channel, &message, NULL, 0), -EPROTO);
            send_wire(pair[0], types[i], 0, 8, fd, 2);
            assert_int_equal(receive(pair[1], CHILD, states[j], 0, NULL), -EPROTO);
        }
    }
    close(fd);
    close_pair(pair);
}

static void test_less_than_a_header_is_eproto(void **state)
{
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    for (size_t size = 1; size < WIRE_HEADER; size++) {
        const uint32_t type[2] = { CONTROL_READY, 0 };

        assert_int_equal(send(pair[0], type, size, 0), size);
        assert_int_equal(receive(pair[1], BROKER, S(SEALED), 0, NULL), -EPROTO);
    }
    close_pair(pair);
}

static void test_larger_than_any_message_is_eproto(void **state)
{
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    send_wire(pair[0], CONTROL_TAKEN, 4096, sizeof(struct control_message), fd, 253);
    assert_int_equal(receive(pair[1], CHILD, S(TAKING), 0, NULL), -EPROTO);
    close(fd);
    close_pair(pair);
}

/* --- the channel --- */

static void test_closed_peer_is_0(void **state)
{
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    close(pair[0]);
    assert_int_equal(receive(pair[1], BROKER, S(SEALED), 0, NULL), 0);
    close(pair[1]);
}

static void test_sending_to_a_closed_peer_is_epipe(void **state)
{
    struct control_channel channel;
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    close(pair[0]);
    channel = channel_at(pair[1], CHILD, S(SEALED));
    assert_int_equal(control_send_plain(&channel, CONTROL_READY, 0), -EPIPE);
    assert_int_equal(channel.state, S(SEALED));
    close(pair[1]);
}

static void test_nothing_there_is_eagain(void **state)
{
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    assert_int_equal(receive(pair[1], BROKER, S(SEALED), 0, NULL), -EAGAIN);
    close_pair(pair);
}

static void test_contents_arrive(void **state)
{
    static struct control_message message, got;
    struct control_channel sender, receiver;
    AUTO_FD_LIST received = { .count = 0 };
    struct fd_list fds;
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    sender = channel_at(pair[0], BROKER, S(TAKING));
    receiver = channel_at(pair[1], CHILD, S(TAKING));
    message.type = CONTROL_TAKEN;
    message.tail_size = 4096;
    message.body.taken.result = 4096;
    message.body.taken.fds_error = EACCES;
    message.body.taken.fds_count = 253;
    memset(message.body.taken.kind, DESCRIPTOR_EVENTFD, sizeof(message.body.taken.kind));
    for (size_t i = 0; i < 4096; i++) {
        message.tail[i] = (uint8_t)(i * 7);
    }
    borrow_many(&fds, fd, 253);
    assert_int_equal(control_send(&sender, &message, &fds, 0), 0);
    assert_int_equal(control_receive(&receiver, &got, &received, 0), 1);
    assert_int_equal(got.type, CONTROL_TAKEN);
    assert_int_equal(got.tail_size, 4096);
    assert_memory_equal(&got.body.taken, &message.body.taken, sizeof(got.body.taken));
    assert_memory_equal(got.tail, message.tail, 4096);
    expect_received(&received, 253);
    close(fd);
    close_pair(pair);
}

struct step {
    enum control_type type;
    bool admit;
};

/* Both ends follow the steps; each is sent by the side that the table names. */
static void walk(const struct step *steps, size_t count, uint32_t start)
{
    struct control_channel ends[2];
    int pair[2], fd = make_descriptor();

    make_pair(SOCK_SEQPACKET, pair);
    ends[BROKER] = channel_at(pair[0], BROKER, start);
    ends[CHILD] = channel_at(pair[1], CHILD, start);
    for (size_t i = 0; i < count; i++) {
        const struct expected *e = table;
        struct control_message message = { .type = steps[i].type };
        AUTO_FD_LIST received = { .count = 0 };
        struct fd_list fds;

        while (e->type != steps[i].type) {
            e++;
        }
        message.body.verdict.admit = steps[i].admit;
        borrow_many(&fds, fd, e->min_fds);
        assert_int_equal(control_send(&ends[e->from], &message, &fds, 0), 0);
        assert_int_equal(control_receive(&ends[other(e->from)], &message, &received, 0), 1);
        assert_int_equal(message.type, steps[i].type);
        expect_received(&received, e->min_fds);
        assert_int_equal(ends[BROKER].state, ends[CHILD].state);
        assert_int_equal(ends[BROKER].seen, ends[CHILD].seen);
    }
    assert_int_equal(ends[BROKER].state, S(OVER));
    close(fd);
    close_pair(pair);
}

static void test_a_device_session(void **state)
{
    const struct step steps[] = {
        { CONTROL_SEAL, false },   { CONTROL_NOTIFY, false },   { CONTROL_SEALED, false },
        { CONTROL_REGION, false }, { CONTROL_REGION, false },   { CONTROL_IO_FD, false },
        { CONTROL_IO_FD, false },  { CONTROL_READY, false },    { CONTROL_CLIENT, false },
        { CONTROL_TAKE, false },   { CONTROL_TAKEN, false },    { CONTROL_NEGOTIATED, false },
        { CONTROL_TAKE, false },   { CONTROL_TAKEN, false },    { CONTROL_SEND, false },
        { CONTROL_SENT, false },   { CONTROL_SEND, false },     { CONTROL_SENT, false },
        { CONTROL_TAKE, false },   { CONTROL_DETACHED, false },
    };

    walk(steps, sizeof(steps) / sizeof(steps[0]), S(START));
}

static void test_a_gate_session(void **state)
{
    const struct step steps[] = {
        { CONTROL_DEVICE, false },  { CONTROL_WAITING, false },   { CONTROL_LISTEN, false },
        { CONTROL_REPORT, false },  { CONTROL_CANDIDATE, false }, { CONTROL_VERDICT, false },
        { CONTROL_REFUSED, false }, { CONTROL_CANDIDATE, false }, { CONTROL_VERDICT, true },
        { CONTROL_REPORT, false },  { CONTROL_PROBE, false },     { CONTROL_REPORT, false },
        { CONTROL_PROBED, false },  { CONTROL_PROBE, false },     { CONTROL_PROBED, false },
        { CONTROL_ENDED, false },
    };

    walk(steps, sizeof(steps) / sizeof(steps[0]), S(IDLE));
}

/* What the child's end sends goes into a pipe, and out of it at the broker's. */
static void test_pipe_keeps_messages_apart(void **state)
{
    struct control_message message = { .type = CONTROL_PROBED, .body.probed.gone = 1 };
    struct control_channel child = channel_at(-1, CHILD, S(PROBING));
    struct control_channel broker = channel_at(-1, BROKER, S(PROBING));
    struct fd_list fds = { .count = 0 };
    int ends[2];

    assert_int_equal(pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
    broker.pipe = ends[0];
    child.pipe = ends[1];
    assert_int_equal(control_receive(&broker, &message, &fds, 0), -EAGAIN);
    assert_int_equal(write(ends[1], "", 0), 0);
    assert_int_equal(control_receive(&broker, &message, &fds, 0), -EAGAIN);
    message = (struct control_message){ .type = CONTROL_PROBED, .body.probed.gone = 1 };
    assert_int_equal(control_send(&child, &message, NULL, 0), 0);
    message = (struct control_message){ .type = CONTROL_ENDED, .body.ended.reason = 3 };
    assert_int_equal(control_send(&child, &message, NULL, 0), 0);
    assert_int_equal(write(ends[1], "garbage that is long enough", 27), 27);
    assert_int_equal(control_receive(&broker, &message, &fds, 0), 1);
    assert_int_equal(message.type, CONTROL_PROBED);
    assert_int_equal(message.body.probed.gone, 1);
    assert_int_equal(control_receive(&broker, &message, &fds, 0), 1);
    assert_int_equal(message.type, CONTROL_ENDED);
    assert_int_equal(message.body.ended.reason, 3);
    assert_int_equal(control_receive(&broker, &message, &fds, 0), -EPROTO);
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(control_receive(&broker, &message, &fds, 0), 0);
    assert_int_equal(close(ends[0]), 0);
}

static void test_names(void **state)
{
    /* The table above is complete. */
    assert_int_equal(MESSAGES, CONTROL_TYPE_MAX - 1);
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_string_equal(control_type_name(table[i].type), table[i].name);
    }
    assert_string_equal(control_type_name(0), "unknown");
    assert_string_equal(control_type_name(CONTROL_TYPE_MAX), "unknown");
    assert_string_equal(control_type_name(UINT32_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAK_TEST(test_sending_follows_the_table),
        LEAK_TEST(test_receiving_follows_the_table),
        LEAK_TEST(test_verdict_decides_the_state),
        LEAK_TEST(test_once_is_once),
        LEAK_TEST(test_wrong_sizes_are_eproto),
        LEAK_TEST(test_wrong_tails_are_eproto),
        LEAK_TEST(test_wrong_numbers_of_descriptors_are_eproto),
        LEAK_TEST(test_sending_a_wrong_shape_is_eproto),
        LEAK_TEST(test_unknown_types_are_eproto),
        LEAK_TEST(test_less_than_a_header_is_eproto),
        LEAK_TEST(test_larger_than_any_message_is_eproto),
        LEAK_TEST(test_closed_peer_is_0),
        LEAK_TEST(test_sending_to_a_closed_peer_is_epipe),
        LEAK_TEST(test_nothing_there_is_eagain),
        LEAK_TEST(test_contents_arrive),
        LEAK_TEST(test_a_device_session),
        LEAK_TEST(test_a_gate_session),
        LEAK_TEST(test_pipe_keeps_messages_apart),
        LEAK_TEST(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
