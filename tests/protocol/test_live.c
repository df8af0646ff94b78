/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live migration of the sample server, between standalone servers or, brokered, between any two of
 * both kinds: issue 5, "It must hold"; protocol.md 4.6 and 5.7.
 *
 * LIVE_MIGRATIONS in the environment: how many random ones; LIVE_SEED: of the choices.
 */
#include "client/live.h"
#include "ipc/fd.h"
#include "samples/server_device.h"
#include "tests/protocol/harness.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GUEST 0x100000000u
#define GUEST_SIZE (1u << 20)
#define PAGE 4096u
#define PAGES (GUEST_SIZE / PAGE)
#define SERVERS 4
#define VECTORS 2
#define DATA_SIZE (16u << 20)
#define MSIX_FLAGS (0x40 + PCI_MSIX_FLAGS)

static struct server servers[SERVERS];
static uint64_t seed;

static uint64_t choose(uint64_t count)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % count;
}

/* --- one side: a client, its eventfds, its guest memory --- */

struct side {
    struct vfu_client *client;
    size_t server;
    int eventfds[VECTORS];
    uint8_t *memory;
};

static uint64_t get(const struct side *side, enum server_register which)
{
    uint64_t value = 0;

    assert_int_equal(vfu_client_region_read(side->client, SERVER_REGISTERS_BAR, which, &value, 8),
                     0);
    return value;
}

static void set(const struct side *side, enum server_register which, uint64_t value)
{
    assert_int_equal(vfu_client_region_write(side->client, SERVER_REGISTERS_BAR, which, &value, 8),
                     0);
}

static void side_open(struct side *side, size_t server)
{
    AUTO_FD memory = memory_create(GUEST_SIZE);

    side->server = server;
    side->client = server_negotiate(&servers[server]);
    side->memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_true(side->memory != MAP_FAILED);
    assert_int_equal(vfu_client_dma_map(side->client, GUEST, GUEST_SIZE,
                                        VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE,
                                        memory, 0),
                     0);
    for (int i = 0; i < VECTORS; i++) {
        side->eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(side->eventfds[i] >= 0);
    }
    assert_int_equal(
        vfu_client_irq_assign(side->client, VFIO_PCI_MSIX_IRQ_INDEX, 0, side->eventfds, VECTORS),
        0);
}

static void side_close(struct side *side)
{
    side->client = vfu_client_free(side->client);
    munmap(side->memory, GUEST_SIZE);
    for (int i = 0; i < VECTORS; i++) {
        close(side->eventfds[i]);
    }
}

static void write_config(const struct side *side, uint64_t offset, uint16_t value)
{
    assert_int_equal(vfu_client_region_write(side->client, 7, offset, &value, 2), 0);
}

static void set_vector_mask(const struct side *side, uint64_t vector, uint32_t mask)
{
    assert_int_equal(vfu_client_region_write(
                         side->client, SERVER_MSIX_BAR,
                         vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, &mask, 4),
                     0);
}

