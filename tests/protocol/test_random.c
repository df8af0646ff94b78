/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "Brokered equals standalone": a session with every command, and a thousand random ones, each with
 * a device process of its own. same-bytes.sh records what they are answered in one mode and
 * compares it with the other; here it matters that the server survives. What is sent depends on
 * the number of the session alone, and so does what comes back.
 */
#include "tests/protocol/harness.h"

#include "tests/protocol/test-device-migration.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SESSIONS 1000
#define REQUESTS 24 /* of a session */
#define BATCH 4     /* sent before the first reply is waited for, at most */

#define GUEST_SIZE (1u << 20)
#define EVENTS 4

/* What the sessions of a process have in common. */
static int guest_fd = -1;
static int events[EVENTS];

static void open_descriptors(void)
{
    guest_fd = memory_create(GUEST_SIZE);
    for (size_t i = 0; i < EVENTS; i++) {
        events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(events[i] >= 0);
    }
}

static void close_descriptors(void)
{
    close(guest_fd);
    for (size_t i = 0; i < EVENTS; i++) {
        close(events[i]);
    }
}

/* Guest memory that is reached by messages: what is read depends on the address alone. */
static int serve_guest(void *opaque, uint64_t iova, void *data, uint64_t count, bool is_write)
{
    uint8_t *bytes = data;

    for (uint64_t i = 0; !is_write && i < count; i++) {
        bytes[i] = (uint8_t)((iova + i) * 7 + 1);
    }
    return iova % 8 == 3 ? EFAULT : 0;
}

/* --- every command --- */

static void access_everything(struct vfu_client *client)
{
    const struct vfio_user_region_write writes[2] = {
        { .offset = 0, .region = 0, .count = 4, .data = { 1, 2, 3, 4 } },
        { .offset = 8, .region = 0, .count = 8, .data = { 5, 6 } },
    };
    uint8_t bytes[256];
    uint64_t done = 0;

    for (uint32_t region = 0; region < VFU_PCI_DEV_NUM_REGIONS; region++) {
        AUTO_VFU_CLIENT_REGION info = { .fd = -1 };
        struct vfu_client_io_fds io_fds;

        assert_int_equal(vfu_client_get_region_info(client, region, &info), 0);
        if (vfu_client_get_io_fds(client, region, &io_fds) == 0) {
            vfu_client_io_fds_release(&io_fds);
        }
        if (info.flags & VFIO_REGION_INFO_FLAG_READ) {
            vfu_client_region_read(client, region, 0, bytes, sizeof(bytes));
        }
    }
    assert_int_equal(vfu_client_region_write_multi(client, writes, 2, &done), 0);
    assert_int_equal(done, 2);
    assert_int_equal(vfu_client_region_write(client, 3, 0, "ports", 5), 0);
}

static void raise_interrupts(struct vfu_client *client)
{
    for (uint32_t index = 0; index < VFU_DEV_NUM_IRQS; index++) {
        struct vfio_irq_info info;

        assert_int_equal(vfu_client_get_irq_info(client, index, &info), 0);
        if (info.count > 0) {
            assert_int_equal(vfu_client_irq_assign(client, index, 0, events, 1), 0);
            device_set(client, TEST_REG_TRIGGER, 0);
            assert_int_equal(vfu_client_irq_disable(client, index), 0);
        }
    }
}

static void use_guest_memory(struct vfu_client *client)
{
    uint8_t bitmap[64];

    assert_int_equal(vfu_client_dma_map(client, 0x100000, 0x10000, 3, guest_fd, 0), 0);
    assert_int_equal(vfu_client_dma_map(client, 0x200000, 0x10000, 3, -1, 0), 0);
    assert_int_equal(vfu_client_dirty_start(client, 4096), 0);
    device_set(client, (enum test_register)MIG_REG_ADDRESS, 0x100800);
    device_set(client, (enum test_register)MIG_REG_COUNT, 0x400);
    device_set(client, (enum test_register)MIG_REG_MAPPED_WRITE, 1);
    assert_int_equal(vfu_client_dirty_report(client, 0x100000, 0x10000, 4096, bitmap), 0);
    assert_int_equal(vfu_client_dirty_stop(client), 0);
    device_set(client, TEST_REG_GUEST_ADDRESS, 0x200100);
    device_set(client, TEST_REG_GUEST_COUNT, 0x200);
    device_set(client, TEST_REG_DMA_READ, 0);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    device_set(client, TEST_REG_DMA_WRITE, 0);
    assert_int_equal(device_get(client, TEST_REG_RESULT), 0);
    assert_int_equal(vfu_client_dma_unmap(client, 0x100000, 0x10000), 0);
    assert_int_equal(vfu_client_dma_unmap_all(client), 0);
}

