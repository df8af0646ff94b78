/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/msix.h"

#include "device/context.h"
#include "device/errors.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

/* --- masks and pending bits --- */

static void update_mask(struct msix *msix, struct msix_vector *vector)
{
    bool by_table = msix->table_is_used &&
                    (vector->entry[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0;

    atomic_store(&vector->masked, by_table || vector->client_masked);
}

static void update_all_masks(struct msix *msix)
{
    for (uint32_t i = 0; i < msix->count; i++) {
        update_mask(msix, &msix->vectors[i]);
    }
}

static void set_pending(struct msix *msix, uint32_t vector)
{
    atomic_fetch_or(&msix->pending[vector / 64], (uint64_t)1 << (vector % 64));
}

static bool take_pending(struct msix *msix, uint32_t vector)
{
    uint64_t bit = (uint64_t)1 << (vector % 64);

    return (atomic_fetch_and(&msix->pending[vector / 64], ~bit) & bit) != 0;
}

/* Signals a vector that is pending, if nothing holds it back. Returns 0 or a negative errno. */
static int deliver(struct vfu_ctx *ctx, uint32_t vector)
{
    struct msix *msix = ctx->msix;
    const struct irqs *irqs = &ctx->session.irqs;

    while (!atomic_load(&msix->stopped) && !atomic_load(&msix->vectors[vector].masked) &&
           irqs_is_assigned(irqs, VFU_DEV_MSIX_IRQ, vector) && take_pending(msix, vector)) {
        int err = irqs_try_signal(irqs, VFU_DEV_MSIX_IRQ, vector);

        if (err != -ENOENT) {
            return err;
        }
        set_pending(msix, vector); /* the eventfd went away just now */
    }
    return 0;
}

/* A full eventfd tells its client of an interrupt already. */
static void deliver_pending(struct vfu_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->msix->count; i += 64) {
        uint64_t pending = atomic_load(&ctx->msix->pending[i / 64]);

        for (; pending != 0; pending &= pending - 1) {
            (void)deliver(ctx, i + (uint32_t)__builtin_ctzll(pending));
        }
    }
}

int vfu_msix_trigger(vfu_ctx_t *ctx, uint32_t vector)
{
    struct msix *msix = ctx->msix;

    if (msix == NULL || vector >= msix->count) {
        return api_result(-EINVAL);
    }
    set_pending(msix, vector);
    return api_result(deliver(ctx, vector));
}

void msix_update(struct vfu_ctx *ctx)
{
    struct msix *msix = ctx->msix;
    uint16_t flags;

    if (msix == NULL) {
        return;
    }
    memcpy(&flags, ctx->session.config.bytes + msix->capability + PCI_MSIX_FLAGS, sizeof(flags));
    flags = le16toh(flags) & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    atomic_store(&msix->stopped, flags != PCI_MSIX_FLAGS_ENABLE);
    deliver_pending(ctx);
}

void msix_client_mask(struct vfu_ctx *ctx, uint32_t start, uint32_t count, bool mask)
{
    struct msix *msix = ctx->msix;

    if (msix == NULL) {
        return;
    }
    for (uint32_t i = start; i - start < count && i < msix->count; i++) {
        msix->vectors[i].client_masked = mask;
        update_mask(msix, &msix->vectors[i]);
    }
    deliver_pending(ctx);
}

void msix_reset(struct vfu_ctx *ctx, bool client_is_gone)
{
    struct msix *msix = ctx->msix;

    if (msix == NULL) {
        return;
    }
    msix->table_is_used = false;
    for (uint32_t i = 0; i < msix->count; i++) {
        struct msix_vector *vector = &msix->vectors[i];

        memset(vector->entry, 0, sizeof(vector->entry));
        vector->entry[PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        vector->client_masked = vector->client_masked && !client_is_gone;
    }
    for (size_t i = 0; i < MSIX_MAX_VECTORS / 64; i++) {
        atomic_store(&msix->pending[i], 0);
    }
    update_all_masks(msix);
}

/* --- accesses --- */

/* As msix_owns(), for one of the two. */
static bool is_in_window(const struct msix_window *window, int region, uint64_t offset,
                         size_t *count)
{
    uint64_t left;

    if (region != window->bar || offset >= window->offset + window->size) {
        return false;
    }
    left =
        offset < window->offset ? window->offset - offset : window->offset + window->size - offset;
    *count = *count < left ? *count : (size_t)left;
    return offset >= window->offset;
}

bool msix_owns(const struct msix *msix, int region, uint64_t offset, size_t *count)
{
    if (msix == NULL) {
        return false;
    }
    return is_in_window(&msix->table, region, offset, count) ||
           is_in_window(&msix->pending_bits, region, offset, count);
}

bool msix_owns_part(const struct msix *msix, int region)
{
    return msix != NULL && (msix->table.bar == region || msix->pending_bits.bar == region);
}

/* Address, data and the mask bit; what else is in the last dword is reserved. */
static uint8_t writable_bits(size_t at)
{
    switch (at) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        return 0xfc;
    case PCI_MSIX_ENTRY_VECTOR_CTRL:
        return PCI_MSIX_ENTRY_CTRL_MASKBIT;
    default:
        return at < PCI_MSIX_ENTRY_VECTOR_CTRL ? 0xff : 0;
    }
}

static void write_table(struct vfu_ctx *ctx, const uint8_t *data, size_t count, size_t at)
{
    struct msix *msix = ctx->msix;
    bool is_first = !msix->table_is_used;

    msix->table_is_used = true;
    for (size_t i = 0; i < count; i++, at++) {
        struct msix_vector *vector = &msix->vectors[at / MSIX_ENTRY_SIZE];
        uint8_t *byte = &vector->entry[at % MSIX_ENTRY_SIZE];
        uint8_t writable = writable_bits(at % MSIX_ENTRY_SIZE);

        *byte = (uint8_t)((*byte & ~writable) | (data[i] & writable));
        update_mask(msix, vector);
    }
    if (is_first) {
        update_all_masks(msix);
    }
    deliver_pending(ctx);
}

static void read_table(const struct msix *msix, uint8_t *data, size_t count, size_t at)
{
    for (size_t i = 0; i < count; i++, at++) {
        data[i] = msix->vectors[at / MSIX_ENTRY_SIZE].entry[at % MSIX_ENTRY_SIZE];
    }
}

static void read_pending_bits(const struct msix *msix, uint8_t *data, size_t count, size_t at)
{
    for (size_t i = 0; i < count; i++, at++) {
        data[i] = (uint8_t)(atomic_load(&msix->pending[at / 8]) >> (at % 8 * 8));
    }
}

void msix_access(struct vfu_ctx *ctx, int region, char *data, size_t count, uint64_t offset,
                 bool is_write)
{
    const struct msix *msix = ctx->msix;
    size_t one = 1;

    if (!is_in_window(&msix->table, region, offset, &one)) {
        if (!is_write) {
            read_pending_bits(msix, (uint8_t *)data, count,
                              (size_t)(offset - msix->pending_bits.offset));
        }
    } else if (is_write) {
        write_table(ctx, (const uint8_t *)data, count, (size_t)(offset - msix->table.offset));
    } else {
        read_table(msix, (uint8_t *)data, count, (size_t)(offset - msix->table.offset));
    }
}

/* --- migration --- */

/* What is saved: this, the entries of all vectors, and the words with their pending bits. */
struct saved {
    uint32_t count;
    uint32_t table_is_used;
};
static_assert(sizeof(struct saved) == 8, "a format");

static size_t pending_words(const struct msix *msix)
{
    return (msix->count + 63) / 64;
}

static size_t saved_size(const struct msix *msix)
{
    return sizeof(struct saved) + msix->count * (size_t)MSIX_ENTRY_SIZE +
           pending_words(msix) * sizeof(uint64_t);
}

ssize_t vfu_msix_save(vfu_ctx_t *ctx, void *buffer, size_t size)
{
    const struct msix *msix = ctx->msix;
    uint8_t *at = buffer;

    if (msix == NULL) {
        return api_result(-EINVAL);
    }
    if (size >= saved_size(msix)) {
        const struct saved saved = { msix->count, msix->table_is_used };

        at = mempcpy(at, &saved, sizeof(saved));
        for (uint32_t i = 0; i < msix->count; i++) {
            at = mempcpy(at, msix->vectors[i].entry, MSIX_ENTRY_SIZE);
        }
        for (size_t i = 0; i < pending_words(msix); i++) {
            uint64_t word = htole64(atomic_load(&msix->pending[i]));

            at = mempcpy(at, &word, sizeof(word));
        }
    }
    return (ssize_t)saved_size(msix);
}

/* Bits that no device has are not taken from a stream either. */
static bool entry_is_valid(const uint8_t *entry)
{
    for (size_t i = 0; i < MSIX_ENTRY_SIZE; i++) {
        if (entry[i] & ~writable_bits(i)) {
            return false;
        }
    }
    return true;
}

static bool is_valid(const struct msix *msix, const uint8_t *buffer, size_t size)
{
    struct saved saved;
    uint64_t last;

    if (size != saved_size(msix)) {
        return false;
    }
    memcpy(&saved, buffer, sizeof(saved));
    memcpy(&last, buffer + size - sizeof(last), sizeof(last));
    for (uint32_t i = 0; i < msix->count; i++) {
        if (!entry_is_valid(buffer + sizeof(saved) + (size_t)i * MSIX_ENTRY_SIZE)) {
            return false;
        }
    }
    return saved.count == msix->count && saved.table_is_used <= 1 &&
           (msix->count % 64 == 0 || le64toh(last) >> (msix->count % 64) == 0);
}

static void restore(struct vfu_ctx *ctx, const uint8_t *at)
{
    struct msix *msix = ctx->msix;
    struct saved saved;

    memcpy(&saved, at, sizeof(saved));
    at += sizeof(saved);
    msix->table_is_used = saved.table_is_used;
    for (uint32_t i = 0; i < msix->count; i++, at += MSIX_ENTRY_SIZE) {
        memcpy(msix->vectors[i].entry, at, MSIX_ENTRY_SIZE);
    }
    update_all_masks(msix);
    for (size_t i = 0; i < pending_words(msix); i++, at += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, at, sizeof(word));
        atomic_fetch_or(&msix->pending[i], le64toh(word));
    }
    deliver_pending(ctx);
}

