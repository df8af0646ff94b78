/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device program: the ACCES PCI-IDIO-16 digital I/O card, as Linux's gpio-pci-idio-16 driver
 * wants it. It runs standalone, where it binds SOCKET_PATH, or under vfu-broker, with no difference
 * in here.
 *
 * Without --loopback the card is a stand-in: a single output that toggles every third time it is
 * read, which a script in the guest can tell from any other device. With it, all registers work and
 * each input is wired to the output of the same number.
 *
 * Under the broker everything after the first vfu_attach_ctx() runs with hardly any system call
 * left, so from there on nothing here allocates, opens or uses stdio.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libvfio-user.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pci_idio_16.h"
#include "state_block.h"

#define VENDOR_ACCES 0x494f
#define DEVICE_PCI_IDIO_16 0x0dc8
#define CLASS_DATA_ACQUISITION 0x11
#define SUBCLASS_DATA_ACQUISITION_OTHER 0x80

#define READS_PER_LEVEL 3

#define MAX_RINGS 3 /* of the alarm, a second apart, before the program ends without more ado */

struct gpio_device {
    bool loopback;

    unsigned reads; /* of the toggling output, modulo one period */

    struct pci_idio_16 card;
    bool line;    /* level of the interrupt line after the last access */
    bool masked;  /* by the client: an eventfd has no level to look at later, so it is told then */
    bool stopped; /* by a migration */
};

/* What migrates. */
struct gpio_state {
    uint16_t outputs;
    uint8_t filters;
    uint8_t changed_groups;
    uint8_t interrupt_enabled;
    uint8_t reads;
};

static volatile sig_atomic_t stop;
static const char *socket_path;

static uint8_t toggling_output_read(struct gpio_device *gpio)
{
    bool level = gpio->reads >= READS_PER_LEVEL;

    gpio->reads = (gpio->reads + 1) % (2 * READS_PER_LEVEL);
    return level;
}

static uint8_t register_read(struct gpio_device *gpio, unsigned offset)
{
    if (gpio->loopback) {
        return pci_idio_16_read(&gpio->card, offset);
    }
    return offset == 0 ? toggling_output_read(gpio) : 0;
}

static void register_write(struct gpio_device *gpio, unsigned offset, uint8_t value)
{
    if (gpio->loopback) {
        pci_idio_16_write(&gpio->card, offset, value);
    }
}

static void interrupt_raise(vfu_ctx_t *ctx)
{
    /* ENOENT: the client has not asked for interrupts. */
    if (vfu_irq_trigger(ctx, 0) < 0 && errno != ENOENT) {
        vfu_log(ctx, LOG_ERR, "cannot raise the interrupt: %m");
    }
}

static void interrupt_update(vfu_ctx_t *ctx, struct gpio_device *gpio)
{
    bool line = pci_idio_16_interrupt(&gpio->card);

    if (line && !gpio->line && !gpio->masked && !gpio->stopped) {
        interrupt_raise(ctx);
    }
    gpio->line = line;
}

static void interrupt_mask(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    struct gpio_device *gpio = vfu_get_private(ctx);

    gpio->masked = mask;
    if (!mask && gpio->line && !gpio->stopped) {
        interrupt_raise(ctx);
    }
}

/* The card's bus is eight bits wide: a wider access is that many accesses, lowest address first. */
static ssize_t registers_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset,
                                bool is_write)
{
    struct gpio_device *gpio = vfu_get_private(ctx);

    for (size_t i = 0; i < count; i++) {
        unsigned at = (unsigned)offset + (unsigned)i;

        if (is_write) {
            register_write(gpio, at, (uint8_t)buf[i]);
        } else {
            buf[i] = (char)register_read(gpio, at);
        }
    }
    interrupt_update(ctx, gpio);
    return (ssize_t)count;
}

/* For each type of reset, the loss of the connection among them: the next client gets a new card.
 */
static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    struct gpio_device *gpio = vfu_get_private(ctx);

    *gpio = (struct gpio_device){ .loopback = gpio->loopback };
    state_block_reset();
    return 0;
}

/* --- migration --- */

static void state_save(vfu_ctx_t *ctx, void *state)
{
    const struct gpio_device *gpio = vfu_get_private(ctx);
    const struct gpio_state saved = {
        .outputs = gpio->card.outputs,
        .filters = gpio->card.filters,
        .changed_groups = gpio->card.changed_groups,
        .interrupt_enabled = gpio->card.interrupt_enabled,
        .reads = (uint8_t)gpio->reads,
    };

    memcpy(state, &saved, sizeof(saved));
}

static bool state_load(vfu_ctx_t *ctx, const void *state)
{
    struct gpio_device *gpio = vfu_get_private(ctx);
    struct gpio_state saved;

    memcpy(&saved, state, sizeof(saved));
    if (saved.changed_groups > 3 || saved.interrupt_enabled > 1 ||
        saved.reads >= 2 * READS_PER_LEVEL) {
        return false;
    }
    gpio->card = (struct pci_idio_16){
        .outputs = saved.outputs,
        .filters = saved.filters,
        .changed_groups = saved.changed_groups,
        .interrupt_enabled = saved.interrupt_enabled,
    };
    gpio->reads = saved.reads;
    return true;
}

static void state_clear(vfu_ctx_t *ctx)
{
    struct gpio_device *gpio = vfu_get_private(ctx);

    gpio->card = (struct pci_idio_16){ .outputs = 0 };
    gpio->reads = 0;
    gpio->line = false;
}

/* The line's level has travelled with the registers; that it was signalled has not. */
static void state_run(vfu_ctx_t *ctx, bool running)
{
    struct gpio_device *gpio = vfu_get_private(ctx);
    bool begins = running && gpio->stopped;

    gpio->stopped = !running;
    if (begins) {
        gpio->line = false;
        interrupt_update(ctx, gpio);
    }
}

