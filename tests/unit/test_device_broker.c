/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library under a broker: a device in a child process, while the test plays supervisor, gate
 * and client. The filter that it hands out lets everything pass, but for one call that fails in a
 * way of its own, so that the device can tell that it is loaded.
 */
#include "ipc/control.h"
#include "ipc/fd.h"
#include "ipc/frame.h"
#include "ipc/socket.h"
#include "tests/unit/context_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-user/libvfio-user.h>

#define MARK 77 /* errno of getppid(2) under the filter */

#define LARGE (1u << 20) /* bytes of BAR2, more than a socket takes */

/* What the device tells about itself in BAR1, a register each. */
enum fact {
    FACT_FILTERED,  /* 1: the filter is loaded */
    FACT_DUMPABLE,  /* 0 after the seal */
    FACT_DMA_VADDR, /* of the last region: 0 none, 1 mapped */
    FACT_DMA_BYTE,  /* its first byte */
    FACT_DMA_COUNT, /* regions added */
    FACT_TRIGGER,   /* reading triggers interrupt 0; errno */
    FACT_SEALS,     /* of BAR0's memory */
    FACT_REPLACE,   /* reading sets BAR0 up with other memory; 0 */
    FACT_POLL_NS,   /* that a wait may spin */
    FACT_NUMBER,    /* of the context, where there are several */
    FACT_COUNT
};

struct session {
    pid_t pid;
    struct control_channel channel;
    int client; /* the client's end */
    struct control_message message;
    uint16_t msg_id;
};

/* --- the device --- */

static int shared = -1;
static uint64_t dma_count;
static vfu_dma_info_t dma_last;

static int share(vfu_ctx_t *ctx, int fd)
{
    return vfu_setup_region(ctx, 0, 4096, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0,
                            fd, 0);
}

static uint64_t fact(vfu_ctx_t *ctx, enum fact which)
{
    switch (which) {
    case FACT_FILTERED:
        return syscall(SYS_getppid) < 0 && errno == MARK;
    case FACT_DUMPABLE:
        return (uint64_t)prctl(PR_GET_DUMPABLE);
    case FACT_DMA_VADDR:
        return dma_last.vaddr != NULL;
    case FACT_DMA_BYTE:
        return dma_last.vaddr != NULL ? *(uint8_t *)dma_last.vaddr : 0;
    case FACT_DMA_COUNT:
        return dma_count;
    case FACT_TRIGGER:
        return vfu_irq_trigger(ctx, 0) < 0 ? (uint64_t)errno : 0;
    case FACT_SEALS:
        return (uint64_t)fcntl(shared, F_GET_SEALS);
    case FACT_POLL_NS:
        return context_poll_limit(ctx);
    case FACT_NUMBER:
        return (uint64_t)(uintptr_t)vfu_get_private(ctx);
    default:
        return (uint64_t)share(ctx, memfd_create("other", MFD_CLOEXEC));
    }
}

static ssize_t tell(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    uint64_t value = fact(ctx, (enum fact)(offset / 8));

    if (count != sizeof(value) || is_write) {
        return -1;
    }
    memcpy(buf, &value, sizeof(value));
    return (ssize_t)count;
}

static ssize_t be_large(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    memset(buf, 0x3c, count);
    return (ssize_t)count;
}

static void on_added(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    dma_last = *info;
    dma_count++;
}

static void on_removed(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void write_log(vfu_ctx_t *ctx, int level, const char *message)
{
    dprintf(STDERR_FILENO, "device: %s\n", message);
}

/* Not a flag of the library: BAR0 is a file on a disk. */
#define ON_DISK (1 << 8)

static int create_memory(int flags)
{
    if (flags & ON_DISK) {
        return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    }
    return memfd_create("bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static vfu_ctx_t *create(int flags, const char *path, uintptr_t number)
{
    vfu_ctx_t *ctx =
        vfu_create_ctx(VFU_TRANS_SOCK, path, flags & ~ON_DISK, (void *)number, VFU_DEV_TYPE_PCI);

    shared = create_memory(flags);
    if (ctx == NULL || (!(flags & ON_DISK) && ftruncate(shared, 4096) < 0)) {
        _exit(200);
    }
    vfu_setup_log(ctx, write_log, LOG_WARNING);
    share(ctx, shared);
    vfu_setup_region(ctx, 1, 128, tell, VFU_REGION_FLAG_READ, NULL, 0, -1, 0);
    vfu_setup_region(ctx, 2, LARGE, be_large, VFU_REGION_FLAG_READ, NULL, 0, -1, 0);
    vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1);
    vfu_setup_device_dma(ctx, 10, on_added, on_removed);
    if (vfu_realize_ctx(ctx) < 0) {
        _exit(201);
    }
    return ctx;
}

/* Serves one client after the other, as programs do. Returns the errno of the failing attach. */
static int serve(vfu_ctx_t *ctx, int flags)
{
    struct pollfd fd = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };
    int patience = flags & LIBVFIO_USER_FLAG_ATTACH_NB ? -1 : 0;

    for (;;) {
        int result;

        poll(&fd, 1, patience);
        result = vfu_attach_ctx(ctx);
        if (vfu_get_poll_fd(ctx) != fd.fd) {
            return 203;
        }
        if (result < 0 && errno == EAGAIN) {
            continue;
        }
        if (result < 0) {
            return errno;
        }
        do {
            poll(&fd, 1, patience);
            result = vfu_run_ctx(ctx);
        } while (result >= 0 && vfu_get_poll_fd(ctx) == fd.fd);
        if (errno != ENOTCONN) {
            return 202;
        }
    }
}

static _Noreturn void be_device(int channel, int flags)
{
    char text[16];
    vfu_ctx_t *ctx;
    int err;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    snprintf(text, sizeof(text), "%d", channel);
    setenv(CONTROL_ENV, text, 1);
    ctx = create(flags, "unused", 0);
    err = serve(ctx, flags);
    vfu_destroy_ctx(ctx);
    close(shared);
    _exit(err); /* no look for leaks: that needs what a sealed process has given up */
}

/*
 * A context without a client, and without hope for one, shall not wake anybody: the end of its
 * channel may come meanwhile, and is news once. Returns 0, 204, or the errno of another attach.
 */
static int fall_silent(vfu_ctx_t *ctx)
{
    struct pollfd fd = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };

    for (int news = 0; news < 3; news++) {
        if (vfu_attach_ctx(ctx) == 0 || errno != EAGAIN) {
            return errno;
        }
        if (poll(&fd, 1, 0) == 0) {
            return 0;
        }
    }
    return 204;
}

