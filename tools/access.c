/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers: read, write, reset, bench. */
#include "tools/vfu.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place {
    unsigned region;
    uint64_t offset;
};

/* "bar2+0x4" */
static bool parse_place(const char *text, struct place *place)
{
    size_t length = strcspn(text, "+");
    int region = vfu_region_index(text, length);

    *place = (struct place){ .region = (unsigned)region };
    return region >= 0 && (text[length] == '\0' || vfu_number(text + length + 1, &place->offset));
}

static bool is_size(uint64_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static int read_one(struct vfu_client *client, const struct place *place, size_t size,
                    uint64_t *value)
{
    uint64_t raw = 0;
    int result = vfu_client_region_read(client, place->region, place->offset, &raw, size);

    *value = le64toh(raw);
    return result;
}

int vfu_read(int argc, char **argv)
{
    struct place place;
    uint64_t size = 4;
    uint64_t count = 1;
    struct vfu_client *client;
    int result = 0;

    if (argc < 3 || argc > 5 || !parse_place(argv[2], &place) ||
        (argc > 3 && (!vfu_number(argv[3], &size) || !is_size(size))) ||
        (argc > 4 && !vfu_number(argv[4], &count))) {
        return vfu_usage("read", "SOCKET REGION[+OFFSET] [SIZE [COUNT]]");
    }
    client = vfu_open(argv[1]);
    for (; count > 0 && result == 0; count--, place.offset += size) {
        uint64_t value;

        result = read_one(client, &place, size, &value);
        if (result == 0) {
            printf("%s+%#" PRIx64 " 0x%0*" PRIx64 "\n", vfu_region_name(place.region), place.offset,
                   (int)(2 * size), value);
        }
    }
    vfu_client_free(client);
    return result == 0 ? VFU_OK : vfu_failed(argv[2], result);
}

int vfu_write(int argc, char **argv)
{
    struct place place;
    struct vfu_client *client;
    uint64_t size = 4;
    int first = 3;
    int result = 0;

    if (argc > 4 && vfu_number(argv[3], &size)) {
        first = 4;
    }
    if (argc <= first || !parse_place(argv[2], &place) || !is_size(size)) {
        return vfu_usage("write", "SOCKET REGION[+OFFSET] [SIZE] VALUE...");
    }
    for (int i = first; i < argc; i++) {
        uint64_t value;

        if (!vfu_number(argv[i], &value) || (size < 8 && value >> (8 * size) != 0)) {
            return vfu_usage("write", "values that fit");
        }
    }
    client = vfu_open(argv[1]);
    for (int i = first; i < argc && result == 0; i++, place.offset += size) {
        uint64_t value;

        vfu_number(argv[i], &value);
        value = htole64(value);
        result = vfu_client_region_write(client, place.region, place.offset, &value, size);
    }
    vfu_client_free(client);
    return result == 0 ? VFU_OK : vfu_failed(argv[2], result);
}

int vfu_reset(int argc, char **argv)
{
    struct vfu_client *client;
    int result;

    if (argc != 2) {
        return vfu_usage("reset", "SOCKET");
    }
    client = vfu_open(argv[1]);
    result = vfu_client_reset_device(client);
    vfu_client_free(client);
    return result == 0 ? VFU_OK : vfu_failed("reset", result);
}

static int compare(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;

    return (*left > *right) - (*left < *right);
}

int vfu_bench(int argc, char **argv)
{
    struct place place = { .region = 7 };
    uint64_t count = 10000;
    struct vfu_client *client;
    uint64_t *times;
    uint64_t start;
    int result = 0;

    if (argc < 2 || argc > 4 || (argc > 2 && !parse_place(argv[2], &place)) ||
        (argc > 3 && (!vfu_number(argv[3], &count) || count == 0 || count > 100000000))) {
        return vfu_usage("bench", "SOCKET [REGION[+OFFSET] [COUNT]]");
    }
    client = vfu_open(argv[1]);
    times = calloc(count, sizeof(*times));
    if (times == NULL) {
        vfu_client_free(client);
        return vfu_failed("memory", -12);
    }
    start = vfu_now();
    for (uint64_t i = 0; i < count && result == 0; i++) {
        uint64_t before = vfu_now();
        uint64_t value;

        result = read_one(client, &place, 4, &value);
        times[i] = vfu_now() - before;
    }
    if (result == 0) {
        uint64_t total = vfu_now() - start;

        qsort(times, count, sizeof(*times), compare);
        printf("%" PRIu64 " reads of 4 bytes: median %.1f us, 99 %% below %.1f us, %.0f a second\n",
               count, (double)times[count / 2] / 1000, (double)times[count * 99 / 100] / 1000,
               (double)count * 1e9 / (double)total);
    }
    free(times);
    vfu_client_free(client);
    return result == 0 ? VFU_OK : vfu_failed(vfu_region_name(place.region), result);
}