static void migrate(struct vfu_client *client)
{
    uint8_t state[512];
    uint64_t flags;
    uint32_t n;

    assert_int_equal(
        vfu_client_feature_get(client, VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0, &flags, 8), 0);
    device_set(client, (enum test_register)MIG_REG_LEFT, 700);
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_STOP_COPY), 0);
    do {
        assert_int_equal(vfu_client_migration_read(client, state, sizeof(state), &n), 0);
    } while (n > 0);
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_STOP), 0);
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_RESUMING), 0);
    assert_int_equal(vfu_client_migration_write(client, state, sizeof(state)), 0);
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_STOP), 0);
    assert_int_equal(vfu_client_migration_set_state(client, VFIO_USER_DEVICE_STATE_RUNNING), 0);
}

static void use_every_command(struct vfu_client *client, bool twin)
{
    const struct vfu_client_offer offer = {
        .max_msg_fds = 8,
        .max_data_xfer_size = 1048576,
        .write_multiple = true,
        .twin_socket = twin,
    };
    struct vfio_user_device_info info;

    vfu_client_set_dma(client, serve_guest, NULL);
    assert_int_equal(vfu_client_negotiate_as(client, &offer), 0);
    assert_int_equal(vfu_client_server_capabilities(client)->twin_socket, twin);
    assert_int_equal(vfu_client_get_device_info(client, &info), 0);
    access_everything(client);
    raise_interrupts(client);
    use_guest_memory(client);
    migrate(client);
    assert_int_equal(vfu_client_reset_device(client), 0);
    assert_int_equal(vfu_client_get_device_info(client, &info), 0);
}

static void test_every_command(void **state)
{
    struct fixture *fixture = *state;

    open_descriptors();
    use_every_command(fixture->client, false);
    close_descriptors();
}

static void test_every_command_with_a_twin_socket(void **state)
{
    struct fixture *fixture = *state;

    open_descriptors();
    use_every_command(fixture->client, true);
    close_descriptors();
}

/* --- random ones --- */

/* xorshift64*; never 0. */
static uint64_t generator;

static uint64_t draw(void)
{
    generator ^= generator >> 12;
    generator ^= generator << 25;
    generator ^= generator >> 27;
    return generator * 0x2545f4914f6cdd1d;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)((draw() >> 32) % limit);
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

#define PICK(...)                                                                                  \
    ((const uint64_t[]){ __VA_ARGS__ }[below(sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8)])

struct random_request {
    uint16_t command;
    size_t size;
    uint8_t payload[512];
    int fds[EVENTS];
    size_t fd_count;
};

/* Its fields one after the other; the layouts are those of vfio-user.h. */
static void put(struct random_request *request, uint64_t value, size_t size)
{
    assert_true(size <= sizeof(request->payload) - request->size);
    memcpy(request->payload + request->size, &value, size);
    request->size += size;
}

static void put_bytes(struct random_request *request, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        put(request, draw(), 1);
    }
}

static uint64_t random_iova(void)
{
    return PICK(0, 0x1000, 0x10000, 0x100000, 0x101000, 0x10f000, 0x200000, 0x201000,
                0xfffffffffffff000) +
           (one_in(4) ? below(0x2000) : 0);
}

static uint64_t random_length(void)
{
    return PICK(0, 1, 0x1000, 0x2000, 0x10000, 0x10000, 0x100000, 0x1ff000) +
           (one_in(6) ? below(0x1000) : 0);
}

static void make_map(struct random_request *request)
{
    put(request, one_in(10) ? below(64) : 32, 4);
    put(request, one_in(10) ? below(64) : PICK(0, 1, 2, 3, 3, 3, 7, 11), 4);
    put(request, PICK(0, 0, 0, 0x1000, 0x1234, 0x100000), 8);
    put(request, random_iova(), 8);
    put(request, random_length(), 8);
    if (!one_in(4)) {
        request->fds[request->fd_count++] = guest_fd;
    }
}