/* One step of a program that polls several contexts. Returns the errno that ends it, or 0. */
static int step(vfu_ctx_t *ctx, bool *attached)
{
    int result = *attached ? vfu_run_ctx(ctx) : vfu_attach_ctx(ctx);

    if (result >= 0) {
        *attached = true;
        return 0;
    }
    if (*attached && errno == ENOTCONN) {
        *attached = false;
        return fall_silent(ctx);
    }
    return errno == EAGAIN ? 0 : errno;
}

/* The channels in a row of a broker with the sockets a, b and c; @count of them have a context. */
static _Noreturn void be_devices(const int *channels, size_t count)
{
    const char *const paths[] = { "/run/b", "elsewhere", "./a" };
    vfu_ctx_t *ctxs[3] = { NULL };
    bool attached[3] = { false };
    int err = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (int i = 0; i < 3; i++) {
        dup2(channels[i], 100 + i);
    }
    setenv(CONTROL_ENV, "100", 1);
    setenv(CONTROL_SOCKETS_ENV, "a/b/c", 1);
    for (uintptr_t i = 0; i < count; i++) {
        ctxs[i] = create(LIBVFIO_USER_FLAG_ATTACH_NB, paths[i], i + 1);
    }
    while (err == 0) {
        struct pollfd fds[3];

        for (size_t i = 0; i < count; i++) {
            fds[i] = (struct pollfd){ .fd = vfu_get_poll_fd(ctxs[i]), .events = POLLIN };
        }
        poll(fds, count, -1);
        for (size_t i = 0; i < count && err == 0; i++) {
            err = step(ctxs[i], &attached[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        vfu_destroy_ctx(ctxs[i]);
    }
    _exit(err);
}

/* --- supervisor and gate --- */

static void start(struct session *session, int flags)
{
    int ends[2];

    memset(session, 0, sizeof(*session));
    session->client = -1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    session->channel = (struct control_channel){
        .fd = ends[0],
        .role = CONTROL_BROKER_END,
        .state = CONTROL_STATE_START,
    };
    session->pid = fork();
    assert_true(session->pid >= 0);
    if (session->pid == 0) {
        close(ends[0]);
        be_device(ends[1], flags);
    }
    close(ends[1]);
}

/* Returns the errno with which the device ended its last attach. */
static int finish(struct session *session)
{
    int status;

    fd_close(&session->channel.fd);
    fd_close(&session->client);
    assert_int_equal(waitpid(session->pid, &status, 0), session->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(struct session *session, enum control_type type, struct fd_list *fds)
{
    AUTO_FD_LIST none = { .count = 0 };
    struct pollfd fd = { .fd = session->channel.fd, .events = POLLIN };

    assert_int_equal(poll(&fd, 1, 10000), 1);
    assert_int_equal(
        control_receive(&session->channel, &session->message, fds != NULL ? fds : &none, 0), 1);
    assert_string_equal(control_type_name(session->message.type), control_type_name(type));
}

static void send_seal(struct session *session, const struct control_seal *changes)
{
    const struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | MARK),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct control_message *message = &session->message;

    *message = (struct control_message){ .type = CONTROL_SEAL, .tail_size = sizeof(filter) };
    message->body.seal = *changes;
    if (message->body.seal.version == 0) {
        message->body.seal.version = CONTROL_VERSION;
    }
    if (message->body.seal.filter_count == 0) {
        message->body.seal.filter_count = sizeof(filter) / sizeof(filter[0]);
    }
    memcpy(message->tail, filter, sizeof(filter));
    assert_int_equal(control_send(&session->channel, message, NULL, 0), 0);
}

static const struct control_seal generous = {
    .dma_max_bytes = UINT64_MAX,
    .dma_max_regions = 100,
    .irq_max_vectors = 100,
    .stall_seconds = 30,
    .poll_us = 40,
};

static void expect_declarations(struct session *session)
{
    AUTO_FD_LIST region = { .count = 0 };

    expect(session, CONTROL_REGION, &region);
    assert_int_equal(session->message.body.region.index, 0);
    assert_true(fcntl(region.fds[0], F_GET_SEALS) & F_SEAL_SHRINK);
    expect(session, CONTROL_READY, NULL);
}

static void seal(struct session *session)
{
    AUTO_FD_LIST listener = { .count = 0 };

    send_seal(session, &generous);
    expect(session, CONTROL_NOTIFY, &listener);
    expect(session, CONTROL_SEALED, NULL);
    expect_declarations(session);
}

static void answer(struct session *session, const struct fd_list *fds)
{
    assert_int_equal(control_send(&session->channel, &session->message, fds, 0), 0);
}

static void receive_all(struct session *session, void *buffer, size_t size)
{
    size_t have = 0;

    while (have < size) {
        struct pollfd fd = { .fd = session->client, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&fd, 1, 10000), 1);
        n = read(session->client, (uint8_t *)buffer + have, size - have);
        assert_true(n > 0);
        have += (size_t)n;
    }
}

/* Receives a reply. Returns its errno. */
static int receive_reply(struct session *session, void *payload, size_t size)
{
    struct vfio_user_header header;

    receive_all(session, &header, sizeof(header));
    assert_int_equal(header.msg_id, session->msg_id);
    if (header.flags & VFIO_USER_F_ERROR) {
        assert_int_equal(header.msg_size, sizeof(header));
        return (int)header.error_no;
    }
    assert_int_equal(header.msg_size, sizeof(header) + size);
    receive_all(session, payload, size);
    return 0;
}

/* The test as the gate: it shares the client's socket with the device. */
struct gate {
    struct session *session;
    int device_end; /* the socket that the device has too */
};

static void connect_gate(struct gate *gate, struct session *session)
{
    AUTO_FD_LIST socket = { .count = 0 };
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    session->client = ends[0];
    gate->session = session;
    gate->device_end = ends[1];
    fd_list_add(&socket, dup(ends[1]));
    session->message = (struct control_message){ .type = CONTROL_CLIENT };
    assert_int_equal(control_send(&session->channel, &session->message, &socket, 0), 0);
}

/* Sends a command as the client, and takes it as the gate. The answer is left to the caller. */
static void take(struct gate *gate, uint16_t command, const void *payload, size_t size)
{
    struct session *session = gate->session;
    uint8_t bytes[256];
    struct vfio_user_header *header = (void *)bytes;

    *header = (struct vfio_user_header){
        .msg_id = ++session->msg_id,
        .cmd = command,
        .msg_size = (uint32_t)(sizeof(*header) + size),
    };
    memcpy(header + 1, payload, size);
    assert_int_equal(write(session->client, bytes, header->msg_size), header->msg_size);
    expect(session, CONTROL_TAKE, NULL);
    assert_int_equal(session->message.body.take.command, command);
    assert_int_equal(session->message.body.take.size, header->msg_size);
    session->message = (struct control_message){ .type = CONTROL_TAKEN };
    assert_int_equal(read(gate->device_end, session->message.tail, header->msg_size),
                     header->msg_size);
    session->message.tail_size = header->msg_size;
    session->message.body.taken.result = (int32_t)header->msg_size;
}

static void add_kind(struct session *session, enum descriptor_kind kind)
{
    struct control_taken *taken = &session->message.body.taken;

    taken->kind[taken->fds_count++] = kind;
}

static int request(struct gate *gate, uint16_t command, const void *payload, size_t size,
                   const struct fd_list *fds, enum descriptor_kind kind)
{
    take(gate, command, payload, size);
    if (kind != 0) {
        add_kind(gate->session, kind);
    }
    answer(gate->session, fds);
    return receive_reply(gate->session, NULL, 0);
}

static void request_read(struct session *session, uint32_t region, uint64_t offset, uint32_t count)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_region_access access;
    } message = {
        .header = { .cmd = VFIO_USER_REGION_READ, .msg_size = sizeof(message) },
        .access = { .offset = offset, .region = region, .count = count },
    };

    message.header.msg_id = ++session->msg_id;
    assert_int_equal(write(session->client, &message, sizeof(message)), sizeof(message));
}

static uint64_t ask(struct session *session, enum fact which)
{
    struct {
        uint64_t offset;
        uint32_t region;
        uint32_t count;
        uint64_t value;
    } reply;

    request_read(session, 1, which * 8, 8);
    assert_int_equal(receive_reply(session, &reply, sizeof(reply)), 0);
    return reply.value;
}

static void attach_client(struct session *session, struct gate *gate)
{
    const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8}}";
    struct vfio_user_header header;
    char payload[198];

    connect_gate(gate, session);
    take(gate, VFIO_USER_VERSION, version, sizeof(version));
    answer(session, NULL);
    receive_all(session, &header, sizeof(header));
    assert_int_equal(header.flags, VFIO_USER_F_TYPE_REPLY);
    assert_true(header.msg_size - sizeof(header) <= sizeof(payload));
    receive_all(session, payload, header.msg_size - sizeof(header));
    expect(session, CONTROL_NEGOTIATED, NULL);
}

