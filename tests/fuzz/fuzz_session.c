/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor's ends of the control channels: a session with two doors, whose device process and
 * gates say anything, in any order, and write anything to the log. There are no processes; whether
 * one is found to be confined the input says. Whatever comes:
 *
 *   - gates hear only what the table permits them to hear;
 *   - each line of the log is one, of printable characters, and their number is limited;
 *   - the session can be ended at any time, and then no descriptor stays.
 *
 * Input: operations. Each is a byte (see below; the highest bit says which of the doors), a size
 * (2 bytes, little endian), and so many bytes.
 */
#include "broker/log.c" /* NOLINT: what all runs together may write is for each of them here */
#include "broker/session.h"
#include "broker/verify.h"
#include "ipc/fd.h"
#include "ipc/socket.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DOORS 2
#define MAX_LINES 4000 /* more than one session may write in the longest run */

enum operation {
    OP_DEVICE_BYTES,   /* descriptors: how many, which; then a datagram */
    OP_DEVICE_MESSAGE, /* type, descriptors; then the body */
    OP_GATE_BYTES,     /* a packet */
    OP_GATE_MESSAGE,   /* type, then the body */
    OP_LOG_BYTES,
    OP_CLOSES,       /* 0 device channel, 1 log, 2 pipe of the gate */
    OP_NOT_CONFINED, /* what is verified next */
    OP_REFUSES,      /* the next candidate */
    OP_PROBES,       /* all clients */
    OP_PROGRESS,     /* the device's memory for the watchdog: place / 4, then bytes */
    OP_TIME_PASSES,  /* seconds */
    OP_COUNT
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int kinds[5]; /* of descriptors */
static int listener;
static int log_file;
static struct log_limit all_credit;
static struct policy policy = {
    .watchdog_seconds = 5,
    .on_hang = ON_HANG_RESTART,
    .start_seconds = 10,
};
static const struct jail_plan plan = { .policy = &policy, .sockets = DOORS, .cgroup = -1 };

/* Of one run. */
static struct session *session;
static int device;                          /* its end of the first channel; -1: closed */
static int device_log;                      /* its end; -1: closed */
static struct control_channel gates[DOORS]; /* their ends */
static bool confined;
static bool refuse_one;
static int64_t passed; /* ms */

/* --- in the place of broker/verify.c ------------------------------------------------------- */

static int verify(char *error, size_t size)
{
    bool good = confined;

    confined = true;
    snprintf(error, size, "found open");
    return good ? 0 : -1;
}

int verify_device(const struct jail_plan *any, const struct jail_process *process, char *error,
                  size_t error_size)
{
    return verify(error, error_size);
}

int verify_threads(const struct jail_plan *any, const struct jail_process *process, char *error,
                   size_t error_size)
{
    return verify(error, error_size);
}

int verify_gate(const struct jail_plan *any, pid_t pid, char *error, size_t error_size)
{
    return verify(error, error_size);
}

/* --- what is said -------------------------------------------------------------------------- */

static uint8_t next_byte(const uint8_t **data, size_t *size)
{
    if (*size == 0) {
        return 0;
    }
    (*size)--;
    return *(*data)++;
}

static void choose(const uint8_t **data, size_t *size, struct fd_list *fds)
{
    size_t count = next_byte(data, size) % 4;
    size_t which = next_byte(data, size);

    for (size_t i = 0; i < count; i++) {
        fd_list_add(fds, kinds[(which + i) % (sizeof(kinds) / sizeof(kinds[0]))]);
    }
}

static void device_says(const uint8_t *data, size_t size, bool shaped)
{
    struct control_channel channel = session->device_channel;
    struct control_message message = { .type = 0 };
    struct fd_list fds = { .count = 0 };

    if (shaped) {
        message.type = next_byte(&data, &size) % 2 ? CONTROL_NOTIFY : CONTROL_SEALED;
    }
    choose(&data, &size, &fds);
    channel.fd = device;
    channel.role = CONTROL_CHILD_END;
    if (device >= 0 && shaped) {
        (void)control_send(&channel, &message, &fds, MSG_DONTWAIT);
    } else if (device >= 0 && size > 0) {
        (void)socket_send(device, data, size, MSG_DONTWAIT, &fds);
    }
}

/* A message of the right shape, where there is one that is permitted. */
static void gate_says(size_t number, const uint8_t *data, size_t size, bool shaped)
{
    struct control_channel *channel = &gates[number];
    struct control_message message = { .type = 0 };

    if (channel->pipe < 0 || size == 0) {
        return;
    }
    if (!shaped) {
        (void)!write(channel->pipe, data, size);
        return;
    }
    message.type = CONTROL_WAITING + next_byte(&data, &size) % 9;
    memcpy(&message.body, data, size < sizeof(message.body) ? size : sizeof(message.body));
    channel->state = session->doors[number].channel.state;
    channel->seen = session->doors[number].channel.seen;
    (void)control_send(channel, &message, NULL, MSG_DONTWAIT);
}

static void close_end(size_t number, unsigned which)
{
    if (which % 3 == 0) {
        fd_close(&device);
    } else if (which % 3 == 1) {
        fd_close(&device_log);
    } else {
        fd_close(&gates[number].pipe);
    }
}

static void show_progress(const uint8_t *data, size_t size)
{
    off_t place = (off_t)next_byte(&data, &size) * 4;

    if (pwrite(session->watchdog.memory, data, size < 64 ? size : 64, place) < 0) {
        err(1, "progress");
    }
}

/* --- what comes of it ---------------------------------------------------------------------- */

/* As the gate itself would follow its channel. */
static void hear_as_gate(const struct control_channel *gate)
{
    struct pollfd fd = { .fd = gate->fd, .events = POLLIN };
    static const enum control_state before[CONTROL_TYPE_MAX] = {
        [CONTROL_DEVICE] = CONTROL_STATE_IDLE,
        [CONTROL_LISTEN] = CONTROL_STATE_WAITING,
        [CONTROL_VERDICT] = CONTROL_STATE_JUDGING,
        [CONTROL_PROBE] = CONTROL_STATE_BUSY,
    };

    while (poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN)) {
        struct control_channel channel = { .fd = fd.fd, .role = CONTROL_CHILD_END };
        struct control_message message = { .type = 0 };
        AUTO_FD_LIST fds = { .count = 0 };

        if (recv(fd.fd, &message.type, sizeof(message.type), MSG_PEEK | MSG_DONTWAIT) !=
            sizeof(message.type)) {
            return;
        }
        channel.state = message.type < CONTROL_TYPE_MAX ? before[message.type] : 0;
        if (control_receive(&channel, &message, &fds, MSG_DONTWAIT) != 1) {
            errx(1, "a gate got what is no message");
        }
    }
}

