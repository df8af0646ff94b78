/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of state against the devices of the samples server and the GPIO card: pieces of a good
 * one in any order, sizes and number, with bits flipped, from the other device, made up, and made
 * up with a check that is right; and any states in between. The devices run in this process.
 *
 * Whatever came, a device that does not run with a state that it took as a whole takes a good one
 * afterwards, and before that there is nothing left of what came.
 *
 * Input: a byte that chooses the device, then operations. Each is a byte that says what to do, a
 * size (2 bytes, little endian), and so many bytes:
 *   0 pass on so many bytes of the good stream         5 read so many bytes of state
 *   1 leave out so many                                6 a message: its command, then its payload
 *   2 go to the record that the first byte numbers     7 reset the device
 *   3 pass on the bytes themselves                     8 begin a stream with a right check
 *   4 go to the state of the first byte                9 a record of it: type (2 bytes), where
 *  10 the good stream is now the other device's           (4 bytes), payload; bytes that are
 *  11 flip a bit of it: where (2 bytes), which             missing are the good state's
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "samples/server_device.h"
#include "samples/state_block.h"
#include "tests/fuzz/migration_card.h"

#include <vfio-user/vfio-user.h>

#define DATA_SIZE SERVER_DATA_MIN
#define STREAM_MAX (4 * STATE_RECORD_MAX)
#define RECORDS_MAX 16
#define PIECE 65536u /* of state in a message, at most: the device sends one at once */
#define MESSAGE_MAX (PIECE + 8192)
#define STEPS 64 /* of the device for each message: more than that would be a loop */
#define CARD_SIZE 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t size;
    size_t records[RECORDS_MAX]; /* where they begin */
    size_t count;
};

/* One of the two devices. */
struct target {
    vfu_ctx_t *ctx;
    char path[64];
    const char *name;
    uint64_t shape;
    struct stream good;
};

enum { SERVER, CARD, TARGETS };

static struct target targets[TARGETS];
static struct server_device device;
static struct target *target;
static int client = -1;
static struct stream stream; /* that is being passed on */
static size_t position;
static struct state_writer writer; /* of the one that is made up */
static struct {
    struct state_record record;
    const uint8_t *payload;
    size_t size; /* of what there is of it */
} made;

/* --- a client --- */

static struct vfio_user_header answer;
static uint8_t payload[MESSAGE_MAX];

static void step(void)
{
    for (int i = 0; i < STEPS && vfu_run_ctx(target->ctx) > 0; i++) {
    }
    if (target == &targets[SERVER]) {
        server_device_act(&device, target->ctx);
    }
}

static void join_in(void)
{
    static const char json[] = "{\"capabilities\":{\"max_data_xfer_size\":65536}}";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct {
        struct vfio_user_header header;
        struct vfio_user_version version;
        char json[sizeof(json)];
    } __attribute__((packed)) hello = {
        .header = { .cmd = VFIO_USER_VERSION, .msg_size = sizeof(hello) },
    };

    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(hello.json, json, sizeof(json));
    strcpy(address.sun_path, target->path);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        send(client, &hello, sizeof(hello), 0) != sizeof(hello) ||
        vfu_attach_ctx(target->ctx) < 0 || recv(client, payload, MESSAGE_MAX, 0) < 16) {
        err(1, "connecting to the device");
    }
}

static void leave(void)
{
    close(client);
    while (vfu_run_ctx(target->ctx) >= 0 || errno != ENOTCONN) {
    }
}

