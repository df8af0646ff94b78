/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands of vfu have in common. Each is one file, and one row of the table in vfu.c. */
#pragma once

#include "client/client.h"

#include <stdint.h>

enum {
    VFU_OK = 0,
    VFU_FAILED = 1,
    VFU_USAGE = 2,
};

/* @argv[0] is the command's name. Returns the exit status. */
int vfu_info(int argc, char **argv);
int vfu_read(int argc, char **argv);
int vfu_write(int argc, char **argv);
int vfu_irq(int argc, char **argv);
int vfu_reset(int argc, char **argv);
int vfu_migrate(int argc, char **argv);
int vfu_trace(int argc, char **argv);
int vfu_bench(int argc, char **argv);

/* Connects and negotiates, or ends the program with a message. */
struct vfu_client *vfu_open(const char *path);

/* Says that the arguments are wrong. Returns VFU_USAGE. */
int vfu_usage(const char *command, const char *wanted);

/* Says what @what failed with, a result as of client.h. Returns VFU_FAILED. */
int vfu_failed(const char *what, int result);

/* A number with a sign that C knows (0x, 0), all of @text, or false. */
bool vfu_number(const char *text, uint64_t *value);

/* "bar0" to "bar5", "rom", "config", "vga"; the index, or -1. */
int vfu_region_index(const char *name, size_t length);
const char *vfu_region_name(unsigned index);

/* "intx", "msi", "msix", "err", "req"; the index, or -1. */
int vfu_irq_index(const char *name);
const char *vfu_irq_name(unsigned index);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t vfu_now(void);

/* Prints the capabilities in config space, as lspci -vv does. (capabilities.c) */
void vfu_print_capabilities(const uint8_t *config, size_t size);