/* A guest's driver has begun to use it. */
static void enable(const struct side *side)
{
    write_config(side, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    write_config(side, MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    for (uint64_t i = 0; i < VECTORS; i++) {
        set_vector_mask(side, i, 0);
    }
}

static void read_region(const struct side *side, uint32_t region, void *data, size_t size)
{
    assert_int_equal(vfu_client_region_read(side->client, region, 0, data, size), 0);
}

static void expect_same_region(const struct side *a, const struct side *b, uint32_t region,
                               size_t size)
{
    uint8_t *first = malloc(size), *second = malloc(size);

    assert_non_null(first);
    assert_non_null(second);
    read_region(a, region, first, size);
    read_region(b, region, second, size);
    assert_memory_equal(first, second, size);
    free(first);
    free(second);
}

/* --- a guest with a driver, which moves from server to server --- */

struct guest {
    struct side here;
    struct side there;
    uint64_t expected[VECTORS]; /* interrupts that the device has been given reason for */
    uint64_t delivered[VECTORS];
    bool masked[VECTORS];
    uint64_t own[PAGES / 64]; /* pages that the processor has written */
    unsigned busy;            /* things to do in each round */
};

static void count_interrupts(struct guest *guest, const struct side *side)
{
    for (int i = 0; i < VECTORS; i++) {
        uint64_t count;

        if (side->client != NULL && read(side->eventfds[i], &count, 8) == 8) {
            guest->delivered[i] += count;
        }
        assert_true(guest->delivered[i] <= guest->expected[i]);
    }
}

static bool has_all(struct guest *guest, int vector)
{
    count_interrupts(guest, &guest->here);
    return guest->delivered[vector] == guest->expected[vector];
}

/* A time that is over, or not yet. A pending bit counts once: one at a time. */
static void set_alarm(struct guest *guest)
{
    if (has_all(guest, SERVER_VECTOR_ALARM) && get(&guest->here, SERVER_REG_ALARM) == 0) {
        set(&guest->here, SERVER_REG_STATUS, SERVER_STATUS_ALARM);
        set(&guest->here, SERVER_REG_ALARM, (uint64_t)time(NULL) - 1 + choose(3));
        guest->expected[SERVER_VECTOR_ALARM]++;
    }
}

static void transfer(struct guest *guest)
{
    if (has_all(guest, SERVER_VECTOR_TRANSFER)) {
        uint64_t size = 1 + choose(SERVER_TRANSFER_MAX);

        set(&guest->here, SERVER_REG_GUEST_ADDRESS, GUEST + choose(GUEST_SIZE - size));
        set(&guest->here, SERVER_REG_GUEST_SIZE, size);
        guest->expected[SERVER_VECTOR_TRANSFER]++;
        set(&guest->here, SERVER_REG_GUEST_COMMAND, 1 + choose(2));
        assert_int_equal(get(&guest->here, SERVER_REG_GUEST_RESULT), 0);
        set(&guest->here, SERVER_REG_GUEST_ADDRESS, GUEST);
        set(&guest->here, SERVER_REG_GUEST_SIZE, GUEST_SIZE);
    }
}

static void write_by_processor(struct guest *guest)
{
    uint64_t page = choose(PAGES);

    guest->here.memory[page * PAGE + choose(PAGE)]++;
    guest->own[page / 64] |= 1ull << (page % 64);
}

static void write_data(struct guest *guest)
{
    uint8_t bytes[5000];

    memset(bytes, (int)choose(256), sizeof(bytes));
    assert_int_equal(vfu_client_region_write(guest->here.client, SERVER_DATA_BAR,
                                             choose(DATA_SIZE - sizeof(bytes)), bytes,
                                             sizeof(bytes)),
                     0);
}

static void toggle_mask(struct guest *guest)
{
    uint64_t vector = choose(VECTORS);

    guest->masked[vector] = !guest->masked[vector];
    set_vector_mask(&guest->here, vector, guest->masked[vector]);
}

static void do_something(struct guest *guest)
{
    switch (choose(8)) {
    case 0:
        set_alarm(guest);
        break;
    case 1:
        transfer(guest);
        break;
    case 2:
        write_by_processor(guest);
        break;
    case 3:
        write_data(guest);
        break;
    case 4:
        toggle_mask(guest);
        break;
    case 5:
        set(&guest->here, SERVER_REG_RATE, choose(64));
        set(&guest->here, SERVER_REG_GUEST_RATE, choose(16));
        break;
    case 6:
        set(&guest->here, SERVER_REG_WINDOW, choose(16) * 65536);
        break;
    default:
        vfu_client_region_write(guest->here.client, SERVER_SHARED_BAR, choose(SERVER_SHARED_SIZE),
                                "x", 1);
        break;
    }
}

static int on_round(void *opaque, const struct vfu_client_live_round *round)
{
    struct guest *guest = opaque;

    for (unsigned i = 0; i < guest->busy && !round->stopped; i++) {
        do_something(guest);
    }
    return 0;
}

static int on_dirty(void *opaque, size_t index, void *bitmap)
{
    struct guest *guest = opaque;
    uint64_t *pages = bitmap;

    for (size_t i = 0; i < PAGES / 64; i++) {
        pages[i] |= guest->own[i];
        guest->own[i] = 0;
    }
    return 0;
}

/* Nothing that a guest can see has changed: both devices have stopped. */
static int on_installed(void *opaque)
{
    struct guest *guest = opaque;

    assert_memory_equal(guest->here.memory, guest->there.memory, GUEST_SIZE);
    expect_same_region(&guest->here, &guest->there, SERVER_REGISTERS_BAR, SERVER_REGISTERS_SIZE);
    expect_same_region(&guest->here, &guest->there, SERVER_DATA_BAR, DATA_SIZE);
    expect_same_region(&guest->here, &guest->there, SERVER_SHARED_BAR, SERVER_SHARED_SIZE);
    expect_same_region(&guest->here, &guest->there, 7, 256);
    return 0;
}

static void guest_open(struct guest *guest)
{
    *guest = (struct guest){ .busy = 8 };
    side_open(&guest->here, 0);
    enable(&guest->here);
    set(&guest->here, SERVER_REG_GUEST_ADDRESS, GUEST);
    set(&guest->here, SERVER_REG_GUEST_SIZE, GUEST_SIZE);
}

/* Every interrupt arrives, once. */
static void settle(struct guest *guest)
{
    for (uint64_t i = 0; i < VECTORS; i++) {
        guest->masked[i] = false;
        set_vector_mask(&guest->here, i, 0);
    }
    for (int i = 0; i < VECTORS; i++) {
        expect_eventually(has_all(guest, i));
    }
    assert_int_equal(get(&guest->here, SERVER_REG_ALARM), 0);
    assert_int_equal(get(&guest->here, SERVER_REG_RUNG), guest->expected[SERVER_VECTOR_ALARM]);
    count_interrupts(guest, &guest->here);
}

static void guest_close(struct guest *guest)
{
    settle(guest);
    side_close(&guest->here);
}

static void describe(struct guest *guest, struct vfu_client_live_memory *memory,
                     struct vfu_client_live *live)
{
    *memory = (struct vfu_client_live_memory){
        .iova = GUEST,
        .size = GUEST_SIZE,
        .from = guest->here.memory,
        .to = guest->there.memory,
    };
    *live = (struct vfu_client_live){
        .from = guest->here.client,
        .to = guest->there.client,
        .memory = memory,
        .memory_count = 1,
        .max_rounds = 8,
        .stop_bytes = 65536,
        .on_round = on_round,
        .on_dirty = on_dirty,
        .on_installed = on_installed,
        .opaque = guest,
    };
}

/* To the next server, or one by chance. */
static void open_destination(struct guest *guest)
{
    side_open(&guest->there, (guest->here.server + 1 + choose(SERVERS - 1)) % SERVERS);
}

static void arrive(struct guest *guest)
{
    count_interrupts(guest, &guest->here);
    side_close(&guest->here);
    guest->here = guest->there;
    guest->there.client = NULL;
}

static void migrate(struct guest *guest, unsigned max_rounds)
{
    struct vfu_client_live_memory memory;
    struct vfu_client_live live;
    int result;

    open_destination(guest);
    describe(guest, &memory, &live);
    live.max_rounds = max_rounds;
    result = vfu_client_live_migrate(&live);
    if (result != 0) {
        fail_msg("%s: %s", live.step, strerror(abs(result)));
    }
    assert_int_equal(live.end, VFU_CLIENT_LIVE_DONE);
    arrive(guest);
}

/* --- tests --- */

static void test_random_migrations(void **state)
{
    const char *text = getenv("LIVE_MIGRATIONS");
    int count = text != NULL ? atoi(text) : 20;
    struct guest guest;

    guest_open(&guest);
    for (int i = 0; i < count; i++) {
        for (unsigned j = choose(12); j > 0; j--) {
            do_something(&guest);
        }
        migrate(&guest, (unsigned)choose(5));
        if (choose(4) == 0) {
            settle(&guest);
        }
    }
    guest_close(&guest);
}

static void test_alarm_set_at_the_source_rings_at_the_destination(void **state)
{
    struct guest guest;

    guest_open(&guest);
    guest.busy = 0;
    guest.expected[SERVER_VECTOR_ALARM] = 1;
    set(&guest.here, SERVER_REG_ALARM, (uint64_t)time(NULL) + 3);
    migrate(&guest, 3);
    if (guest.delivered[SERVER_VECTOR_ALARM] == 0) { /* a machine that took three seconds is slow */
        assert_int_equal(
            get(&guest.here, SERVER_REG_ALARM) != 0 || get(&guest.here, SERVER_REG_RUNG) == 1, 1);
    }
    guest_close(&guest);
}

static void test_pending_interrupt_travels(void **state)
{
    struct guest guest;

    guest_open(&guest);
    guest.busy = 0;
    guest.masked[SERVER_VECTOR_TRANSFER] = true;
    set_vector_mask(&guest.here, SERVER_VECTOR_TRANSFER, 1);
    transfer(&guest);
    migrate(&guest, 0);
    migrate(&guest, 2);
    assert_int_equal(guest.delivered[SERVER_VECTOR_TRANSFER], 0);
    settle(&guest);
    assert_int_equal(guest.delivered[SERVER_VECTOR_TRANSFER], 1);
    guest_close(&guest);
}

/* The level of INTx goes with the registers, and is signalled where nobody has seen it. */
static void test_asserted_line_is_raised_at_the_destination(void **state)
{
    struct guest guest;
    uint64_t count;

    guest_open(&guest);
    guest.busy = 0;
    write_config(&guest.here, MSIX_FLAGS, 0);
    assert_int_equal(vfu_client_irq_assign(guest.here.client, VFIO_PCI_INTX_IRQ_INDEX, 0,
                                           guest.here.eventfds, 1),
                     0);
    set(&guest.here, SERVER_REG_ALARM, 1);
    expect_eventually(get(&guest.here, SERVER_REG_STATUS) != 0);
    assert_int_equal(read(guest.here.eventfds[0], &count, 8), 8);
    assert_int_equal(count, 1);
    open_destination(&guest);
    assert_int_equal(vfu_client_irq_assign(guest.there.client, VFIO_PCI_INTX_IRQ_INDEX, 0,
                                           guest.there.eventfds, 1),
                     0);
    {
        struct vfu_client_live_memory memory;
        struct vfu_client_live live;

        describe(&guest, &memory, &live);
        assert_int_equal(vfu_client_live_migrate(&live), 0);
    }
    assert_int_equal(read(guest.there.eventfds[0], &count, 8), 8);
    assert_int_equal(count, 1);
    side_close(&guest.here);
    side_close(&guest.there);
}

struct loss {
    const struct side *side;
    int memory;
};

/* A transfer from memory that has gone leaves zeros where it came to. */
static int lose_memory(void *opaque, const struct vfu_client_live_round *round)
{
    const struct loss *loss = opaque;

    if (round->number == 0) {
        assert_int_equal(ftruncate(loss->memory, 0), 0);
        set(loss->side, SERVER_REG_GUEST_ADDRESS, GUEST + GUEST_SIZE);
        set(loss->side, SERVER_REG_GUEST_SIZE, PAGE);
        set(loss->side, SERVER_REG_GUEST_COMMAND, SERVER_COMMAND_READ);
        assert_int_equal(get(loss->side, SERVER_REG_GUEST_RESULT), EFAULT);
    }
    return 0;
}

static void test_what_a_failed_transfer_changed_travels(void **state)
{
    struct side from, to;
    AUTO_FD memory = memory_create(PAGE);
    struct loss loss = { .side = &from, .memory = memory };
    struct vfu_client_live live = { .max_rounds = 2, .on_round = lose_memory, .opaque = &loss };

    side_open(&from, 0);
    side_open(&to, 1);
    assert_int_equal(vfu_client_dma_map(from.client, GUEST + GUEST_SIZE, PAGE,
                                        VFIO_USER_F_DMA_REGION_READ, memory, 0),
                     0);
    set(&from, SERVER_REG_FILL, 1);
    live.from = from.client;
    live.to = to.client;
    assert_int_equal(vfu_client_live_migrate(&live), 0);
    expect_same_region(&from, &to, SERVER_DATA_BAR, 2 * PAGE);
    side_close(&from);
    side_close(&to);
}

/* Exactly the pages that were written since the last report. */
static void test_log_has_what_was_written_and_nothing_else(void **state)
{
    struct guest guest;

    guest_open(&guest);
    assert_int_equal(vfu_client_dirty_start(guest.here.client, PAGE), 0);
    for (int i = 0; i < 100; i++) {
        uint64_t written[PAGES / 64] = { 0 }, reported[PAGES / 64];

        for (uint64_t n = choose(5); n > 0; n--) {
            uint64_t size = 1 + choose(SERVER_TRANSFER_MAX), at = choose(GUEST_SIZE - size);

            set(&guest.here, SERVER_REG_GUEST_ADDRESS, GUEST + at);
            set(&guest.here, SERVER_REG_GUEST_SIZE, size);
            set(&guest.here, SERVER_REG_GUEST_COMMAND, SERVER_COMMAND_WRITE);
            guest.expected[SERVER_VECTOR_TRANSFER]++;
            for (uint64_t page = at / PAGE; page <= (at + size - 1) / PAGE; page++) {
                written[page / 64] |= 1ull << (page % 64);
            }
        }
        assert_int_equal(
            vfu_client_dirty_report(guest.here.client, GUEST, GUEST_SIZE, PAGE, reported), 0);
        assert_memory_equal(written, reported, sizeof(written));
    }
    guest_close(&guest);
}

/* --- cancellations --- */

enum moment { AT_ROUND_0, AT_ROUND_1, AT_PAUSE, AT_STOPPED, AT_RESTORE, AT_INSTALLED, MOMENTS };
enum accident { HOOK_REFUSES, DESTINATION_IS_GONE, SOURCE_IS_GONE, ACCIDENTS };

struct mishap {
    struct guest *guest;
    enum moment moment;
    enum accident accident;
};

static int happen(struct mishap *mishap, enum moment moment)
{
    if (moment != mishap->moment) {
        return 0;
    }
    switch (mishap->accident) {
    case HOOK_REFUSES:
        return -ECANCELED;
    case DESTINATION_IS_GONE:
        shutdown(vfu_client_socket(mishap->guest->there.client), SHUT_RDWR);
        return 0;
    default:
        shutdown(vfu_client_socket(mishap->guest->here.client), SHUT_RDWR);
        return 0;
    }
}

static int round_mishap(void *opaque, const struct vfu_client_live_round *round)
{
    return happen(opaque, round->stopped       ? AT_STOPPED
                          : round->number == 0 ? AT_ROUND_0
                                               : AT_ROUND_1);
}

static int pause_mishap(void *opaque)
{
    return happen(opaque, AT_PAUSE);
}

static int restore_mishap(void *opaque)
{
    return happen(opaque, AT_RESTORE);
}

static int installed_mishap(void *opaque)
{
    return happen(opaque, AT_INSTALLED);
}

static int migrate_with_mishap(struct mishap *mishap, struct vfu_client_live *live)
{
    struct vfu_client_live_memory memory;
    int result;

    open_destination(mishap->guest);
    describe(mishap->guest, &memory, live);
    live->stop_bytes = 0;
    live->max_rounds = 3;
    live->on_round = round_mishap;
    live->on_dirty = NULL;
    live->on_pause = pause_mishap;
    live->on_restore = restore_mishap;
    live->on_installed = installed_mishap;
    live->opaque = mishap;
    result = vfu_client_live_migrate(live);
    return result;
}

static void expect_running(struct guest *guest)
{
    uint32_t state;

    assert_int_equal(vfu_client_migration_get_state(guest->here.client, &state), 0);
    assert_int_equal(state, VFIO_USER_DEVICE_STATE_RUNNING);
    set_alarm(guest);
    transfer(guest);
    settle(guest);
}

/* Cancelled or without destination the source runs on, and can migrate all the same afterwards. */
static void test_source_runs_on_after_a_cancellation(void **state)
{
    struct guest guest;

    guest_open(&guest);
    guest.busy = 0;
    set(&guest.here, SERVER_REG_RATE, 4);
    for (int accident = HOOK_REFUSES; accident <= DESTINATION_IS_GONE; accident++) {
        for (int moment = 0; moment < MOMENTS; moment++) {
            struct mishap mishap = { &guest, (enum moment)moment, (enum accident)accident };
            struct vfu_client_live live;
            int result = migrate_with_mishap(&mishap, &live);

            assert_int_not_equal(result, 0);
            assert_int_equal(live.end, VFU_CLIENT_LIVE_SOURCE_RUNS);
            if (accident == HOOK_REFUSES) {
                uint64_t data[512];

                assert_int_equal(result, -ECANCELED);
                /* The destination has been reset: nothing of the state is left. */
                assert_int_equal(get(&guest.there, SERVER_REG_RATE), 0);
                read_region(&guest.there, SERVER_DATA_BAR, data, sizeof(data));
                for (size_t i = 0; i < 512; i++) {
                    assert_int_equal(data[i], 0);
                }
            }
            side_close(&guest.there);
            expect_running(&guest);
        }
    }
    migrate(&guest, 3);
    guest_close(&guest);
}

/* When the source is lost, nothing runs at the destination but a device after its reset. */
static void test_destination_does_not_run_half_a_state(void **state)
{
    for (int moment = 0; moment < AT_STOPPED; moment++) {
        struct guest guest;
        struct mishap mishap = { &guest, (enum moment)moment, SOURCE_IS_GONE };
        struct vfu_client_live live;

        guest_open(&guest);
        set(&guest.here, SERVER_REG_FILL, 1);
        assert_int_not_equal(migrate_with_mishap(&mishap, &live), 0);
        assert_int_equal(live.end, VFU_CLIENT_LIVE_SOURCE_LOST);
        for (uint64_t at = 0; at < 64; at += 8) {
            uint64_t value = 1;

            assert_int_equal(vfu_client_region_read(guest.there.client, SERVER_DATA_BAR,
                                                    at * (DATA_SIZE / 64), &value, 8),
                             0);
            assert_int_equal(value, 0);
        }
        side_close(&guest.here);
        side_close(&guest.there);
    }
}

/* --- streams --- */

struct stream {
    uint8_t *bytes;
    size_t size;
};

static void go_to(struct vfu_client *client, uint32_t target)
{
    uint32_t state;

    assert_int_equal(vfu_client_migration_set_state(client, target), 0);
    assert_int_equal(vfu_client_migration_get_state(client, &state), 0);
    assert_int_equal(state, target);
}

/* All of a device's state, in pieces of @piece bytes. */
static void read_stream(struct vfu_client *client, uint32_t piece, struct stream *stream)
{
    const size_t most = 4u << 20;
    uint32_t n = 0;

    stream->bytes = malloc(most);
    stream->size = 0;
    assert_non_null(stream->bytes);
    go_to(client, VFIO_USER_DEVICE_STATE_STOP_COPY);
    do {
        assert_true(stream->size + piece <= most);
        assert_int_equal(vfu_client_migration_read(client, stream->bytes + stream->size, piece, &n),
                         0);
        stream->size += n;
    } while (n == piece);
    go_to(client, VFIO_USER_DEVICE_STATE_RUNNING);
}

/* Returns what the destination says to the stream: 0, or the errno of the write or the end. */
static int write_stream(struct vfu_client *client, const uint8_t *bytes, size_t size,
                        uint32_t piece)
{
    int result = 0;

    go_to(client, VFIO_USER_DEVICE_STATE_RESUMING);
    for (size_t at = 0; at < size && result == 0; at += piece) {
        uint32_t n = size - at < piece ? (uint32_t)(size - at) : piece;

        result = vfu_client_migration_write(client, bytes + at, n);
    }
    return result == 0 ? vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_RUNNING)
                       : result;
}

/* It is in RESUMING, and does not get out of it but by a reset or a good stream. */
static void expect_clean(const struct side *side)
{
    uint64_t data[512];

    assert_int_not_equal(
        vfu_client_migration_set_state(side->client, VFIO_USER_DEVICE_STATE_RUNNING), 0);
    assert_int_equal(get(side, SERVER_REG_RATE), 0);
    assert_int_equal(get(side, SERVER_REG_ALARM), 0);
    read_region(side, SERVER_DATA_BAR, data, sizeof(data));
    for (size_t i = 0; i < 512; i++) {
        assert_int_equal(data[i], 0);
    }
}

static void prepare_stream(struct guest *guest, struct stream *stream, uint32_t piece)
{
    uint8_t bytes[9000];

    guest_open(guest);
    memset(bytes, 0x5a, sizeof(bytes));
    assert_int_equal(vfu_client_region_write(guest->here.client, SERVER_DATA_BAR, 0, bytes, 9000),
                     0);
    assert_int_equal(
        vfu_client_region_write(guest->here.client, SERVER_DATA_BAR, 1 << 20, bytes, 9000), 0);
    set(&guest->here, SERVER_REG_WINDOW, 65536);
    read_stream(guest->here.client, piece, stream);
    open_destination(guest);
}

static void end_stream(struct guest *guest, struct stream *stream)
{
    free(stream->bytes);
    side_close(&guest->there);
    guest_close(guest);
}

static void test_stream_in_pieces_of_any_size(void **state)
{
    static const uint32_t sizes[] = { 1u << 20, 65536 + 24, 65535, 4096, 333, 24, 23 };
    struct stream stream;
    struct guest guest;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        prepare_stream(&guest, &stream, sizes[i]);
        assert_int_equal(write_stream(guest.there.client, stream.bytes, stream.size,
                                      sizes[sizeof(sizes) / sizeof(sizes[0]) - 1 - i]),
                         0);
        assert_int_equal(get(&guest.there, SERVER_REG_WINDOW), 65536);
        expect_same_region(&guest.here, &guest.there, SERVER_DATA_BAR, 2 << 20);
        end_stream(&guest, &stream);
    }
}

