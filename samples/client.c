/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client SOCKET: a client of the sample server. It gives every command of the protocol and says
 * what came of it, then moves the device, busy as it is, to a server that it starts itself, and
 * carries on there.
 */
#include <err.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

static bool quiet;

void say(const char *format, ...)
{
    va_list arguments;

    if (quiet) {
        return;
    }
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void must(int result, const char *what)
{
    if (result != 0) {
        errx(EXIT_FAILURE, "%s: %s%s", what, strerror(abs(result)),
             result > 0 ? ", says the server" : "");
    }
}

uint64_t get_register(struct vfu_client *client, enum server_register which)
{
    uint64_t value = 0;

    must(vfu_client_region_read(client, SERVER_REGISTERS_BAR, which, &value, 8), "REGION_READ");
    return value;
}

void set_register(struct vfu_client *client, enum server_register which, uint64_t value)
{
    must(vfu_client_region_write(client, SERVER_REGISTERS_BAR, which, &value, 8), "REGION_WRITE");
}

const char *size_text(uint64_t size, char text[32])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)size;
    size_t unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

static void usage(FILE *out)
{
    fputs("usage: client [OPTION]... SOCKET\n"
          "Gives the sample server every command of the protocol, then migrates it, live.\n"
          "\n"
          "  --broker PROGRAM   to start for the destination; default: vfu-broker of the build\n"
          "                     tree that this program is in, else that in PATH\n"
          "  --policy FILE      for it; default: the sample server's\n"
          "  --to SOCKET        migrate to the server there, and start none\n"
          "  --rounds N         of pre-copy at most; default 10, 0: none\n"
          "  --stop-bytes SIZE  a round of so little is the last; default 1M\n"
          "  --rate N           pages that the device changes each 10 ms, of its own memory and\n"
          "                     of the guest's; default 16, at most 4096\n"
          "  --guest-rate N     other than that for the guest's\n"
          "  --window SIZE      of the memory in which it does; default 1M\n"
          "  --keep-dirty       stop it only when it has changed all of the window again\n"
          "  --guest SIZE       of guest memory; default 16M\n"
          "  --no-fill          leave the device's memory as it is\n"
          "  --verify           compare all memory while both devices are stopped\n"
          "  --no-tour          migrate only\n"
          "  --no-migration     do not\n"
          "  --transfer         measure how fast state goes through the socket, and do no more\n"
          "  --json             print the figures, and nothing else\n"
          "  -h, --help         print this and exit\n",
          out);
}

static uint64_t parse_size(const char *option, const char *text)
{
    char *end;
    unsigned long long size = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

    if (end == text || end[shift != 0] != '\0' || size > (1ull << 40) >> shift) {
        errx(2, "--%s %s: not a size", option, text);
    }
    return size << shift;
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "broker", required_argument, NULL, 'b' },
        { "policy", required_argument, NULL, 'p' },
        { "to", required_argument, NULL, 't' },
        { "rounds", required_argument, NULL, 'r' },
        { "stop-bytes", required_argument, NULL, 's' },
        { "rate", required_argument, NULL, 'R' },
        { "guest-rate", required_argument, NULL, 'G' },
        { "window", required_argument, NULL, 'w' },
        { "keep-dirty", no_argument, NULL, 'k' },
        { "guest", required_argument, NULL, 'g' },
        { "no-fill", no_argument, NULL, 'F' },
        { "verify", no_argument, NULL, 'v' },
        { "no-tour", no_argument, NULL, 'T' },
        { "no-migration", no_argument, NULL, 'M' },
        { "transfer", no_argument, NULL, 'x' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    struct options options = {
        .guest_size = 16u << 20,
        .window = 1u << 20,
        .stop_bytes = 1u << 20,
        .rate = 16,
        .guest_rate = UINT_MAX,
        .rounds = 10,
        .fill = true,
        .tour = true,
        .migration = true,
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'b':
            options.broker = optarg;
            break;
        case 'p':
            options.policy = optarg;
            break;
        case 't':
            options.to = optarg;
            break;
        case 'r':
            options.rounds = (unsigned)parse_size("rounds", optarg);
            break;
        case 's':
            options.stop_bytes = parse_size("stop-bytes", optarg);
            break;
        case 'R':
            options.rate = (unsigned)parse_size("rate", optarg);
            break;
        case 'G':
            options.guest_rate = (unsigned)parse_size("guest-rate", optarg);
            break;
        case 'k':
            options.keep_dirty = true;
            break;
        case 'x':
            options.transfer = true;
            break;
        case 'w':
            options.window = parse_size("window", optarg);
            break;
        case 'g':
            options.guest_size = parse_size("guest", optarg);
            break;
        case 'F':
            options.fill = false;
            break;
        case 'v':
            options.verify = true;
            break;
        case 'T':
            options.tour = false;
            break;
        case 'M':
            options.migration = false;
            break;
        case 'j':
            options.json = true;
            break;
        case 'h':
            usage(stdout);
            exit(EXIT_SUCCESS);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind + 1 != argc) {
        usage(stderr);
        exit(2);
    }
    if (options.guest_size == 0 || options.guest_size % SERVER_PAGE != 0 ||
        options.window % SERVER_PAGE != 0) {
        errx(2, "memory comes in pages of 4K");
    }
    if (options.guest_rate == UINT_MAX) {
        options.guest_rate = options.rate;
    }
    options.socket_path = argv[optind];
    return options;
}

int main(int argc, char **argv)
{
    const struct options options = parse_options(argc, argv);
    const struct vfu_client_offer offer = {
        .max_msg_fds = 16,
        .max_data_xfer_size = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE,
        .write_multiple = true,
        .twin_socket = true,
    };
    struct vfu_client *client;
    int result = vfu_client_connect(options.socket_path, VFU_CLIENT_TIMEOUT_MS, &client);

    if (result != 0) {
        errx(EXIT_FAILURE, "%s: %s", options.socket_path, strerror(-result));
    }
    quiet = options.json;
    setlinebuf(stdout);
    must(vfu_client_negotiate_as(client, &offer), "VERSION");
    if (options.transfer) {
        report_transfer(client, options.json);
        vfu_client_free(client);
        return EXIT_SUCCESS;
    }
    if (options.tour) {
        take_tour(client);
    }
    if (options.migration) {
        return migrate(client, &options);
    }
    vfu_client_free(client);
    return EXIT_SUCCESS;
}