int vfu_msix_restore(vfu_ctx_t *ctx, const void *buffer, size_t size)
{
    if (ctx->msix == NULL || buffer == NULL || !is_valid(ctx->msix, buffer, size)) {
        return api_result(-EINVAL);
    }
    restore(ctx, buffer);
    return 0;
}

/* --- set-up --- */

/* Within its BAR, and not where clients can map it: their accesses would not come here. */
static bool window_is_valid(const struct vfu_ctx *ctx, const struct msix_window *window)
{
    const struct region *region;
    uint64_t end;

    if (!region_is_bar(window->bar) || window->offset % 8 != 0 ||
        window->offset > UINT32_MAX || /* the capability has 32 bits for it */
        __builtin_add_overflow(window->offset, window->size, &end)) {
        return false;
    }
    region = &ctx->regions[window->bar];
    for (uint32_t i = 0; i < region->area_count; i++) {
        const struct vfio_region_sparse_mmap_area *area = &region->areas[i];

        if (area->offset < end && window->offset < area->offset + area->size) {
            return false;
        }
    }
    return end <= region->size && (region->flags & VFU_REGION_FLAG_MEM) &&
           (region->flags & VFU_REGION_FLAG_RW) == VFU_REGION_FLAG_RW;
}

static bool windows_overlap(const struct msix_window *a, const struct msix_window *b)
{
    return a->bar == b->bar && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static struct msix *msix_create(uint32_t vectors, const struct msix_window *table,
                                const struct msix_window *pending_bits)
{
    struct msix *msix = calloc(1, sizeof(*msix) + vectors * sizeof(msix->vectors[0]));

    if (msix != NULL) {
        msix->table = *table;
        msix->pending_bits = *pending_bits;
        msix->count = vectors;
        atomic_store(&msix->stopped, true);
    }
    return msix;
}

/* The capability and the interrupts, or none of them. Returns 0 or a negative errno. */
static int describe(struct vfu_ctx *ctx, const struct msix *msix, size_t *offset)
{
    struct msixcap capability = {
        .hdr = { .id = PCI_CAP_ID_MSIX },
        .mxc = { .ts = (msix->count - 1) & PCI_MSIX_FLAGS_QSIZE },
        .mtab = { .tbir = (uint32_t)msix->table.bar & 7,
                  .to = (uint32_t)(msix->table.offset / 8) & 0x1fffffff },
        .mpba = { .pbir = (uint32_t)msix->pending_bits.bar & 7,
                  .pbao = (uint32_t)(msix->pending_bits.offset / 8) & 0x1fffffff },
    };
    uint32_t before = ctx->session.irqs.tables[VFU_DEV_MSIX_IRQ].count;
    ssize_t pos;

    if (vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, msix->count) < 0) {
        return -errno;
    }
    pos = vfu_pci_add_capability(ctx, 0, 0, &capability);
    if (pos < 0) {
        int err = -errno;

        (void)vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, before);
        return err;
    }
    *offset = (size_t)pos;
    return 0;
}