static void refuse(struct guest *guest, const uint8_t *bytes, size_t size)
{
    assert_int_not_equal(write_stream(guest->there.client, bytes, size, 1u << 20), 0);
    expect_clean(&guest->there);
}

static void test_truncated_and_oversized_streams_are_refused(void **state)
{
    struct stream stream;
    struct guest guest;

    prepare_stream(&guest, &stream, 1u << 20);
    refuse(&guest, stream.bytes, 0);
    for (int i = 0; i < 40; i++) {
        refuse(&guest, stream.bytes, choose(stream.size));
    }
    refuse(&guest, stream.bytes, stream.size - 1);
    stream.bytes[stream.size] = 0;
    refuse(&guest, stream.bytes, stream.size + 1);
    memcpy(stream.bytes + stream.size, stream.bytes, 1000);
    refuse(&guest, stream.bytes, stream.size + 1000);
    assert_int_equal(write_stream(guest.there.client, stream.bytes, stream.size, 1u << 20), 0);
    end_stream(&guest, &stream);
}

static void test_flipped_bits_are_refused(void **state)
{
    struct stream stream;
    struct guest guest;

    prepare_stream(&guest, &stream, 1u << 20);
    for (int i = 0; i < 200; i++) {
        /* Where there are few bytes that mean much, and anywhere. */
        size_t at = i < 96 ? (size_t)i : choose(stream.size);
        uint8_t bit = (uint8_t)(1u << choose(8));

        stream.bytes[at] ^= bit;
        refuse(&guest, stream.bytes, stream.size);
        stream.bytes[at] ^= bit;
    }
    assert_int_equal(write_stream(guest.there.client, stream.bytes, stream.size, 1u << 20), 0);
    end_stream(&guest, &stream);
}

