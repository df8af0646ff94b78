/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client: connects to a device's socket, negotiates, and drives the device as a VMM
 * does. Every call has a time limit, no call assumes that replies come in the order of the
 * commands, and no path leaks a descriptor, whatever the server sends.
 *
 * Results, unless a function says otherwise: 0; a negative errno for what went wrong here or on
 * the way (-ETIMEDOUT, -ENOTCONN, -EPROTO, ...); a positive errno is the server's answer to the
 * command, and the connection is as good as before.
 *
 * One thread at a time may use a client.
 */
#pragma once

#include "ipc/fd_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/vfio-user.h>

struct client;

/* What QEMU gives a device to answer. */
#define CLIENT_TIMEOUT_MS 5000

/* --- connection (connect.c) --- */

/*
 * Connects to the listening socket @path; nothing is sent yet. @timeout_ms bounds the connecting
 * and, until changed, each later call. The caller ends with client_free(). Returns 0 or -errno,
 * -ETIMEDOUT if nobody accepted in time.
 */
int client_connect(const char *path, int timeout_ms, struct client **client);

/* Takes a connected stream socket, whatever the result. */
int client_adopt(int sock, int timeout_ms, struct client **client);

/* Closes the connection. NULL is fine. Always returns NULL. */
struct client *client_free(struct client *client);

void client_set_timeout(struct client *client, int timeout_ms);

/* The connected socket, non-blocking, owned by @client. */
int client_socket(const struct client *client);

/* The one for the server's commands, or -1 if none was negotiated. */
int client_twin_socket(const struct client *client);

/* --- messages (message.c) --- */

/* One received message; owns what it points to. */
struct client_message {
    struct vfio_user_header header;
    uint8_t *payload; /* NULL if there is none */
    size_t size;      /* bytes of payload */
    struct fd_list fds;
};

/* Frees the payload and closes what descriptors are left. Safe twice, and on a zeroed message. */
void client_message_release(struct client_message *message);

#define AUTO_CLIENT_MESSAGE __attribute__((cleanup(client_message_release))) struct client_message

/* Is shown every message that arrives, before anybody else sees it; it keeps nothing of it. */
typedef void client_tap_fn(void *opaque, const struct client_message *message);

/* NULL takes the tap away. */
void client_set_tap(struct client *client, client_tap_fn *tap, void *opaque);

/* --- commands (command.c) --- */

/* A command to send. The payload is @head followed by @data; all is borrowed. */
struct client_request {
    uint16_t command;
    const void *head;
    size_t head_size;
    const void *data;
    size_t data_size;
    const int *fds;
    size_t fd_count; /* at most FD_LIST_MAX */
};

/*
 * Sends a command without waiting for the answer, which client_collect() fetches under the number
 * put into @id. Any number may be outstanding. Returns 0 or -errno.
 */
int client_submit(struct client *client, const struct client_request *request, uint16_t *id);

/* Sends a command that asks for no reply. Returns 0 or -errno. */
int client_post(struct client *client, const struct client_request *request);

/*
 * Waits for the reply to command @id, in whatever order replies come. @reply is filled when the
 * result is 0 or positive, and is the caller's to release; NULL drops it. After -ETIMEDOUT the
 * command is forgotten: its reply is dropped should it come. -ENOENT: no such command outstanding.
 */
int client_collect(struct client *client, uint16_t id, struct client_message *reply);

/* Sends a command and waits for its reply: client_submit() and client_collect(). */
int client_command(struct client *client, const struct client_request *request,
                   struct client_message *reply);

/*
 * The same for a reply whose payload is exactly @size bytes, copied to @payload, and without
 * descriptors. -EPROTO if it is not.
 */
int client_command_fixed(struct client *client, const struct client_request *request, void *payload,
                         size_t size);

/* --- negotiation (negotiate.c) --- */

/* What one side says of itself in VERSION. */
struct client_capabilities {
    uint16_t minor;
    uint32_t max_msg_fds;
    uint64_t max_data_xfer_size;
    uint64_t max_dma_maps;
    uint64_t pgsizes;
    uint64_t migration_pgsize; /* 0: no migration */
    bool write_multiple;
    bool twin_socket;
    uint32_t twin_fd_index; /* which descriptor of the reply it was */
};