/* A session up to the point where the client has negotiated. */
static void begin(struct session *session, struct gate *gate, int flags)
{
    start(session, flags);
    seal(session);
    attach_client(session, gate);
}

static void detach_client(struct session *session, struct gate *gate)
{
    fd_close(&gate->device_end);
    fd_close(&session->client);
    expect(session, CONTROL_DETACHED, NULL);
}

static void end(struct session *session, struct gate *gate)
{
    detach_client(session, gate);
    assert_int_equal(finish(session), ESHUTDOWN);
}

/* --- creation --- */

static int create_errno(const char *channel)
{
    vfu_ctx_t *ctx;
    int err;

    assert_int_equal(setenv(CONTROL_ENV, channel, 1), 0);
    errno = 0;
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, "unused", 0, NULL, VFU_DEV_TYPE_PCI);
    err = errno;
    assert_null(ctx);
    assert_int_equal(unsetenv(CONTROL_ENV), 0);
    assert_int_equal(access("unused", F_OK), -1);
    return err;
}

static void test_create_with_what_is_no_channel_is_einval(void **state)
{
    char text[16];
    int stream[2];

    assert_int_equal(create_errno(""), EINVAL);
    assert_int_equal(create_errno("x"), EINVAL);
    assert_int_equal(create_errno("3x"), EINVAL);
    assert_int_equal(create_errno("-1"), EINVAL);
    assert_int_equal(create_errno("99999999999999999999"), EINVAL);
    assert_int_equal(create_errno("1000"), EINVAL); /* not open */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    snprintf(text, sizeof(text), "%d", stream[0]);
    assert_int_equal(create_errno(text), EINVAL);
    close(stream[0]);
    close(stream[1]);
}

