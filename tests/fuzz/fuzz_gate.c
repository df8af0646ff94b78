/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate, in this process: its client, the device process and, where the input says so, the
 * supervisor say anything, in any order, with descriptors of all kinds. Its waiting, its end and
 * its clock are ours. Whatever comes:
 *
 *   - it ends by itself only after a last word to the supervisor, and never spins;
 *   - the supervisor hears what the table permits, and gets no descriptor;
 *   - the device gets memory and eventfds, as far as the policy goes and with their right names,
 *     its client's socket once and one end of a twin socket at most;
 *   - the client gets what the device declared, which can only be memory and eventfds, and the
 *     other end;
 *   - it holds no descriptor but those that it knows of.
 *
 * Input: a byte for the policy, then operations. Each is a byte (see below; with its highest bit
 * the gate does not run before the next one), a size (2 bytes, little endian), and so many bytes.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int wait_for_input(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                          const sigset_t *mask);
static int tell_time(clockid_t clock, struct timespec *now);
static _Noreturn void leave(int status);

#define ppoll wait_for_input
#define clock_gettime tell_time
#define _exit leave
#include "broker/gate.c" /* NOLINT: its loop is what we are after */
#undef ppoll
#undef clock_gettime
#undef _exit

#define SPINS 1000 /* wake-ups of the gate for one operation: more than that would be a loop */

