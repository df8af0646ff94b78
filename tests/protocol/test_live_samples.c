/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The small samples migrate, standalone to standalone and, brokered, in every mix of the two kinds.
 * TEST_SAMPLES in the environment names their folder.
 */
#include "client/live.h"
#include "tests/protocol/harness.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct pair {
    struct server servers[2];
    struct vfu_client *from;
    struct vfu_client *to;
};

static void server_begin(struct server *server, enum server_mode mode, const char *program,
                         const char *policy)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", getenv("TEST_SAMPLES"), program);
    server_start_as(server, mode, path, policy);
}

/* Programs that know nothing of signals leave their socket behind. */
static void server_end(struct server *server)
{
    if (server->mode == SERVER_STANDALONE) {
        kill(server->pid, SIGKILL);
        server_wait(server);
        unlink(server->socket);
    }
    server_stop(server);
}

static void pair_open(struct pair *pair, const enum server_mode *modes, const char *program,
                      const char *policy)
{
    for (int i = 0; i < 2; i++) {
        server_begin(&pair->servers[i], modes[i], program, policy);
    }
    pair->from = server_negotiate(&pair->servers[0]);
    pair->to = server_negotiate(&pair->servers[1]);
}

static void pair_close(struct pair *pair)
{
    vfu_client_free(pair->from);
    vfu_client_free(pair->to);
    server_end(&pair->servers[0]);
    server_end(&pair->servers[1]);
}

static void pair_migrate(struct pair *pair, unsigned rounds)
{
    struct vfu_client_live live = { .from = pair->from, .to = pair->to, .max_rounds = rounds };
    int result = vfu_client_live_migrate(&live);

    if (result != 0) {
        fail_msg("%s: %s", live.step, strerror(abs(result)));
    }
    assert_int_equal(live.end, VFU_CLIENT_LIVE_DONE);
}

typedef void scenario(const enum server_mode *modes);

static void in_every_mix(scenario *run)
{
    for (int i = 0; i < (harness_mode() == SERVER_BROKERED ? 4 : 1); i++) {
        const enum server_mode modes[] = {
            i & 1 ? SERVER_BROKERED : SERVER_STANDALONE,
            i & 2 ? SERVER_BROKERED : SERVER_STANDALONE,
        };

        run(modes);
    }
}

static uint8_t card_read(struct vfu_client *client, uint64_t offset)
{
    uint8_t value = 0;

    assert_int_equal(vfu_client_region_read(client, 2, offset, &value, 1), 0);
    return value;
}

static void card_write(struct vfu_client *client, uint64_t offset, uint8_t value)
{
    assert_int_equal(vfu_client_region_write(client, 2, offset, &value, 1), 0);
}

static int assign_interrupt(struct vfu_client *client)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    assert_true(fd >= 0);
    assert_int_equal(vfu_client_irq_assign(client, VFIO_PCI_INTX_IRQ_INDEX, 0, &fd, 1), 0);
    return fd;
}

