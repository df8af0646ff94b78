/* SPDX-License-Identifier: BSD-3-Clause */
/* samples/hello.c, the three-line loop of published slides: issue 3, item 5. */
#include "ipc/fd.h"
#include "tests/protocol/harness.h"

#include <linux/pci_regs.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_SIZE 0x10000

/* The program knows nothing of signals: standalone it leaves its socket behind, as it would. */
static void stop(struct server *server)
{
    if (server->mode == SERVER_STANDALONE) {
        kill(server->pid, SIGKILL);
        server_wait(server);
        unlink(server->socket);
    }
    server_stop(server);
}

static void expect_hello(struct vfu_client *client)
{
    static const char hello[] = "Hello, world!\n";
    uint32_t ids = 0;
    char bytes[64];

    assert_int_equal(vfu_client_region_read(client, 7, PCI_VENDOR_ID, &ids, 4), 0);
    assert_int_equal(ids, 0xbeefdead);
    assert_int_equal(vfu_client_region_read(client, 0, 0, bytes, sizeof(bytes)), 0);
    assert_string_equal(bytes, hello);
}

static void test_client_after_client_is_greeted(void **state)
{
    struct server server;

    server_start(&server, "hello");
    for (int i = 0; i < 3; i++) {
        struct vfu_client *client = server_negotiate(&server);

        expect_hello(client);
        vfu_client_free(client);
    }
    stop(&server);
}

static void test_guest_memory_is_taken_note_of(void **state)
{
    AUTO_FD memory = memory_create(MEMORY_SIZE);
    struct server server;
    struct vfu_client *client;

    server_start(&server, "hello");
    client = server_negotiate(&server);
    assert_int_equal(vfu_client_dma_map(client, 0x100000, MEMORY_SIZE,
                                        VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE,
                                        memory, 0),
                     0);
    assert_int_equal(vfu_client_dma_unmap(client, 0x100000, MEMORY_SIZE), 0);
    expect_hello(client);
    vfu_client_free(client);
    stop(&server);
}

static void test_memory_can_be_written(void **state)
{
    struct server server;
    struct vfu_client *client;
    char bytes[6] = "";

    server_start(&server, "hello");
    client = server_negotiate(&server);
    assert_int_equal(vfu_client_region_write(client, 0, 7, "there", 5), 0);
    assert_int_equal(vfu_client_region_read(client, 0, 7, bytes, 5), 0);
    assert_string_equal(bytes, "there");
    vfu_client_free(client);
    stop(&server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_after_client_is_greeted),
        cmocka_unit_test(test_guest_memory_is_taken_note_of),
        cmocka_unit_test(test_memory_can_be_written),
    };

    return harness_run(argc, argv, tests);
}