static void make_unmap(struct random_request *request)
{
    uint64_t flags = PICK(0, 0, 0, 1, 2, 3);
    bool all = flags == 2 && !one_in(4);

    put(request, one_in(10) ? below(64) : PICK(24, 40, 48, 256), 4);
    put(request, flags, 4);
    put(request, all ? 0 : random_iova(), 8);
    put(request, all ? 0 : random_length(), 8);
    if (flags & 1) {
        put(request, PICK(4096, 4096, 8192, 1000), 8);
        put(request, PICK(8, 16, 64, 256), 8);
    }
}

static void make_region_info(struct random_request *request)
{
    put(request, PICK(0, 31, 32, 48, 80, 4096), 4);
    put(request, one_in(8) ? draw() : 0, 4);
    put(request, below(11), 4);
    put(request, 0, 4);
    put(request, 0, 8);
    put(request, 0, 8);
}

static void make_io_fds(struct random_request *request)
{
    put(request, PICK(0, 15, 16, 64, 112, 4096), 4);
    put(request, one_in(8) ? draw() : 0, 4);
    put(request, below(11), 4);
    put(request, one_in(4) ? below(10) : 0, 4);
}

static void make_irq_info(struct random_request *request)
{
    put(request, one_in(8) ? below(20) : 16, 4);
    put(request, 0, 4);
    put(request, below(7), 4);
    put(request, 0, 4);
}

static void make_irqs(struct random_request *request)
{
    uint32_t data = 1u << below(3); /* NONE, BOOL, EVENTFD */
    uint32_t action = 8u << below(3);
    uint32_t count = below(4);

    put(request, one_in(10) ? below(40) : 20 + (data == 2 ? count : 0), 4);
    put(request, one_in(8) ? below(64) : data | action, 4);
    put(request, below(6), 4);
    put(request, below(4), 4);
    put(request, count, 4);
    if (data == 2) {
        put_bytes(request, count);
    }
    for (uint32_t i = 0; data == 4 && !one_in(5) && i < count; i++) {
        request->fds[request->fd_count++] = events[i];
    }
}

/* Where in BAR0: not on what ends the program, or what a process may only do outside of a jail. */
static uint64_t random_register(void)
{
    return PICK(TEST_REG_TRIGGER, TEST_REG_GUEST_READ, TEST_REG_GUEST_WRITE, TEST_REG_GUEST_ADDRESS,
                TEST_REG_GUEST_COUNT, TEST_REG_RESET_ERRNO, TEST_REG_RESULT, TEST_REG_ACCESSES,
                TEST_REG_MAPS, TEST_REG_MAP_IOVA, TEST_REG_MAP_PROT, TEST_REG_UNMAPS,
                TEST_REG_IRQ_CALLS, TEST_REG_IO_READ, TEST_REG_IO_VALUE, TEST_REG_DMA_READ,
                TEST_REG_DMA_WRITE, TEST_REG_INTX_LEVEL, MIG_REG_STATE, MIG_REG_FAIL, MIG_REG_LEFT,
                MIG_REG_QUIESCE, MIG_REG_ASKED, MIG_REG_MAPPED_READ, MIG_REG_MAPPED_WRITE,
                MIG_REG_COPY_READ, MIG_REG_COPY_WRITE, MIG_REG_ADDRESS, MIG_REG_COUNT,
                MIG_REG_RESULT, TEST_REG_FAILS, TEST_REG_SHORT, TEST_REG_NO_ERRNO);
}

static uint64_t random_value(uint64_t reg)
{
    switch (reg) {
    case TEST_REG_GUEST_ADDRESS:
    case MIG_REG_ADDRESS:
        return random_iova();
    case TEST_REG_GUEST_COUNT:
    case MIG_REG_COUNT:
    case MIG_REG_LEFT:
        return PICK(0, 1, 8, 100, 0x800, 0x900);
    case TEST_REG_RESET_ERRNO:
    case MIG_REG_FAIL:
        return one_in(3) ? EIO : 0;
    case MIG_REG_QUIESCE:
        return PICK(MIG_QUIET_AT_ONCE, MIG_QUIET_LATER, EIO);
    default:
        return below(10);
    }
}

