/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One sendmsg or recvmsg on a UNIX socket, with descriptors, and without the traps of SCM_RIGHTS:
 * what arrives is close-on-exec from birth, truncated control data is an error, and on every error
 * all that arrived is closed.
 */
#pragma once

#include "ipc/fd_list.h"

#include <sys/types.h>
#include <sys/uio.h>

/*
 * Looks at up to @size bytes without consuming them and without blocking. A peek never reads
 * across the start of data that carries descriptors (af_unix.c, unix_stream_read_generic).
 * Returns the number of bytes, 0 at the end of the stream, -EAGAIN if there is nothing, -errno.
 */
ssize_t socket_peek(int sock, void *buffer, size_t size);

/*
 * Receives up to @size bytes and the descriptors attached to them. @flags as for recvmsg(2).
 * @fds must be empty; NULL means that descriptors are an error. Returns the number of bytes, 0 at
 * the end of the stream, or:
 *   -EAGAIN   nothing to receive (with MSG_DONTWAIT or a non-blocking socket)
 *   -EMSGSIZE a SEQPACKET message was larger than @size
 *   -EPROTO   control data truncated (e.g. RLIMIT_NOFILE), foreign, or unexpected descriptors
 *   -errno    any other failure of recvmsg
 * An interrupted call is repeated.
 */
ssize_t socket_receive(int sock, void *buffer, size_t size, int flags, struct fd_list *fds);

/*
 * Sends up to @size bytes, and with the first of them @fds (borrowed; NULL for none). @flags as
 * for sendmsg(2); MSG_NOSIGNAL is added. Returns the number of bytes sent, which may be short on a
 * stream, or -errno. ETOOMANYREFS means that too many descriptors of this user are in flight.
 * An interrupted call is repeated.
 */
ssize_t socket_send(int sock, const void *buffer, size_t size, int flags,
                    const struct fd_list *fds);

/* The same for @count pieces of memory. */
ssize_t socket_send_pieces(int sock, const struct iovec *pieces, size_t count, int flags,
                           const struct fd_list *fds);
