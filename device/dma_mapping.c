/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_mapping.h"

#include "device/dma.h"
#include "device/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of address space, for whole files: some architectures have 2^39 bytes, but then mmap(2) fails. */
#define MAX_WHOLE_BYTES (16ull << 40)

/*
 * Of 65530 mappings that a process has by default (vm.max_map_count): the rest is for the program,
 * and for what the memory guard makes of these.
 */
#define MAX_MAPPINGS 60000u
#define MAX_PIECES 1024u

/* Of all contexts. */
static uint32_t mapping_count;
static uint32_t piece_count;

/*
 * Whether a file can be mapped through @fd as mmap(2) sees it: it must be open for reading in any
 * case. A gate passes nothing on that is not; and in the jail, which has no fcntl(2), whoever
 * writes nothing learns whether he may.
 */
static bool is_open_for(const struct transport *transport, int fd, uint32_t prot)
{
    bool writes = prot & PROT_WRITE;
    int flags, mode;

    if (transport->vets) {
        return !writes || !(pwrite(fd, "", 0, 0) < 0 && errno == EBADF);
    }
    flags = fcntl(fd, F_GETFL);
    mode = flags & O_ACCMODE;
    return !(flags & O_PATH) && (mode == O_RDWR || (mode == O_RDONLY && !writes));
}

static bool serves(const struct dma_mapping *mapping, const struct dma_file *file, uint64_t offset,
                   uint64_t length, uint32_t prot)
{
    return mapping->inode == file->inode && mapping->device == file->device &&
           mapping->prot == prot && offset <= mapping->length &&
           length <= mapping->length - offset && !DMA_LOAD(mapping->faulted);
}

/* Mapping @position is the one that was used last. */
static void move_to_front(struct dma_mappings *mappings, size_t position)
{
    struct dma_mapping *mapping = mappings->known[position];

    memmove(&mappings->known[1], &mappings->known[0], position * sizeof(mappings->known[0]));
    mappings->known[0] = mapping;
}

static struct dma_mapping *find(struct dma_mappings *mappings, const struct dma_file *file,
                                uint64_t offset, uint64_t length, uint32_t prot)
{
    for (size_t i = 0; i < mappings->count; i++) {
        if (serves(mappings->known[i], file, offset, length, prot)) {
            move_to_front(mappings, i);
            return mappings->known[0];
        }
    }
    return NULL;
}

static void mapping_free(struct dma_mappings *mappings, struct dma_mapping *mapping)
{
    munmap(mapping->address, mapping->length);
    mappings->bytes -= mapping->whole ? mapping->length : 0;
    __atomic_fetch_sub(&piece_count, mapping->pieces, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&mapping_count, 1, __ATOMIC_RELAXED);
    free(mapping);
}

/* Mapping @position serves no other region. */
static void forget(struct dma_mappings *mappings, size_t position)
{
    struct dma_mapping *mapping = mappings->known[position];

    mappings->count--;
    memmove(&mappings->known[position], &mappings->known[position + 1],
            (mappings->count - position) * sizeof(mappings->known[0]));
    mapping->known = false;
    if (mapping->users == 0) {
        mapping_free(mappings, mapping);
    }
}

/* Forgets what has been idle for longest, as long as there is more of it than @idle. */
static void limit_idle(struct dma_mappings *mappings, size_t idle)
{
    size_t seen = 0;

    for (size_t i = 0; i < mappings->count;) {
        if (mappings->known[i]->users == 0 && seen++ >= idle) {
            forget(mappings, i);
        } else {
            i++;
        }
    }
}

static void remember(struct dma_mappings *mappings, struct dma_mapping *mapping)
{
    if (mappings->count == DMA_MAPPINGS_KNOWN) {
        forget(mappings, DMA_MAPPINGS_KNOWN - 1);
    }
    mapping->known = true;
    mappings->known[mappings->count] = mapping;
    move_to_front(mappings, mappings->count++);
}