static void test_create_second_context_is_ebusy(void **state)
{
    char text[16];
    int ends[2];
    vfu_ctx_t *ctx;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    snprintf(text, sizeof(text), "%d", ends[0]);
    assert_int_equal(setenv(CONTROL_ENV, text, 1), 0);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, "unused", 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(create_errno(text), EBUSY);
    vfu_destroy_ctx(ctx);
    assert_true(fcntl(ends[0], F_GETFD) >= 0); /* not closed */
    close(ends[0]);
    close(ends[1]);
}

/* --- seal --- */

static void test_seal_of_another_version_is_eproto(void **state)
{
    struct session session;
    struct control_seal wrong = generous;

    start(&session, 0);
    wrong.version = CONTROL_VERSION + 1;
    send_seal(&session, &wrong);
    assert_int_equal(finish(&session), EPROTO);
}

static void test_seal_with_wrong_filter_size_is_eproto(void **state)
{
    struct session session;
    struct control_seal wrong = generous;

    start(&session, 0);
    wrong.filter_count = 3;
    send_seal(&session, &wrong);
    assert_int_equal(finish(&session), EPROTO);
}

static void test_seal_with_too_few_vectors_is_e2big(void **state)
{
    struct session session;
    struct control_seal strict = generous;

    start(&session, 0);
    strict.irq_max_vectors = 0;
    send_seal(&session, &strict);
    assert_int_equal(finish(&session), E2BIG);
}

static void test_seal_with_a_region_on_disk_is_einval(void **state)
{
    struct session session;

    start(&session, ON_DISK);
    send_seal(&session, &generous);
    assert_int_equal(finish(&session), EINVAL);
}

static void test_broker_gone_before_the_seal_is_enotconn(void **state)
{
    struct session session;

    start(&session, 0);
    assert_int_equal(finish(&session), ENOTCONN);
}

static void test_broker_gone_before_a_client_is_enotconn(void **state)
{
    struct session session;

    start(&session, 0);
    seal(&session);
    assert_int_equal(finish(&session), ENOTCONN);
    start(&session, LIBVFIO_USER_FLAG_ATTACH_NB);
    seal(&session);
    assert_int_equal(finish(&session), ENOTCONN);
}

static void test_sealed_process_is_filtered_and_not_dumpable(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(ask(&session, FACT_FILTERED), 1);
    assert_int_equal(ask(&session, FACT_DUMPABLE), 0);
    assert_true(ask(&session, FACT_SEALS) & F_SEAL_SHRINK);
    end(&session, &gate);
}

static void poll_limit_is(unsigned wanted_us)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(ask(&session, FACT_POLL_NS), wanted_us * 1000);
    end(&session, &gate);
}

static void test_wait_spins_as_long_as_the_policy_grants(void **state)
{
    poll_limit_is(40);
    setenv("VFU_POLL_US", "1000", 1);
    poll_limit_is(40);
    setenv("VFU_POLL_US", "30", 1);
    poll_limit_is(30);
    setenv("VFU_POLL_US", "0", 1);
    poll_limit_is(0);
    unsetenv("VFU_POLL_US");
}

static void test_sealed_process_has_no_listener(void **state)
{
    struct session session;
    struct gate gate;
    char path[64];
    char target[64];

    begin(&session, &gate, 0);
    for (int fd = 0; fd < 64; fd++) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)session.pid, fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0 && errno == EACCES) {
            break; /* only root may look into what is not dumpable */
        }
        target[n > 0 ? n : 0] = '\0';
        assert_null(strstr(target, "seccomp"));
    }
    end(&session, &gate);
}

/* --- session --- */

static void test_client_gone_ends_the_session(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    end(&session, &gate);
    begin(&session, &gate, LIBVFIO_USER_FLAG_ATTACH_NB);
    end(&session, &gate);
}

static void test_broker_gone_while_serving_ends_the_session(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    fd_close(&gate.device_end);
    assert_int_equal(finish(&session), ESHUTDOWN);
}

