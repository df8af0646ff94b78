/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control channels inside the broker: SOCK_SEQPACKET pairs on which each message is one
 * datagram of a fixed layout, with at most one variable tail of bytes.
 *
 *   device channel   the device process  <->  the supervisor up to SEALED, then on its gate
 *   gate channel     the gate            <->  the supervisor
 *
 * A table (control.c) says which message may come from which side in which state of the channel.
 * Each end keeps a struct control_channel, which follows the state with every message sent and
 * received. Anything else, a wrong size or a wrong number of descriptors included, is -EPROTO, and
 * ends the peer, not the receiver.
 *
 * A session:
 *
 *   supervisor               device process               gate
 *   SEAL   ----------------> (inherits the channel)
 *          <---------------- NOTIFY + listener (filter loaded)
 *          <---------------- SEALED (its own copy of the listener is closed)
 *   (verifies the process in /proc)
 *   DEVICE + its end of the device channel -------------> (jails itself)
 *                            REGION + memory -----------> one for each shared region
 *                            IO_FD + descriptor --------> one for each that ioeventfds have
 *                            READY ---------------------> (waits for a client)
 *          <--------------------------------------------- WAITING
 *   (verifies the gate)
 *   LISTEN + the listening socket ----------------------> may accept clients now
 *          <--------------------------------------------- CANDIDATE (a client connected)
 *   VERDICT --------------------------------------------> admit it (else: REFUSED follows)
 *                                   <-------------------- CLIENT + the client's socket
 *                            TAKE ----------------------> for messages that may carry descriptors
 *                                   <-------------------- TAKEN + vetted descriptors
 *                            SEND ----------------------> for replies that carry descriptors
 *                                   <-------------------- SENT, + an end of the twin socket
 *                            NEGOTIATED ----------------> the handshake limit no longer runs
 *                            DETACHED ------------------> the client is gone; session over
 *          <--------------------------------------------- ENDED
 */
#pragma once

#include "ipc/fd_list.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTROL_VERSION 1u

/* The descriptor that a device process inherits, named by the environment variable. */
#define CONTROL_ENV "VFU_BROKER_FD"
#define CONTROL_FD 3

/*
 * A broker with several sockets gives the process a channel for each, in a row from that
 * descriptor on, and the names of the sockets in the same order: the last components of their
 * paths, with a '/' between each two. The first channel is the one that seals the process.
 */
#define CONTROL_SOCKETS_ENV "VFU_BROKER_SOCKETS"
#define CONTROL_MAX_CHANNELS 64

/* Resources of the policy that it inherits: "name=fd,name=fd". */
#define CONTROL_RESOURCES_ENV "VFU_BROKER_RESOURCES"

/* The policy's name: that of its file without folder and ".json". */
#define CONTROL_POLICY_ENV "VFU_BROKER_POLICY"

/* Largest tail: a filter program, or a piece of the client's stream. */
#define CONTROL_TAIL_MAX 4096u

/* Descriptors of ioeventfds that a device process can declare. */
#define CONTROL_IO_FDS_MAX 512u

enum control_type {
    /* device channel */
    CONTROL_SEAL = 1,   /* to device: limits; tail: the final filter, struct sock_filter[] */
    CONTROL_NOTIFY,     /* to supervisor: filter loaded; 1 fd: its notification listener */
    CONTROL_SEALED,     /* to supervisor: listener closed, nothing left to give up: verify me */
    CONTROL_REGION,     /* to gate: memory that a region shares with clients; 1 fd */
    CONTROL_IO_FD,      /* to gate: eventfd or shadow memory of an ioeventfd; 1 fd */
    CONTROL_READY,      /* to gate: all is declared, give me a client */
    CONTROL_CLIENT,     /* to device; 1 fd: the client's socket, non-blocking */
    CONTROL_TAKE,       /* to gate: receive from the client */
    CONTROL_TAKEN,      /* to device: result; tail: the bytes; vetted fds */
    CONTROL_SEND,       /* to gate: send to the client with descriptors; tail: the bytes */
    CONTROL_SENT,       /* to device: result; 1 fd if a twin socket was made */
    CONTROL_NEGOTIATED, /* to gate: VERSION succeeded */
    CONTROL_DETACHED,   /* to gate: the device is done with this client */
    /* gate channel */
    CONTROL_DEVICE,    /* to gate; 1 fd: its end of the device channel */
    CONTROL_WAITING,   /* to supervisor: jailed, device ready */
    CONTROL_LISTEN,    /* to gate; 1 fd: the listening socket */
    CONTROL_CANDIDATE, /* to supervisor: a client has connected, with these credentials */
    CONTROL_VERDICT,   /* to gate: admit it or refuse it */
    CONTROL_REFUSED,   /* to supervisor: the refused client is closed, accepting again */
    CONTROL_PROBE,     /* to gate: is your client still there? */
    CONTROL_PROBED,    /* to supervisor */
    CONTROL_REPORT,    /* to supervisor: something for the log */
    CONTROL_ENDED,     /* to supervisor: the session is over */
    CONTROL_TYPE_MAX
};

