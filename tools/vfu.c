/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/vfu.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *purpose;
} commands[] = {
    { "info", vfu_info, "SOCKET", "regions, interrupts, config space and capabilities" },
    { "read", vfu_read, "SOCKET REGION[+OFFSET] [SIZE [COUNT]]", "read registers" },
    { "write", vfu_write, "SOCKET REGION[+OFFSET] [SIZE] VALUE...", "write registers" },
    { "irq", vfu_irq, "SOCKET [TYPE [COUNT]]", "wait for interrupts, and count them" },
    { "reset", vfu_reset, "SOCKET", "reset the device" },
    { "migrate", vfu_migrate, "FROM TO", "move the device's state to another one" },
    { "trace", vfu_trace, "--listen SOCKET --connect SOCKET",
      "stand between, and print every message" },
    { "bench", vfu_bench, "SOCKET [REGION[+OFFSET] [COUNT]]", "how long a register access takes" },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char *const region_names[] = { "bar0", "bar1", "bar2",   "bar3", "bar4",
                                            "bar5", "rom",  "config", "vga" };
static const char *const irq_names[] = { "intx", "msi", "msix", "err", "req" };

static void print_help(void)
{
    printf("Usage: vfu COMMAND ...\n"
           "Talks to a vfio-user device, in the place of a virtual machine.\n\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        printf("  vfu %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].purpose);
    }
    printf(
        "\nREGION: bar0 to bar5, rom, config, vga. SIZE of an access in bytes: 1, 2, 4 (default)\n"
        "or 8. TYPE: intx, msi, msix, err, req. Numbers may be hexadecimal (0x).\n"
        "Exit status: 0, 1 something failed, 2 usage. See vfu(1).\n");
}

struct vfu_client *vfu_open(const char *path)
{
    struct vfu_client *client;
    int result = vfu_client_connect(path, VFU_CLIENT_TIMEOUT_MS, &client);

    if (result == 0) {
        result = vfu_client_negotiate(client);
    }
    if (result != 0) {
        errx(VFU_FAILED, "%s: %s", path, strerror(abs(result)));
    }
    return client;
}

int vfu_usage(const char *command, const char *wanted)
{
    fprintf(stderr, "vfu %s: wanted: %s; vfu --help explains the usage\n", command, wanted);
    return VFU_USAGE;
}

int vfu_failed(const char *what, int result)
{
    fprintf(stderr, "vfu: %s: %s%s\n", what, result > 0 ? "the device answers: " : "",
            strerror(abs(result)));
    return VFU_FAILED;
}

bool vfu_number(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static int find(const char *const *names, size_t count, const char *name, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int vfu_region_index(const char *name, size_t length)
{
    return find(region_names, sizeof(region_names) / sizeof(region_names[0]), name, length);
}

const char *vfu_region_name(unsigned index)
{
    return index < sizeof(region_names) / sizeof(region_names[0]) ? region_names[index] : "?";
}

int vfu_irq_index(const char *name)
{
    return find(irq_names, sizeof(irq_names) / sizeof(irq_names[0]), name, strlen(name));
}

const char *vfu_irq_name(unsigned index)
{
    return index < sizeof(irq_names) / sizeof(irq_names[0]) ? irq_names[index] : "?";
}

uint64_t vfu_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        print_help();
        return VFU_OK;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        printf("vfu %s\n", VFU_VERSION);
        return VFU_OK;
    }
    for (size_t i = 0; argc >= 2 && i < COMMANDS; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            int status = commands[i].run(argc - 1, argv + 1);

            if (fflush(stdout) != 0) {
                err(VFU_FAILED, "standard output");
            }
            return status;
        }
    }
    return vfu_usage(argc >= 2 ? argv[1] : "", "a command");
}
