/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest can write in the standard header (offsets 0x00 to 0x3f): BARs and a few bits. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vfu_ctx;

/* Writes @count bytes at @offset; all of them are in the header. */
void pci_header_write(struct vfu_ctx *ctx, const uint8_t *data, size_t count, size_t offset);

/* The type bits that a BAR shows for its region. */
uint32_t pci_header_bar_type(const struct vfu_ctx *ctx, int bar);