/* What a descriptor is, found out by vetting, whatever the message says. */
enum descriptor_kind {
    DESCRIPTOR_MEMORY = 1, /* memfd, tmpfs or hugetlbfs file */
    DESCRIPTOR_EVENTFD = 2,
    DESCRIPTOR_WITHHELD = 3, /* memory that the policy keeps from the device: nothing is passed */
    DESCRIPTOR_READ_ONLY = 4 /* memory that the policy lets the device only read */
};

/*
 * The descriptor that comes with SEAL, where guest memory is mapped: a sealed file of so many
 * zeros, more than is ever mapped, and less than memory files can have (2^63 - 1).
 */
#define CONTROL_ZEROS_SIZE (1ull << 62)

/*
 * The descriptor that comes with SEAL after that one, where a watchdog looks after the process:
 * memory of a file that can neither shrink nor grow.
 */
struct control_progress {
    struct {
        uint32_t requests; /* odd while one is served */
        uint32_t reserved[15];
    } contexts[CONTROL_MAX_CHANNELS]; /* in the order of the channels */
    uint32_t calls_begun;             /* that the client can make block */
    uint32_t calls_ended;
    uint32_t reserved[14];
};
static_assert(sizeof(struct control_progress) == 65 * 64, "layout");

struct control_seal {
    uint32_t version;      /* CONTROL_VERSION */
    uint32_t filter_count; /* instructions in the tail */
    uint64_t dma_max_bytes;
    uint32_t dma_max_regions;
    uint32_t irq_max_vectors;
    uint32_t stall_seconds;
    uint32_t watchdog; /* 0 or 1: the last descriptor is of struct control_progress */
    uint32_t poll_us;  /* at most, that a wait spins before it sleeps */
    uint32_t reserved;
};
static_assert(sizeof(struct control_seal) == 40, "layout");

struct control_region {
    uint32_t index; /* PCI region */
    uint32_t reserved;
};
static_assert(sizeof(struct control_region) == 8, "layout");

/* Numbered from 0 in the order in which they are declared. */
struct control_io_fd {
    uint32_t kind; /* enum descriptor_kind: EVENTFD, or MEMORY sealed against shrinking */
    uint32_t reserved;
};
static_assert(sizeof(struct control_io_fd) == 8, "layout");

struct control_take {
    uint32_t size;    /* at most, 1..FRAME_TAKE_MAX */
    uint16_t command; /* of the header that was peeked at; 0 if it was not complete */
    uint16_t reserved;
};
static_assert(sizeof(struct control_take) == 8, "layout");

struct control_taken {
    int32_t result;     /* bytes in the tail; 0 end of stream; -EAGAIN nothing there; -errno */
    int32_t fds_error;  /* 0, or the errno (positive) with which to refuse the command */
    uint32_t fds_count; /* that came with the message: entries in kind[] */
    uint8_t kind[FD_LIST_MAX + 3]; /* enum descriptor_kind; WITHHELD ones have no descriptor here */
};
static_assert(sizeof(struct control_taken) == 268, "layout");

/* What goes along. */
enum control_send_what {
    CONTROL_SEND_REGION = 1, /* the memory of one region */
    CONTROL_SEND_IO_FDS,     /* of the descriptors declared with IO_FD */
    CONTROL_SEND_TWIN,       /* one end of a new pair; once, before NEGOTIATED */
};

struct control_send {
    uint16_t what;                   /* enum control_send_what */
    uint16_t count;                  /* entries in index[] */
    uint16_t index[FD_LIST_MAX + 1]; /* of the region, or of each descriptor */
};
static_assert(sizeof(struct control_send) == 512, "layout");

struct control_sent {
    int32_t result; /* bytes sent, or -errno */
    uint32_t reserved;
};
static_assert(sizeof(struct control_sent) == 8, "layout");

struct control_candidate {
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;
    uint32_t reserved;
};
static_assert(sizeof(struct control_candidate) == 16, "layout");

struct control_verdict {
    uint32_t admit; /* 0 or 1 */
    uint32_t reserved;
};
static_assert(sizeof(struct control_verdict) == 8, "layout");

struct control_probed {
    uint32_t gone; /* 0 or 1: the client has hung up */
    uint32_t reserved;
};
static_assert(sizeof(struct control_probed) == 8, "layout");

enum control_event {
    CONTROL_EVENT_DESCRIPTOR_REFUSED = 1, /* detail: command, errno, enum vetting_reason */
    CONTROL_EVENT_NEGOTIATED,             /* detail: none */
    CONTROL_EVENT_SLOWED,                 /* the device asks for too much; detail: none */
};

