/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Under vfu-broker. The client's socket is one open file description in two processes: this one
 * reads and writes plain messages itself; what may carry descriptors it leaves to the gate, which
 * receives and vets it, or sends it, when asked on the control channel.
 *
 * The channel is inherited as a descriptor that the environment names. Whatever is wrong with it
 * is an error: a program that was to run in a jail must not come to run without one. A broker with
 * several sockets gives a channel for each, and each context has one (channels.c); the process is
 * sealed once, for all of them.
 */
#include "device/transport.h"

#include "device/channels.h"
#include "device/context.h"
#include "device/poller.h"
#include "device/seal.h"
#include "ipc/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum stage {
    STAGE_UNSEALED,
    STAGE_WAITING, /* sealed, no client yet */
    STAGE_SERVING,
    STAGE_OVER,   /* the one client has gone */
    STAGE_FAILED, /* the seal has, or the channel */
};

struct broker_transport {
    struct transport base;
    struct vfu_ctx *ctx; /* whose transport it is */
    int index;           /* of the channel; -1: none yet */
    struct control_channel channel;
    enum stage stage;
    struct poller poller;
    int declared[VFU_PCI_DEV_NUM_REGIONS]; /* whose memory the gate has; -1: none */
    struct io_fds io_fds;                  /* and which others; by the numbers it knows them by */
};

static struct broker_transport *self(const struct transport *transport)
{
    return (struct broker_transport *)transport;
}

/* Whether a result of the channel means that the other end is closed. */
static bool is_channel_gone(int result)
{
    return result == 0 || result == -EPIPE || result == -ECONNRESET;
}

/* Waits until there is something in the channel. Returns 0, -EINTR, or -EAGAIN if not @wait. */
static int wait_for_channel(const struct broker_transport *transport, bool wait)
{
    static const struct timespec no_time;
    struct pollfd fd = { .fd = transport->channel.fd, .events = POLLIN };
    int n = ppoll(&fd, 1, wait ? NULL : &no_time, NULL);

    if (n < 0) {
        return -errno;
    }
    return n > 0 ? 0 : -EAGAIN;
}

/* All contexts are sealed with the process: none can come later. Returns how many, or -EINVAL. */
static int collect_parties(struct vfu_ctx *ctx, struct seal_party *parties)
{
    size_t count = channels_count();

    for (size_t i = 0; i < count; i++) {
        struct broker_transport *transport = channels_owner(i);

        if (transport == NULL) {
            vfu_log(ctx, LOG_ERR,
                    "the broker has %zu sockets, and %s has no context: create all of them "
                    "before the first vfu_attach_ctx()",
                    count, count == 1 ? "it" : "one of them");
            return -EINVAL;
        }
        parties[i] = (struct seal_party){
            .ctx = transport->ctx,
            .channel = &transport->channel,
            .io_fds = &transport->io_fds,
        };
    }
    return (int)count;
}

static void note_seal(struct broker_transport *transport, const struct control_seal *seal)
{
    transport->base.stall_seconds = seal->stall_seconds;
    transport->base.max_dma_regions = seal->dma_max_regions;
    transport->base.max_dma_bytes = seal->dma_max_bytes;
    transport->base.max_poll_us = seal->poll_us;
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        transport->declared[i] = transport->ctx->regions[i].fd;
    }
    transport->stage = STAGE_WAITING;
}

/* Seals the process, unless that is done. Returns 0 or a negative errno. */
static int broker_seal(struct broker_transport *transport)
{
    struct seal_party parties[CONTROL_MAX_CHANNELS];
    struct control_seal seal;
    int count;
    int err;

    if (transport->stage != STAGE_UNSEALED) {
        return 0;
    }
    count = collect_parties(transport->ctx, parties);
    err = count < 0 ? count : seal_process(parties, (size_t)count, &seal);
    for (size_t i = 0; i < channels_count(); i++) {
        struct broker_transport *each = channels_owner(i);

        if (each != NULL && err < 0) {
            each->stage = STAGE_FAILED;
        } else if (each != NULL) {
            note_seal(each, &seal);
        }
    }
    return err;
}

/* Returns the client's socket, or a negative errno. */
static int receive_client(struct broker_transport *transport)
{
    AUTO_FD_LIST fds = { .count = 0 };
    struct control_message message;
    int n = control_receive(&transport->channel, &message, &fds, MSG_DONTWAIT);

    if (n == -EAGAIN) {
        return n;
    }
    if (n <= 0) {
        transport->stage = STAGE_FAILED;
        return is_channel_gone(n) ? -ENOTCONN : n;
    }
    transport->stage = STAGE_SERVING; /* in this state CLIENT is all that can come */
    return fd_list_take(&fds, 0);
}

/*
 * There will be no other client in this process, but those of other contexts may still be there.
 * The channel has nothing more to say then: closed, it would be readable all the time.
 */
static int wait_for_end(struct broker_transport *transport, bool wait)
{
    int err = channels_wait_for_end(wait);

    if (err == -EAGAIN && wait_for_channel(transport, false) == 0) {
        poller_ignore(&transport->poller, transport->channel.fd);
    }
    return err;
}

