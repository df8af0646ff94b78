/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X for programs that do not want to keep it themselves (vfu-broker.h): the table and the
 * pending-bit array as they appear in BARs, what is masked, and what waits until it is not.
 *
 * A vector is signalled when nothing holds it back: the function is enabled and not masked, the
 * vector is neither masked in the table nor by SET_IRQS, and the client has given it an eventfd.
 * Else its pending bit stays set, and whatever takes the obstacle away looks at the bits again.
 *
 * A device's own threads may trigger while the context's thread serves the client. Both sides do
 * two things in the same order, "set pending, look at the masks" and "clear the mask, look at what
 * is pending", with atomics that are sequentially consistent: at least one of them sees the other,
 * and only one can take the bit.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfio-user/vfu-broker.h>

#define MSIX_MAX_VECTORS 2048
#define MSIX_ENTRY_SIZE 16

/* A part of a BAR. */
struct msix_window {
    int bar;
    uint64_t offset;
    uint64_t size;
};

struct msix_vector {
    uint8_t entry[MSIX_ENTRY_SIZE];
    bool client_masked; /* by SET_IRQS */
    atomic_bool masked; /* by any of the two */
};

struct msix {
    struct msix_window table;
    struct msix_window pending_bits;
    size_t capability; /* its offset in config space */
    /*
     * Since the last reset the client has written to the table. One that keeps the table itself,
     * as QEMU does, never touches ours, where all vectors are masked since the reset.
     */
    bool table_is_used;
    atomic_bool stopped; /* the function is not enabled, or masked */
    _Atomic uint64_t pending[MSIX_MAX_VECTORS / 64];
    uint32_t count;
    struct msix_vector vectors[];
};

struct vfu_ctx;

/*
 * Whether the bytes at @offset of region @region are ours; @count is cut down to how many of them,
 * or of those that are not, follow each other. @msix may be NULL: nothing is ours.
 */
bool msix_owns(const struct msix *msix, int region, uint64_t offset, size_t *count);

/* Whether any part of region @region is. */
bool msix_owns_part(const struct msix *msix, int region);

/* An access to bytes that are all ours. */
void msix_access(struct vfu_ctx *ctx, int region, char *data, size_t count, uint64_t offset,
                 bool is_write);

/* Config space, or the eventfds, have changed. */
void msix_update(struct vfu_ctx *ctx);

/* The client masks or unmasks vectors by SET_IRQS. */
void msix_client_mask(struct vfu_ctx *ctx, uint32_t start, uint32_t count, bool mask);

/* Back to the state after power-on; with @client_is_gone also what SET_IRQS has masked. */
void msix_reset(struct vfu_ctx *ctx, bool client_is_gone);