/* Sends a message and receives its reply, into @answer and @payload. Returns its errno. */
static unsigned say(uint16_t command, const void *head, size_t head_size, const void *data,
                    size_t size)
{
    const struct vfio_user_header header = {
        .cmd = command,
        .msg_size = (uint32_t)(sizeof(header) + head_size + size),
    };
    const struct iovec pieces[] = {
        { (void *)&header, sizeof(header) },
        { (void *)head, head_size },
        { (void *)data, size },
    };

    if (socket_send_pieces(client, pieces, 3, 0, NULL) != header.msg_size) {
        errx(1, "the socket is full");
    }
    step();
    if (recv(client, &answer, sizeof(answer), MSG_DONTWAIT) != sizeof(answer) ||
        answer.msg_size > sizeof(answer) + sizeof(payload) ||
        (answer.msg_size > sizeof(answer) &&
         recv(client, payload, answer.msg_size - sizeof(answer), MSG_DONTWAIT) !=
             (ssize_t)(answer.msg_size - sizeof(answer)))) {
        errx(1, "no answer to command %u", command);
    }
    return answer.flags & VFIO_USER_F_ERROR ? answer.error_no : 0;
}

static unsigned set_state(uint32_t state)
{
    const struct vfio_user_device_feature_mig_state wanted = { .device_state = state };
    const struct vfio_user_device_feature head = {
        .argsz = sizeof(head) + sizeof(wanted),
        .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
    };

    return say(VFIO_USER_DEVICE_FEATURE, &head, sizeof(head), &wanted, sizeof(wanted));
}

/* In pieces that the device takes. Returns what it says to the last one. */
static unsigned write_data(const uint8_t *data, size_t size)
{
    unsigned error;

    do {
        size_t n = size < PIECE ? size : PIECE;
        const struct vfio_user_mig_data head = { .argsz = (uint32_t)(sizeof(head) + n),
                                                 .size = (uint32_t)n };

        error = say(VFIO_USER_MIG_DATA_WRITE, &head, sizeof(head), data, n);
        data += n;
        size -= n;
    } while (error == 0 && size > 0);
    return error;
}

/* Returns how many bytes of state are behind @payload's header; 0 for an error too. */
static uint32_t read_data(uint32_t size)
{
    const struct vfio_user_mig_data head = { .argsz = (uint32_t)sizeof(head) + size, .size = size };

    if (say(VFIO_USER_MIG_DATA_READ, &head, sizeof(head), NULL, 0) != 0) {
        return 0;
    }
    return ((struct vfio_user_mig_data *)payload)->size;
}

static const uint8_t *read_region(uint32_t region, uint64_t offset, uint32_t size)
{
    const struct vfio_user_region_access access = { offset, region, size };

    if (say(VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0) != 0) {
        errx(1, "a region cannot be read");
    }
    return payload + sizeof(access);
}

static void write_region(uint32_t region, uint64_t offset, uint64_t value, uint32_t size)
{
    const struct vfio_user_region_access access = { offset, region, size };

    if (say(VFIO_USER_REGION_WRITE, &access, sizeof(access), &value, size) != 0) {
        errx(1, "a region cannot be written");
    }
}

/* --- good streams --- */

static void find_records(struct stream *found)
{
    for (size_t at = 0; at < found->size && found->count < RECORDS_MAX; found->count++) {
        struct state_record record;

        memcpy(&record, found->bytes + at, sizeof(record));
        found->records[found->count] = at;
        at += sizeof(record) + record.size;
    }
}

static void make_good_stream(struct stream *good)
{
    uint32_t n;

    if (set_state(VFIO_USER_DEVICE_STATE_STOP_COPY) != 0) {
        errx(1, "the device does not stop");
    }
    while ((n = read_data(PIECE)) > 0) {
        if (n > STREAM_MAX - good->size) {
            errx(1, "a stream that is too long");
        }
        memcpy(good->bytes + good->size, payload + sizeof(struct vfio_user_mig_data), n);
        good->size += n;
    }
    find_records(good);
}

/* --- what has to be afterwards --- */

static void expect_zeros(const uint8_t *bytes, size_t size, const char *what)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            errx(1, "something is left in %s of %s at %zu", what, target->name, i);
        }
    }
}

