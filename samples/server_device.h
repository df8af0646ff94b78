/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device of the sample server: an alarm clock with memory of its own, which it changes while
 * it runs, and with access to the guest's. Registers are in BAR0, 8 bytes each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

#include "state_stream.h"

#define SERVER_VENDOR 0x4356
#define SERVER_DEVICE 0x0001

#define SERVER_ID 0x3130727665737576u /* "vuserv01" */

#define SERVER_REGISTERS_BAR 0
#define SERVER_REGISTERS_SIZE 0x1000u

/* MSI-X alone. */
#define SERVER_MSIX_BAR 1
#define SERVER_MSIX_SIZE 0x1000u
#define SERVER_MSIX_PENDING 0x800u
#define SERVER_VECTORS 4u
enum server_vector { SERVER_VECTOR_ALARM, SERVER_VECTOR_TRANSFER };

/* The device's memory: what it changes, by messages alone, so that it knows what has changed. */
#define SERVER_DATA_BAR 2
#define SERVER_DATA_MIN 0x10000u
#define SERVER_DATA_MAX (1u << 30)
#define SERVER_PAGE 4096u

/* Memory that clients map, but for a gap in the middle. */
#define SERVER_SHARED_BAR 4
#define SERVER_SHARED_SIZE 0x10000u
#define SERVER_SHARED_GAP 0x8000u
#define SERVER_SHARED_GAP_SIZE 0x4000u

enum server_register {
    SERVER_REG_ID = 0x00,        /* read: SERVER_ID */
    SERVER_REG_DATA_SIZE = 0x08, /* read: of the device's memory, bytes */
    SERVER_REG_ALARM = 0x10,     /* when it rings: seconds since the epoch; 0: never */
    SERVER_REG_STATUS = 0x18,    /* SERVER_STATUS_*; bits clear by writing 1 */
    SERVER_REG_RUNG = 0x20,      /* read: how often the alarm has rung */
    SERVER_REG_RATE = 0x28,      /* pages of its memory that it changes each 10 ms */
    SERVER_REG_WINDOW = 0x30,    /* in how many bytes of it, from the beginning; 0: all */
    SERVER_REG_CHANGES = 0x38,   /* read: how many it has changed */
    SERVER_REG_FILL = 0x40,      /* write: fills its memory with numbers that begin with this */
    /* Guest memory: one transfer from or to the beginning of the device's, or a page now and then.
     */
    SERVER_REG_GUEST_ADDRESS = 0x48,
    SERVER_REG_GUEST_SIZE = 0x50,    /* bytes; at most SERVER_TRANSFER_MAX for a transfer */
    SERVER_REG_GUEST_COMMAND = 0x58, /* write: enum server_command */
    SERVER_REG_GUEST_RESULT = 0x60,  /* read: errno of the last one, 0: done */
    SERVER_REG_GUEST_RATE = 0x68,    /* pages of these that it writes each 10 ms */
    SERVER_REG_GUEST_WRITES = 0x70,  /* read: how many it has written */
    SERVER_REG_SEED = 0x78,          /* of its choices */
    SERVER_REG_END = 0x80,
};

#define SERVER_STATUS_ALARM 1u /* has rung; while it is set, INTx is asserted */

#define SERVER_TRANSFER_MAX 0x10000u
#define SERVER_RATE_MAX 4096u

enum server_command {
    SERVER_COMMAND_READ = 1,  /* guest memory to the device's */
    SERVER_COMMAND_WRITE = 2, /* and back */
};

/* A bit for each page. */
struct server_pages {
    uint64_t *touched; /* may be something else than zeros */
    uint64_t *dirty;   /* not sent since it was changed last */
    size_t words;
    size_t cursor; /* word where the search for a dirty page goes on */
};

struct server_device {
    uint64_t registers[SERVER_REG_END / 8];
    bool running; /* may raise interrupts and change memory */
    bool line;    /* level of INTx after the last look */
    bool masked;  /* INTx, by the client */

    uint8_t *data;
    uint64_t data_size; /* power of two */
    struct server_pages pages;

    uint8_t *shared;
    int shared_fd;

    void *sg;             /* one entry */
    uint64_t next_change; /* CLOCK_MONOTONIC, ns */

    struct server_migration *migration;
};

/* Allocates everything. Returns 0, or -1 and errno. */
int server_device_create(struct server_device *device, uint64_t data_size);
int server_device_describe(struct server_device *device, vfu_ctx_t *ctx);

/* As after power-on: all is zero. */
void server_device_reset(struct server_device *device);

/* Does what is due. Returns how long nothing will be, in ns; negative: for ever. */
int64_t server_device_act(struct server_device *device, vfu_ctx_t *ctx);

/* The device begins to run again. */
void server_device_resume(struct server_device *device, vfu_ctx_t *ctx);

/* The line is what the registers say; config space says it too. */
void server_device_update_line(struct server_device *device, vfu_ctx_t *ctx);

/* Whether these can be the registers of such a device. */
bool server_registers_are_valid(const struct server_device *device, const uint64_t *registers);

/* These bytes of its memory have been changed. */
void server_pages_mark(struct server_pages *pages, uint64_t offset, uint64_t size);

/* --- server_migration.c --- */

int server_migration_create(struct server_device *device);
int server_migration_describe(vfu_ctx_t *ctx);

/* A session that was is over. */
void server_migration_reset(struct server_device *device);