static uint64_t signalled(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* Registers, a pending interrupt, and config space. */
static void move_card(const enum server_mode *modes)
{
    uint16_t command = PCI_COMMAND_IO, moved = 0;
    struct pair pair;
    int from, to;

    pair_open(&pair, modes, "gpio-pci-idio-16", "gpio-loopback");
    from = assign_interrupt(pair.from);
    to = assign_interrupt(pair.to);
    assert_int_equal(vfu_client_region_write(pair.from, 7, PCI_COMMAND, &command, 2), 0);
    card_read(pair.from, 2); /* enables the interrupt */
    card_write(pair.from, 7, 0x3c);
    card_write(pair.from, 0, 0xa5);
    card_write(pair.from, 4, 0x81);
    assert_int_equal(signalled(from), 1);
    pair_migrate(&pair, 2);
    assert_int_equal(card_read(pair.to, 0), 0xa5);
    assert_int_equal(card_read(pair.to, 4), 0x81);
    assert_int_equal(card_read(pair.to, 7), 0x3c);
    assert_int_equal(card_read(pair.to, 6), 0x7);
    assert_int_equal(vfu_client_region_read(pair.to, 7, PCI_COMMAND, &moved, 2), 0);
    assert_int_equal(moved, command);
    /* Still asserted, so the guest hears of it where it is now; and then of the next change. */
    assert_int_equal(signalled(from), 0);
    assert_int_equal(signalled(to), 1);
    card_write(pair.to, 1, 0);
    card_write(pair.to, 0, 0xa4);
    assert_int_equal(signalled(to), 1);
    close(from);
    close(to);
    pair_close(&pair);
}

static void test_gpio_with_a_pending_interrupt(void **state)
{
    in_every_mix(move_card);
}

/* The stand-in toggles every third time: the count goes along. */
static void move_stand_in(const enum server_mode *modes)
{
    static const uint8_t levels[] = { 0, 0, 0, 1, 1, 1, 0 };
    struct pair pair;

    pair_open(&pair, modes, "gpio-pci-idio-16", "gpio");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(card_read(pair.from, 0), levels[i]);
    }
    pair_migrate(&pair, 0);
    for (int i = 4; i < 7; i++) {
        assert_int_equal(card_read(pair.to, 0), levels[i]);
    }
    pair_close(&pair);
}

static void test_gpio_that_toggles(void **state)
{
    in_every_mix(move_stand_in);
}

static void move_hello(const enum server_mode *modes)
{
    char text[15] = "";
    struct pair pair;

    pair_open(&pair, modes, "hello", "hello");
    assert_int_equal(vfu_client_region_write(pair.from, 0, 7, "there", 5), 0);
    pair_migrate(&pair, 1);
    assert_int_equal(vfu_client_region_read(pair.to, 0, 0, text, 14), 0);
    assert_string_equal(text, "Hello, there!\n");
    pair_close(&pair);
}

static void test_hello(void **state)
{
    in_every_mix(move_hello);
}

/* It has no state but config space. */
static void move_null(const enum server_mode *modes)
{
    const uint8_t line = 9;
    uint8_t moved = 0;
    uint32_t state = 0;
    struct pair pair;

    pair_open(&pair, modes, "null", "null");
    assert_int_equal(vfu_client_region_write(pair.from, 7, PCI_INTERRUPT_LINE, &line, 1), 0);
    pair_migrate(&pair, 1);
    assert_int_equal(vfu_client_region_read(pair.to, 7, PCI_INTERRUPT_LINE, &moved, 1), 0);
    assert_int_equal(moved, line);
    assert_int_equal(vfu_client_migration_get_state(pair.to, &state), 0);
    assert_int_equal(state, VFIO_USER_DEVICE_STATE_RUNNING);
    pair_close(&pair);
}

static void test_null(void **state)
{
    in_every_mix(move_null);
}

/* A state of another kind of card is refused; the source runs on, the other card is as it was. */
static void test_foreign_state_is_refused(void **state)
{
    struct vfu_client_live live = { .max_rounds = 1 };
    struct server servers[2];

    server_begin(&servers[0], SERVER_STANDALONE, "gpio-pci-idio-16", "gpio-loopback");
    server_begin(&servers[1], SERVER_STANDALONE, "gpio-pci-idio-16", "gpio");
    live.from = server_negotiate(&servers[0]);
    live.to = server_negotiate(&servers[1]);
    card_write(live.from, 0, 0x5a);
    assert_int_equal(vfu_client_live_migrate(&live), EINVAL);
    assert_int_equal(live.end, VFU_CLIENT_LIVE_SOURCE_RUNS);
    assert_int_equal(card_read(live.from, 0), 0x5a);
    assert_int_equal(card_read(live.to, 0), 0);
    vfu_client_free(live.from);
    vfu_client_free(live.to);
    server_end(&servers[0]);
    server_end(&servers[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpio_with_a_pending_interrupt),
        cmocka_unit_test(test_gpio_that_toggles),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_foreign_state_is_refused),
    };

    return harness_run(argc, argv, tests);
}
