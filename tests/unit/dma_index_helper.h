/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions in an index of DMA regions, without a device. */
#pragma once

#include "device/dma.h"

/* A region that is published and in the index; NULL without memory. */
struct dma_region *index_add(struct dma_index *index, uint64_t address, uint64_t size);
void index_drop(struct dma_index *index, struct dma_region *region);