/* As after power-on. */
static void expect_clean(void)
{
    if (target == &targets[SERVER]) {
        expect_zeros(
            read_region(SERVER_REGISTERS_BAR, SERVER_REG_ALARM, SERVER_REG_END - SERVER_REG_ALARM),
            SERVER_REG_END - SERVER_REG_ALARM, "the registers");
        expect_zeros(read_region(SERVER_DATA_BAR, 0, DATA_SIZE), DATA_SIZE, "the memory");
        expect_zeros(read_region(SERVER_SHARED_BAR, 0, SERVER_SHARED_SIZE), SERVER_SHARED_SIZE,
                     "the shared memory");
    } else {
        expect_zeros(read_region(VFU_PCI_DEV_BAR2_REGION_IDX, 0, 2), 2, "the registers");
        expect_zeros(read_region(VFU_PCI_DEV_BAR2_REGION_IDX, 4, 4), 4, "the registers");
    }
}

/* What came before does not matter any more. */
static void expect_good_stream_to_be_taken(void)
{
    const struct stream *good = &target->good;

    set_state(VFIO_USER_DEVICE_STATE_RUNNING); /* if it can be made of what has come */
    if (set_state(VFIO_USER_DEVICE_STATE_RESUMING) != 0) {
        errx(1, "%s does not go to RESUMING", target->name);
    }
    expect_clean();
    if (write_data(good->bytes, good->size) != 0) {
        errx(1, "%s refuses a good stream", target->name);
    }
    if (set_state(VFIO_USER_DEVICE_STATE_RUNNING) != 0) {
        errx(1, "%s does not run with a good stream", target->name);
    }
    if (target == &targets[SERVER]) {
        if (*(uint64_t *)read_region(SERVER_REGISTERS_BAR, SERVER_REG_SEED, 8) != 42 ||
            *(uint64_t *)read_region(SERVER_DATA_BAR, DATA_SIZE - 8, 8) != 7 + DATA_SIZE / 8 - 1) {
            errx(1, "the state of the server is not what came");
        }
    } else if (*read_region(VFU_PCI_DEV_BAR2_REGION_IDX, 0, 1) != 0xa5) {
        errx(1, "the state of the card is not what came");
    }
}

/* --- operations --- */

static size_t left(size_t wanted)
{
    return wanted < stream.size - position ? wanted : stream.size - position;
}

static bool next_made(void *opaque, struct state_record *record, void *bytes)
{
    const struct stream *good = &target->good;

    if (made.record.type == 0) {
        return false;
    }
    *record = made.record;
    /* Types that the device knows have what it would send, but for what the input says. */
    for (size_t i = 0; i < good->count; i++) {
        struct state_record known;

        memcpy(&known, good->bytes + good->records[i], sizeof(known));
        if (known.type == record->type) {
            memcpy(bytes, good->bytes + good->records[i] + sizeof(known), known.size);
            record->size = known.size;
        }
    }
    if (record->type == STATE_DEVICE && target == &targets[SERVER]) {
        record->size = made.size != 0 ? SERVER_PAGE : 0;
    }
    if (record->size < made.size) {
        record->size = (uint32_t)made.size;
    }
    memcpy(bytes, made.payload, made.size);
    made.record.type = 0;
    return true;
}

static void pass_on_made(void)
{
    static uint8_t bytes[2 * STATE_RECORD_MAX];
    size_t n = state_writer_read(&writer, bytes, sizeof(bytes), next_made, NULL);

    if (n > 0 && n <= STATE_RECORD_MAX) {
        write_data(bytes, n);
    }
}

static void begin_made(void)
{
    const struct state_identity identity = state_identity(target->name, target->shape);

    state_writer_begin(&writer, &identity);
    made.record.type = 0;
    pass_on_made();
}

static void add_made(const uint8_t *data, size_t size)
{
    uint32_t where;

    if (size < 6) {
        return;
    }
    memcpy(&where, data + 2, sizeof(where));
    made.record = (struct state_record){ .type = data[0] | (uint32_t)data[1] << 8, .where = where };
    made.payload = data + 6;
    made.size = size - 6;
    pass_on_made();
}

static void flip(const uint8_t *data, size_t size)
{
    if (size >= 3) {
        size_t at = (data[0] | (size_t)data[1] << 8) % stream.size;

        stream.bytes[at] ^= (uint8_t)(1u << data[2] % 8);
    }
}

