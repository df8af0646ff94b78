/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipc/control.h"

#include "ipc/socket.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define WIRE_HEADER offsetof(struct control_message, body)

struct rule {
    const char *name;
    enum control_role from;
    uint32_t permitted; /* set of enum control_state */
    uint32_t next;      /* state after it; 0: unchanged */
    uint16_t body_size;
    uint16_t max_tail;
    uint8_t min_fds;
    uint8_t max_fds;
    bool once;
};

#define STATE(s) CONTROL_STATE_##s
#define CONNECTED (STATE(SERVING) | STATE(TAKING) | STATE(SENDING))

static const struct rule rules[CONTROL_TYPE_MAX] = {
    /* clang-format off */
    [CONTROL_SEAL]       = { "SEAL", CONTROL_BROKER_END, STATE(START), STATE(SEALING),
                             sizeof(struct control_seal), CONTROL_TAIL_MAX, 0, 2, true },
    [CONTROL_NOTIFY]     = { "NOTIFY", CONTROL_CHILD_END, STATE(SEALING), STATE(FILTERED),
                             0, 0, 1, 1, true },
    [CONTROL_SEALED]     = { "SEALED", CONTROL_CHILD_END, STATE(FILTERED), STATE(SEALED),
                             0, 0, 0, 0, true },
    [CONTROL_REGION]     = { "REGION", CONTROL_CHILD_END, STATE(SEALED), 0,
                             sizeof(struct control_region), 0, 1, 1, false },
    [CONTROL_IO_FD]      = { "IO_FD", CONTROL_CHILD_END, STATE(SEALED), 0,
                             sizeof(struct control_io_fd), 0, 1, 1, false },
    [CONTROL_READY]      = { "READY", CONTROL_CHILD_END, STATE(SEALED), STATE(READY),
                             0, 0, 0, 0, true },
    [CONTROL_CLIENT]     = { "CLIENT", CONTROL_BROKER_END, STATE(READY), STATE(SERVING),
                             0, 0, 1, 1, true },
    [CONTROL_TAKE]       = { "TAKE", CONTROL_CHILD_END, STATE(SERVING), STATE(TAKING),
                             sizeof(struct control_take), 0, 0, 0, false },
    [CONTROL_TAKEN]      = { "TAKEN", CONTROL_BROKER_END, STATE(TAKING), STATE(SERVING),
                             sizeof(struct control_taken), CONTROL_TAIL_MAX, 0, FD_LIST_MAX, false },
    [CONTROL_SEND]       = { "SEND", CONTROL_CHILD_END, STATE(SERVING), STATE(SENDING),
                             sizeof(struct control_send), CONTROL_TAIL_MAX, 0, 0, false },
    [CONTROL_SENT]       = { "SENT", CONTROL_BROKER_END, STATE(SENDING), STATE(SERVING),
                             sizeof(struct control_sent), 0, 0, 1, false },
    [CONTROL_NEGOTIATED] = { "NEGOTIATED", CONTROL_CHILD_END, STATE(SERVING), 0,
                             0, 0, 0, 0, true },
    [CONTROL_DETACHED]   = { "DETACHED", CONTROL_CHILD_END, CONNECTED, STATE(OVER),
                             0, 0, 0, 0, true },

    [CONTROL_DEVICE]     = { "DEVICE", CONTROL_BROKER_END, STATE(IDLE), STATE(PREPARING),
                             0, 0, 1, 1, true },
    [CONTROL_WAITING]    = { "WAITING", CONTROL_CHILD_END, STATE(PREPARING), STATE(WAITING),
                             0, 0, 0, 0, true },
    [CONTROL_LISTEN]     = { "LISTEN", CONTROL_BROKER_END, STATE(WAITING), STATE(ACCEPTING),
                             0, 0, 1, 1, true },
    [CONTROL_CANDIDATE]  = { "CANDIDATE", CONTROL_CHILD_END, STATE(ACCEPTING), STATE(JUDGING),
                             sizeof(struct control_candidate), 0, 0, 0, false },
    [CONTROL_VERDICT]    = { "VERDICT", CONTROL_BROKER_END, STATE(JUDGING), 0,
                             sizeof(struct control_verdict), 0, 0, 0, false },
    [CONTROL_REFUSED]    = { "REFUSED", CONTROL_CHILD_END, STATE(REFUSING), STATE(ACCEPTING),
                             0, 0, 0, 0, false },
    [CONTROL_PROBE]      = { "PROBE", CONTROL_BROKER_END, STATE(BUSY), STATE(PROBING),
                             0, 0, 0, 0, false },
    [CONTROL_PROBED]     = { "PROBED", CONTROL_CHILD_END, STATE(PROBING), STATE(BUSY),
                             sizeof(struct control_probed), 0, 0, 0, false },
    [CONTROL_REPORT]     = { "REPORT", CONTROL_CHILD_END,
                             STATE(ACCEPTING) | STATE(BUSY) | STATE(PROBING), 0,
                             sizeof(struct control_report), 0, 0, 0, false },
    [CONTROL_ENDED]      = { "ENDED", CONTROL_CHILD_END,
                             STATE(PREPARING) | STATE(WAITING) | STATE(ACCEPTING) | STATE(BUSY) |
                                 STATE(PROBING),
                             STATE(OVER), sizeof(struct control_ended), 0, 0, 0, true },
    /* clang-format on */
};

