/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a client comes from, and how descriptors are exchanged with it.
 *
 *   transport_socket.c   the device binds the socket itself and does everything itself
 *   transport_broker.c   vfu-broker has the socket; its gate receives and sends whatever may carry
 *                        descriptors, and all other bytes go straight through the client's socket
 *
 * A transport passes bytes and descriptors; connection.c makes messages of them.
 */
#pragma once

#include "device/adaptive_wait.h"
#include "device/attachment.h"
#include "ipc/control.h"
#include "ipc/fd_list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct transport;
struct vfu_ctx;

struct transport_ops {
    /*
     * Gets a client; @wait says whether to wait for one. Returns its socket, non-blocking, which
     * the caller owns; or -EAGAIN, -EINTR or another negative errno.
     */
    int (*attach)(struct transport *transport, struct vfu_ctx *ctx, bool wait);
    /*
     * Receives up to @size bytes, and what descriptors come with them, without blocking. Fills in
     * transport->vetting. Results as socket_receive().
     */
    ssize_t (*take)(struct transport *transport, int sock, uint16_t command, void *buffer,
                    size_t size, struct fd_list *fds);
    /* Sends up to @size bytes without blocking. Returns how many, or -errno. */
    ssize_t (*send)(struct transport *transport, int sock, const void *buffer, size_t size);
    /*
     * The same, with descriptors: they go with the first byte. ATTACHMENT_TWIN: our end of the
     * pair, which does not block, is then in transport->twin.
     */
    ssize_t (*send_attached)(struct transport *transport, int sock, const void *buffer, size_t size,
                             const struct attachment *attachment);
    /* Whether clients can be sent @fd, as part of an ioeventfd and used as @kind. */
    bool (*can_share)(const struct transport *transport, int fd, enum descriptor_kind kind);
    /*
     * What poll_fd() waits for from now on: input from the client, or @room for output to it; and
     * whether the client has a deadline. Called again and again while it has.
     */
    void (*expect)(struct transport *transport, int sock, bool room, bool timed);
    /* Whether poll_fd() waits for input from @fd as well; before that is closed it must not. */
    void (*watch)(struct transport *transport, int fd, bool on);
    /* The version exchange has succeeded. */
    void (*negotiated)(struct transport *transport);
    /* The client is gone; its socket is closed next. */
    void (*detach)(struct transport *transport);
    /* What becomes readable when there is something to do; always the same. */
    int (*poll_fd)(const struct transport *transport);
    void (*destroy)(struct transport *transport);
};

/* What is known of the descriptors that came with the current message. */
struct vetting {
    int error;      /* errno (positive) with which to refuse a command that uses them: none is
                       left then; 0: they are as below */
    uint32_t count; /* entries in kind[] */
    uint8_t kind[FD_LIST_MAX]; /* enum descriptor_kind */
};

struct transport {
    const struct transport_ops *ops;
    struct vetting vetting;
    bool vets;    /* vetting.kind[] is filled in; else the library looks at descriptors itself */
    bool jailed;  /* no core is ever dumped, and the calls are limited that can be made */
    int twin;     /* owned; -1: none, or taken by the connection */
    int watch_fd; /* readable when the session is over, whatever the client does; or -1 */
    unsigned
        handshake_seconds;  /* until the version exchange is complete; 0: others look after it */
    unsigned stall_seconds; /* for the rest of a message, and for reading a reply */
    size_t max_dma_regions; /* limits that a policy sets */
    uint64_t max_dma_bytes;
    uint32_t max_poll_us;
    struct adaptive_wait pace; /* of waits for whomever the transport itself asks */
};

/*
 * Makes the transport that the environment asks for. Returns 0, or a negative errno as documented
 * for vfu_create_ctx().
 */
int transport_create(struct transport **transport, struct vfu_ctx *ctx, const char *path);
int transport_socket_create(struct transport **transport, const char *path, bool nonblocking);
int transport_broker_create(struct transport **transport, struct vfu_ctx *ctx, const char *channels,
                            const char *path);

/*
 * Whether descriptor @index of a message can serve as @wanted. Returns 0; DESCRIPTOR_WITHHELD or
 * DESCRIPTOR_READ_ONLY if it is memory that the policy restricts so; or -EINVAL.
 */
int transport_check_descriptor(struct transport *transport, const struct fd_list *fds, size_t index,
                               enum descriptor_kind wanted);

/* Forgets what was known of the last message's descriptors. */
static inline void transport_forget_vetting(struct transport *transport)
{
    transport->vetting.error = 0;
    transport->vetting.count = 0;
}
