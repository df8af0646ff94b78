/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The form in which the sample devices send their state when they migrate: records, each with a
 * header, at most STATE_PAYLOAD_MAX bytes, and a check over everything from the beginning of the
 * stream to there. So a record that is changed, lost, repeated, from elsewhere or in another order
 * is refused, as is whatever does not begin with the identity of the very same device.
 *
 * The first record is the identity: format, version, name of the device, and a number that says
 * how it is made. The last one is the end, behind which nothing comes. What is between is the
 * device's own. The check is against accidents; who forges a stream computes it too, so a device
 * still looks at every value that it takes.
 *
 * Neither side allocates, waits or makes a system call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STATE_VERSION 1u
#define STATE_NAME_MAX 24
#define STATE_PAYLOAD_MAX 65536u

/* Types of records. */
enum {
    STATE_IDENTITY = 1,
    STATE_END = 2,
    STATE_DEVICE = 16, /* the device's own types begin here */
};

struct state_record {
    uint32_t type;
    uint32_t size;  /* of the payload */
    uint64_t where; /* the device's: an offset, say */
    uint64_t check;
};

struct state_identity {
    char magic[8];
    uint32_t version;
    uint32_t payload_max;
    char name[STATE_NAME_MAX];
    uint64_t shape;
};

#define STATE_RECORD_MAX (sizeof(struct state_record) + STATE_PAYLOAD_MAX)

/* @name: at most STATE_NAME_MAX bytes. @shape: what has to be the same on both sides. */
struct state_identity state_identity(const char *name, uint64_t shape);

/* --- source --- */

struct state_writer {
    struct state_identity identity;
    bool begun;
    bool ended;
    uint64_t check;
    size_t staged; /* bytes of a record that no one piece of the client's had room for */
    size_t taken;
    uint8_t stage[STATE_RECORD_MAX];
};

/*
 * Makes the next record: fills in type, size and where, and @payload, with room for
 * STATE_PAYLOAD_MAX. STATE_END, without payload, ends the stream. Returns true, or false: there is
 * nothing for now.
 */
typedef bool state_next_fn(void *device, struct state_record *record, void *payload);

void state_writer_begin(struct state_writer *writer, const struct state_identity *identity);

/* Fills @buffer; returns how many of @count bytes there are. */
size_t state_writer_read(struct state_writer *writer, void *buffer, size_t count,
                         state_next_fn *next, void *device);

/* --- destination --- */

struct state_reader {
    struct state_identity identity;
    bool begun;
    bool ended;
    bool broken; /* for good: whatever else comes is refused too */
    uint64_t check;
    size_t staged;
    _Alignas(8) uint8_t stage[STATE_RECORD_MAX];
};

/* Takes a record. Returns whether it is good. */
typedef bool state_apply_fn(void *device, const struct state_record *record, const void *payload);

void state_reader_begin(struct state_reader *reader, const struct state_identity *identity);

/* Takes @count bytes, in whatever pieces. Returns whether they are good. */
bool state_reader_write(struct state_reader *reader, const void *data, size_t count,
                        state_apply_fn *apply, void *device);

/* Whether the stream was good from its beginning to its end. */
bool state_reader_is_complete(const struct state_reader *reader);