/* What broker/supervisor.c decides. */
static void decide(struct door *door)
{
    if (session->state == SESSION_READY && door->state == DOOR_WAITING) {
        door_listen(door, listener);
    } else if (session->state < SESSION_ENDING && door->state == DOOR_JUDGING) {
        if (refuse_one) {
            door_refuse(door, "busy", &session->reports);
        } else {
            door_admit(door);
        }
        refuse_one = false;
    }
}

static void probe(void)
{
    if (session->state < SESSION_ENDING && !session_is_probed(session)) {
        session_probe(session, session_clock() + passed + 1000);
    }
}

static void handle(void)
{
    struct pollfd fds[16];

    if (session_poll_fds(DOORS) > sizeof(fds) / sizeof(fds[0])) {
        errx(1, "more to wait for");
    }
    session_poll(session, fds);
    if (poll(fds, (nfds_t)session_poll_fds(DOORS), 0) < 0) {
        err(1, "poll");
    }
    session_handle(session, &plan, fds, session_clock() + passed);
    for (size_t i = 0; i < DOORS; i++) {
        decide(&session->doors[i]);
        hear_as_gate(&gates[i]);
    }
    (void)session_deadline(session);
    (void)session_is_used(session);
}

static void perform(enum operation operation, size_t door, const uint8_t *data, size_t size)
{
    switch (operation) {
    case OP_DEVICE_BYTES:
    case OP_DEVICE_MESSAGE:
        device_says(data, size, operation == OP_DEVICE_MESSAGE);
        break;
    case OP_GATE_BYTES:
    case OP_GATE_MESSAGE:
        gate_says(door, data, size, operation == OP_GATE_MESSAGE);
        break;
    case OP_LOG_BYTES:
        (void)!write(device_log, data, size);
        break;
    case OP_CLOSES:
        close_end(door, next_byte(&data, &size));
        break;
    case OP_NOT_CONFINED:
        confined = false;
        break;
    case OP_REFUSES:
        refuse_one = true;
        break;
    case OP_PROBES:
        probe();
        break;
    case OP_PROGRESS:
        show_progress(data, size);
        break;
    default:
        passed += 1000 * next_byte(&data, &size);
    }
}