struct control_report {
    uint32_t event; /* enum control_event */
    uint32_t detail[3];
};
static_assert(sizeof(struct control_report) == 16, "layout");

enum control_end {
    CONTROL_END_CLIENT_GONE = 1,   /* the device said DETACHED, or the client hung up */
    CONTROL_END_HANDSHAKE_TIMEOUT, /* no VERSION within client.handshake_seconds */
    CONTROL_END_DEVICE_GONE,       /* the device channel closed */
    CONTROL_END_DEVICE_PROTOCOL,   /* the device broke the rules of the channel */
    CONTROL_END_DEVICE_DESCRIPTOR, /* it declared what clients must not get; detail: its kind */
    CONTROL_END_CLIENT_PROTOCOL,   /* the client broke the stream: out-of-band data, ETOOMANYREFS */
    CONTROL_END_ERROR,             /* detail: errno */
};

struct control_ended {
    uint32_t reason; /* enum control_end */
    uint32_t detail;
};
static_assert(sizeof(struct control_ended) == 8, "layout");

/* A message as it is in memory. On the wire: type, tail size, body of the type's size, tail. */
struct control_message {
    uint32_t type;      /* enum control_type */
    uint32_t tail_size; /* bytes used in @tail */
    union {
        struct control_seal seal;
        struct control_region region;
        struct control_io_fd io_fd;
        struct control_take take;
        struct control_taken taken;
        struct control_send send;
        struct control_sent sent;
        struct control_candidate candidate;
        struct control_verdict verdict;
        struct control_probed probed;
        struct control_report report;
        struct control_ended ended;
    } body;
    uint8_t tail[CONTROL_TAIL_MAX];
};

enum control_role {
    CONTROL_BROKER_END, /* supervisor or gate on the device channel; supervisor on the gate's */
    CONTROL_CHILD_END,  /* device process; gate on its own channel to the supervisor */
};

/* States, a bit each, so that the table can name sets of them. */
enum control_state {
    /* device channel */
    CONTROL_STATE_START = 1 << 0,    /* spawned, SEAL not sent */
    CONTROL_STATE_SEALING = 1 << 1,  /* SEAL sent */
    CONTROL_STATE_FILTERED = 1 << 2, /* NOTIFY sent */
    CONTROL_STATE_SEALED = 1 << 3,   /* declares what clients may get */
    CONTROL_STATE_READY = 1 << 4,    /* waits for a client */
    CONTROL_STATE_SERVING = 1 << 5,  /* has one */
    CONTROL_STATE_TAKING = 1 << 6,   /* TAKE unanswered */
    CONTROL_STATE_SENDING = 1 << 7,  /* SEND unanswered */
    /* gate channel */
    CONTROL_STATE_IDLE = 1 << 8,      /* no device yet */
    CONTROL_STATE_PREPARING = 1 << 9, /* has the device channel */
    CONTROL_STATE_WAITING = 1 << 10,  /* for the listening socket */
    CONTROL_STATE_ACCEPTING = 1 << 11,
    CONTROL_STATE_JUDGING = 1 << 12,  /* CANDIDATE unanswered */
    CONTROL_STATE_REFUSING = 1 << 13, /* closes a refused client */
    CONTROL_STATE_BUSY = 1 << 14,     /* has a client */
    CONTROL_STATE_PROBING = 1 << 15,  /* PROBE unanswered */
    /* both */
    CONTROL_STATE_OVER = 1 << 16,
};

struct control_channel {
    int fd; /* a socket, owned by whoever made the channel */
    /*
     * 0, or a pipe (O_DIRECT: a write is a packet) that takes the place of the socket for what the
     * child's end sends. It can carry no descriptor that the broker's end would have to close.
     */
    int pipe;
    enum control_role role;
    enum control_state state;
    uint32_t seen; /* messages marked "once" that have passed, a bit for each type */
};

/*
 * Sends @message; its type's body size and descriptor count are fixed by the table. @fds is
 * borrowed, NULL for none. @flags: MSG_DONTWAIT or 0. Returns 0, -EPROTO if the table forbids it
 * now, -EAGAIN, or -errno (-EPIPE, -ECONNRESET: the peer is gone).
 */
int control_send(struct control_channel *channel, const struct control_message *message,
                 const struct fd_list *fds, int flags);

/* The same for a message without body, tail and descriptors. */
int control_send_plain(struct control_channel *channel, enum control_type type, int flags);

/*
 * Receives one message. @fds must be empty and is filled with what the type may carry. @flags:
 * MSG_DONTWAIT or 0. Returns 1, 0 if the peer closed, -EAGAIN, -EPROTO for whatever the table
 * does not permit (everything received is closed then), or -errno.
 */
int control_receive(struct control_channel *channel, struct control_message *message,
                    struct fd_list *fds, int flags);

/* The message's name, for logs and tests. */
const char *control_type_name(uint32_t type);
