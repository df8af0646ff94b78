/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/frame.h"

#include "ipc/socket.h"
#include "tests/unit/ipc_helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SIZE 65536u
#define WITH_FDS 2    /* this command may carry descriptors, */
#define WITHOUT_FDS 9 /* and this one may not */

/* Two ends of a stream, a frame that receives from one of them, and what it asked of take(). */
struct receiver {
    int pair[2];
    struct frame frame;
    struct frame_source source;
    size_t takes;
    uint16_t last_command;
    ssize_t take_result; /* instead of receiving, if it is not 0 */
};

/* The linker leads the frame's peeks here (meson.build). */
static size_t peeks;

ssize_t __real_socket_peek(int sock, void *buffer, size_t size);
ssize_t __wrap_socket_peek(int sock, void *buffer, size_t size);

ssize_t __wrap_socket_peek(int sock, void *buffer, size_t size)
{
    peeks++;
    return __real_socket_peek(sock, buffer, size);
}

static bool carries_fds(const struct vfio_user_header *header)
{
    return header->cmd == WITH_FDS;
}

static ssize_t take(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds)
{
    struct receiver *receiver = opaque;

    receiver->takes++;
    receiver->last_command = command;
    assert_in_range(size, 1, FRAME_TAKE_MAX);
    if (receiver->take_result != 0) {
        return receiver->take_result;
    }
    return socket_receive(receiver->pair[1], buffer, size, MSG_DONTWAIT, fds);
}

static void receiver_open(struct receiver *receiver)
{
    memset(receiver, 0, sizeof(*receiver));
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, receiver->pair);
    assert_int_equal(frame_init(&receiver->frame, MAX_SIZE), 0);
    receiver->source = (struct frame_source){
        .sock = receiver->pair[1],
        .carries_fds = carries_fds,
        .take = take,
        .opaque = receiver,
    };
}

static void receiver_close(struct receiver *receiver)
{
    frame_fini(&receiver->frame);
    close_pair(receiver->pair);
}

static int receive(struct receiver *receiver)
{
    return frame_receive(&receiver->frame, &receiver->source);
}

/* Byte @i of the payloads of these tests. */
static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static size_t build(uint8_t *message, uint16_t command, size_t payload)
{
    const struct vfio_user_header header = {
        .msg_id = 77,
        .cmd = command,
        .msg_size = (uint32_t)(sizeof(header) + payload),
    };

    memcpy(message, &header, sizeof(header));
    for (size_t i = 0; i < payload; i++) {
        message[sizeof(header) + i] = pattern(i);
    }
    return sizeof(header) + payload;
}

static void send_bytes(struct receiver *receiver, const void *bytes, size_t size, int fd,
                       size_t fd_count)
{
    struct fd_list fds;

    borrow_many(&fds, fd, fd_count);
    assert_int_equal(socket_send(receiver->pair[0], bytes, size, 0, &fds), size);
}

/* The frame holds a whole message, and no more than that; makes ready for the next. */
static void expect_message(struct receiver *receiver, uint16_t command, size_t payload, size_t fds)
{
    struct frame *frame = &receiver->frame;
    const uint8_t *bytes = frame_payload(frame);

    assert_int_equal(frame_header(frame)->cmd, command);
    assert_int_equal(frame_header(frame)->msg_id, 77);
    assert_int_equal(frame_payload_size(frame), payload);
    assert_int_equal(frame->have, payload + sizeof(struct vfio_user_header));
    assert_int_equal((uintptr_t)frame->data % 16, 0);
    for (size_t i = 0; i < payload; i++) {
        assert_int_equal(bytes[i], pattern(i));
    }
    expect_received(&frame->fds, fds);
    frame_reset(frame);
    assert_int_equal(frame->fds.count, 0);
    assert_false(frame_started(frame));
}

/* --- whole messages --- */

static void test_nothing_is_partial(void **state)
{
    struct receiver receiver;

    receiver_open(&receiver);
    assert_int_equal(receive(&receiver), FRAME_PARTIAL);
    assert_false(frame_started(&receiver.frame));
    assert_int_equal(receiver.takes, 0);
    receiver_close(&receiver);
}

static void test_message_of_a_header(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, 13, 0);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, 13, 0, 0);
    receiver_close(&receiver);
}

static void test_plain_message_is_not_taken(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 20);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    assert_int_equal(receiver.takes, 0);
    receiver_close(&receiver);
}

