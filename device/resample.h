/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The resample eventfd of INTx (SET_IRQS with UNMASK and EVENTFD). A hypervisor that injects the
 * interrupt itself signals it when the guest has dealt with it: the device is told as of an unmask,
 * and raises the interrupt again if its cause persists.
 */
#pragma once

struct vfu_ctx;

/* Owns @eventfd from now on, instead of the one before; -1 for none. */
void resample_set(struct vfu_ctx *ctx, int eventfd);

/* The connection has found it readable. */
void resample_handle(struct vfu_ctx *ctx);