static int setup(struct vfu_ctx *ctx, uint32_t vectors, const struct msix_window *table,
                 const struct msix_window *pending_bits)
{
    struct msix *msix;
    int err;

    if (ctx->msix != NULL) {
        return -EEXIST;
    }
    if (vectors == 0 || vectors > MSIX_MAX_VECTORS || !window_is_valid(ctx, table) ||
        !window_is_valid(ctx, pending_bits) || windows_overlap(table, pending_bits)) {
        return -EINVAL;
    }
    msix = msix_create(vectors, table, pending_bits);
    if (msix == NULL) {
        return -ENOMEM;
    }
    err = describe(ctx, msix, &msix->capability);
    if (err < 0) {
        free(msix);
        return err;
    }
    ctx->msix = msix;
    msix_reset(ctx, true);
    return 0;
}

int vfu_msix_setup(vfu_ctx_t *ctx, uint32_t vectors, int table_bar, uint64_t table_offset,
                   int pba_bar, uint64_t pba_offset)
{
    const struct msix_window table = {
        .bar = table_bar,
        .offset = table_offset,
        .size = (uint64_t)vectors * MSIX_ENTRY_SIZE,
    };
    const struct msix_window pending_bits = {
        .bar = pba_bar,
        .offset = pba_offset,
        .size = ((uint64_t)vectors + 63) / 64 * 8,
    };

    return api_result(setup(ctx, vectors, &table, &pending_bits));
}