static int broker_attach(struct transport *base, struct vfu_ctx *ctx, bool wait)
{
    struct broker_transport *transport = self(base);
    int err;

    channels_lock();
    err = broker_seal(transport);
    channels_unlock();
    if (err < 0) {
        return err;
    }
    if (transport->stage != STAGE_WAITING) {
        return transport->stage == STAGE_OVER ? wait_for_end(transport, wait) : -ESHUTDOWN;
    }
    err = wait_for_channel(transport, wait);
    return err < 0 ? err : receive_client(transport);
}

/* Whether an answer of the gate is consistent in itself; then it describes what was received. */
static bool answer_is_valid(const struct control_message *answer, size_t size, size_t fds)
{
    const struct control_taken *taken = &answer->body.taken;
    size_t passed = 0;

    if (taken->fds_count > FD_LIST_MAX || taken->fds_error < 0 || taken->fds_error > 4095) {
        return false;
    }
    for (uint32_t i = 0; i < taken->fds_count; i++) {
        passed += taken->kind[i] != DESCRIPTOR_WITHHELD;
    }
    if (passed != fds) {
        return false;
    }
    return taken->result <= 0
               ? fds == 0 && answer->tail_size == 0
               : answer->tail_size == (uint32_t)taken->result && answer->tail_size <= size;
}

/* Gives every descriptor of the message its place, also those that are not passed on. */
static void note_descriptors(struct vetting *vetting, const struct control_taken *taken,
                             struct fd_list *passed, struct fd_list *fds)
{
    size_t next = 0;

    vetting->error = taken->fds_error;
    vetting->count = taken->fds_count;
    for (uint32_t i = 0; i < taken->fds_count; i++) {
        vetting->kind[i] = taken->kind[i];
        fd_list_add(fds, taken->kind[i] == DESCRIPTOR_WITHHELD ? -1 : fd_list_take(passed, next++));
    }
}

/* As control_receive(): the gate answers at once, but to be woken takes longer than that. */
static int await_answer(struct broker_transport *transport, struct control_message *message,
                        struct fd_list *fds)
{
    struct adaptive_wait *pace = &transport->base.pace;
    uint64_t start = pace->limit > 0 ? connection_now() : 0;
    int result;

    while (pace->window > 0 && connection_now() - start < pace->window) {
        result = control_receive(&transport->channel, message, fds, MSG_DONTWAIT);
        if (result != -EAGAIN) {
            adaptive_wait_hit(pace, connection_now() - start);
            return result;
        }
    }
    result = control_receive(&transport->channel, message, fds, 0);
    if (pace->limit > 0) {
        adaptive_wait_slept(pace, connection_now() - start);
    }
    return result;
}

/* Sends a request to the gate and receives its answer. Returns 0 or a negative errno. */
static int call_gate(struct broker_transport *transport, struct control_message *message,
                     struct fd_list *fds)
{
    int result = control_send(&transport->channel, message, NULL, 0);

    if (result == 0) {
        result = await_answer(transport, message, fds);
    }
    if (is_channel_gone(result)) {
        return -ESHUTDOWN;
    }
    return result < 0 ? result : 0;
}

static ssize_t broker_take(struct transport *base, int sock, uint16_t command, void *buffer,
                           size_t size, struct fd_list *fds)
{
    struct broker_transport *transport = self(base);
    AUTO_FD_LIST passed = { .count = 0 };
    struct control_message message = {
        .type = CONTROL_TAKE,
        .body.take = { .size = (uint32_t)size, .command = command },
    };
    int result = call_gate(transport, &message, &passed);

    if (result < 0) {
        return result;
    }
    if (!answer_is_valid(&message, size, passed.count)) {
        return -EPROTO;
    }
    if (message.body.taken.result > 0) {
        note_descriptors(&base->vetting, &message.body.taken, &passed, fds);
        memcpy(buffer, message.tail, message.tail_size);
    }
    return message.body.taken.result;
}

/* SIGPIPE is ignored since before the program started; send(2) is not in the filter. */
static ssize_t broker_send(struct transport *base, int sock, const void *buffer, size_t size)
{
    ssize_t n = write(sock, buffer, size);

    return n < 0 ? -errno : n;
}

/* Names the descriptors by what the gate knows them by. Returns 0, or -EBADF: it has no such one.
 */
static int name_attachment(const struct broker_transport *transport,
                           const struct attachment *attachment, struct control_send *send)
{
    if (attachment->kind == ATTACHMENT_TWIN) {
        send->what = CONTROL_SEND_TWIN;
        return 0;
    }
    if (attachment->kind == ATTACHMENT_REGION) {
        send->what = CONTROL_SEND_REGION;
        send->count = 1;
        send->index[0] = (uint16_t)attachment->region;
        return transport->declared[attachment->region] == attachment->fds.fds[0] ? 0 : -EBADF;
    }
    send->what = CONTROL_SEND_IO_FDS;
    send->count = (uint16_t)attachment->fds.count;
    for (size_t i = 0; i < attachment->fds.count; i++) {
        int index = io_fds_find(&transport->io_fds, attachment->fds.fds[i]);

        if (index < 0) {
            return -EBADF;
        }
        send->index[i] = (uint16_t)index;
    }
    return 0;
}

