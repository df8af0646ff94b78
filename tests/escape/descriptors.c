/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors and sockets: to gain one, to hand one on, to change what a number means. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define GROUP "descriptors"
#define START "start filter"
#define HIGH (1ul << 32) /* beyond what the kernel takes as an int */
#define MAX_DESCRIPTORS 65536

static long socket_of(int domain, int type, int protocol)
{
    return result_of(syscall(SYS_socket, domain, type, protocol));
}

static long socket_unix(const struct surroundings *s)
{
    return socket_of(AF_UNIX, SOCK_STREAM, 0);
}

static long socket_inet(const struct surroundings *s)
{
    return socket_of(AF_INET, SOCK_STREAM, 0);
}

static long socket_netlink(const struct surroundings *s)
{
    return socket_of(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

static long socketpair_(const struct surroundings *s)
{
    int ends[2];

    return result_of(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends));
}

/* To an abstract address, which is no file: whoever listens there is looked up first. */
static long connect_abstract(const struct surroundings *s)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0nobody-listens-here" };

    return result_of(syscall(SYS_connect, s->client, &address, sizeof(address)));
}

static long bind_(const struct surroundings *s)
{
    return result_of(syscall(SYS_bind, -1, NULL, 0));
}

static long accept_(const struct surroundings *s)
{
    return result_of(syscall(SYS_accept4, -1, NULL, NULL, 0));
}

static long shutdown_(const struct surroundings *s)
{
    return result_of(syscall(SYS_shutdown, -1, SHUT_RDWR));
}

/* --- messages with descriptors -------------------------------------------------------------- */

/* Returns the descriptor, or -1. */
static int received_descriptor(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd = -1;

    if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    }
    return fd;
}

static void wait_for_client(const struct surroundings *s)
{
    struct pollfd client = { .fd = s->client, .events = POLLIN };

    syscall(SYS_ppoll, &client, 1, NULL, NULL, 0);
}

/* 1 if the client's descriptor has arrived, past the gate. */
static long recvmsg_descriptor(const struct surroundings *s)
{
    char bytes[16];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { .room = { 0 } };
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    long result;

    wait_for_client(s);
    result = syscall(SYS_recvmsg, s->client, &message, MSG_CMSG_CLOEXEC);
    return result < 0 ? -errno : received_descriptor(&message) >= 0;
}

static long send_on(int sock, long call, int type, const void *data, size_t size)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control = { .room = { 0 } };
    struct iovec iov = { &byte, 1 };
    struct mmsghdr message = {
        .msg_hdr = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = &control,
            .msg_controllen = CMSG_SPACE(size),
        },
    };

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = type;
    control.header.cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(&control.header), data, size);
    return call == SYS_sendmsg ? result_of(syscall(SYS_sendmsg, sock, &message.msg_hdr, 0))
                               : result_of(syscall(SYS_sendmmsg, sock, &message, 1, 0));
}

static long sendmsg_descriptor(const struct surroundings *s)
{
    return send_on(s->client, SYS_sendmsg, SCM_RIGHTS, &s->memory, sizeof(int));
}

static long sendmmsg_descriptor(const struct surroundings *s)
{
    return send_on(s->client, SYS_sendmmsg, SCM_RIGHTS, &s->memory, sizeof(int));
}

static long sendmsg_credentials(const struct surroundings *s)
{
    /* The group does not matter: it is checked last, and what is checked first is true. */
    struct ucred self = { .pid = s->pid, .uid = s->uid, .gid = (gid_t)-1 };

    return send_on(s->client, SYS_sendmsg, SCM_CREDENTIALS, &self, sizeof(self));
}

static long sendto_(const struct surroundings *s)
{
    return result_of(syscall(SYS_sendto, -1, "", 1, 0, NULL, 0));
}

static long recvmmsg_(const struct surroundings *s)
{
    return result_of(syscall(SYS_recvmmsg, -1, NULL, 0, 0, NULL));
}

static long recvfrom_out_of_band(const struct surroundings *s)
{
    return result_of(syscall(SYS_recvfrom, -1, NULL, 0, MSG_OOB | MSG_DONTWAIT, NULL, NULL));
}

static long recvfrom_plain(const struct surroundings *s)
{
    return result_of(syscall(SYS_recvfrom, -1, NULL, 0, 0, NULL, NULL));
}

static long attach_filter(const struct surroundings *s)
{
    return result_of(syscall(SYS_setsockopt, s->client, SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0));
}

/* --- numbers -------------------------------------------------------------------------------- */

static long dup_(const struct surroundings *s)
{
    return result_of(syscall(SYS_dup, 0));
}

#ifdef SYS_dup2
static long dup2_over_control(const struct surroundings *s)
{
    return result_of(syscall(SYS_dup2, 0, 3));
}
#endif

static long dup3_over_client(const struct surroundings *s)
{
    return result_of(syscall(SYS_dup3, 0, s->client, 0));
}

static long fcntl_dup(const struct surroundings *s)
{
    return result_of(syscall(SYS_fcntl, 0, F_DUPFD, 0));
}

static long fcntl_owner(const struct surroundings *s)
{
    return result_of(syscall(SYS_fcntl, s->client, F_SETOWN, 0));
}