static void test_version_with_descriptors_ends_the_session(void **state)
{
    struct session session;
    struct gate gate;

    start(&session, 0);
    seal(&session);
    connect_gate(&gate, &session);
    take(&gate, VFIO_USER_VERSION, "\0\0\0", 4);
    session.message.body.taken.fds_error = EINVAL;
    answer(&session, NULL);
    assert_int_equal(receive_reply(&session, NULL, 0), EINVAL);
    expect(&session, CONTROL_DETACHED, NULL);
    fd_close(&gate.device_end);
    assert_int_equal(finish(&session), EFAULT);
}

static void test_take_that_finds_nothing_is_repeated(void **state)
{
    struct session session;
    struct gate gate;
    const uint32_t set[5] = { 20, 1 | 32, VFU_DEV_ERR_IRQ, 0, 0 };
    struct control_message kept;

    begin(&session, &gate, 0);
    take(&gate, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set));
    kept = session.message;
    session.message = (struct control_message){ .type = CONTROL_TAKEN };
    session.message.body.taken.result = -EAGAIN;
    assert_int_equal(write(session.client, kept.tail, kept.tail_size), kept.tail_size);
    answer(&session, NULL);
    expect(&session, CONTROL_TAKE, NULL);
    assert_int_equal(read(gate.device_end, kept.tail, kept.tail_size), kept.tail_size);
    session.message = kept;
    answer(&session, NULL);
    assert_int_equal(receive_reply(&session, NULL, 0), 0);
    end(&session, &gate);
}

static void test_take_in_pieces_reads_the_rest_from_the_socket(void **state)
{
    struct session session;
    struct gate gate;
    const uint32_t set[5] = { 20, 1 | 32, VFU_DEV_ERR_IRQ, 0, 0 };
    uint8_t rest[36];

    begin(&session, &gate, 0);
    take(&gate, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set));
    memcpy(rest, session.message.tail, sizeof(rest));
    session.message.tail_size = 7;
    session.message.body.taken.result = 7;
    answer(&session, NULL);
    assert_int_equal(write(session.client, rest + 7, sizeof(rest) - 7), sizeof(rest) - 7);
    assert_int_equal(receive_reply(&session, NULL, 0), 0);
    end(&session, &gate);
}

/* A program that polls hears of requests only, and still sends the whole reply. */
static void test_large_reply_is_sent_to_the_end(void **state)
{
    static uint8_t reply[16 + LARGE];
    struct session session;
    struct gate gate;

    for (int i = 0; i < 2; i++) {
        begin(&session, &gate, i == 0 ? 0 : LIBVFIO_USER_FLAG_ATTACH_NB);
        request_read(&session, 2, 0, LARGE);
        usleep(50000); /* so that it fills the socket first */
        assert_int_equal(receive_reply(&session, reply, sizeof(reply)), 0);
        assert_int_equal(reply[sizeof(reply) - 1], 0x3c);
        ask(&session, FACT_FILTERED);
        end(&session, &gate);
    }
}

/* --- guest memory --- */

static const struct vfio_user_dma_map map = { .argsz = 32, .flags = 3, .size = 4096 };

static void test_map_with_memory_maps_it(void **state)
{
    AUTO_FD_LIST fds = { .count = 1, .fds = { memfd_create("guest", MFD_CLOEXEC) } };
    struct session session;
    struct gate gate;

    assert_int_equal(ftruncate(fds.fds[0], 4096), 0);
    assert_int_equal(pwrite(fds.fds[0], "!", 1, 0), 1);
    begin(&session, &gate, 0);
    assert_int_equal(request(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map), &fds, DESCRIPTOR_MEMORY),
                     0);
    assert_int_equal(ask(&session, FACT_DMA_VADDR), 1);
    assert_int_equal(ask(&session, FACT_DMA_BYTE), '!');
    end(&session, &gate);
}

static void test_map_with_withheld_memory_exists_unmapped(void **state)
{
    struct vfio_user_dma_map with_mmap = map;
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    with_mmap.flags |= VFIO_USER_F_DMA_REGION_MMAP;
    assert_int_equal(
        request(&gate, VFIO_USER_DMA_MAP, &with_mmap, sizeof(with_mmap), NULL, DESCRIPTOR_WITHHELD),
        0);
    assert_int_equal(ask(&session, FACT_DMA_COUNT), 1);
    assert_int_equal(ask(&session, FACT_DMA_VADDR), 0);
    /* saying it again is fine, and known to be a repetition */
    assert_int_equal(
        request(&gate, VFIO_USER_DMA_MAP, &with_mmap, sizeof(with_mmap), NULL, DESCRIPTOR_WITHHELD),
        0);
    assert_int_equal(ask(&session, FACT_DMA_COUNT), 1);
    end(&session, &gate);
}

static void test_map_with_other_kinds_is_enodev(void **state)
{
    AUTO_FD_LIST fds = { .count = 1, .fds = { eventfd(0, EFD_CLOEXEC) } };
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(request(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map), &fds, DESCRIPTOR_EVENTFD),
                     ENODEV);
    assert_int_equal(request(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map), &fds, 9), ENODEV);
    assert_int_equal(ask(&session, FACT_DMA_COUNT), 0);
    end(&session, &gate);
}

static void test_refused_descriptors_refuse_the_command(void **state)
{
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_ERR_IRQ, 0, 1 };
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    take(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map));
    session.message.body.taken.fds_error = EACCES;
    answer(&session, NULL);
    assert_int_equal(receive_reply(&session, NULL, 0), EACCES);
    assert_int_equal(ask(&session, FACT_DMA_COUNT), 0);
    /* and only this one */
    assert_int_equal(request(&gate, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), NULL, 0), 0);
    end(&session, &gate);
}