/* A twin socket comes where one was asked for, and was sent. */
static bool answer_fits(const struct control_sent *sent, size_t size, enum attachment_kind kind,
                        size_t fds)
{
    bool made_twin = kind == ATTACHMENT_TWIN && sent->result > 0;

    return sent->result <= (int32_t)size && fds == (made_twin ? 1 : 0);
}

static ssize_t broker_send_attached(struct transport *base, int sock, const void *buffer,
                                    size_t size, const struct attachment *attachment)
{
    struct broker_transport *transport = self(base);
    AUTO_FD_LIST ours = { .count = 0 };
    struct control_message message = {
        .type = CONTROL_SEND,
        .tail_size = (uint32_t)(size < CONTROL_TAIL_MAX ? size : CONTROL_TAIL_MAX),
    };
    int err = name_attachment(transport, attachment, &message.body.send);

    if (err < 0) {
        return err;
    }
    memcpy(message.tail, buffer, message.tail_size);
    if (call_gate(transport, &message, &ours) < 0) {
        return -ENOTCONN; /* without its gate the client is gone too */
    }
    if (!answer_fits(&message.body.sent, size, attachment->kind, ours.count)) {
        return -EPROTO;
    }
    if (ours.count > 0) {
        base->twin = fd_list_take(&ours, 0);
    }
    return message.body.sent.result;
}

/* After the seal the gate gets no more descriptors. */
static bool broker_can_share(const struct transport *base, int fd, enum descriptor_kind kind)
{
    const struct broker_transport *transport = self(base);
    int index = io_fds_find(&transport->io_fds, fd);

    return fd < 0 || transport->stage == STAGE_UNSEALED ||
           (index >= 0 && transport->io_fds.kind[index] == kind);
}

static void broker_expect(struct transport *base, int sock, bool room, bool timed)
{
    poller_expect(&self(base)->poller, sock, room, timed);
}

/* A gate that has gone is noticed where we wait. */
static void broker_watch(struct transport *transport, int fd, bool on)
{
    if (on) {
        poller_watch(&self(transport)->poller, fd, EPOLLIN);
    } else {
        poller_ignore(&self(transport)->poller, fd);
    }
}

static void broker_negotiated(struct transport *base)
{
    (void)control_send_plain(&self(base)->channel, CONTROL_NEGOTIATED, MSG_DONTWAIT);
}

static void broker_detach(struct transport *base)
{
    (void)control_send_plain(&self(base)->channel, CONTROL_DETACHED, MSG_DONTWAIT);
    self(base)->stage = STAGE_OVER;
    poller_forget_client(&self(base)->poller);
}

static int broker_poll_fd(const struct transport *base)
{
    return self(base)->poller.epoll;
}

/* The filter does not let the channel be closed: its number must never mean something else. */
static void broker_destroy(struct transport *base)
{
    struct broker_transport *transport = self(base);

    if (transport->index >= 0) {
        channels_lock();
        channels_release(transport->index);
        channels_unlock();
    }
    poller_fini(&transport->poller);
    free(transport);
}

static const struct transport_ops broker_ops = {
    .attach = broker_attach,
    .take = broker_take,
    .send = broker_send,
    .send_attached = broker_send_attached,
    .can_share = broker_can_share,
    .expect = broker_expect,
    .watch = broker_watch,
    .negotiated = broker_negotiated,
    .detach = broker_detach,
    .poll_fd = broker_poll_fd,
    .destroy = broker_destroy,
};

static int find_channel(struct broker_transport *transport, const char *first, const char *path)
{
    int fd = -1;

    channels_lock();
    transport->index = channels_claim(first, path, transport, &fd);
    channels_unlock();
    transport->base.watch_fd = fd;
    transport->channel.fd = fd;
    return transport->index >= 0 ? 0 : transport->index;
}

int transport_broker_create(struct transport **result, struct vfu_ctx *ctx, const char *channels,
                            const char *path)
{
    struct broker_transport *transport = calloc(1, sizeof(*transport));
    int err;

    if (transport == NULL) {
        return -ENOMEM;
    }
    transport->base = (struct transport){
        .ops = &broker_ops,
        .vets = true,
        .jailed = true,
        .twin = -1,
    };
    transport->ctx = ctx;
    transport->index = -1;
    transport->channel = (struct control_channel){
        .role = CONTROL_CHILD_END,
        .state = CONTROL_STATE_START,
    };
    transport->poller = POLLER_NONE;
    /* First: after the seal no channel is left, and nothing else could be made. */
    err = find_channel(transport, channels, path);
    if (err == 0) {
        err = poller_init(&transport->poller, ctx->nonblocking);
    }
    if (err == 0) {
        err = poller_watch(&transport->poller, transport->channel.fd, EPOLLIN);
    }
    if (err < 0) {
        broker_destroy(&transport->base);
        return err;
    }
    *result = &transport->base;
    return 0;
}