static struct state_block migration = {
    .name = "gpio-pci-idio-16",
    .size = sizeof(struct gpio_state),
    .save = state_save,
    .load = state_load,
    .clear = state_clear,
    .run = state_run,
};

static int describe(vfu_ctx_t *ctx)
{
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0) {
        return -1;
    }
    vfu_pci_set_id(ctx, VENDOR_ACCES, DEVICE_PCI_IDIO_16, VENDOR_ACCES, DEVICE_PCI_IDIO_16);
    vfu_pci_set_class(ctx, CLASS_DATA_ACQUISITION, SUBCLASS_DATA_ACQUISITION_OTHER, 0);

    migration.shape = ((const struct gpio_device *)vfu_get_private(ctx))->loopback;
    if (state_block_describe(ctx, &migration) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR2_REGION_IDX, PCI_IDIO_16_SIZE, registers_access,
                         VFU_REGION_FLAG_RW, NULL, 0, -1, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_irq_state_callback(ctx, VFU_DEV_INTX_IRQ, interrupt_mask) < 0 ||
        vfu_setup_device_reset_cb(ctx, reset) < 0) {
        return -1;
    }
    return vfu_realize_ctx(ctx);
}

/* One write for each line, so that lines stay whole in a pipe. */
static void log_line(vfu_ctx_t *ctx, int level, const char *msg)
{
    char line[512];
    int length = snprintf(line, sizeof(line), "gpio-pci-idio-16: %s\n", msg);

    if (length >= (int)sizeof(line)) {
        length = sizeof(line) - 1;
        line[length - 1] = '\n';
    }
    if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0) {
        return; /* nobody reads the log: no reason to stop serving */
    }
}

/*
 * A signal ends a wait of the library with EINTR. One that lands while a request is being served
 * ends no wait, hence the alarm, which rings until the main loop has seen the flag. A client that
 * never lets the library wait can keep the flag from being seen, but not the program from ending.
 */
static void on_signal(int number)
{
    static volatile sig_atomic_t rings;

    stop = 1;
    if (number == SIGALRM && ++rings == MAX_RINGS) {
        unlink(socket_path);
        _exit(EXIT_SUCCESS);
    }
    alarm(1);
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART */

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

/* Did one client, and not this program, make vfu_attach_ctx() fail? The next one may do better. */
static bool is_clients_fault(int error)
{
    switch (error) {
    case EINVAL:
    case EFAULT:
    case ENOMSG:
    case ECONNABORTED:
    case ECONNRESET:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/*
 * Serves one client after the other until a signal says stop, or the broker, which wants a new
 * process for the next one. Returns the exit status.
 */
static int serve(vfu_ctx_t *ctx)
{
    while (!stop) {
        if (vfu_attach_ctx(ctx) < 0) {
            if (errno == EINTR || is_clients_fault(errno)) {
                continue;
            }
            if (errno == ESHUTDOWN) {
                return EXIT_SUCCESS;
            }
            vfu_log(ctx, LOG_ERR, "cannot take a client: %m");
            return EXIT_FAILURE;
        }
        while (vfu_run_ctx(ctx) >= 0 || (errno == EINTR && !stop)) {
        }
        if (errno != ENOTCONN && !stop) {
            vfu_log(ctx, LOG_ERR, "cannot go on with this client: %m");
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

static void usage(FILE *out)
{
    fputs("usage: gpio-pci-idio-16 [--loopback] [-v] SOCKET_PATH\n"
          "The ACCES PCI-IDIO-16 digital I/O card as a vfio-user device.\n"
          "\n"
          "  --loopback          all registers work, inputs are wired to outputs; without it,\n"
          "                      output 0 toggles every third time it is read\n"
          "  -v, --verbose       log what the library has to say\n"
          "  --socket-path PATH  the same as SOCKET_PATH\n"
          "  -h, --help          print this and exit\n",
          out);
}

struct options {
    bool loopback;
    bool verbose;
};

static struct options parse_options(int argc, char **argv)
{
    enum { OPTION_LOOPBACK = 256, OPTION_SOCKET_PATH };
    static const struct option known[] = {
        { "loopback", no_argument, NULL, OPTION_LOOPBACK },
        { "verbose", no_argument, NULL, 'v' },
        { "socket-path", required_argument, NULL, OPTION_SOCKET_PATH },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    struct options options = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "vh", known, NULL)) != -1) {
        switch (option) {
        case OPTION_LOOPBACK:
            options.loopback = true;
            break;
        case OPTION_SOCKET_PATH:
            socket_path = optarg;
            break;
        case 'v':
            options.verbose = true;
            break;
        case 'h':
            usage(stdout);
            exit(EXIT_SUCCESS);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (socket_path == NULL && optind < argc) {
        socket_path = argv[optind++];
    }
    if (socket_path == NULL || optind != argc) {
        usage(stderr);
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse_options(argc, argv);
    struct gpio_device gpio = { .loopback = options.loopback };
    int status;

    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, socket_path, 0, &gpio, VFU_DEV_TYPE_PCI);
    if (ctx == NULL) {
        err(EXIT_FAILURE, "%s", socket_path);
    }
    if (vfu_setup_log(ctx, log_line, options.verbose ? LOG_DEBUG : LOG_ERR) < 0 ||
        describe(ctx) < 0) {
        warn("cannot set up the device");
        vfu_destroy_ctx(ctx);
        return EXIT_FAILURE;
    }

    catch_signals();
    status = serve(ctx);
    vfu_destroy_ctx(ctx);
    return status;
}
