/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/options.h"

#include "broker/isolate.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_POLICY = 256,
    OPTION_SOCK,
    OPTION_FD,
    OPTION_CHECK,
    OPTION_AUDIT,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FILE,
    OPTION_PID_FILE,
    OPTION_CGROUP,
    OPTION_SOCK_MODE,
    OPTION_SOCK_GROUP,
    OPTION_PRINT_CAPABILITIES,
    OPTION_VERSION,
    OPTION_HELP,
};

static const struct option long_options[] = {
    { "policy", required_argument, NULL, OPTION_POLICY },
    { "sock", required_argument, NULL, OPTION_SOCK },
    { "socket-path", required_argument, NULL, OPTION_SOCK },
    { "fd", required_argument, NULL, OPTION_FD },
    { "check", no_argument, NULL, OPTION_CHECK },
    { "audit", no_argument, NULL, OPTION_AUDIT },
    { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
    { "log-file", required_argument, NULL, OPTION_LOG_FILE },
    { "pid-file", required_argument, NULL, OPTION_PID_FILE },
    { "cgroup", required_argument, NULL, OPTION_CGROUP },
    { "sock-mode", required_argument, NULL, OPTION_SOCK_MODE },
    { "sock-group", required_argument, NULL, OPTION_SOCK_GROUP },
    { "print-capabilities", no_argument, NULL, OPTION_PRINT_CAPABILITIES },
    { "version", no_argument, NULL, OPTION_VERSION },
    { "help", no_argument, NULL, OPTION_HELP },
    { NULL, 0, NULL, 0 },
};

static const char help[] =
    "Usage: vfu-broker --policy FILE --sock PATH [OPTION...]\n"
    "       vfu-broker --policy FILE --fd N [OPTION...]\n"
    "       vfu-broker --policy FILE --check\n"
    "Runs an emulated PCI device in a jailed process of its own, behind a vfio-user socket.\n"
    "\n"
    "  --policy FILE         what the device may do (JSON)\n"
    "  --sock PATH           socket to listen on (also --socket-path); more than once: one for\n"
    "                        each context of the program\n"
    "  --fd N                listening socket that was inherited, instead of --sock\n"
    "  --check               validate the policy, list what this host offers and which system\n"
    "                        calls are allowed, start and verify one device process, then exit\n"
    "  --audit               let system calls pass that the policy does not allow, and print at\n"
    "                        the end the policy that would; do not use it with hostile clients\n"
    "  --sock-mode MODE      octal mode of the socket file (default 0600)\n"
    "  --sock-group GROUP    group of the socket file, by name or number\n"
    "  --log-level LEVEL     error, warning, info (default) or debug\n"
    "  --log-file FILE       append the log to FILE instead of writing it to standard error\n"
    "  --pid-file FILE       write the process id to FILE once the socket is ready\n"
    "  --cgroup DIR          delegated cgroup (version 2) to make those of device processes in;\n"
    "                        self: the broker's own\n"
    "  --print-capabilities  print what this program supports, as JSON, and exit\n"
    "  --version             print the version and exit\n"
    "  --help                print this and exit\n"
    "\n"
    "Exit status: 0 ended by SIGTERM or SIGINT, 2 usage, 3 policy, 4 a layer of the jail is\n"
    "missing, 5 the device failed too often, 1 anything else. See vfu-broker(8).\n";

static int usage_error(const char *format, const char *value)
{
    fprintf(stderr, "vfu-broker: ");
    fprintf(stderr, format, value);
    fprintf(stderr, "; --help explains the usage\n");
    return EXIT_STATUS_USAGE;
}

static void print_capabilities(void)
{
    int landlock = isolate_landlock_version();

    printf("{\n"
           "  \"type\": \"pci\",\n"
           "  \"protocol\": \"vfio-user\",\n"
           "  \"version\": \"%s\",\n"
           "  \"policy-version\": 1,\n"
           "  \"features\": [\"socket-path\", \"fd\", \"sock-mode\", \"sock-group\", \"check\", "
           "\"audit\", \"cgroup\"],\n"
           "  \"landlock\": %d\n"
           "}\n",
           VFU_VERSION, landlock > 0 ? landlock : 0);
}

/* A whole non-negative number; -1 for anything else. */
static long number(const char *text, int base, long max)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, base);
    return errno != 0 || end == text || *end != '\0' || value < 0 || value > max ? -1 : value;
}