static void test_message_with_descriptors_is_taken(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITH_FDS, 32);
    int fd = make_descriptor();

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, fd, FD_LIST_MAX);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    assert_int_equal(receiver.takes, 1);
    assert_int_equal(receiver.last_command, WITH_FDS);
    expect_message(&receiver, WITH_FDS, 32, FD_LIST_MAX);
    close(fd);
    receiver_close(&receiver);
}

/* A plain read drops them: nobody asked for any. */
static void test_descriptors_of_a_plain_message_are_dropped(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 20);
    int fd = make_descriptor();

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, fd, 7);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    close(fd);
    receiver_close(&receiver);
}

static void test_complete_message_stays_until_reset(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 20);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    send_bytes(&receiver, message, size, -1, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    assert_int_equal(receive(&receiver), FRAME_PARTIAL);
    receiver_close(&receiver);
}

/* --- borders between messages --- */

static void test_a_read_never_crosses_into_the_next_message(void **state)
{
    uint8_t message[256];
    struct receiver receiver;
    int fd = make_descriptor();
    size_t plain = build(message, WITHOUT_FDS, 20);

    receiver_open(&receiver);
    /* Plain ones that merge with each other, then one with descriptors, then plain ones again. */
    for (size_t i = 0; i < 3; i++) {
        send_bytes(&receiver, message, plain, -1, 0);
    }
    send_bytes(&receiver, message, build(message, WITH_FDS, 32), fd, 2);
    send_bytes(&receiver, message, build(message, WITH_FDS, 8), fd, 5);
    send_bytes(&receiver, message, build(message, WITHOUT_FDS, 20), -1, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(receive(&receiver), FRAME_COMPLETE);
        expect_message(&receiver, WITHOUT_FDS, 20, 0);
    }
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITH_FDS, 32, 2);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITH_FDS, 8, 5);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    close(fd);
    receiver_close(&receiver);
}

/* Bytes without descriptors merge with what follows, whose descriptors would come too early. */
static void test_descriptors_stay_with_their_message(void **state)
{
    uint8_t message[256];
    struct receiver receiver;
    int fd = make_descriptor();

    receiver_open(&receiver);
    send_bytes(&receiver, message, build(message, WITH_FDS, 32), -1, 0);
    send_bytes(&receiver, message, build(message, WITH_FDS, 32), fd, 1);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITH_FDS, 32, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITH_FDS, 32, 1);
    close(fd);
    receiver_close(&receiver);
}

/* --- what a peek shows beyond the message --- */

static void expect_next(struct receiver *receiver, uint16_t command, size_t payload, size_t fds)
{
    assert_int_equal(receive(receiver), FRAME_COMPLETE);
    expect_message(receiver, command, payload, fds);
}

static void test_one_peek_shows_what_is_queued(void **state)
{
    enum { MESSAGES = LOOKAHEAD_SIZE / 32 };
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 16);

    receiver_open(&receiver);
    peeks = 0;
    for (size_t i = 0; i < MESSAGES + 1; i++) {
        send_bytes(&receiver, message, size, -1, 0);
    }
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_int_equal(frame_is_ahead(&receiver.source), i > 0);
        expect_next(&receiver, WITHOUT_FDS, 16, 0);
        assert_int_equal(peeks, 1);
    }
    assert_false(frame_is_ahead(&receiver.source));
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    assert_int_equal(peeks, 2);
    assert_int_equal(receive(&receiver), FRAME_PARTIAL);
    assert_int_equal(peeks, 3);
    receiver_close(&receiver);
}

/* What is known is not received: whoever polls the socket sees that there is more. */
static void test_what_is_ahead_stays_in_the_socket(void **state)
{
    uint8_t message[64], byte;
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 16);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    send_bytes(&receiver, message, size, -1, 0);
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    assert_true(frame_is_ahead(&receiver.source));
    assert_int_equal(__real_socket_peek(receiver.pair[1], &byte, 1), 1);
    frame_forget(&receiver.source);
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    assert_int_equal(__real_socket_peek(receiver.pair[1], &byte, 1), -EAGAIN);
    receiver_close(&receiver);
}

