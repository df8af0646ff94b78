/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the sample client share. */
#pragma once

#include "client/live.h"
#include "server_device.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define GUEST_IOVA 0x100000000u

struct options {
    const char *socket_path;
    const char *broker; /* NULL: what is found */
    const char *policy; /* NULL: the sample server's */
    const char *to;     /* socket of a destination that runs already, or NULL */
    uint64_t guest_size;
    uint64_t window;
    uint64_t stop_bytes;
    unsigned rate;
    unsigned guest_rate;
    unsigned rounds;
    bool fill;
    bool keep_dirty;
    bool transfer;
    bool verify;
    bool json;
    bool tour;
    bool migration;
};

/* For people: on stdout, unless that is for JSON. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program if @result, as of client.h, is not 0. */
void must(int result, const char *what);

uint64_t get_register(struct vfu_client *client, enum server_register which);
void set_register(struct vfu_client *client, enum server_register which, uint64_t value);

/* "12.3 MiB" in @text. */
const char *size_text(uint64_t size, char text[32]);

/* client_tour.c: each command of the protocol, and what comes of it. */
void take_tour(struct vfu_client *client);

/* client_transfer.c: how fast state goes through the socket, and plain writes beside it. */
void report_transfer(struct vfu_client *client, bool json);

/* client_migration.c. Returns the exit status; takes @client. */
int migrate(struct vfu_client *client, const struct options *options);

/* client_destination.c: a server to migrate to. */
struct destination {
    pid_t pid; /* 0: not ours */
    char dir[64];
    char socket[96];
    char log[96];
};

/* Starts a broker, and connects to it or to the one that @options name. Ends the program if not. */
struct vfu_client *destination_open(struct destination *destination, const struct options *options);
void destination_close(struct destination *destination);