const char *control_type_name(uint32_t type)
{
    return type < CONTROL_TYPE_MAX && rules[type].name != NULL ? rules[type].name : "unknown";
}

static const struct rule *find_rule(const struct control_channel *channel, uint32_t type,
                                    enum control_role from)
{
    const struct rule *rule = type < CONTROL_TYPE_MAX ? &rules[type] : NULL;

    if (rule == NULL || rule->name == NULL || rule->from != from ||
        !(rule->permitted & channel->state) || (rule->once && (channel->seen & (1u << type)))) {
        return NULL;
    }
    return rule;
}

static void advance(struct control_channel *channel, const struct rule *rule,
                    const struct control_message *message)
{
    channel->seen |= 1u << message->type;
    if (message->type == CONTROL_VERDICT) {
        channel->state = message->body.verdict.admit ? STATE(BUSY) : STATE(REFUSING);
    } else if (rule->next != 0) {
        channel->state = rule->next;
    }
}

/* The sizes that the type fixes; on the wire the tail follows the body without a gap. */
static bool shape_is_right(const struct rule *rule, const struct control_message *message,
                           size_t fds)
{
    return message->tail_size <= rule->max_tail && fds >= rule->min_fds && fds <= rule->max_fds;
}

static ssize_t send_packet(const struct control_channel *channel, const void *wire, size_t size,
                           int flags, const struct fd_list *fds)
{
    ssize_t n;

    if (channel->pipe == 0 || channel->role == CONTROL_BROKER_END) {
        return socket_send(channel->fd, wire, size, flags, fds);
    }
    n = write(channel->pipe, wire, size);
    return n < 0 ? -errno : n;
}

static ssize_t receive_packet(const struct control_channel *channel, void *wire, size_t size,
                              int flags, struct fd_list *fds)
{
    ssize_t n;

    if (channel->pipe == 0 || channel->role == CONTROL_CHILD_END) {
        return socket_receive(channel->fd, wire, size, flags, fds);
    }
    n = read(channel->pipe, wire, size);
    return n < 0 ? -errno : n;
}

int control_send(struct control_channel *channel, const struct control_message *message,
                 const struct fd_list *fds, int flags)
{
    const struct rule *rule = find_rule(channel, message->type, channel->role);
    uint8_t wire[sizeof(*message)];
    size_t size;
    ssize_t n;

    if (rule == NULL || !shape_is_right(rule, message, fds != NULL ? fds->count : 0)) {
        return -EPROTO;
    }
    size = WIRE_HEADER + rule->body_size;
    memcpy(wire, message, size);
    memcpy(wire + size, message->tail, message->tail_size);
    n = send_packet(channel, wire, size + message->tail_size, flags, fds);
    if (n < 0) {
        return (int)n;
    }
    advance(channel, rule, message);
    return 0;
}

int control_send_plain(struct control_channel *channel, enum control_type type, int flags)
{
    struct control_message message = { .type = type };

    return control_send(channel, &message, NULL, flags);
}

static int decode(struct control_channel *channel, const uint8_t *wire, size_t size, size_t fds,
                  struct control_message *message)
{
    enum control_role peer =
        channel->role == CONTROL_BROKER_END ? CONTROL_CHILD_END : CONTROL_BROKER_END;
    const struct rule *rule;

    if (size < WIRE_HEADER) {
        return -EPROTO;
    }
    memcpy(message, wire, WIRE_HEADER);
    rule = find_rule(channel, message->type, peer);
    if (rule == NULL || !shape_is_right(rule, message, fds) ||
        size != WIRE_HEADER + rule->body_size + message->tail_size) {
        return -EPROTO;
    }
    memcpy(&message->body, wire + WIRE_HEADER, rule->body_size);
    memcpy(message->tail, wire + WIRE_HEADER + rule->body_size, message->tail_size);
    advance(channel, rule, message);
    return 1;
}

/* recvmsg(2) returns 0 for both: at the end of a channel the peer has hung up. */
static int end_or_empty(const struct control_channel *channel)
{
    static const struct timespec no_time;
    struct pollfd fd = { .fd = channel->fd };

    if (channel->pipe != 0 && channel->role == CONTROL_BROKER_END) {
        return 0; /* an empty write makes no packet */
    }
    return ppoll(&fd, 1, &no_time, NULL) == 1 && (fd.revents & POLLHUP) ? 0 : -EPROTO;
}

int control_receive(struct control_channel *channel, struct control_message *message,
                    struct fd_list *fds, int flags)
{
    uint8_t wire[sizeof(*message)];
    ssize_t n = receive_packet(channel, wire, sizeof(wire), flags, fds);
    int result;

    if (n <= 0) {
        fd_list_close(fds);
        return n == 0 ? end_or_empty(channel) : n == -EMSGSIZE ? -EPROTO : (int)n;
    }
    result = decode(channel, wire, (size_t)n, fds->count, message);
    if (result < 0) {
        fd_list_close(fds);
    }
    return result;
}