/* What we say of ourselves. */
struct client_offer {
    uint32_t max_msg_fds;
    uint64_t max_data_xfer_size; /* replies with more than 1 MiB of data end the connection */
    uint64_t max_dma_maps;       /* 0: 65535 */
    uint64_t pgsizes;            /* 0: 4096 */
    uint64_t migration_pgsize;   /* 0: 4096 */
    bool write_multiple;
    bool twin_socket;
};

/*
 * Exchanges VERSION: has to be the first command. Afterwards the calls below keep to the server's
 * limits. -EPROTO for an answer that cannot be worked with. The second form offers everything but
 * a twin socket.
 */
int client_negotiate_as(struct client *client, const struct client_offer *offer);
int client_negotiate(struct client *client);

/* What the server said; the protocol's defaults before client_negotiate(). */
const struct client_capabilities *client_server_capabilities(const struct client *client);

/* --- the device as a whole (device.c) --- */

int client_get_device_info(struct client *client, struct vfio_user_device_info *info);
int client_reset_device(struct client *client);

/* --- regions (region.c, access.c) --- */

struct client_region {
    uint32_t index;
    uint32_t flags;  /* VFIO_REGION_INFO_FLAG_* */
    uint64_t size;   /* 0: the device has no such region */
    uint64_t offset; /* of the region in the file of @fd */
    int fd;          /* of a mappable region, owned; else -1 */
    size_t area_count;
    struct vfio_region_sparse_mmap_area *areas; /* owned; offsets count from the region's start */
};

/* Asks as often as it takes to get the whole answer. @region is the caller's to release. */
int client_get_region_info(struct client *client, uint32_t index, struct client_region *region);

void client_region_release(struct client_region *region);

#define AUTO_CLIENT_REGION __attribute__((cleanup(client_region_release))) struct client_region

/* Maps area @area of a mappable region, shared. Returns the address or MAP_FAILED with errno. */
void *client_region_map(const struct client_region *region, size_t area, int prot);

/* Reads @count bytes, in pieces that the server takes. */
int client_region_read(struct client *client, uint32_t region, uint64_t offset, void *buffer,
                       size_t count);
int client_region_write(struct client *client, uint32_t region, uint64_t offset, const void *buffer,
                        size_t count);

/* Writes without asking for replies: 0 says only that it was sent. */
int client_region_post(struct client *client, uint32_t region, uint64_t offset, const void *buffer,
                       size_t count);

/* Writes that fit into one message. */
#define CLIENT_WRITES_MAX 43690u

/*
 * Several small writes in one message, done in order. @done (may be NULL) gets how many were: the
 * first that the device refuses ends them. -EOPNOTSUPP if the server did not offer it, -E2BIG for
 * more than CLIENT_WRITES_MAX.
 */
int client_region_write_multi(struct client *client, const struct vfio_user_region_write *writes,
                              size_t count, uint64_t *done);

/* The same without a reply. */
int client_region_post_multi(struct client *client, const struct vfio_user_region_write *writes,
                             size_t count);

/* --- ioeventfds (io_fds.c) --- */

struct client_io_fds {
    uint32_t count;
    vfio_user_sub_region_ioeventfd_t *entries; /* owned; their indexes count in @fds */
    struct fd_list fds;                        /* owned */
};

/* Asks as often as it takes to get the whole answer. @io_fds is the caller's to release. */
int client_get_io_fds(struct client *client, uint32_t index, struct client_io_fds *io_fds);

void client_io_fds_release(struct client_io_fds *io_fds);

#define AUTO_CLIENT_IO_FDS __attribute__((cleanup(client_io_fds_release))) struct client_io_fds

/* --- interrupts (irq.c) --- */

int client_get_irq_info(struct client *client, uint32_t index, struct vfio_irq_info *info);

/*
 * SET_IRQS as it is. @flags: VFIO_IRQ_SET_DATA_* and VFIO_IRQ_SET_ACTION_*. @bools: one byte for
 * each of @count vectors with DATA_BOOL, else NULL. @fds: borrowed.
 */
int client_set_irqs(struct client *client, uint32_t flags, uint32_t index, uint32_t start,
                    uint32_t count, const uint8_t *bools, const int *fds, size_t fd_count);

/*
 * Assigns eventfds to vectors @start and on, in as many messages as the server's limit of
 * descriptors takes.
 */
int client_irq_assign(struct client *client, uint32_t index, uint32_t start, const int *eventfds,
                      uint32_t count);