/* Flags of the description that the gate uses too. */
static long fcntl_blocking(const struct surroundings *s)
{
    return result_of(syscall(SYS_fcntl, s->client, F_SETFL, 0));
}

static long close_control(const struct surroundings *s)
{
    return result_of(syscall(SYS_close, 3));
}

static long close_null(const struct surroundings *s)
{
    return result_of(syscall(SYS_close, 0));
}

/* The kernel looks at the low half alone. */
static long close_control_with_high_bits(const struct surroundings *s)
{
    return result_of(syscall(SYS_close, 3 | HIGH));
}

static long close_range_(const struct surroundings *s)
{
    return result_of(syscall(SYS_close_range, 3, 3, 0));
}

static long ioctl_inject_input(const struct surroundings *s)
{
    return result_of(syscall(SYS_ioctl, 0, TIOCSTI, ""));
}

static long ioctl_signal_on_input(const struct surroundings *s)
{
    int off = 0;

    return result_of(syscall(SYS_ioctl, s->client, FIOASYNC, &off));
}

/* What is open, a line each: number and kind. */
static long sweep(const struct surroundings *s)
{
    long count = 0;

    for (int fd = 0; fd < MAX_DESCRIPTORS; fd++) {
        char line[80];
        struct stat st;

        if (syscall(SYS_fstat, fd, &st) == 0) {
            snprintf(line, sizeof(line), "%d %o %u:%u links=%lu", fd, st.st_mode & S_IFMT,
                     major(st.st_rdev), minor(st.st_rdev), (unsigned long)st.st_nlink);
            report_line(s, line);
            count++;
        }
    }
    return count;
}

static const struct attempt table[] = {
    ATTEMPT("socket-unix", socket_unix, BLOCKED(socket), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("socket-inet", socket_inet, BLOCKED(socket), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("socket-netlink", socket_netlink, BLOCKED(socket), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("socketpair", socketpair_, BLOCKED(socketpair), RETURNS(0), OTHERS(-ENOSYS, START)),
    ATTEMPT("connect-abstract", connect_abstract, BLOCKED(connect), FAILS(ECONNREFUSED)),
    ATTEMPT("bind", bind_, BLOCKED(bind), FAILS(EBADF)),
    ATTEMPT("accept", accept_, BLOCKED(accept4), FAILS(EBADF)),
    ATTEMPT("shutdown", shutdown_, BLOCKED(shutdown), FAILS(EBADF)),
    ATTEMPT("recvmsg-descriptor", recvmsg_descriptor, BLOCKED(recvmsg), RETURNS(1),
            .client = CLIENT_SENDS_DESCRIPTOR),
    ATTEMPT("sendmsg-descriptor", sendmsg_descriptor, BLOCKED(sendmsg), RETURNS(1)),
    ATTEMPT("sendmmsg-descriptor", sendmmsg_descriptor, BLOCKED(sendmmsg), RETURNS(1)),
    ATTEMPT("sendmsg-credentials", sendmsg_credentials, BLOCKED(sendmsg), FAILS(EINVAL)),
    ATTEMPT("sendto", sendto_, BLOCKED(sendto), FAILS(EBADF)),
    ATTEMPT("recvmmsg", recvmmsg_, BLOCKED(recvmmsg), FAILS(EBADF)),
    ATTEMPT("recvfrom-out-of-band", recvfrom_out_of_band, BLOCKED(recvfrom), FAILS(EBADF)),
    ATTEMPT("recvfrom-plain", recvfrom_plain, BLOCKED(recvfrom), FAILS(EBADF)),
    ATTEMPT("attach-filter", attach_filter, BLOCKED(setsockopt), FAILS(EINVAL)),
    ATTEMPT("dup", dup_, BLOCKED(dup), SUCCEEDS),
#ifdef SYS_dup2
    ATTEMPT("dup2-over-control", dup2_over_control, BLOCKED(dup2), RETURNS(3)),
#endif
    ATTEMPT("dup3-over-client", dup3_over_client, BLOCKED(dup3), SUCCEEDS),
    ATTEMPT("fcntl-dup", fcntl_dup, BLOCKED(fcntl), SUCCEEDS),
    ATTEMPT("fcntl-owner", fcntl_owner, BLOCKED(fcntl), RETURNS(0)),
    ATTEMPT("fcntl-blocking", fcntl_blocking, BLOCKED(fcntl), RETURNS(0)),
    ATTEMPT("close-control", close_control, BLOCKED(close), RETURNS(0)),
    ATTEMPT("close-null", close_null, BLOCKED(close), RETURNS(0)),
    ATTEMPT("close-control-high-bits", close_control_with_high_bits, BLOCKED(close), RETURNS(0)),
    ATTEMPT("close-range", close_range_, BLOCKED(close_range), RETURNS(0)),
    ATTEMPT("ioctl-inject-input", ioctl_inject_input, BLOCKED(ioctl), FAILS(ENOTTY)),
    ATTEMPT("ioctl-signal-on-input", ioctl_signal_on_input, BLOCKED(ioctl), RETURNS(0)),
    /* How many there are, and what, is looked at by the runner. */
    ATTEMPT("descriptor-sweep", sweep, ALLOWED("descriptors closed"), SUCCEEDS),
};

const struct attempt_group attempts_descriptors = { table, sizeof(table) / sizeof(table[0]) };