static void test_map_without_descriptor_is_as_ever(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(request(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0), 0);
    assert_int_equal(ask(&session, FACT_DMA_COUNT), 1);
    end(&session, &gate);
}

/* --- interrupts --- */

static const uint32_t set_intx[5] = { 20, 4 | 32, VFU_DEV_INTX_IRQ, 0, 1 };

static void test_interrupt_with_eventfd_is_triggered(void **state)
{
    AUTO_FD_LIST fds = { .count = 1, .fds = { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) } };
    struct session session;
    struct gate gate;
    eventfd_t value = 0;

    begin(&session, &gate, 0);
    assert_int_equal(ask(&session, FACT_TRIGGER), ENOENT);
    assert_int_equal(request(&gate, VFIO_USER_DEVICE_SET_IRQS, set_intx, sizeof(set_intx), &fds,
                             DESCRIPTOR_EVENTFD),
                     0);
    assert_int_equal(ask(&session, FACT_TRIGGER), 0);
    assert_int_equal(eventfd_read(fds.fds[0], &value), 0);
    assert_int_equal(value, 1);
    end(&session, &gate);
}

static void test_interrupt_with_other_kinds_is_einval(void **state)
{
    AUTO_FD_LIST fds = { .count = 1, .fds = { memfd_create("guest", MFD_CLOEXEC) } };
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(request(&gate, VFIO_USER_DEVICE_SET_IRQS, set_intx, sizeof(set_intx), &fds,
                             DESCRIPTOR_MEMORY),
                     EINVAL);
    assert_int_equal(request(&gate, VFIO_USER_DEVICE_SET_IRQS, set_intx, sizeof(set_intx), NULL,
                             DESCRIPTOR_WITHHELD),
                     EINVAL);
    assert_int_equal(ask(&session, FACT_TRIGGER), ENOENT);
    end(&session, &gate);
}

/* --- replies with descriptors --- */

static const struct vfio_region_info wanted_info = { .argsz = 64 };

/* The client asks for region 0. The message comes by the socket: it carries no descriptors. */
static void write_region_request(struct session *session)
{
    struct {
        struct vfio_user_header header;
        struct vfio_region_info info;
    } message = { .header = { .cmd = VFIO_USER_DEVICE_GET_REGION_INFO,
                              .msg_size = sizeof(message) },
                  .info = wanted_info };

    message.header.msg_id = ++session->msg_id;
    assert_int_equal(write(session->client, &message, sizeof(message)), sizeof(message));
}

static void ask_for_region(struct session *session)
{
    write_region_request(session);
    expect(session, CONTROL_SEND, NULL);
    assert_int_equal(session->message.body.send.what, CONTROL_SEND_REGION);
    assert_int_equal(session->message.body.send.count, 1);
    assert_int_equal(session->message.body.send.index[0], 0);
    assert_int_equal(session->message.tail_size, 16 + 64);
}

static void answer_sent(struct session *session, int32_t result)
{
    session->message = (struct control_message){ .type = CONTROL_SENT };
    session->message.body.sent.result = result;
    answer(session, NULL);
}

static void test_region_reply_goes_through_the_gate(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    ask_for_region(&session);
    answer_sent(&session, 16 + 64);
    ask(&session, FACT_FILTERED); /* nothing else was sent */
    end(&session, &gate);
}

static void test_region_reply_sent_in_part_is_completed(void **state)
{
    struct session session;
    struct gate gate;
    uint8_t begun[80];
    uint8_t rest[70];

    begin(&session, &gate, 0);
    ask_for_region(&session);
    memcpy(begun, session.message.tail, sizeof(begun));
    answer_sent(&session, 10);
    receive_all(&session, rest, sizeof(rest));
    assert_memory_equal(rest, begun + 10, sizeof(rest));
    ask(&session, FACT_FILTERED);
    end(&session, &gate);
}

static void test_region_reply_to_a_full_socket_is_tried_again(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    ask_for_region(&session);
    answer_sent(&session, -EAGAIN);
    expect(&session, CONTROL_SEND, NULL);
    answer_sent(&session, 80);
    ask(&session, FACT_FILTERED);
    end(&session, &gate);
}

static void test_region_reply_that_cannot_be_sent_is_an_error(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    ask_for_region(&session);
    answer_sent(&session, -EBADF);
    assert_int_equal(receive_reply(&session, NULL, 0), EBADF);
    ask(&session, FACT_FILTERED);
    end(&session, &gate);
}

static void test_region_replaced_after_the_seal_is_not_sent(void **state)
{
    struct session session;
    struct gate gate;

    begin(&session, &gate, 0);
    assert_int_equal(ask(&session, FACT_REPLACE), 0);
    write_region_request(&session);
    assert_int_equal(receive_reply(&session, NULL, 0), EBADF);
    end(&session, &gate);
}

/* --- the twin socket --- */

/* The client asks for a twin socket. */
static void ask_for_twin(struct session *session, struct gate *gate, int flags)
{
    const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,"
                           "\"twin_socket\":{\"supported\":true}}}";

    start(session, flags);
    seal(session);
    connect_gate(gate, session);
    take(gate, VFIO_USER_VERSION, version, sizeof(version));
    answer(session, NULL);
    expect(session, CONTROL_SEND, NULL);
    assert_int_equal(session->message.body.send.what, CONTROL_SEND_TWIN);
    assert_int_equal(session->message.body.send.count, 0);
}

