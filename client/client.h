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

struct vfu_client;

/* What QEMU gives a device to answer. */
#define VFU_CLIENT_TIMEOUT_MS 5000

/* --- connection (connect.c) --- */

/*
 * Connects to the listening socket @path; nothing is sent yet. @timeout_ms bounds the connecting
 * and, until changed, each later call. The caller ends with vfu_client_free(). Returns 0 or -errno,
 * -ETIMEDOUT if nobody accepted in time.
 */
int vfu_client_connect(const char *path, int timeout_ms, struct vfu_client **client);

/* Takes a connected stream socket, whatever the result. */
int vfu_client_adopt(int sock, int timeout_ms, struct vfu_client **client);

/* Closes the connection. NULL is fine. Always returns NULL. */
struct vfu_client *vfu_client_free(struct vfu_client *client);

void vfu_client_set_timeout(struct vfu_client *client, int timeout_ms);

/* The connected socket, non-blocking, owned by @client. */
int vfu_client_socket(const struct vfu_client *client);

/* The one for the server's commands, or -1 if none was negotiated. */
int vfu_client_twin_socket(const struct vfu_client *client);

/* --- messages (message.c) --- */

/* One received message; owns what it points to. */
struct vfu_client_message {
    struct vfio_user_header header;
    uint8_t *payload; /* in @buffer; NULL if there is none */
    size_t size;      /* bytes of payload */
    uint8_t *buffer;  /* owned */
    struct fd_list fds;
};

/* Frees the payload and closes what descriptors are left. Safe twice, and on a zeroed message. */
void vfu_client_message_release(struct vfu_client_message *message);

/* The same, but a long message's memory is kept for the next one. */
void vfu_client_message_recycle(struct vfu_client *client, struct vfu_client_message *message);

#define AUTO_VFU_CLIENT_MESSAGE                                                                    \
    __attribute__((cleanup(vfu_client_message_release))) struct vfu_client_message

/* Is shown every message that arrives, before anybody else sees it; it keeps nothing of it. */
typedef void vfu_client_tap_fn(void *opaque, const struct vfu_client_message *message);

/* NULL takes the tap away. */
void vfu_client_set_tap(struct vfu_client *client, vfu_client_tap_fn *tap, void *opaque);

/* --- commands (command.c) --- */

/* A command to send. The payload is @head followed by @data; all is borrowed. */
struct vfu_client_request {
    uint16_t command;
    const void *head;
    size_t head_size;
    const void *data;
    size_t data_size;
    const int *fds;
    size_t fd_count; /* at most FD_LIST_MAX */
};

/*
 * Sends a command without waiting for the answer, which vfu_client_collect() fetches under the
 * number put into @id. Any number may be outstanding. Returns 0 or -errno.
 */
int vfu_client_submit(struct vfu_client *client, const struct vfu_client_request *request,
                      uint16_t *id);

/* Gives up waiting for the reply to command @id: it will be dropped. */
void vfu_client_forget(struct vfu_client *client, uint16_t id);

/* Sends a command that asks for no reply. Returns 0 or -errno. */
int vfu_client_post(struct vfu_client *client, const struct vfu_client_request *request);

/*
 * Waits for the reply to command @id, in whatever order replies come. @reply is filled when the
 * result is 0 or positive, and is the caller's to release; NULL drops it. After -ETIMEDOUT the
 * command is forgotten: its reply is dropped should it come. -ENOENT: no such command outstanding.
 */
int vfu_client_collect(struct vfu_client *client, uint16_t id, struct vfu_client_message *reply);

/* Sends a command and waits for its reply: vfu_client_submit() and vfu_client_collect(). */
int vfu_client_command(struct vfu_client *client, const struct vfu_client_request *request,
                       struct vfu_client_message *reply);

/*
 * The same for a reply whose payload is exactly @size bytes, copied to @payload, and without
 * descriptors. -EPROTO if it is not.
 */
int vfu_client_command_fixed(struct vfu_client *client, const struct vfu_client_request *request,
                             void *payload, size_t size);

/* --- negotiation (negotiate.c) --- */