/* Where the records begin; returns how many. */
static size_t find_records(const struct stream *stream, size_t *at, size_t max)
{
    size_t count = 0;

    for (size_t offset = 0; offset < stream->size && count < max; count++) {
        struct state_record record;

        memcpy(&record, stream->bytes + offset, sizeof(record));
        at[count] = offset;
        offset += sizeof(record) + record.size;
    }
    return count;
}

static void test_reordered_and_missing_records_are_refused(void **state)
{
    struct stream stream;
    struct guest guest;
    size_t at[64], count;

    prepare_stream(&guest, &stream, 1u << 20);
    count = find_records(&stream, at, 63);
    at[count] = stream.size;
    assert_true(count >= 6); /* identity, data twice, shared, MSI-X, registers, end */
    for (size_t i = 0; i + 1 < count; i++) {
        size_t first = at[i + 1] - at[i], second = at[i + 2] - at[i + 1];
        uint8_t *bytes = malloc(stream.size);

        assert_non_null(bytes);
        memcpy(bytes, stream.bytes, stream.size);
        memcpy(bytes + at[i], stream.bytes + at[i + 1], second);
        memcpy(bytes + at[i] + second, stream.bytes + at[i], first);
        refuse(&guest, bytes, stream.size);
        /* Without the first of the two. */
        memcpy(bytes, stream.bytes, stream.size);
        memmove(bytes + at[i], bytes + at[i + 1], stream.size - at[i + 1]);
        refuse(&guest, bytes, stream.size - first);
        free(bytes);
    }
    assert_int_equal(write_stream(guest.there.client, stream.bytes, stream.size, 1u << 20), 0);
    end_stream(&guest, &stream);
}