static int parse_group(const char *text, gid_t *gid)
{
    long value = number(text, 10, UINT_MAX - 1);
    const struct group *group = value < 0 ? getgrnam(text) : NULL;

    if (value < 0 && group == NULL) {
        return -1;
    }
    *gid = group != NULL ? group->gr_gid : (gid_t)value;
    return 0;
}

/* Returns -1, or the exit status. @value is what the command line says. */
static int add_socket(struct options *options, const char *path, int fd, const char *value)
{
    if (options->socket_count == CONTROL_MAX_CHANNELS) {
        return usage_error("%s: one socket too many, there can be 64", value);
    }
    options->sockets[options->socket_count++] = (struct option_socket){ .path = path, .fd = fd };
    return -1;
}

/* Returns -1, or the exit status. */
static int take_option(struct options *options, int option, const char *value)
{
    long parsed;

    switch (option) {
    case OPTION_POLICY:
        options->policy = value;
        return -1;
    case OPTION_SOCK:
        return add_socket(options, value, -1, value);
    case OPTION_FD:
        parsed = number(value, 10, INT_MAX);
        if (parsed < 3) {
            return usage_error("--fd %s: want the number of a descriptor, 3 or more", value);
        }
        return add_socket(options, "inherited", (int)parsed, value);
    case OPTION_CHECK:
        options->check = true;
        return -1;
    case OPTION_AUDIT:
        options->audit = true;
        return -1;
    case OPTION_LOG_LEVEL:
        parsed = log_level_parse(value);
        options->log_level = (enum log_level)parsed;
        return parsed < 0 ? usage_error("--log-level %s: want error, warning, info or debug", value)
                          : -1;
    case OPTION_LOG_FILE:
        options->log_file = value;
        return -1;
    case OPTION_PID_FILE:
        options->pid_file = value;
        return -1;
    case OPTION_CGROUP:
        options->cgroup = value;
        return -1;
    case OPTION_SOCK_MODE:
        parsed = number(value, 8, 0777);
        options->sock_mode = (mode_t)parsed;
        return parsed < 0 ? usage_error("--sock-mode %s: want an octal mode up to 0777", value)
                          : -1;
    case OPTION_SOCK_GROUP:
        return parse_group(value, &options->sock_group) < 0
                   ? usage_error("--sock-group %s: no such group", value)
                   : -1;
    case OPTION_PRINT_CAPABILITIES:
        print_capabilities();
        return EXIT_STATUS_OK;
    case OPTION_VERSION:
        printf("vfu-broker %s\n", VFU_VERSION);
        return EXIT_STATUS_OK;
    case OPTION_HELP:
        fputs(help, stdout);
        return EXIT_STATUS_OK;
    default: /* getopt has said what is wrong */
        return EXIT_STATUS_USAGE;
    }
}

int options_parse(struct options *options, int argc, char **argv)
{
    static char name[] = "vfu-broker";

    *options = (struct options){
        .log_level = LOG_LEVEL_INFO,
        .sock_mode = 0600,
        .sock_group = (gid_t)-1,
    };
    argv[0] = name; /* getopt's messages start with it */
    for (;;) {
        int option = getopt_long(argc, argv, "", long_options, NULL);
        int status;

        if (option < 0) {
            break;
        }
        status = take_option(options, option, optarg);
        if (status >= 0) {
            return status;
        }
    }
    if (optind < argc) {
        return usage_error("%s: unexpected argument", argv[optind]);
    }
    if (options->policy == NULL) {
        return usage_error("%s is missing", "--policy FILE");
    }
    if (options->check && options->audit) {
        return usage_error("want either %s", "--check or --audit");
    }
    if (!options->check && options->socket_count == 0) {
        return usage_error("want %s", "--sock PATH or --fd N");
    }
    return -1;
}
