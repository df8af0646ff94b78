/* SPDX-License-Identifier: BSD-3-Clause */
/* The version exchange: the first message of a client, and what it says about itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vfu_ctx;

/*
 * Largest first message. Those of known clients have 20 to 214 bytes; a parsed JSON text takes
 * dozens of times its size, so that the general limit would let a client have all our memory.
 */
#define NEGOTIATION_MESSAGE_MAX 4096u

/* Descriptors that we receive in one message, as we tell clients. More are accepted. */
#define NEGOTIATION_MAX_MSG_FDS 8

struct client_capabilities {
    uint16_t minor; /* agreed version: 0.minor */
    uint32_t max_msg_fds;
    uint64_t max_data_xfer_size; /* bytes in one message to the client, 1 to our own limit */
    bool twin_socket;
    bool write_multiple;
    int64_t migration_pgsize; /* of the client; 0: it did not say */
    bool migration;           /* the device can migrate; not said by the client */
};

/*
 * Runs the exchange, or goes on with it. Returns 0; -EAGAIN or -EINTR if it has to go on later;
 * else the error that vfu_attach_ctx() reports, and the connection must be closed. The client has
 * got an error reply then where it can make sense of one.
 */
int negotiation_run(struct vfu_ctx *ctx);

/*
 * Reads the JSON @text of a client, NULL if it sent none, over the defaults. Returns 0 or
 * -EINVAL, -ENOMEM.
 */
int negotiation_parse(const char *text, struct client_capabilities *client);

/*
 * Writes the JSON text of our reply to @client, with its NUL, to @buffer. What not every client
 * knows of is in it only if the client has named it. Returns the text's size in bytes, with the
 * NUL, or -ENOMEM.
 */
int negotiation_describe(const struct client_capabilities *client, char *buffer, size_t size);

/* Everything that json-c does on its first use, so that it does it before the seal. */
void negotiation_warm_up(void);