static void test_twin_socket_is_made_by_the_gate(void **state)
{
    struct session session;
    struct gate gate;
    struct fd_list fds = { .count = 0 };
    uint32_t size;
    int pair[2];

    ask_for_twin(&session, &gate, 0);
    size = session.message.tail_size;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    fd_list_add(&fds, pair[0]);
    session.message = (struct control_message){ .type = CONTROL_SENT };
    session.message.body.sent.result = (int32_t)size;
    answer(&session, &fds);
    close(pair[0]);
    expect(&session, CONTROL_NEGOTIATED, NULL);
    assert_int_equal(ask(&session, FACT_FILTERED), 1);
    /* The device has the other end, until its client goes. */
    assert_int_equal(send(pair[1], "x", 1, MSG_NOSIGNAL), 1);
    end(&session, &gate);
    assert_int_equal(send(pair[1], "x", 1, MSG_NOSIGNAL), -1);
    close(pair[1]);
}

/* The client is told, and the exchange fails. */
static void test_twin_socket_that_cannot_be_made_is_an_error(void **state)
{
    struct session session;
    struct gate gate;

    ask_for_twin(&session, &gate, 0);
    answer_sent(&session, -EMFILE);
    assert_int_equal(receive_reply(&session, NULL, 0), EMFILE);
    expect(&session, CONTROL_DETACHED, NULL);
    fd_close(&gate.device_end);
    fd_close(&session.client);
    assert_int_equal(finish(&session), EMFILE);
}

/* --- a gate that lies --- */

static void expect_session_end(struct session *session, struct gate *gate)
{
    expect(session, CONTROL_DETACHED, NULL);
    fd_close(&gate->device_end);
    assert_int_equal(finish(session), ESHUTDOWN);
}

/* A twin socket without having been asked, none where one was, and one with a failure. */
static void test_inconsistent_twin_sockets_end_the_session(void **state)
{
    for (int i = 0; i < 3; i++) {
        AUTO_FD_LIST fds = { .count = 0 };
        struct session session;
        struct gate gate;

        if (i == 0) {
            begin(&session, &gate, 0);
            ask_for_region(&session);
        } else {
            ask_for_twin(&session, &gate, 0);
        }
        if (i != 1) {
            fd_list_add(&fds, eventfd(0, EFD_CLOEXEC));
        }
        session.message = (struct control_message){ .type = CONTROL_SENT };
        session.message.body.sent.result = i == 2 ? -EAGAIN : 16;
        answer(&session, &fds);
        if (i == 0) {
            assert_int_equal(receive_reply(&session, NULL, 0), EPROTO);
            end(&session, &gate);
        } else {
            assert_int_equal(receive_reply(&session, NULL, 0), EPROTO);
            expect(&session, CONTROL_DETACHED, NULL);
            fd_close(&gate.device_end);
            fd_close(&session.client);
            assert_int_equal(finish(&session), EPROTO);
        }
    }
}

static void test_inconsistent_answers_end_the_session(void **state)
{
    struct session session;
    struct gate gate;

    for (int i = 0; i < 6; i++) {
        AUTO_FD_LIST fds = { .count = 1, .fds = { eventfd(0, EFD_CLOEXEC) } };
        struct control_taken *taken = &session.message.body.taken;

        begin(&session, &gate, 0);
        take(&gate, VFIO_USER_DMA_MAP, &map, sizeof(map));
        switch (i) {
        case 0: /* more bytes than asked for */
            session.message.tail_size += 1;
            taken->result += 1;
            break;
        case 1: /* fewer bytes than it says */
            taken->result += 1;
            break;
        case 2: /* more descriptors than there can be */
            taken->fds_count = FD_LIST_MAX + 1;
            break;
        case 3: /* a descriptor that is not there */
            add_kind(&session, DESCRIPTOR_MEMORY);
            break;
        case 4: /* an errno that is none */
            taken->fds_error = -1;
            break;
        default: /* one that it does not speak of */
            answer(&session, &fds);
            expect_session_end(&session, &gate);
            continue;
        }
        answer(&session, NULL);
        expect_session_end(&session, &gate);
    }
}

static void test_header_that_changed_after_the_peek_ends_the_session(void **state)
{
    const uint32_t set[5] = { 20, 4 | 32, VFU_DEV_INTX_IRQ, 0, 1 };
    AUTO_FD_LIST fds = { .count = 1, .fds = { memfd_create("guest", MFD_CLOEXEC) } };
    struct session session;
    struct gate gate;
    struct vfio_user_header header;

    begin(&session, &gate, 0);
    /* taken as DMA_MAP with memory, but it is DEVICE_SET_IRQS now */
    take(&gate, VFIO_USER_DMA_MAP, &map, sizeof(set));
    memcpy(&header, session.message.tail, sizeof(header));
    header.cmd = VFIO_USER_DEVICE_SET_IRQS;
    memcpy(session.message.tail, &header, sizeof(header));
    memcpy(session.message.tail + sizeof(header), set, sizeof(set));
    add_kind(&session, DESCRIPTOR_MEMORY);
    answer(&session, &fds);
    expect_session_end(&session, &gate);
}

/* --- several contexts --- */