/* A source that runs into an error while it reads leaves a stream that goes nowhere. */
static void test_second_session_of_a_source_is_a_stream_of_its_own(void **state)
{
    struct stream stream;
    struct guest guest;
    uint8_t bytes[100];
    uint32_t n;

    prepare_stream(&guest, &stream, 1u << 20);
    go_to(guest.here.client, VFIO_USER_DEVICE_STATE_PRE_COPY);
    assert_int_equal(vfu_client_migration_read(guest.here.client, bytes, sizeof(bytes), &n), 0);
    assert_int_equal(n, sizeof(bytes));
    go_to(guest.here.client, VFIO_USER_DEVICE_STATE_RUNNING);
    free(stream.bytes);
    read_stream(guest.here.client, 1u << 20, &stream);
    assert_int_equal(write_stream(guest.there.client, stream.bytes, stream.size, 1u << 20), 0);
    end_stream(&guest, &stream);
}

/* --- protocol.md 4.6: every pair of states --- */

static void test_every_pair_of_states(void **state)
{
    enum {
        STOP = VFIO_USER_DEVICE_STATE_STOP,
        RUNNING = VFIO_USER_DEVICE_STATE_RUNNING,
        STOP_COPY = VFIO_USER_DEVICE_STATE_STOP_COPY,
        RESUMING = VFIO_USER_DEVICE_STATE_RESUMING,
        PRE_COPY = VFIO_USER_DEVICE_STATE_PRE_COPY,
    };
    static const uint32_t states[] = { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY };
    struct stream stream;
    struct guest guest;

    prepare_stream(&guest, &stream, 1u << 20);
    for (size_t i = 0; i < 5; i++) {
        for (uint32_t to = 0; to < 9; to++) {
            struct vfu_client *client = guest.there.client;
            bool legal =
                to != 0 && to != 5 && to < 7 && !(states[i] == STOP_COPY && to == PRE_COPY);
            uint32_t now;

            assert_int_equal(vfu_client_reset_device(client), 0);
            go_to(client, states[i]);
            if (states[i] == RESUMING) {
                assert_int_equal(
                    vfu_client_migration_write(client, stream.bytes, (uint32_t)stream.size), 0);
            }
            assert_int_equal(vfu_client_migration_set_state(client, to), legal ? 0 : EINVAL);
            assert_int_equal(vfu_client_migration_get_state(client, &now), 0);
            assert_int_equal(now, legal ? to : states[i]);
        }
    }
    end_stream(&guest, &stream);
}