/* A peek ends behind data with descriptors, and begins the next time where that was received. */
static void test_descriptors_ahead_stay_with_their_message(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    int fd = make_descriptor();

    receiver_open(&receiver);
    peeks = 0;
    send_bytes(&receiver, message, build(message, WITHOUT_FDS, 16), -1, 0);
    send_bytes(&receiver, message, build(message, WITH_FDS, 32), fd, 3);
    send_bytes(&receiver, message, build(message, WITHOUT_FDS, 16), fd, 1); /* in vain */
    send_bytes(&receiver, message, build(message, WITH_FDS, 32), fd, 2);
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    expect_next(&receiver, WITH_FDS, 32, 3);
    assert_int_equal(peeks, 1);
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    expect_next(&receiver, WITH_FDS, 32, 2);
    assert_int_equal(peeks, 3);
    close(fd);
    receiver_close(&receiver);
}

/* Where only a part of the next header could be seen, at all places. */
static void test_half_a_header_ahead_is_peeked_at_again(void **state)
{
    uint8_t message[128];
    size_t size = build(message, WITHOUT_FDS, 20);

    memcpy(message + size, message, size);
    for (size_t cut = size; cut <= 2 * size; cut++) {
        struct receiver receiver;

        receiver_open(&receiver);
        send_bytes(&receiver, message, cut, -1, 0);
        expect_next(&receiver, WITHOUT_FDS, 20, 0);
        assert_int_equal(frame_is_ahead(&receiver.source), cut - size >= 16);
        send_bytes(&receiver, message + cut, 2 * size - cut, -1, 0);
        expect_next(&receiver, WITHOUT_FDS, 20, 0);
        assert_int_equal(receive(&receiver), FRAME_PARTIAL);
        receiver_close(&receiver);
    }
}

static void test_looking_ahead_tells_whether_there_is_something(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 16);

    receiver_open(&receiver);
    assert_false(frame_look_ahead(&receiver.source));
    send_bytes(&receiver, message, 1, -1, 0);
    assert_true(frame_look_ahead(&receiver.source));
    assert_false(frame_is_ahead(&receiver.source));
    send_bytes(&receiver, message + 1, size - 1, -1, 0);
    assert_true(frame_look_ahead(&receiver.source));
    assert_true(frame_is_ahead(&receiver.source));
    expect_next(&receiver, WITHOUT_FDS, 16, 0);
    assert_return_code(shutdown(receiver.pair[0], SHUT_WR), errno);
    assert_true(frame_look_ahead(&receiver.source));
    assert_int_equal(receive(&receiver), -ENOTCONN);
    receiver_close(&receiver);
}

/* As out-of-band data can do it: what is read is not what was shown. */
static void another_message_comes(uint16_t shown, uint16_t read)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size;

    receiver_open(&receiver);
    send_bytes(&receiver, message, build(message, shown, 48), -1, 0);
    assert_true(frame_look_ahead(&receiver.source));
    assert_int_equal(socket_receive(receiver.pair[1], message, sizeof(message), 0, NULL), 64);
    size = build(message, read, 16);
    send_bytes(&receiver, message, size, -1, 0);
    assert_int_equal(receive(&receiver), -EPROTO);
    receiver_close(&receiver);
}

static void test_stream_that_is_not_as_shown_is_eproto(void **state)
{
    another_message_comes(WITHOUT_FDS, WITHOUT_FDS);
    another_message_comes(WITHOUT_FDS, WITH_FDS);
    another_message_comes(WITH_FDS, WITHOUT_FDS);
    another_message_comes(WITH_FDS, WITH_FDS);
}

/* --- pieces --- */

static void in_two_pieces(uint16_t command, size_t payload, size_t fds)
{
    uint8_t message[256];
    size_t size = build(message, command, payload);
    int fd = make_descriptor();

    for (size_t cut = 1; cut < size; cut++) {
        struct receiver receiver;

        receiver_open(&receiver);
        send_bytes(&receiver, message, cut, fd, fds);
        assert_int_equal(receive(&receiver), FRAME_PARTIAL);
        assert_true(frame_started(&receiver.frame));
        /* Once what is there has been received, the socket is quiet until there is more. */
        assert_int_equal(socket_peek(receiver.pair[1], &(char){ 0 }, 1), -EAGAIN);
        assert_int_equal(receive(&receiver), FRAME_PARTIAL);
        send_bytes(&receiver, message + cut, size - cut, -1, 0);
        assert_int_equal(receive(&receiver), FRAME_COMPLETE);
        /* A header in pieces is taken, whatever it will turn out to be. */
        expect_message(&receiver, command, payload, command == WITH_FDS || cut < 16 ? fds : 0);
        receiver_close(&receiver);
    }
    close(fd);
}

static void test_pieces_of_a_plain_message(void **state)
{
    in_two_pieces(WITHOUT_FDS, 20, 0);
    in_two_pieces(WITHOUT_FDS, 20, 3);
}