/* The same head for reading and writing; the data of a write follows. */
static void make_access(struct random_request *request, bool is_write)
{
    uint32_t region = one_in(2) ? 0 : below(11);
    bool is_register = region == 0 && !one_in(3);
    uint64_t offset = is_register ? random_register() : below(0x100);
    uint32_t count = is_register ? 8 : (uint32_t)PICK(0, 1, 2, 3, 4, 8, 16, 64);
    uint64_t value = random_value(offset);

    put(request, one_in(30) ? draw() : offset, 8);
    put(request, region, 4);
    put(request, one_in(30) ? below(1u << 21) : count, 4);
    if (is_write && is_register) {
        put(request, value, 8);
    } else if (is_write) {
        put_bytes(request, count);
    }
}

static void put_write(struct random_request *request, uint64_t offset, uint64_t value)
{
    put(request, offset, 8);
    put(request, 0, 4);
    put(request, 8, 4);
    put(request, value, 8);
}

/* The device copies, itself or by messages, and tells how that went. */
static void make_transfer(struct random_request *request)
{
    bool by_message = one_in(2);
    uint64_t how = by_message ? PICK(TEST_REG_DMA_READ, TEST_REG_DMA_WRITE)
                              : PICK(MIG_REG_MAPPED_READ, MIG_REG_MAPPED_WRITE, MIG_REG_COPY_READ,
                                     MIG_REG_COPY_WRITE);

    put(request, 3, 8);
    put_write(request, by_message ? TEST_REG_GUEST_ADDRESS : MIG_REG_ADDRESS, random_iova());
    put_write(request, by_message ? TEST_REG_GUEST_COUNT : MIG_REG_COUNT, PICK(1, 8, 100, 0x700));
    put_write(request, how, 0);
}

static void make_writes(struct random_request *request)
{
    uint32_t count = below(5);

    if (one_in(2)) {
        make_transfer(request);
        return;
    }
    put(request, one_in(8) ? below(10) : count, 8);
    for (uint32_t i = 0; i < count; i++) {
        bool is_register = one_in(3);
        uint64_t offset = is_register ? random_register() : below(0x100);

        put(request, offset, 8);
        put(request, is_register ? 0 : below(10), 4);
        put(request, is_register ? 8 : below(10), 4);
        put(request, random_value(offset), 8);
    }
}

static void make_feature(struct random_request *request)
{
    uint64_t feature = PICK(1, 2, 2, 2, 6, 7, 8, 8, 3, 60000);
    uint64_t operation = PICK(1 << 16, 1 << 17, 1 << 17, 1 << 18, 3 << 16, 5 << 16);

    put(request, PICK(8, 16, 16, 32, 48, 64, 256, 4096), 4);
    put(request, one_in(20) ? draw() : feature | operation, 4);
    if (feature == 2) {
        put(request, one_in(10) ? below(20) : below(8), 4);
        put(request, 0, 4);
    } else if (feature == 6) {
        put(request, PICK(4096, 4096, 8192, 0, 77), 8);
        put(request, below(3), 4);
        put(request, 0, 4);
        for (uint32_t i = 0; i < 2; i++) {
            put(request, random_iova(), 8);
            put(request, random_length(), 8);
        }
    } else if (feature == 8) {
        put(request, random_iova(), 8);
        put(request, random_length(), 8);
        put(request, PICK(4096, 4096, 8192, 77), 8);
    }
}

static void make_migration_data(struct random_request *request, bool is_write)
{
    uint32_t size = below(64);

    put(request, 8 + size, 4);
    put(request, one_in(10) ? below(1u << 21) : size, 4);
    if (is_write) {
        put_bytes(request, size);
    }
}

/* Half of them of the commands of which more than a few bytes can be right. */
static uint16_t random_command(void)
{
    return (uint16_t)(one_in(2) ? below(VFIO_USER_MAX)
                                : PICK(VFIO_USER_DMA_MAP, VFIO_USER_DMA_MAP, VFIO_USER_DMA_UNMAP,
                                       VFIO_USER_DEVICE_SET_IRQS, VFIO_USER_REGION_READ,
                                       VFIO_USER_REGION_WRITE, VFIO_USER_REGION_WRITE_MULTI,
                                       VFIO_USER_REGION_WRITE_MULTI, VFIO_USER_DEVICE_FEATURE));
}