static void check_log(void)
{
    static char text[MAX_LINES * 256];
    ssize_t n = pread(log_file, text, sizeof(text), 0);
    unsigned lines = 0;

    if (n < 0 || (size_t)n == sizeof(text)) {
        errx(1, "too much in the log");
    }
    for (ssize_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
        if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~')) {
            errx(1, "byte %#x in the log", (uint8_t)text[i]);
        }
    }
    for (const char *line = text; line < text + n; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "error ", 6) != 0 && strncmp(line, "warning ", 8) != 0 &&
            strncmp(line, "info ", 5) != 0 && strncmp(line, "debug ", 6) != 0) {
            errx(1, "not a line of the log: %.80s", line);
        }
    }
    if (lines > MAX_LINES) {
        errx(1, "%u lines in the log", lines);
    }
    memset(text, 0, (size_t)n);
    if (ftruncate(log_file, 0) < 0) {
        err(1, "log");
    }
}

/* --- setting up ---------------------------------------------------------------------------- */

static void make_channel(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        err(1, "channel");
    }
}

static void make_door(struct door *door, struct control_channel *gate, size_t number)
{
    int control[2];
    int reports[2];

    make_channel(control);
    if (shutdown(control[0], SHUT_RD) < 0 ||
        pipe2(reports, O_CLOEXEC | O_DIRECT | O_NONBLOCK) < 0) {
        err(1, "gate");
    }
    door_init(door);
    door->session = session;
    snprintf(door->name, sizeof(door->name), "1.%zu", number);
    door->gate.control = control[0];
    door->gate.reports = reports[0];
    door->channel = (struct control_channel){ .fd = control[0],
                                              .pipe = reports[0],
                                              .role = CONTROL_BROKER_END,
                                              .state = CONTROL_STATE_IDLE };
    *gate =
        (struct control_channel){ .fd = control[1], .pipe = reports[1], .role = CONTROL_CHILD_END };
}

static void make_session(void)
{
    int control[2];
    int pipes[2];

    session = calloc(1, sizeof(*session) + DOORS * sizeof(session->doors[0]));
    if (session == NULL || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0 ||
        watchdog_init(&session->watchdog) < 0) {
        err(1, "session");
    }
    session->id = 1;
    session->deadline = session_clock() + (int64_t)policy.start_seconds * 1000;
    session->notify = -1;
    session->device =
        (struct jail_process){ .pidfd = -1, .log = pipes[0], .status = -1, .cgroup = -1 };
    session->door_count = DOORS;
    for (size_t i = 0; i < DOORS; i++) {
        make_door(&session->doors[i], &gates[i], i + 1);
        make_channel(control);
        session->device.control[i] = control[0];
        if (i == 0) {
            device = control[1];
        } else {
            close(control[1]);
        }
    }
    device_log = pipes[1];
    device_log_init(&session->log, pipes[0], 1);
    session->log_open = true;
    session->device_channel = (struct control_channel){ .fd = session->device.control[0],
                                                        .role = CONTROL_BROKER_END,
                                                        .state = CONTROL_STATE_SEALING };
    log_limit_init(&session->reports);
}

static void end_session(void)
{
    session_stop(session, SESSION_OUTCOME_STOPPED);
    handle();
    if (session->state != SESSION_GONE) {
        errx(1, "the session does not end");
    }
    session = session_free(session);
    fd_close(&device);
    fd_close(&device_log);
    for (size_t i = 0; i < DOORS; i++) {
        fd_close(&gates[i].fd);
        fd_close(&gates[i].pipe);
    }
}

static void set_up(void)
{
    int pipes[2];

    log_file = memfd_create("log", MFD_CLOEXEC);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (log_file < 0 || listener < 0 || pipe2(pipes, O_CLOEXEC) < 0) {
        err(1, "descriptors");
    }
    fcntl(log_file, F_SETFL, O_APPEND);
    kinds[0] = eventfd(1, EFD_CLOEXEC); /* readable at once */
    kinds[1] = eventfd(0, EFD_CLOEXEC); /* never */
    kinds[2] = memfd_create("memory", MFD_CLOEXEC);
    kinds[3] = listener;
    kinds[4] = pipes[0];
    close(pipes[1]);
    log_setup(log_file, LOG_LEVEL_DEBUG);
    all_credit = total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int before;

    if (log_file == 0) {
        set_up();
    }
    before = dup(log_file);
    close(before);
    total = all_credit;
    passed = 0;
    confined = true;
    refuse_one = false;
    make_session();
    while (size >= 3 && session->state < SESSION_GONE) {
        size_t length = data[1] | (size_t)data[2] << 8;

        length = length < size - 3 ? length : size - 3;
        perform((enum operation)((data[0] & 0x7f) % OP_COUNT), data[0] >> 7, data + 3, length);
        handle();
        data += 3 + length;
        size -= 3 + length;
    }
    end_session();
    check_log();
    if (dup(log_file) != before) {
        errx(1, "a descriptor was kept");
    }
    close(before);
    return 0;
}
