/* SPDX-License-Identifier: BSD-3-Clause */
/* Live migration of a busy device, with what a person wants to know of it. */
#include <err.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define CONFIG 7u
#define MSIX_FLAGS (0x40u + PCI_MSIX_FLAGS) /* the device's first capability */
#define ALARM_SECONDS 2
#define MAX_ROUNDS 64
#define FILL_TIMEOUT_MS 60000

/* The device at one server, with the guest's memory and its interrupt there. */
struct side {
    struct vfu_client *client;
    int eventfd;
    uint8_t *memory;
};

struct run {
    const struct options *options;
    struct side from;
    struct side to;
    struct vfu_client_live_round rounds[MAX_ROUNDS];
    unsigned count;
};

static struct side side_open(struct vfu_client *client, uint64_t size)
{
    struct side side = { .client = client, .eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    int fd = memfd_create("guest", MFD_CLOEXEC);

    if (side.eventfd < 0 || fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        must(-errno, "guest memory");
    }
    side.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (side.memory == MAP_FAILED) {
        must(-errno, "guest memory");
    }
    must(vfu_client_dma_map(client, GUEST_IOVA, size,
                            VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE, fd, 0),
         "DMA_MAP");
    must(vfu_client_irq_assign(client, VFIO_PCI_MSIX_IRQ_INDEX, SERVER_VECTOR_ALARM, &side.eventfd,
                               1),
         "DEVICE_SET_IRQS");
    close(fd);
    return side;
}

static void side_close(struct side *side, uint64_t size)
{
    vfu_client_free(side->client);
    munmap(side->memory, size);
    close(side->eventfd);
}

static uint64_t interrupts(const struct side *side)
{
    uint64_t count = 0;

    return read(side->eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* What a guest's driver does, and work for the device. */
static void set_to_work(struct vfu_client *client, const struct options *options)
{
    const uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    const uint16_t enable = PCI_MSIX_FLAGS_ENABLE;
    const uint32_t unmasked = 0;

    must(vfu_client_region_write(client, CONFIG, PCI_COMMAND, &command, 2), "REGION_WRITE");
    must(vfu_client_region_write(client, CONFIG, MSIX_FLAGS, &enable, 2), "REGION_WRITE");
    must(vfu_client_region_write(client, SERVER_MSIX_BAR, PCI_MSIX_ENTRY_VECTOR_CTRL, &unmasked, 4),
         "REGION_WRITE");
    if (options->fill) { /* which takes its time where there is much of it */
        vfu_client_set_timeout(client, FILL_TIMEOUT_MS);
        set_register(client, SERVER_REG_FILL, 1);
        vfu_client_set_timeout(client, VFU_CLIENT_TIMEOUT_MS);
    }
    set_register(client, SERVER_REG_WINDOW, options->window);
    set_register(client, SERVER_REG_GUEST_ADDRESS, GUEST_IOVA);
    set_register(client, SERVER_REG_GUEST_SIZE,
                 options->window < options->guest_size ? options->window : options->guest_size);
    set_register(client, SERVER_REG_RATE, options->rate);
    set_register(client, SERVER_REG_GUEST_RATE, options->guest_rate);
}

/* --- progress --- */

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static const char *rate_text(uint64_t bytes, uint64_t ns, char text[32])
{
    return size_text(ns > 0 ? (uint64_t)((double)bytes / seconds(ns)) : 0, text);
}

static int on_round(void *opaque, const struct vfu_client_live_round *round)
{
    struct run *run = opaque;
    uint64_t bytes = round->memory_bytes + round->device_bytes;
    char memory[32], device[32], rate[32], dirty[32];

    say("%s %u: %s of guest memory, %s of the device at %s/s, %.1f ms%s%s%s",
        round->stopped ? "stopped, round" : "round", round->number,
        size_text(round->memory_bytes, memory), size_text(round->device_bytes, device),
        rate_text(round->device_bytes, round->device_ns, rate), seconds(round->ns) * 1e3,
        run->count > 0 ? "; changed before: " : "",
        run->count > 0 ? rate_text(bytes, run->rounds[run->count - 1].ns, dirty) : "",
        run->count > 0 ? "/s" : "");
    if (run->count < MAX_ROUNDS) {
        run->rounds[run->count++] = *round;
    }
    return 0;
}

/* The device has chosen pages so often that every one of the window was among them. */
static int wait_until_dirty(void *opaque)
{
    const struct run *run = opaque;
    uint64_t wanted = get_register(run->from.client, SERVER_REG_CHANGES) +
                      16 * run->options->window / SERVER_PAGE;

    while (get_register(run->from.client, SERVER_REG_CHANGES) < wanted) {
        poll(NULL, 0, 1);
    }
    return 0;
}

/* With both stopped: what the guest can see is the same. */
static int on_installed(void *opaque)
{
    struct run *run = opaque;
    uint64_t size = get_register(run->from.client, SERVER_REG_DATA_SIZE);
    static uint8_t from[1u << 20], to[1u << 20];

    if (memcmp(run->from.memory, run->to.memory, run->options->guest_size) != 0) {
        say("GUEST MEMORY DIFFERS");
        return -EILSEQ;
    }
    for (uint64_t at = 0; at < size; at += sizeof(from)) {
        uint64_t n = size - at < sizeof(from) ? size - at : sizeof(from);

        must(vfu_client_region_read(run->from.client, SERVER_DATA_BAR, at, from, n), "REGION_READ");
        must(vfu_client_region_read(run->to.client, SERVER_DATA_BAR, at, to, n), "REGION_READ");
        if (memcmp(from, to, n) != 0) {
            say("THE DEVICE'S MEMORY DIFFERS");
            return -EILSEQ;
        }
    }
    say("verified: guest memory and the device's memory are the same");
    return 0;
}

static void summarise(const struct vfu_client_live *live)
{
    const struct vfu_client_live_blackout *blackout = &live->blackout;
    char memory[32], device[32];

    say("done: %u rounds, %s of guest memory, %s of the device in %.1f ms", live->rounds,
        size_text(live->memory_bytes, memory), size_text(live->device_bytes, device),
        seconds(live->total_ns) * 1e3);
    say("blackout %.2f ms: stop %.2f, guest memory %.2f, device %.2f, restore %.2f, install %.2f, "
        "run %.2f",
        seconds(blackout->total) * 1e3, seconds(blackout->stop) * 1e3,
        seconds(blackout->memory) * 1e3, seconds(blackout->device) * 1e3,
        seconds(blackout->restore) * 1e3, seconds(blackout->install) * 1e3,
        seconds(blackout->run) * 1e3);
}

static void print_json(const struct run *run, const struct vfu_client_live *live, int result,
                       uint64_t at_source, uint64_t at_destination)
{
    static const char *const ends[] = {
        [VFU_CLIENT_LIVE_DONE] = "done",
        [VFU_CLIENT_LIVE_SOURCE_RUNS] = "source-runs",
        [VFU_CLIENT_LIVE_SOURCE_STOPPED] = "source-stopped",
        [VFU_CLIENT_LIVE_SOURCE_LOST] = "source-lost",
    };
    const struct vfu_client_live_blackout *blackout = &live->blackout;

#define N(value) (unsigned long long)(value)
    printf("{\"result\":\"%s\",\"error\":%d,\"rounds\":[", ends[live->end], abs(result));
    for (unsigned i = 0; i < run->count; i++) {
        const struct vfu_client_live_round *round = &run->rounds[i];

        printf("%s{\"number\":%u,\"stopped\":%s,\"memory_bytes\":%llu,\"device_bytes\":%llu,"
               "\"device_ns\":%llu,\"ns\":%llu}",
               i > 0 ? "," : "", round->number, round->stopped ? "true" : "false",
               N(round->memory_bytes), N(round->device_bytes), N(round->device_ns), N(round->ns));
    }
    printf(
        "],\"memory_bytes\":%llu,\"device_bytes\":%llu,\"total_ns\":%llu,\"blackout_ns\":{"
        "\"total\":%llu,\"stop\":%llu,\"memory\":%llu,\"device\":%llu,\"restore\":%llu,"
        "\"install\":%llu,\"run\":%llu},\"interrupts\":{\"source\":%llu,\"destination\":%llu}}\n",
        N(live->memory_bytes), N(live->device_bytes), N(live->total_ns), N(blackout->total),
        N(blackout->stop), N(blackout->memory), N(blackout->device), N(blackout->restore),
        N(blackout->install), N(blackout->run), N(at_source), N(at_destination));
#undef N
}

/* --- */

/* The alarm rings where the device is. Returns how often. */
static uint64_t wait_for_alarm(const struct side *side)
{
    struct pollfd poll_fd = { .fd = side->eventfd, .events = POLLIN };

    poll(&poll_fd, 1, (ALARM_SECONDS + 5) * 1000);
    return interrupts(side);
}

/* Returns the exit status. */
static int carry_on(struct run *run, uint64_t at_source, uint64_t *at_destination)
{
    struct vfu_client *client = run->to.client;
    uint64_t rung;

    if (at_source == 0) {
        *at_destination = wait_for_alarm(&run->to);
    }
    rung = get_register(client, SERVER_REG_RUNG);
    say("the alarm that was set at the source rang %llu times, and interrupted %llu times there "
        "and %llu times here",
        (unsigned long long)rung, (unsigned long long)at_source,
        (unsigned long long)*at_destination);
    set_register(client, SERVER_REG_RATE, 0);
    set_register(client, SERVER_REG_GUEST_RATE, 0);
    say("at the destination the device has changed %llu pages of its own and %llu of the guest's",
        (unsigned long long)get_register(client, SERVER_REG_CHANGES),
        (unsigned long long)get_register(client, SERVER_REG_GUEST_WRITES));
    return rung == 1 && at_source + *at_destination == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A device takes the state of one that is made like it. */
static void expect_same_size(const struct run *run)
{
    uint64_t from = get_register(run->from.client, SERVER_REG_DATA_SIZE);
    uint64_t to = get_register(run->to.client, SERVER_REG_DATA_SIZE);

    if (from != to) {
        errx(
            EXIT_FAILURE,
            "the destination's device has %llu bytes of memory, the source's %llu: name a --policy "
            "that starts it with --size %llu",
            (unsigned long long)to, (unsigned long long)from, (unsigned long long)from);
    }
}

int migrate(struct vfu_client *client, const struct options *options)
{
    static struct destination destination;
    struct run run = { .options = options };
    struct vfu_client_live_memory memory = { .iova = GUEST_IOVA, .size = options->guest_size };
    struct vfu_client_live live = {
        .memory = &memory,
        .memory_count = 1,
        .max_rounds = options->rounds,
        .stop_bytes = options->stop_bytes,
        .on_round = on_round,
        .on_pause = options->keep_dirty && options->rate > 0 ? wait_until_dirty : NULL,
        .on_installed = options->verify ? on_installed : NULL,
        .opaque = &run,
    };
    uint64_t at_source, at_destination = 0;
    int status = EXIT_FAILURE, result;

    run.from = side_open(client, options->guest_size);
    set_to_work(client, options);
    run.to = side_open(destination_open(&destination, options), options->guest_size);
    expect_same_size(&run);
    set_register(client, SERVER_REG_ALARM, (uint64_t)time(NULL) + ALARM_SECONDS);
    say("the destination waits, the alarm is set for %d seconds from now", ALARM_SECONDS);

    live.from = run.from.client;
    live.to = run.to.client;
    memory.from = run.from.memory;
    memory.to = run.to.memory;
    result = vfu_client_live_migrate(&live);
    at_source = interrupts(&run.from);
    if (result == 0) {
        summarise(&live);
        side_close(&run.from, options->guest_size);
        status = carry_on(&run, at_source, &at_destination);
    } else {
        say("FAILED: %s: %s; the source %s", live.step, strerror(abs(result)),
            live.end == VFU_CLIENT_LIVE_SOURCE_RUNS      ? "runs on"
            : live.end == VFU_CLIENT_LIVE_SOURCE_STOPPED ? "has stopped, and can be resumed"
                                                         : "does not answer");
        side_close(&run.from, options->guest_size);
    }
    if (options->json) {
        print_json(&run, &live, result, at_source, at_destination);
    }
    side_close(&run.to, options->guest_size);
    destination_close(&destination);
    return status;
}