static void test_pieces_with_descriptors_on_the_first_byte(void **state)
{
    in_two_pieces(WITH_FDS, 32, 0);
    in_two_pieces(WITH_FDS, 32, 3);
}

static void test_single_bytes(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    int fd = make_descriptor();
    size_t size = build(message, WITH_FDS, 32);

    receiver_open(&receiver);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(receive(&receiver), FRAME_PARTIAL);
            send_bytes(&receiver, message + i, 1, fd, i == 0 ? 2 : 0);
        }
        assert_int_equal(receive(&receiver), FRAME_COMPLETE);
        expect_message(&receiver, WITH_FDS, 32, 2);
    }
    close(fd);
    receiver_close(&receiver);
}

/* --- sizes --- */

static void of_size(uint16_t command, size_t payload)
{
    size_t total = sizeof(struct vfio_user_header) + payload, sent = 0;
    uint8_t *message = malloc(total);
    struct receiver receiver;

    assert_non_null(message);
    assert_int_equal(build(message, command, payload), total);
    receiver_open(&receiver);
    while (sent < total) {
        ssize_t n = socket_send(receiver.pair[0], message + sent, total - sent, 0, NULL);

        assert_true(n > 0);
        sent += (size_t)n;
        assert_int_equal(receive(&receiver), sent < total ? FRAME_PARTIAL : FRAME_COMPLETE);
    }
    expect_message(&receiver, command, payload, 0);
    /* A large buffer lives until a short message. */
    assert_int_equal(receiver.frame.capacity,
                     total > FRAME_INLINE_SIZE ? total : FRAME_INLINE_SIZE);
    send_bytes(&receiver, message, build(message, command, 0), -1, 0);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, command, 0, 0);
    assert_int_equal(receiver.frame.capacity, FRAME_INLINE_SIZE);
    receiver_close(&receiver);
    free(message);
}

static void test_buffer_is_exchanged_for_another(void **state)
{
    const size_t capacity = FRAME_INLINE_SIZE + 100;
    uint8_t message[64], *taken, *other = malloc(capacity);
    struct receiver receiver;

    assert_non_null(other);
    receiver_open(&receiver);
    for (int i = 0; i < 2; i++) {
        send_bytes(&receiver, message, build(message, WITHOUT_FDS, 3), -1, 0);
    }
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    taken = frame_exchange_buffer(&receiver.frame, other, capacity);
    assert_memory_equal(taken, message, 19);
    free(taken);
    assert_false(frame_started(&receiver.frame));
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    assert_ptr_equal(receiver.frame.data, other);
    expect_message(&receiver, WITHOUT_FDS, 3, 0);
    assert_int_equal(receiver.frame.capacity, FRAME_INLINE_SIZE);
    receiver_close(&receiver);
}

static void test_messages_around_the_inline_size(void **state)
{
    for (size_t payload = FRAME_INLINE_SIZE - 18; payload < FRAME_INLINE_SIZE + 3; payload++) {
        of_size(WITHOUT_FDS, payload);
        of_size(WITH_FDS, payload);
    }
}

static void test_largest_message(void **state)
{
    of_size(WITHOUT_FDS, MAX_SIZE - 16);
    of_size(WITH_FDS, MAX_SIZE - 16);
}

static void bad_size(uint32_t msg_size, size_t first_piece)
{
    uint8_t message[64];
    struct receiver receiver;
    struct vfio_user_header *header = (struct vfio_user_header *)message;
    int fd = make_descriptor();

    build(message, WITH_FDS, 0);
    header->msg_size = msg_size;
    receiver_open(&receiver);
    send_bytes(&receiver, message, first_piece, fd, 2);
    if (first_piece < 16) {
        assert_int_equal(receive(&receiver), FRAME_PARTIAL);
        send_bytes(&receiver, message + first_piece, 16 - first_piece, -1, 0);
    }
    assert_int_equal(receive(&receiver), -EBADMSG);
    /* The header can be answered. */
    assert_int_equal(frame_header(&receiver.frame)->msg_id, 77);
    assert_int_equal(frame_header(&receiver.frame)->cmd, WITH_FDS);
    assert_int_equal(receiver.frame.capacity, FRAME_INLINE_SIZE);
    close(fd);
    receiver_close(&receiver);
}