/* How much to map in order to have all of the file; 0 if that is too much. */
static uint64_t whole_length(const struct dma_mappings *mappings, const struct transport *transport,
                             const struct dma_file *file)
{
    uint64_t limit =
        transport->max_dma_bytes < MAX_WHOLE_BYTES ? transport->max_dma_bytes : MAX_WHOLE_BYTES;
    uint64_t length;

    if (file->size > DMA_MAX_REGION_SIZE) {
        return 0;
    }
    length = (file->size + (file->page_size - 1)) & ~(file->page_size - 1);
    return mappings->bytes <= limit && length <= limit - mappings->bytes ? length : 0;
}

/* Maps some of the file. Returns 0 or a negative errno. */
static int map(struct dma_mapping *mapping, const struct transport *transport, int fd,
               uint64_t offset, uint64_t length)
{
    void *address = mmap(NULL, length, (int)mapping->prot, MAP_SHARED, fd, (off_t)offset);

    if (address == MAP_FAILED) {
        return -errno;
    }
    if (!transport->jailed) {
        /* The guest's memory is not ours to write to a core file. A kernel without it just would.
         */
        (void)madvise(address, length, MADV_DONTDUMP);
    }
    mapping->address = address;
    mapping->offset = offset;
    mapping->length = length;
    return 0;
}

static int map_file(struct dma_mappings *mappings, const struct transport *transport,
                    const struct dma_file *file, uint64_t offset, uint64_t length,
                    struct dma_mapping *mapping)
{
    uint64_t whole = whole_length(mappings, transport, file);

    if (whole != 0 && map(mapping, transport, file->fd, 0, whole) == 0) {
        mapping->whole = true;
        mappings->bytes += whole;
        return 0;
    }
    return map(mapping, transport, file->fd, offset, length);
}

/* Returns 0, -ENOMEM, or the negative errno of mmap(2). */
static int mapping_new(struct dma_mappings *mappings, const struct transport *transport,
                       const struct dma_file *file, uint64_t offset, uint64_t length, uint32_t prot,
                       struct dma_mapping **result)
{
    struct dma_mapping *mapping = calloc(1, sizeof(*mapping));
    int err = -ENOMEM;

    if (mapping == NULL) {
        return err;
    }
    mapping->device = file->device;
    mapping->inode = file->inode;
    mapping->prot = prot;
    if (__atomic_fetch_add(&mapping_count, 1, __ATOMIC_RELAXED) < MAX_MAPPINGS) {
        err = map_file(mappings, transport, file, offset, length, mapping);
    }
    if (err < 0) {
        __atomic_fetch_sub(&mapping_count, 1, __ATOMIC_RELAXED);
        free(mapping);
        return err;
    }
    *result = mapping;
    return 0;
}

int dma_mappings_get(struct dma_mappings *mappings, const struct transport *transport,
                     const struct dma_file *file, uint64_t offset, uint64_t length, uint32_t prot,
                     struct dma_mapping **result)
{
    struct dma_mapping *mapping = find(mappings, file, offset, length, prot);
    int err;

    if (mapping == NULL || !is_open_for(transport, file->fd, prot)) {
        err = mapping_new(mappings, transport, file, offset, length, prot, &mapping);
        if (err < 0) {
            return err;
        }
        if (mapping->whole) {
            remember(mappings, mapping);
        }
    }
    mapping->users++;
    *result = mapping;
    return 0;
}

bool dma_mapping_split(struct dma_mapping *mapping)
{
    __atomic_fetch_add(&mapping->pieces, 1, __ATOMIC_RELAXED);
    return __atomic_fetch_add(&piece_count, 1, __ATOMIC_RELAXED) < MAX_PIECES;
}

static void stop_knowing(struct dma_mappings *mappings, const struct dma_mapping *mapping)
{
    for (size_t i = 0; i < mappings->count; i++) {
        if (mappings->known[i] == mapping) {
            forget(mappings, i);
            return;
        }
    }
}

void dma_mappings_put(struct dma_mappings *mappings, struct dma_mapping *mapping, uint64_t length)
{
    mapping->users--;
    if (mapping->users > 0) {
        return;
    }
    if (!mapping->known) {
        mapping_free(mappings, mapping);
    } else if (length == mapping->length || DMA_LOAD(mapping->faulted)) {
        stop_knowing(mappings, mapping);
    } else {
        limit_idle(mappings, DMA_MAPPINGS_IDLE);
    }
}

void dma_mappings_trim(struct dma_mappings *mappings)
{
    limit_idle(mappings, 0);
}