enum operation {
    OP_CLIENT_BYTES,
    OP_CLIENT_MESSAGE, /* descriptors: how many, which; then the bytes */
    OP_CLIENT_CONNECTS,
    OP_CLIENT_LEAVES,
    OP_DEVICE_BYTES,   /* descriptors, then a datagram */
    OP_DEVICE_MESSAGE, /* descriptors, type, half the size of the body; then body and tail */
    OP_DEVICE_LEAVES,
    OP_SUPERVISOR_BYTES, /* descriptors, then a datagram: from now on it may hear anything */
    OP_SUPERVISOR_PROBES,
    OP_SUPERVISOR_REFUSES, /* the next candidate */
    OP_TIME_PASSES,        /* seconds */
    OP_OUT_OF_BAND,        /* from the client */
    OP_COUNT
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int kinds[24]; /* of descriptors */
static int kind_count;
static int proc_fds;
static struct policy policy = {
    .handshake_seconds = 10,
    .dma_memory = MEMORY_KIND_MEMFD | MEMORY_KIND_TMPFS | MEMORY_KIND_HUGETLBFS,
};
static dev_t memfd_device;

/* Of one run. */
static struct gate gate;
static jmp_buf over;
static const uint8_t *input;
static size_t input_size;
static unsigned spins;
static time_t seconds;
static int client;      /* the last one that connected; -1: none */
static int device;      /* the device's end; -1: it has left */
static int listener;    /* the supervisor's */
static int first;       /* descriptor of this run */
static bool mad;        /* the supervisor has broken the rules itself */
static bool refuse_one; /* candidate */
static bool last_word;
static unsigned twins;
static bool has_client; /* the device */
static struct control_channel supervisor;

static bool is_eventfd_here(int fd)
{
    char path[32];
    char link[64] = "";

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return readlink(path, link, sizeof(link) - 1) > 0 &&
           strcmp(link, "anon_inode:[eventfd]") == 0 && !(fcntl(fd, F_GETFL) & O_PATH);
}

static bool is_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* --- what the gate says -------------------------------------------------------------------- */

static void check_taken(const struct control_message *message, const struct fd_list *fds)
{
    const struct control_taken *taken = &message->body.taken;
    size_t next = 0;

    if (taken->fds_count > FD_LIST_MAX || (taken->fds_error != 0 && taken->fds_count > 0) ||
        message->tail_size != (taken->result > 0 ? (uint32_t)taken->result : 0)) {
        errx(1, "a wrong answer");
    }
    for (uint32_t i = 0; i < taken->fds_count; i++) {
        int fd =
            taken->kind[i] == DESCRIPTOR_WITHHELD || next == fds->count ? -1 : fds->fds[next++];
        bool good = false;

        switch (taken->kind[i]) {
        case DESCRIPTOR_WITHHELD:
            good = policy.dma_access == DMA_ACCESS_NONE;
            break;
        case DESCRIPTOR_EVENTFD:
            good = fd >= 0 && is_eventfd_here(fd);
            break;
        case DESCRIPTOR_MEMORY:
            good = fd >= 0 && is_memory(fd) && policy.dma_access == DMA_ACCESS_RW;
            break;
        case DESCRIPTOR_READ_ONLY:
            good = fd >= 0 && is_memory(fd) && policy.dma_access == DMA_ACCESS_RO &&
                   (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
            break;
        }
        if (!good) {
            errx(1, "descriptor %u is not of kind %u", i, taken->kind[i]);
        }
    }
    if (next != fds->count) {
        errx(1, "more descriptors than named");
    }
}

static void check_for_device(const struct control_message *message, const struct fd_list *fds)
{
    switch (message->type) {
    case CONTROL_CLIENT:
        if (has_client || fds->count != 1 || !is_stream(fds->fds[0])) {
            errx(1, "no client for the device");
        }
        has_client = true;
        break;
    case CONTROL_TAKEN:
        check_taken(message, fds);
        break;
    case CONTROL_SENT:
        twins += fds->count > 0;
        if (fds->count > 1 || twins > 1 || (fds->count == 1 && !is_stream(fds->fds[0]))) {
            errx(1, "not a twin socket for the device");
        }
        break;
    default:
        errx(1, "message %u to the device", message->type);
    }
}

/* Its channel is followed from the gate's own: what the input made us send need not make sense. */
static void hear_as_device(void)
{
    static const enum control_state before[CONTROL_TYPE_MAX] = {
        [CONTROL_CLIENT] = CONTROL_STATE_READY,
        [CONTROL_TAKEN] = CONTROL_STATE_TAKING,
        [CONTROL_SENT] = CONTROL_STATE_SENDING,
    };

    while (device >= 0) {
        AUTO_FD_LIST fds = { .count = 0 };
        struct control_channel channel = { .fd = device, .role = CONTROL_CHILD_END };
        struct control_message message = { .type = 0 };

        if (recv(device, &message.type, sizeof(message.type), MSG_PEEK | MSG_DONTWAIT) !=
            sizeof(message.type)) {
            return;
        }
        channel.state = message.type < CONTROL_TYPE_MAX ? before[message.type] : 0;
        if (control_receive(&channel, &message, &fds, MSG_DONTWAIT) != 1) {
            errx(1, "the device got what is no message");
        }
        check_for_device(&message, &fds);
    }
}

static void hear_as_client(void)
{
    static char bytes[65536];
    ssize_t n = 1;

    while (client >= 0 && n > 0) {
        AUTO_FD_LIST fds = { .count = 0 };

        n = socket_receive(client, bytes, sizeof(bytes), MSG_DONTWAIT, &fds);
        for (size_t i = 0; i < fds.count; i++) {
            if (!is_memory(fds.fds[i]) && !is_eventfd_here(fds.fds[i]) &&
                !(is_stream(fds.fds[i]) && gate.twin_made)) {
                errx(1, "the client got descriptors of another kind");
            }
        }
    }
}

static void command_gate(enum control_type type, int fd, bool admit)
{
    struct control_message message = { .type = type };
    struct fd_list fds = { .count = 0 };

    if (fd >= 0) {
        fd_list_add(&fds, fd);
    }
    if (type == CONTROL_VERDICT) {
        message.body.verdict.admit = admit;
    }
    if (control_send(&supervisor, &message, &fds, MSG_DONTWAIT) < 0 && !mad) {
        errx(1, "cannot send %s", control_type_name(type));
    }
}

static void hear_as_supervisor(void)
{
    for (;;) {
        struct fd_list fds = { .count = 0 };
        struct pollfd pipe = { .fd = supervisor.pipe, .events = POLLIN };
        struct control_message message;

        if (poll(&pipe, 1, 0) != 1 || !(pipe.revents & POLLIN)) {
            return;
        }
        if (control_receive(&supervisor, &message, &fds, 0) != 1) {
            if (!mad) {
                errx(1, "the supervisor got what is no message");
            }
            continue;
        }
        if (message.type == CONTROL_WAITING) {
            command_gate(CONTROL_LISTEN, listener, false);
        } else if (message.type == CONTROL_CANDIDATE) {
            command_gate(CONTROL_VERDICT, -1, !refuse_one);
            refuse_one = false;
        } else if (message.type == CONTROL_ENDED) {
            last_word = true;
        }
    }
}

/* --- what it is told ----------------------------------------------------------------------- */

static uint8_t next_byte(const uint8_t **data, size_t *size)
{
    if (*size == 0) {
        return 0;
    }
    (*size)--;
    return *(*data)++;
}

/* Chosen by two bytes: how many, and where to begin; most often a few. */
static void choose(const uint8_t **data, size_t *size, struct fd_list *fds)
{
    size_t count = next_byte(data, size);
    size_t which = next_byte(data, size);

    count = count < 0xf0 ? count % 4 : count < FD_LIST_MAX ? count : FD_LIST_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t each = (which + i) % ((size_t)kind_count + 2);

        fd_list_add(fds, each < (size_t)kind_count                  ? kinds[each]
                         : each > (size_t)kind_count && client >= 0 ? client
                                                                    : gate.supervisor.fd);
    }
}

/* What does not fit, or what nobody would hear, is not sent. */
static void send_raw(int sock, const uint8_t *data, size_t size, bool descriptors)
{
    struct fd_list fds = { .count = 0 };

    if (descriptors) {
        choose(&data, &size, &fds);
    }
    if (sock >= 0 && size > 0) {
        (void)socket_send(sock, data, size, MSG_DONTWAIT, &fds);
    }
}

/* A message of the right shape, where there is one that is permitted. */
static void send_as_device(const uint8_t *data, size_t size)
{
    struct control_channel channel = gate.device;
    struct control_message message = { .type = 0 };
    struct fd_list fds = { .count = 0 };
    size_t body;

    choose(&data, &size, &fds);
    message.type = CONTROL_REGION + next_byte(&data, &size) % 11;
    body = (size_t)next_byte(&data, &size) * 2;
    body = body < size ? body : size;
    memcpy(&message.body, data, body);
    message.tail_size = (uint32_t)(size - body < CONTROL_TAIL_MAX ? size - body : CONTROL_TAIL_MAX);
    memcpy(message.tail, data + body, message.tail_size);
    channel.fd = device;
    channel.role = CONTROL_CHILD_END;
    (void)control_send(&channel, &message, &fds, MSG_DONTWAIT);
}

static void connect_client(void)
{
    struct sockaddr_un address;
    socklen_t size = sizeof(address);
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (sock < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0) {
        err(1, "socket");
    }
    if (connect(sock, (struct sockaddr *)&address, size) < 0) {
        close(sock); /* too many wait already */
        return;
    }
    fd_close(&client);
    client = sock;
}

static void perform(enum operation operation, const uint8_t *data, size_t size)
{
    switch (operation) {
    case OP_CLIENT_BYTES:
    case OP_CLIENT_MESSAGE:
        send_raw(client, data, size, operation == OP_CLIENT_MESSAGE);
        break;
    case OP_CLIENT_CONNECTS:
        connect_client();
        break;
    case OP_CLIENT_LEAVES:
        fd_close(&client);
        break;
    case OP_DEVICE_BYTES:
        send_raw(device, data, size, true);
        break;
    case OP_DEVICE_MESSAGE:
        if (device >= 0) {
            send_as_device(data, size);
        }
        break;
    case OP_DEVICE_LEAVES:
        fd_close(&device);
        break;
    case OP_SUPERVISOR_BYTES:
        mad = true;
        send_raw(supervisor.fd, data, size, true);
        break;
    case OP_SUPERVISOR_PROBES:
        if (supervisor.state == CONTROL_STATE_BUSY) {
            command_gate(CONTROL_PROBE, -1, false);
        }
        break;
    case OP_SUPERVISOR_REFUSES:
        refuse_one = true;
        break;
    case OP_TIME_PASSES:
        seconds += next_byte(&data, &size);
        break;
    default:
        if (client >= 0) {
            (void)send(client, data, size > 0, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
}

/* Returns whether the gate is to wait for another one. */
static bool perform_next(void)
{
    size_t size = input[1] | (size_t)input[2] << 8;
    uint8_t operation = input[0];

    size = size < input_size - 3 ? size : input_size - 3;
    perform((enum operation)((operation & 0x7f) % OP_COUNT), input + 3, size);
    input += 3 + size;
    input_size -= 3 + size;
    return operation & 0x80;
}

/* --- the gate's surroundings --------------------------------------------------------------- */

static void listen_to_gate(void)
{
    hear_as_supervisor();
    hear_as_device();
    hear_as_client();
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void check_descriptors(void)
{
    const int others[] = {
        gate.supervisor.fd, gate.supervisor.pipe, supervisor.fd, supervisor.pipe, gate.device.fd,
        gate.listener,      gate.client,          listener,      client,          device
    };
    unsigned known = gate.io_fd_count;
    unsigned found = 0;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        known += others[i] >= 0;
    }
    for (size_t i = 0; i < GATE_MAX_REGIONS; i++) {
        known += gate.regions[i] >= 0;
    }
    /* The lowest free number is taken first: one that was lost is below what a message brought. */
    for (int fd = first; fd < first + (int)known + FD_LIST_MAX; fd++) {
        found += is_open(fd);
    }
    if (found != known) {
        errx(1, "%u descriptors, the gate knows of %u", found, known);
    }
}

static int wait_for_input(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                          const sigset_t *mask)
{
    static const struct timespec no_time;
    time_t end = timeout != NULL ? seconds + timeout->tv_sec + 1 : 0;

    if (count == 1) {
        return ppoll(fds, count, timeout, mask);
    }
    if (++spins > SPINS) {
        errx(1, "the gate spins");
    }
    listen_to_gate();
    for (;;) {
        int n = ppoll(fds, count, &no_time, mask);

        if (n != 0) {
            return n;
        }
        if (input_size < 3) {
            check_descriptors();
            longjmp(over, 1);
        }
        while (perform_next() && input_size >= 3) {
        }
        spins = 0;
        if (timeout != NULL && seconds >= end) {
            return 0;
        }
    }
}

static int tell_time(clockid_t clock, struct timespec *now)
{
    *now = (struct timespec){ .tv_sec = seconds };
    return 0;
}

static _Noreturn void leave(int status)
{
    enum control_state before = supervisor.state;

    listen_to_gate();
    /* While a client is judged or refused there is no word for it: then its death tells. */
    if (!mad && (status != 0 || !(last_word || before == CONTROL_STATE_JUDGING ||
                                  before == CONTROL_STATE_REFUSING))) {
        errx(1, "the gate ends with status %d, in state %#x, without a last word", status, before);
    }
    longjmp(over, 1);
}

/* --- setting up ---------------------------------------------------------------------------- */

static void add_kind(int fd)
{
    if (fd >= 0) {
        kinds[kind_count++] = fd;
    }
}

/* The same file again, opened with other flags. */
static int reopen_as(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

static void make_kinds(void)
{
    int memory = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int full = eventfd(0, EFD_CLOEXEC);
    uint64_t most = UINT64_MAX - 1;
    int pipes[2];
    int sockets[2];
    sigset_t none;

    sigemptyset(&none);
    if (memory < 0 || sealed < 0 || full < 0 || ftruncate(memory, 65536) < 0 ||
        ftruncate(sealed, 65536) < 0 || write(full, &most, sizeof(most)) < 0 ||
        fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
        pipe2(pipes, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
        err(1, "descriptors");
    }
    add_kind(memory);
    add_kind(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    add_kind(sealed);
    add_kind(reopen_as(memory, O_RDONLY));
    add_kind(reopen_as(memory, O_WRONLY));
    add_kind(reopen_as(memory, O_PATH));
    add_kind(memfd_create("unsealed", MFD_CLOEXEC));
    add_kind(memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
    add_kind(full);
    add_kind(reopen_as(full, O_PATH));
    add_kind(pipes[0]);
    add_kind(pipes[1]);
    add_kind(sockets[0]);
    add_kind(sockets[1]);
    add_kind(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
    add_kind(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    add_kind(open("/dev/null", O_RDWR | O_CLOEXEC));
    add_kind(open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    add_kind(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    add_kind(epoll_create1(EPOLL_CLOEXEC));
    add_kind(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    add_kind(signalfd(-1, &none, SFD_CLOEXEC));
}

static void set_up(void)
{
    struct vetting vetting;

    if (vetting_init(&vetting, &policy) < 0) {
        err(1, "vetting");
    }
    proc_fds = vetting.proc_fds;
    memfd_device = vetting.memfd_device;
    make_kinds();
    first = dup(STDERR_FILENO);
    close_range((unsigned)first, ~0u, 0); /* inherited ones too */
}

static int make_listener(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    /* Without a name the kernel gives it one that nobody else has. */
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
        listen(sock, 4) < 0) {
        err(1, "listener");
    }
    return sock;
}

static void make_gate(void)
{
    int control[2];
    int reports[2];
    int channel[2];

    if (make_channel(control, reports) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0) {
        err(1, "channels");
    }
    gate = (struct gate){
        .policy = &policy,
        .vetting = { .policy = &policy, .proc_fds = proc_fds, .memfd_device = memfd_device },
        .supervisor = { .fd = control[1],
                        .pipe = reports[1],
                        .role = CONTROL_CHILD_END,
                        .state = CONTROL_STATE_IDLE },
        .device = { .fd = -1, .role = CONTROL_BROKER_END, .state = CONTROL_STATE_SEALED },
        .listener = -1,
        .client = -1,
        .requests = RATE(20, 20),
    };
    memset(gate.regions, 0xff, sizeof(gate.regions));
    supervisor = (struct control_channel){ .fd = control[0],
                                           .pipe = reports[0],
                                           .role = CONTROL_BROKER_END,
                                           .state = CONTROL_STATE_IDLE };
    device = channel[0];
    client = -1;
    listener = make_listener();
    command_gate(CONTROL_DEVICE, channel[1], false);
    close(channel[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (kind_count == 0) {
        set_up();
    }
    if (size == 0) {
        return 0;
    }
    policy.dma_access = (enum dma_access)(data[0] % 3);
    policy.dma_seals = data[0] & 0x80 ? F_SEAL_SHRINK : 0;
    input = data + 1;
    input_size = size - 1;
    spins = 0;
    seconds = 1;
    mad = refuse_one = last_word = has_client = false;
    twins = 0;
    make_gate();
    if (setjmp(over) == 0) {
        loop(&gate);
    }
    close_range((unsigned)first, ~0u, 0);
    return 0;
}
