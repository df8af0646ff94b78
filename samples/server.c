/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device program with everything: a region that clients map, memory of its own that it changes
 * while it runs, access to guest memory, INTx and MSI-X, and live migration. server_device.h says
 * what it does; this file is the loop around it. It runs standalone, where it binds SOCKET_PATH, or
 * under vfu-broker.
 *
 * Time passes for the device between two requests: the loop waits for the client no longer than
 * until the device has something to do. That takes no timer, and no system call but ppoll.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libvfio-user.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server_device.h"

#define DEFAULT_SIZE (16u << 20)

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    stop = 1;
}

/*
 * Both signals are blocked but for the waits, so that none is missed between a look at the flag and
 * a wait. @waiting is the mask for these.
 */
static void catch_signals(sigset_t *waiting)
{
    struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART */
    sigset_t blocked;

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, waiting);
}

/* Waits for the client, or @ns; a negative number means for ever. */
static void wait_for_client(vfu_ctx_t *ctx, int64_t ns, const sigset_t *waiting)
{
    struct pollfd poll_fd = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };
    struct timespec limit = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

    ppoll(&poll_fd, 1, ns >= 0 ? &limit : NULL, waiting);
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

/* Serves one client after the other. Returns the exit status. */
static int serve(vfu_ctx_t *ctx, struct server_device *device, const sigset_t *waiting)
{
    bool attached = false;

    while (!stop) {
        int result = attached ? vfu_run_ctx(ctx) : vfu_attach_ctx(ctx);
        int64_t ns = -1;

        if (result == 0) {
            attached = true;
        } else if (result < 0 && errno == ENOTCONN && attached) {
            attached = false;
            continue;
        } else if (result < 0 && errno == ESHUTDOWN) {
            return EXIT_SUCCESS; /* the broker wants a new process for the next client */
        } else if (result < 0 && errno != EAGAIN && errno != EINTR &&
                   (attached || !is_clients_fault(errno))) {
            vfu_log(ctx, LOG_ERR, "cannot go on: %m");
            return EXIT_FAILURE;
        }
        if (attached) {
            ns = server_device_act(device, ctx);
        }
        if (result <= 0) {
            wait_for_client(ctx, ns, waiting);
        }
    }
    return EXIT_SUCCESS;
}

/* One write for each line, so that lines stay whole in a pipe. */
static void log_line(vfu_ctx_t *ctx, int level, const char *msg)
{
    char line[512];
    int length = snprintf(line, sizeof(line), "server: %s\n", msg);

    if (length >= (int)sizeof(line)) {
        length = sizeof(line) - 1;
        line[length - 1] = '\n';
    }
    if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0) {
        return; /* nobody reads the log: no reason to stop serving */
    }
}

struct options {
    const char *socket_path;
    uint64_t size;
    bool verbose;
};

static void usage(FILE *out)
{
    fputs("usage: server [--size SIZE] [-v] SOCKET_PATH\n"
          "A vfio-user device with interrupts, DMA and memory of its own that can be migrated.\n"
          "\n"
          "  --size SIZE         of its memory: a power of two, 64K to 1G; default 16M\n"
          "  -v, --verbose       log what the library has to say\n"
          "  --socket-path PATH  the same as SOCKET_PATH\n"
          "  -h, --help          print this and exit\n",
          out);
}

/* Returns 0 for what is no size. */
static uint64_t parse_size(const char *text)
{
    static const char units[] = "KMG";
    char *end;
    unsigned long long size = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

    if (unit != NULL && size <= SERVER_DATA_MAX) {
        size <<= 10 * (unit - units + 1);
        end++;
    }
    return *end == '\0' && size >= SERVER_DATA_MIN && size <= SERVER_DATA_MAX &&
                   (size & (size - 1)) == 0
               ? size
               : 0;
}

static struct options parse_options(int argc, char **argv)
{
    enum { OPTION_SIZE = 256, OPTION_SOCKET_PATH };
    static const struct option known[] = {
        { "size", required_argument, NULL, OPTION_SIZE },
        { "verbose", no_argument, NULL, 'v' },
        { "socket-path", required_argument, NULL, OPTION_SOCKET_PATH },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    struct options options = { .size = DEFAULT_SIZE };
    int option;

    while ((option = getopt_long(argc, argv, "vh", known, NULL)) != -1) {
        switch (option) {
        case OPTION_SIZE:
            options.size = parse_size(optarg);
            if (options.size == 0) {
                errx(2, "--size %s: not a power of two between 64K and 1G", optarg);
            }
            break;
        case OPTION_SOCKET_PATH:
            options.socket_path = optarg;
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
    if (options.socket_path == NULL && optind < argc) {
        options.socket_path = argv[optind++];
    }
    if (options.socket_path == NULL || optind != argc) {
        usage(stderr);
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse_options(argc, argv);
    static struct server_device device;
    sigset_t waiting;
    vfu_ctx_t *ctx;
    int status;

    if (server_device_create(&device, options.size) < 0) {
        err(EXIT_FAILURE, "cannot make the device's memory");
    }
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, options.socket_path, LIBVFIO_USER_FLAG_ATTACH_NB, &device,
                         VFU_DEV_TYPE_PCI);
    if (ctx == NULL) {
        err(EXIT_FAILURE, "%s", options.socket_path);
    }
    if (vfu_setup_log(ctx, log_line, options.verbose ? LOG_DEBUG : LOG_ERR) < 0 ||
        server_device_describe(&device, ctx) < 0) {
        warn("cannot set up the device");
        vfu_destroy_ctx(ctx);
        return EXIT_FAILURE;
    }

    catch_signals(&waiting);
    status = serve(ctx, &device, &waiting);
    vfu_destroy_ctx(ctx);
    return status;
}