/* Takes the eventfds of vectors @start and on away. */
int client_irq_deassign(struct client *client, uint32_t index, uint32_t start, uint32_t count);

/* Takes all eventfds of the index away. */
int client_irq_disable(struct client *client, uint32_t index);

/* --- guest memory (dma.c) --- */

/*
 * Shows the device @size bytes at @iova: those at @offset of @fd (borrowed), or with fd -1 memory
 * that it reaches by messages alone. @flags: VFIO_USER_F_DMA_REGION_*.
 */
int client_dma_map(struct client *client, uint64_t iova, uint64_t size, uint32_t flags, int fd,
                   uint64_t offset);
int client_dma_unmap(struct client *client, uint64_t iova, uint64_t size);
int client_dma_unmap_all(struct client *client);

/* Unmaps, and tells what the device has written there since it was last asked; see below. */
int client_dma_unmap_dirty(struct client *client, uint64_t iova, uint64_t size, uint64_t page_size,
                           void *bitmap);

/* --- commands of the server (serve.c) --- */

/*
 * Copies @count bytes between guest memory at @iova and @data: from @data if @is_write. Returns 0,
 * or the positive errno that the server gets. Is called out of any call that waits.
 */
typedef int client_dma_fn(void *opaque, uint64_t iova, void *data, uint64_t count, bool is_write);

/* Serves DMA_READ and DMA_WRITE from now on; NULL refuses them with ENOTSUP, as at first. */
void client_set_dma(struct client *client, client_dma_fn *dma, void *opaque);

/*
 * Waits for something to arrive and handles it: the server's commands are answered, replies kept
 * for client_collect(). Returns 0 or -errno, -ETIMEDOUT if nothing came in time.
 */
int client_serve(struct client *client);

/* --- migration and dirty pages (migration.c) --- */

/*
 * DEVICE_FEATURE as it is. GET has @size bytes of @data behind its header, and its answer exactly
 * @answer_size. The answer to SET and PROBE is the request: -EPROTO if it is not. @operations:
 * VFIO_DEVICE_FEATURE_GET or _SET, or 0.
 */
int client_feature_get(struct client *client, uint32_t number, const void *data, size_t size,
                       void *answer, size_t answer_size);
int client_feature_set(struct client *client, uint32_t number, const void *data, size_t size);
int client_feature_probe(struct client *client, uint32_t number, uint32_t operations);

/* States: VFIO_USER_DEVICE_STATE_*. */
int client_migration_get_state(struct client *client, uint32_t *state);
int client_migration_set_state(struct client *client, uint32_t state);

/* VFIO_MIGRATION_*. */
int client_migration_get_flags(struct client *client, uint64_t *flags);

/*
 * Up to @size bytes of the device's state, at most 1 MiB and what the offer says; @read
 * says how many came. What is written goes in pieces that the server takes.
 */
int client_migration_read(struct client *client, void *buffer, uint32_t size, uint32_t *read);
int client_migration_write(struct client *client, const void *buffer, uint32_t size);

#define CLIENT_RANGES_MAX 4096u

/* Starts and ends the log of pages that the device writes, in all of guest memory or in parts. */
int client_dirty_start(struct client *client, uint64_t page_size);
int client_dirty_start_ranges(struct client *client, uint64_t page_size,
                              const struct vfio_user_device_feature_dma_logging_range *ranges,
                              uint32_t count);
int client_dirty_stop(struct client *client);

/* Bytes of a bitmap: one bit per page, in groups of 64. @page_size is not 0. */
size_t client_dirty_bytes(uint64_t length, uint64_t page_size);

/* What was written in the range since it was last asked for. */
int client_dirty_report(struct client *client, uint64_t iova, uint64_t length, uint64_t page_size,
                        void *bitmap);

/* --- bytes as they are, for hostile tests (raw.c) --- */

/*
 * Sends @size bytes, the descriptors with the first of them, in one sendmsg as far as the socket
 * takes it. Keep raw sending and commands apart: nothing here counts as an outstanding command.
 * Returns 0 or -errno.
 */
int client_raw_send(struct client *client, const void *bytes, size_t size, const int *fds,
                    size_t fd_count);

/*
 * Receives the next message, whatever it is. Returns 1 (@message is the caller's to release), 0 if
 * the server has closed the connection, or -errno, -ETIMEDOUT if neither happens in time.
 */
int client_raw_receive(struct client *client, struct client_message *message);
