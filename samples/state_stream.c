/* SPDX-License-Identifier: BSD-3-Clause */
#include "state_stream.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct state_record) == 24, "a format");
static_assert(sizeof(struct state_identity) == 48, "a format");

#define PRIME 0x9e3779b185ebca87u

static uint64_t mix(uint64_t check, uint64_t word)
{
    check = (check ^ word) * PRIME;
    return check << 31 | check >> 33;
}

/* What processors of all kinds add at once. */
typedef uint64_t words __attribute__((vector_size(16)));

static words load(const uint8_t *bytes)
{
    words loaded;

    memcpy(&loaded, bytes, sizeof(loaded));
    return loaded;
}

static uint64_t mix_words(uint64_t check, words all)
{
    return mix(mix(check, all[0]), all[1]);
}

/*
 * The words added up, and the sums of these: a word that is changed changes the one, words that are
 * exchanged the other. Memory goes through ten times faster than through a socket.
 */
static uint64_t check_bytes(uint64_t check, const uint8_t *bytes, size_t size)
{
    words a = { 0 }, b = { 0 }, sum_a = { 0 }, sum_b = { 0 };
    uint8_t rest[32] = { 0 };

    check = mix(check, size);
    for (; size >= sizeof(rest); bytes += sizeof(rest), size -= sizeof(rest)) {
        a += load(bytes);
        b += load(bytes + 16);
        sum_a += a;
        sum_b += b;
    }
    memcpy(rest, bytes, size);
    check = mix_words(mix_words(check, a), sum_a);
    check = mix_words(mix_words(check, b), sum_b);
    check = mix_words(mix_words(check, load(rest)), load(rest + 16));
    return check ^ check >> 29;
}

/* All of the record but the check itself. */
static uint64_t check_record(uint64_t check, const struct state_record *record, const void *payload)
{
    check = check_bytes(check, (const uint8_t *)record, offsetof(struct state_record, check));
    return check_bytes(check, payload, record->size);
}

struct state_identity state_identity(const char *name, uint64_t shape)
{
    struct state_identity identity = {
        .magic = { 'v', 'f', 'u', 's', 't', 'a', 't', 'e' },
        .version = STATE_VERSION,
        .payload_max = STATE_PAYLOAD_MAX,
        .shape = shape,
    };

    memcpy(identity.name, name, strnlen(name, sizeof(identity.name)));
    return identity;
}

/* --- source --- */

void state_writer_begin(struct state_writer *writer, const struct state_identity *identity)
{
    writer->identity = *identity;
    writer->begun = false;
    writer->ended = false;
    writer->check = 0;
    writer->staged = 0;
    writer->taken = 0;
}

/* Makes a record in @bytes, which has room for the largest. Returns its size, or 0: none for now.
 */
static size_t make_record(struct state_writer *writer, uint8_t *bytes, state_next_fn *next,
                          void *device)
{
    struct state_record record = { .type = STATE_IDENTITY, .size = sizeof(writer->identity) };
    uint8_t *payload = bytes + sizeof(record);

    if (writer->ended) {
        return 0;
    }
    if (!writer->begun) {
        memcpy(payload, &writer->identity, sizeof(writer->identity));
        writer->begun = true;
    } else {
        record.size = 0;
        if (!next(device, &record, payload)) {
            return 0;
        }
        writer->ended = record.type == STATE_END;
    }
    writer->check = check_record(writer->check, &record, payload);
    record.check = writer->check;
    memcpy(bytes, &record, sizeof(record));
    return sizeof(record) + record.size;
}

size_t state_writer_read(struct state_writer *writer, void *buffer, size_t count,
                         state_next_fn *next, void *device)
{
    uint8_t *at = buffer;
    size_t left = count;

    while (left > 0) {
        size_t n = writer->staged - writer->taken;

        if (n > 0) {
            n = n < left ? n : left;
            memcpy(at, writer->stage + writer->taken, n);
            writer->taken += n;
        } else if (left >= STATE_RECORD_MAX) {
            n = make_record(writer, at, next, device);
            if (n == 0) {
                break;
            }
        } else {
            writer->taken = 0;
            writer->staged = make_record(writer, writer->stage, next, device);
            if (writer->staged == 0) {
                break;
            }
        }
        at += n;
        left -= n;
    }
    return count - left;
}

/* --- destination --- */

void state_reader_begin(struct state_reader *reader, const struct state_identity *identity)
{
    reader->identity = *identity;
    reader->begun = false;
    reader->ended = false;
    reader->broken = false;
    reader->check = 0;
    reader->staged = 0;
}

/* A whole record. */
static bool take_record(struct state_reader *reader, const uint8_t *bytes, state_apply_fn *apply,
                        void *device)
{
    const uint8_t *payload = bytes + sizeof(struct state_record);
    struct state_record record;

    memcpy(&record, bytes, sizeof(record));
    reader->check = check_record(reader->check, &record, payload);
    if (record.check != reader->check) {
        return false;
    }
    if (!reader->begun) {
        reader->begun = true;
        return record.type == STATE_IDENTITY && record.where == 0 &&
               record.size == sizeof(reader->identity) &&
               memcmp(payload, &reader->identity, sizeof(reader->identity)) == 0;
    }
    if (record.type == STATE_END) {
        reader->ended = true;
        return record.size == 0 && record.where == 0;
    }
    return record.type >= STATE_DEVICE && apply(device, &record, payload);
}

/* Bytes of the record that begins at @bytes, as far as is known of @size; more than any: too many.
 */
static size_t wanted_size(const uint8_t *bytes, size_t size)
{
    struct state_record record;

    if (size < sizeof(record)) {
        return sizeof(record);
    }
    memcpy(&record, bytes, sizeof(record));
    return record.size <= STATE_PAYLOAD_MAX ? sizeof(record) + record.size : SIZE_MAX;
}

/* Takes one record, or what there is of it. Returns how many bytes, 0: they are no good. */
static size_t take_some(struct state_reader *reader, const uint8_t *data, size_t count,
                        state_apply_fn *apply, void *device)
{
    size_t wanted = wanted_size(reader->stage, reader->staged);
    size_t n;

    if (reader->ended) {
        return 0;
    }
    if (reader->staged == 0) {
        wanted = wanted_size(data, count);
        if (wanted <= count && wanted > sizeof(struct state_record)) {
            return take_record(reader, data, apply, device) ? wanted : 0;
        }
    }
    if (wanted == SIZE_MAX) {
        return 0;
    }
    n = wanted - reader->staged < count ? wanted - reader->staged : count;
    memcpy(reader->stage + reader->staged, data, n);
    reader->staged += n;
    if (reader->staged >= sizeof(struct state_record) &&
        wanted_size(reader->stage, reader->staged) == reader->staged) {
        reader->staged = 0;
        return take_record(reader, reader->stage, apply, device) ? n : 0;
    }
    return n;
}

bool state_reader_write(struct state_reader *reader, const void *data, size_t count,
                        state_apply_fn *apply, void *device)
{
    const uint8_t *at = data;

    while (count > 0 && !reader->broken) {
        size_t n = take_some(reader, at, count, apply, device);

        reader->broken = n == 0;
        at += n;
        count -= n;
    }
    return !reader->broken;
}

bool state_reader_is_complete(const struct state_reader *reader)
{
    return reader->ended && !reader->broken;
}