/* What one side says of itself in VERSION. */
struct vfu_client_capabilities {
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
struct vfu_client_offer {
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
int vfu_client_negotiate_as(struct vfu_client *client, const struct vfu_client_offer *offer);
int vfu_client_negotiate(struct vfu_client *client);

/* What the server said; the protocol's defaults before vfu_client_negotiate(). */
const struct vfu_client_capabilities *
vfu_client_server_capabilities(const struct vfu_client *client);

/* --- the device as a whole (device.c) --- */

int vfu_client_get_device_info(struct vfu_client *client, struct vfio_user_device_info *info);
int vfu_client_reset_device(struct vfu_client *client);

/* --- regions (region.c, access.c) --- */

struct vfu_client_region {
    uint32_t index;
    uint32_t flags;  /* VFIO_REGION_INFO_FLAG_* */
    uint64_t size;   /* 0: the device has no such region */
    uint64_t offset; /* of the region in the file of @fd */
    int fd;          /* of a mappable region, owned; else -1 */
    size_t area_count;
    struct vfio_region_sparse_mmap_area *areas; /* owned; offsets count from the region's start */
};

/* Asks as often as it takes to get the whole answer. @region is the caller's to release. */
int vfu_client_get_region_info(struct vfu_client *client, uint32_t index,
                               struct vfu_client_region *region);

void vfu_client_region_release(struct vfu_client_region *region);

#define AUTO_VFU_CLIENT_REGION                                                                     \
    __attribute__((cleanup(vfu_client_region_release))) struct vfu_client_region

/* Maps area @area of a mappable region, shared. Returns the address or MAP_FAILED with errno. */
void *vfu_client_region_map(const struct vfu_client_region *region, size_t area, int prot);

/* Reads @count bytes, in pieces that the server takes. */
int vfu_client_region_read(struct vfu_client *client, uint32_t region, uint64_t offset,
                           void *buffer, size_t count);
int vfu_client_region_write(struct vfu_client *client, uint32_t region, uint64_t offset,
                            const void *buffer, size_t count);

/* Writes without asking for replies: 0 says only that it was sent. */
int vfu_client_region_post(struct vfu_client *client, uint32_t region, uint64_t offset,
                           const void *buffer, size_t count);

/* Writes that fit into one message. */
#define VFU_CLIENT_WRITES_MAX 43690u

/*
 * Several small writes in one message, done in order. @done (may be NULL) gets how many were: the
 * first that the device refuses ends them. -EOPNOTSUPP if the server did not offer it, -E2BIG for
 * more than VFU_CLIENT_WRITES_MAX.
 */
int vfu_client_region_write_multi(struct vfu_client *client,
                                  const struct vfio_user_region_write *writes, size_t count,
                                  uint64_t *done);

/* The same without a reply. */
int vfu_client_region_post_multi(struct vfu_client *client,
                                 const struct vfio_user_region_write *writes, size_t count);

/* --- ioeventfds (io_fds.c) --- */

struct vfu_client_io_fds {
    uint32_t count;
    vfio_user_sub_region_ioeventfd_t *entries; /* owned; their indexes count in @fds */
    struct fd_list fds;                        /* owned */
};

/* Asks as often as it takes to get the whole answer. @io_fds is the caller's to release. */
int vfu_client_get_io_fds(struct vfu_client *client, uint32_t index,
                          struct vfu_client_io_fds *io_fds);

void vfu_client_io_fds_release(struct vfu_client_io_fds *io_fds);

#define AUTO_VFU_CLIENT_IO_FDS                                                                     \
    __attribute__((cleanup(vfu_client_io_fds_release))) struct vfu_client_io_fds

/* --- interrupts (irq.c) --- */

int vfu_client_get_irq_info(struct vfu_client *client, uint32_t index, struct vfio_irq_info *info);

/*
 * SET_IRQS as it is. @flags: VFIO_IRQ_SET_DATA_* and VFIO_IRQ_SET_ACTION_*. @bools: one byte for
 * each of @count vectors with DATA_BOOL, else NULL. @fds: borrowed.
 */
int vfu_client_set_irqs(struct vfu_client *client, uint32_t flags, uint32_t index, uint32_t start,
                        uint32_t count, const uint8_t *bools, const int *fds, size_t fd_count);

/*
 * Assigns eventfds to vectors @start and on, in as many messages as the server's limit of
 * descriptors takes.
 */
int vfu_client_irq_assign(struct vfu_client *client, uint32_t index, uint32_t start,
                          const int *eventfds, uint32_t count);

/* Takes the eventfds of vectors @start and on away. */
int vfu_client_irq_deassign(struct vfu_client *client, uint32_t index, uint32_t start,
                            uint32_t count);

/* Takes all eventfds of the index away. */
int vfu_client_irq_disable(struct vfu_client *client, uint32_t index);

/* --- guest memory (dma.c) --- */

/*
 * Shows the device @size bytes at @iova: those at @offset of @fd (borrowed), or with fd -1 memory
 * that it reaches by messages alone. @flags: VFIO_USER_F_DMA_REGION_*.
 */
int vfu_client_dma_map(struct vfu_client *client, uint64_t iova, uint64_t size, uint32_t flags,
                       int fd, uint64_t offset);
int vfu_client_dma_unmap(struct vfu_client *client, uint64_t iova, uint64_t size);
int vfu_client_dma_unmap_all(struct vfu_client *client);

/* Unmaps, and tells what the device has written there since it was last asked; see below. */
int vfu_client_dma_unmap_dirty(struct vfu_client *client, uint64_t iova, uint64_t size,
                               uint64_t page_size, void *bitmap);

/* --- commands of the server (serve.c) --- */

/*
 * Copies @count bytes between guest memory at @iova and @data: from @data if @is_write. Returns 0,
 * or the positive errno that the server gets. Is called out of any call that waits.
 */
typedef int vfu_client_dma_fn(void *opaque, uint64_t iova, void *data, uint64_t count,
                              bool is_write);

/* Serves DMA_READ and DMA_WRITE from now on; NULL refuses them with ENOTSUP, as at first. */
void vfu_client_set_dma(struct vfu_client *client, vfu_client_dma_fn *dma, void *opaque);

/*
 * Waits for something to arrive and handles it: the server's commands are answered, replies kept
 * for vfu_client_collect(). Returns 0 or -errno, -ETIMEDOUT if nothing came in time.
 */
int vfu_client_serve(struct vfu_client *client);

/* --- migration and dirty pages (migration.c) --- */

/*
 * DEVICE_FEATURE as it is. GET has @size bytes of @data behind its header, and its answer exactly
 * @answer_size. The answer to SET and PROBE is the request: -EPROTO if it is not. @operations:
 * VFIO_DEVICE_FEATURE_GET or _SET, or 0.
 */
int vfu_client_feature_get(struct vfu_client *client, uint32_t number, const void *data,
                           size_t size, void *answer, size_t answer_size);
int vfu_client_feature_set(struct vfu_client *client, uint32_t number, const void *data,
                           size_t size);
int vfu_client_feature_probe(struct vfu_client *client, uint32_t number, uint32_t operations);

/* States: VFIO_USER_DEVICE_STATE_*. */
int vfu_client_migration_get_state(struct vfu_client *client, uint32_t *state);
int vfu_client_migration_set_state(struct vfu_client *client, uint32_t state);

/* VFIO_MIGRATION_*. */
int vfu_client_migration_get_flags(struct vfu_client *client, uint64_t *flags);

/*
 * Up to @size bytes of the device's state, at most 1 MiB and what the offer says; @read
 * says how many came. What is written goes in pieces that the server takes.
 */
int vfu_client_migration_read(struct vfu_client *client, void *buffer, uint32_t size,
                              uint32_t *read);
int vfu_client_migration_write(struct vfu_client *client, const void *buffer, uint32_t size);

/*
 * The same in two steps, so that several pieces are on their way at a time; of writes
 * vfu_client_collect() has the answer. @size: what was asked for, or no more than the server takes.
 * The data read are in @reply, which the caller releases in any case.
 */
int vfu_client_migration_submit_read(struct vfu_client *client, uint32_t size, uint16_t *id);
int vfu_client_migration_collect_read(struct vfu_client *client, uint16_t id, uint32_t size,
                                      struct vfu_client_message *reply, const uint8_t **data,
                                      uint32_t *read);
int vfu_client_migration_submit_write(struct vfu_client *client, const void *buffer, uint32_t size,
                                      uint16_t *id);

#define VFU_CLIENT_RANGES_MAX 4096u

/* Starts and ends the log of pages that the device writes, in all of guest memory or in parts. */
int vfu_client_dirty_start(struct vfu_client *client, uint64_t page_size);
int vfu_client_dirty_start_ranges(struct vfu_client *client, uint64_t page_size,
                                  const struct vfio_user_device_feature_dma_logging_range *ranges,
                                  uint32_t count);
int vfu_client_dirty_stop(struct vfu_client *client);

/* Bytes of a bitmap: one bit per page, in groups of 64. @page_size is not 0. */
size_t vfu_client_dirty_bytes(uint64_t length, uint64_t page_size);

/* What was written in the range since it was last asked for. */
int vfu_client_dirty_report(struct vfu_client *client, uint64_t iova, uint64_t length,
                            uint64_t page_size, void *bitmap);

/* --- bytes as they are, for hostile tests (raw.c) --- */

/*
 * Sends @size bytes, the descriptors with the first of them, in one sendmsg as far as the socket
 * takes it. Keep raw sending and commands apart: nothing here counts as an outstanding command.
 * Returns 0 or -errno.
 */
int vfu_client_raw_send(struct vfu_client *client, const void *bytes, size_t size, const int *fds,
                        size_t fd_count);

/*
 * Receives the next message, whatever it is. Returns 1 (@message is the caller's to release), 0 if
 * the server has closed the connection, or -errno, -ETIMEDOUT if neither happens in time.
 */
int vfu_client_raw_receive(struct vfu_client *client, struct vfu_client_message *message);