static void message(const uint8_t *data, size_t size)
{
    static const uint16_t commands[] = { VFIO_USER_MIG_DATA_WRITE, VFIO_USER_MIG_DATA_READ,
                                         VFIO_USER_DEVICE_FEATURE };

    if (size > 1) {
        say(commands[data[0] % 3], data + 1, size - 1, NULL, 0);
    }
}

static void operate(unsigned operation, size_t number, const uint8_t *data, size_t size)
{
    size_t n;

    switch (operation % 12) {
    case 0:
        n = left(number);
        write_data(stream.bytes + position, n);
        position += n;
        break;
    case 1:
        position += left(number);
        break;
    case 2:
        position = stream.records[(size > 0 ? data[0] : 0) % stream.count];
        break;
    case 3:
        write_data(data, size);
        break;
    case 4:
        set_state(size > 0 ? data[0] % 9 : 0);
        break;
    case 5:
        read_data((uint32_t)number);
        break;
    case 6:
        message(data, size);
        break;
    case 7:
        say(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0);
        break;
    case 8:
        begin_made();
        break;
    case 9:
        add_made(data, size);
        break;
    case 10:
        stream = target == &targets[SERVER] ? targets[CARD].good : targets[SERVER].good;
        position = 0;
        break;
    default:
        flip(data, size);
    }
}

/* --- the devices --- */

static void choose_target(unsigned which)
{
    target = &targets[which % TARGETS];
    join_in();
    stream = target->good;
    position = 0;
    state_writer_begin(&writer, &(struct state_identity){ .version = 0 });
    made.record.type = 0;
}

/* With their sockets. */
static void destroy_devices(void)
{
    vfu_destroy_ctx(targets[SERVER].ctx);
    vfu_destroy_ctx(targets[CARD].ctx);
}

static void set_up(void)
{
    targets[SERVER] = (struct target){ .name = "server", .shape = DATA_SIZE };
    targets[CARD] = (struct target){ .name = "gpio-pci-idio-16", .shape = 1 };
    for (int i = 0; i < TARGETS; i++) {
        snprintf(targets[i].path, sizeof(targets[i].path), "/tmp/vfu-fuzz-migration-%d-%d",
                 getpid(), i);
        unlink(targets[i].path);
    }
    if (server_device_create(&device, DATA_SIZE) < 0) {
        err(1, "memory");
    }
    targets[SERVER].ctx = vfu_create_ctx(VFU_TRANS_SOCK, targets[SERVER].path,
                                         LIBVFIO_USER_FLAG_ATTACH_NB, &device, VFU_DEV_TYPE_PCI);
    targets[CARD].ctx = card_create(targets[CARD].path);
    if (targets[SERVER].ctx == NULL || targets[CARD].ctx == NULL ||
        server_device_describe(&device, targets[SERVER].ctx) < 0) {
        err(1, "devices");
    }
    atexit(destroy_devices);
    choose_target(SERVER);
    write_region(SERVER_REGISTERS_BAR, SERVER_REG_FILL, 7, 8);
    write_region(SERVER_REGISTERS_BAR, SERVER_REG_SEED, 42, 8);
    make_good_stream(&target->good);
    leave();
    choose_target(CARD);
    write_region(VFU_PCI_DEV_BAR2_REGION_IDX, 0, 0xa5, 1);
    make_good_stream(&target->good);
    leave();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (target == NULL) {
        set_up();
    }
    if (size == 0) {
        return 0;
    }
    choose_target(data[0]);
    for (data++, size--; size >= 3;) {
        size_t number = data[1] | (size_t)data[2] << 8;
        size_t length = number < size - 3 ? number : size - 3;

        /* Where the number is no size, no bytes belong to it. */
        if (data[0] % 12 <= 1 || data[0] % 12 == 5) {
            length = 0;
        }
        operate(data[0], number, data + 3, length);
        data += 3 + length;
        size -= 3 + length;
    }
    expect_good_stream_to_be_taken();
    leave();
    return 0;
}