/* A process with three channels, and @contexts of contexts; sessions[] are the channels. */
static void start_several(struct session sessions[3], size_t contexts)
{
    int ends[3][2];

    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends[i]), 0);
        sessions[i] = (struct session){ .client = -1 };
        sessions[i].channel = (struct control_channel){
            .fd = ends[i][0],
            .role = CONTROL_BROKER_END,
            .state = i == 0 ? CONTROL_STATE_START : CONTROL_STATE_SEALED,
        };
    }
    sessions[0].pid = fork();
    assert_true(sessions[0].pid >= 0);
    if (sessions[0].pid == 0) {
        for (int i = 0; i < 3; i++) {
            close(ends[i][0]);
        }
        be_devices((int[]){ ends[0][1], ends[1][1], ends[2][1] }, contexts);
    }
    for (int i = 0; i < 3; i++) {
        close(ends[i][1]);
    }
}

static void test_contexts_get_the_channel_that_their_path_names(void **state)
{
    static const uint64_t numbers[3] = { 2, 1, 3 }; /* of the contexts: a, b, c */
    struct session sessions[3];
    struct gate gates[3];

    /* "elsewhere" comes before "./a" and takes the first that is free, so c is left for that. */
    start_several(sessions, 3);
    seal(&sessions[0]);
    expect_declarations(&sessions[1]);
    expect_declarations(&sessions[2]);
    for (int i = 2; i >= 0; i--) {
        attach_client(&sessions[i], &gates[i]);
        assert_int_equal(ask(&sessions[i], FACT_NUMBER), numbers[i]);
    }
    /*
     * One after the other leaves; what is left goes on. The gate has each client's socket open for
     * longer than the device, which must not be woken by it all the time.
     */
    for (int i = 0; i < 3; i++) {
        for (int j = i; j < 3; j++) {
            assert_int_equal(ask(&sessions[j], FACT_FILTERED), 1);
        }
        fd_close(&sessions[i].client);
        expect(&sessions[i], CONTROL_DETACHED, NULL);
        if (i < 2) {
            fd_close(&sessions[i].channel.fd);
        }
    }
    fd_close(&sessions[2].channel.fd);
    assert_int_equal(finish(&sessions[0]), ESHUTDOWN);
    for (int i = 0; i < 3; i++) {
        fd_close(&gates[i].device_end);
    }
}

static void test_sockets_without_context_are_einval(void **state)
{
    struct session sessions[3];

    start_several(sessions, 2);
    send_seal(&sessions[0], &generous);
    assert_int_equal(finish(&sessions[0]), EINVAL);
    fd_close(&sessions[1].channel.fd);
    fd_close(&sessions[2].channel.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_with_what_is_no_channel_is_einval),
        cmocka_unit_test(test_seal_of_another_version_is_eproto),
        cmocka_unit_test(test_seal_with_wrong_filter_size_is_eproto),
        cmocka_unit_test(test_seal_with_too_few_vectors_is_e2big),
        cmocka_unit_test(test_seal_with_a_region_on_disk_is_einval),
        cmocka_unit_test(test_broker_gone_before_the_seal_is_enotconn),
        cmocka_unit_test(test_broker_gone_before_a_client_is_enotconn),
        cmocka_unit_test(test_sealed_process_is_filtered_and_not_dumpable),
        cmocka_unit_test(test_wait_spins_as_long_as_the_policy_grants),
        cmocka_unit_test(test_sealed_process_has_no_listener),
        cmocka_unit_test(test_client_gone_ends_the_session),
        cmocka_unit_test(test_broker_gone_while_serving_ends_the_session),
        cmocka_unit_test(test_version_with_descriptors_ends_the_session),
        cmocka_unit_test(test_take_that_finds_nothing_is_repeated),
        cmocka_unit_test(test_take_in_pieces_reads_the_rest_from_the_socket),
        cmocka_unit_test(test_large_reply_is_sent_to_the_end),
        cmocka_unit_test(test_map_with_memory_maps_it),
        cmocka_unit_test(test_map_with_withheld_memory_exists_unmapped),
        cmocka_unit_test(test_map_with_other_kinds_is_enodev),
        cmocka_unit_test(test_refused_descriptors_refuse_the_command),
        cmocka_unit_test(test_map_without_descriptor_is_as_ever),
        cmocka_unit_test(test_interrupt_with_eventfd_is_triggered),
        cmocka_unit_test(test_interrupt_with_other_kinds_is_einval),
        cmocka_unit_test(test_region_reply_goes_through_the_gate),
        cmocka_unit_test(test_region_reply_sent_in_part_is_completed),
        cmocka_unit_test(test_region_reply_to_a_full_socket_is_tried_again),
        cmocka_unit_test(test_region_reply_that_cannot_be_sent_is_an_error),
        cmocka_unit_test(test_region_replaced_after_the_seal_is_not_sent),
        cmocka_unit_test(test_twin_socket_is_made_by_the_gate),
        cmocka_unit_test(test_twin_socket_that_cannot_be_made_is_an_error),
        cmocka_unit_test(test_inconsistent_twin_sockets_end_the_session),
        cmocka_unit_test(test_inconsistent_answers_end_the_session),
        cmocka_unit_test(test_header_that_changed_after_the_peek_ends_the_session),
        cmocka_unit_test(test_contexts_get_the_channel_that_their_path_names),
        cmocka_unit_test(test_sockets_without_context_are_einval),
        /* last: it takes this process's one context */
        cmocka_unit_test(test_create_second_context_is_ebusy),
    };

    return cmocka_run_group_tests_name("device_broker", tests, NULL, NULL);
}