static void make_request(struct random_request *request)
{
    *request = (struct random_request){ .command = random_command() };
    switch (request->command) {
    case VFIO_USER_DMA_MAP:
        make_map(request);
        break;
    case VFIO_USER_DMA_UNMAP:
        make_unmap(request);
        break;
    case VFIO_USER_DEVICE_GET_INFO:
        put(request, PICK(15, 16, 16, 32), 4);
        put_bytes(request, 12);
        break;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        make_region_info(request);
        break;
    case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        make_io_fds(request);
        break;
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        make_irq_info(request);
        break;
    case VFIO_USER_DEVICE_SET_IRQS:
        make_irqs(request);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        make_access(request, request->command == VFIO_USER_REGION_WRITE);
        break;
    case VFIO_USER_REGION_WRITE_MULTI:
        make_writes(request);
        break;
    case VFIO_USER_DEVICE_FEATURE:
        make_feature(request);
        break;
    case VFIO_USER_MIG_DATA_READ:
    case VFIO_USER_MIG_DATA_WRITE:
        make_migration_data(request, request->command == VFIO_USER_MIG_DATA_WRITE);
        break;
    default: /* RESET, a second VERSION, what only the server sends, what does not exist */
        put_bytes(request, below(3) * 8);
        break;
    }
    if (one_in(15)) {
        request->size = below((uint32_t)request->size + 1);
    }
}

/* Sends up to @count requests, then collects the replies. Returns false when the session is over.
 */
static bool send_batch(struct vfu_client *client, uint32_t count)
{
    uint16_t ids[BATCH];
    uint32_t sent = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct random_request random;
        struct vfu_client_request request;

        make_request(&random);
        request = (struct vfu_client_request){
            .command = random.command,
            .head = random.payload,
            .head_size = random.size,
            .fds = random.fds,
            .fd_count = random.fd_count,
        };
        if (one_in(12)) {
            if (vfu_client_post(client, &request) < 0) {
                return false;
            }
        } else if (vfu_client_submit(client, &request, &ids[sent++]) < 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < sent; i++) {
        int result = vfu_client_collect(client, ids[i], NULL);

        assert_int_not_equal(result, -ETIMEDOUT);
        if (result < 0) {
            return false;
        }
    }
    return true;
}

static void run_session(uint64_t number)
{
    const struct vfu_client_offer offer = {
        .max_msg_fds = 8,
        .max_data_xfer_size = number % 3 == 0 ? 65536 : 1048576,
        .write_multiple = number % 4 != 0,
        .twin_socket = number % 5 == 0,
    };
    struct fixture *fixture;
    void *state;

    generator = number * 0x9e3779b97f4a7c15 | 1;
    assert_int_equal(fixture_setup_connected(&state), 0);
    fixture = state;
    vfu_client_set_dma(fixture->client, serve_guest, NULL);
    assert_int_equal(vfu_client_negotiate_as(fixture->client, &offer), 0);
    /* Half of the sessions have some memory to begin with, so that more can be done. */
    if (one_in(2)) {
        assert_int_equal(vfu_client_dma_map(fixture->client, 0x100000, 0x10000, 3, guest_fd, 0), 0);
        assert_int_equal(vfu_client_dma_map(fixture->client, 0x200000, 0x10000, 3, -1, 0), 0);
    }
    for (uint32_t left = REQUESTS; left > 0;) {
        uint32_t count = below(left < BATCH ? left : BATCH) + 1;

        if (!send_batch(fixture->client, count)) {
            break;
        }
        left -= count;
    }
    fixture_teardown(&state);
}

static void test_a_thousand_random_sessions(void **state)
{
    open_descriptors();
    for (uint64_t number = 1; number <= SESSIONS; number++) {
        run_session(number);
    }
    close_descriptors();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONNECTED_TEST(test_every_command),
        CONNECTED_TEST(test_every_command_with_a_twin_socket),
        cmocka_unit_test(test_a_thousand_random_sessions),
    };

    return harness_run(argc, argv, tests);
}