/* --- servers for all tests --- */

static int start_servers(void **state)
{
    const char *text = getenv("LIVE_SEED");

    seed = text != NULL ? strtoull(text, NULL, 0) : 5;
    for (size_t i = 0; i < SERVERS; i++) {
        server_start_as(&servers[i],
                        harness_mode() == SERVER_BROKERED && i % 2 == 1 ? SERVER_BROKERED
                                                                        : SERVER_STANDALONE,
                        NULL, "server");
        vfu_client_free(server_negotiate(&servers[i]));
    }
    return 0;
}

static int stop_servers(void **state)
{
    for (size_t i = 0; i < SERVERS; i++) {
        server_stop(&servers[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_migrations),
        cmocka_unit_test(test_alarm_set_at_the_source_rings_at_the_destination),
        cmocka_unit_test(test_pending_interrupt_travels),
        cmocka_unit_test(test_asserted_line_is_raised_at_the_destination),
        cmocka_unit_test(test_what_a_failed_transfer_changed_travels),
        cmocka_unit_test(test_log_has_what_was_written_and_nothing_else),
        cmocka_unit_test(test_source_runs_on_after_a_cancellation),
        cmocka_unit_test(test_destination_does_not_run_half_a_state),
        cmocka_unit_test(test_stream_in_pieces_of_any_size),
        cmocka_unit_test(test_truncated_and_oversized_streams_are_refused),
        cmocka_unit_test(test_flipped_bits_are_refused),
        cmocka_unit_test(test_reordered_and_missing_records_are_refused),
        cmocka_unit_test(test_second_session_of_a_source_is_a_stream_of_its_own),
        cmocka_unit_test(test_every_pair_of_states),
    };

    harness_start(argc, argv);
    return harness_finish(
        cmocka_run_group_tests_name(harness_name(), tests, start_servers, stop_servers));
}