static void test_bad_sizes_are_ebadmsg(void **state)
{
    const uint32_t sizes[] = { 0, 1, 15, MAX_SIZE + 1, 0x80000000, UINT32_MAX };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t piece = 1; piece <= 16; piece++) {
            bad_size(sizes[i], piece);
        }
    }
}

/* --- the end --- */

static void test_end_of_stream_is_enotconn_wherever_it_comes(void **state)
{
    uint8_t message[64];
    size_t size = build(message, WITH_FDS, 32);
    int fd = make_descriptor();

    for (size_t cut = 0; cut < size; cut++) {
        struct receiver receiver;

        receiver_open(&receiver);
        if (cut > 0) {
            send_bytes(&receiver, message, cut, fd, 2);
        }
        assert_return_code(shutdown(receiver.pair[0], SHUT_WR), errno);
        assert_int_equal(receive(&receiver), -ENOTCONN);
        receiver_close(&receiver);
    }
    close(fd);
}

static void test_whole_message_before_the_end_is_received(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITHOUT_FDS, 20);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    assert_return_code(shutdown(receiver.pair[0], SHUT_WR), errno);
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITHOUT_FDS, 20, 0);
    assert_int_equal(receive(&receiver), -ENOTCONN);
    receiver_close(&receiver);
}

/* A peer that closes with something unread resets the connection. */
static void test_reset_is_enotconn(void **state)
{
    struct receiver receiver;
    int other;

    receiver_open(&receiver);
    assert_int_equal(socket_send(receiver.pair[1], "x", 1, 0, NULL), 1);
    other = receiver.pair[0];
    receiver.pair[0] = make_descriptor();
    close(other);
    assert_int_equal(receive(&receiver), -ENOTCONN);
    receiver_close(&receiver);
}

static void test_error_of_take_is_passed_on(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    size_t size = build(message, WITH_FDS, 32);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size, -1, 0);
    receiver.take_result = -EPROTO;
    assert_int_equal(receive(&receiver), -EPROTO);
    receiver.take_result = -EAGAIN;
    assert_int_equal(receive(&receiver), FRAME_PARTIAL);
    receiver.take_result = 0;
    assert_int_equal(receive(&receiver), FRAME_COMPLETE);
    expect_message(&receiver, WITH_FDS, 32, 0);
    receiver_close(&receiver);
}

static void test_fini_closes_what_nobody_took(void **state)
{
    uint8_t message[64];
    struct receiver receiver;
    int fd = make_descriptor();
    size_t size = build(message, WITH_FDS, 32);

    receiver_open(&receiver);
    send_bytes(&receiver, message, size - 1, fd, 9);
    assert_int_equal(receive(&receiver), FRAME_PARTIAL);
    assert_int_equal(receiver.frame.fds.count, 9);
    close(fd);
    receiver_close(&receiver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAK_TEST(test_nothing_is_partial),
        LEAK_TEST(test_message_of_a_header),
        LEAK_TEST(test_plain_message_is_not_taken),
        LEAK_TEST(test_message_with_descriptors_is_taken),
        LEAK_TEST(test_descriptors_of_a_plain_message_are_dropped),
        LEAK_TEST(test_complete_message_stays_until_reset),
        LEAK_TEST(test_a_read_never_crosses_into_the_next_message),
        LEAK_TEST(test_descriptors_stay_with_their_message),
        LEAK_TEST(test_one_peek_shows_what_is_queued),
        LEAK_TEST(test_what_is_ahead_stays_in_the_socket),
        LEAK_TEST(test_descriptors_ahead_stay_with_their_message),
        LEAK_TEST(test_half_a_header_ahead_is_peeked_at_again),
        LEAK_TEST(test_looking_ahead_tells_whether_there_is_something),
        LEAK_TEST(test_stream_that_is_not_as_shown_is_eproto),
        LEAK_TEST(test_pieces_of_a_plain_message),
        LEAK_TEST(test_pieces_with_descriptors_on_the_first_byte),
        LEAK_TEST(test_single_bytes),
        LEAK_TEST(test_buffer_is_exchanged_for_another),
        LEAK_TEST(test_messages_around_the_inline_size),
        LEAK_TEST(test_largest_message),
        LEAK_TEST(test_bad_sizes_are_ebadmsg),
        LEAK_TEST(test_end_of_stream_is_enotconn_wherever_it_comes),
        LEAK_TEST(test_whole_message_before_the_end_is_received),
        LEAK_TEST(test_reset_is_enotconn),
        LEAK_TEST(test_error_of_take_is_passed_on),
        LEAK_TEST(test_fini_closes_what_nobody_took),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
