/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory, and orders to the device, as a client sees them. */
#pragma once

#include "bench/orders.h"
#include "bench/wire.h"

#define GUEST_PAGE 4096u

/* A memory file of @size bytes, none of which takes memory until it is touched. */
int guest_memory(uint64_t size);

void guest_frame_map(struct wire_frame *frame, uint64_t iova, uint64_t size, uint64_t offset);
void guest_frame_unmap(struct wire_frame *frame, uint64_t iova, uint64_t size);

/* The first @size bytes of @fd at @iova, for good. */
void guest_map(int sock, int fd, uint64_t iova, uint64_t size);

/*
 * Makes @count regions of a page each, at every @stride bytes from 0 on, of pages of @fd in no
 * order, several maps under way. Returns 0, or the errno of a reply with @done regions made.
 */
int guest_fill(int sock, int fd, uint64_t count, uint64_t stride, uint64_t *done);

/* Removes all regions. */
int guest_clear(int sock);

/* Has the device do something. Returns nanoseconds, or less than 0: minus an errno. */
double guest_order(int sock, const struct order *order);

/* The second half of it, for somebody who has given the order. */
double guest_outcome(int sock);
