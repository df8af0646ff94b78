/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this library has beyond libvfio-user.h. No program has to call any of it.
 *
 * Errors and threads: as in libvfio-user.h.
 */
#ifndef VFU_BROKER_H
#define VFU_BROKER_H

#include "libvfio-user.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* ---- MSI-X ------------------------------------------------------------------------------ */

/*
 * vfu_msix_setup - lets the library keep the device's MSI-X
 * @vectors: 1 to 2048
 * @table_bar, @table_offset: where the table is, 16 bytes for each vector
 * @pba_bar, @pba_offset: where the pending bits are, 8 bytes for every 64 vectors
 *
 * Adds the capability (as vfu_pci_add_capability() with 0) and says how many interrupts there are
 * (as vfu_setup_device_nr_irqs()). Both BARs have been set up before, as memory that is read and
 * written; offsets are multiples of 8; clients must not be able to map these parts. From now on the
 * library handles accesses to them; the BAR's own callback, which may be NULL, sees only the rest,
 * in pieces if an access goes across. All memory is allocated here, about 18 bytes for each vector.
 *
 * Writes to the table and to the capability are kept as the PCI specification says. On each reset,
 * before the reset callback, the table is as after power-on (all masked) and nothing is pending;
 * the capability is config space, and stays. A client that keeps the table itself never
 * writes to this one: as long as it has not, since the last reset, its mask bits do not count.
 *
 * Returns 0, or -1 with errno EINVAL (an argument), EEXIST (there is one already), ENOMEM, or as
 * vfu_pci_add_capability(); then nothing has changed.
 */
int vfu_msix_setup(vfu_ctx_t *vfu_ctx, uint32_t vectors, int table_bar, uint64_t table_offset,
                   int pba_bar, uint64_t pba_offset);

/*
 * vfu_msix_trigger - signals an interrupt that vfu_msix_setup() keeps
 *
 * While the function is disabled or masked, or the vector is masked (in the table, or by the
 * client), or has no eventfd yet, its pending bit is set instead: it is signalled, once, when all
 * of that is over. From any thread from which vfu_irq_trigger() may be called.
 *
 * Returns 0: signalled or pending; or -1 with errno EINVAL (no such vector), or EAGAIN as
 * vfu_irq_trigger().
 */
int vfu_msix_trigger(vfu_ctx_t *vfu_ctx, uint32_t vector);

/*
 * vfu_msix_save, vfu_msix_restore - the table and the pending bits, for a device that migrates
 * @buffer: @size bytes; saved ones are good for a device with as many vectors. Their format is that
 *          of one version of this library.
 *
 * Vectors that were pending and that nothing holds back are signalled by vfu_msix_restore() itself:
 * its place is the transition to VFU_MIGR_STATE_RUNNING. What is not in there: the capability,
 * which clients restore with the rest of config space, and eventfds and masks of SET_IRQS, which
 * clients set up anew. From the context's thread.
 *
 * vfu_msix_save() returns how many bytes there are, saved if @size is not smaller (so NULL and 0
 * ask for the size); vfu_msix_restore() 0. Or -1 with errno EINVAL: no vfu_msix_setup(), or what is
 * to be restored was not saved from such a device; then nothing has changed.
 */
ssize_t vfu_msix_save(vfu_ctx_t *vfu_ctx, void *buffer, size_t size);
int vfu_msix_restore(vfu_ctx_t *vfu_ctx, const void *buffer, size_t size);

/* ---- Waiting ---------------------------------------------------------------------------- */

#define VFU_POLL_US_MAX 1000u

/*
 * vfu_set_poll_us - how long a wait for the next message may go on awake
 * @us: microseconds, at most VFU_POLL_US_MAX; 0: every wait sleeps at once
 *
 * For contexts without LIBVFIO_USER_FLAG_ATTACH_NB. To be woken takes longer than most requests
 * do, so vfu_run_ctx() looks again and again for the next one, for as long as this, before it
 * sleeps; but only while requests come that soon. A device that is idle sleeps at once, and so
 * does one that shares a processor with its client. A signal that comes while it looks does not end
 * vfu_run_ctx() with EINTR: that ends a sleep.
 *
 * Standalone it is 0, or what the environment variable VFU_POLL_US says. Under vfu-broker it is
 * what the policy has as poll_us: a program may ask for less, and gets no more. Of a context, to be
 * called from its thread.
 *
 * Returns 0, or -1 with errno EINVAL: @us is too large.
 */
int vfu_set_poll_us(vfu_ctx_t *vfu_ctx, uint32_t us);

/* ---- Under vfu-broker ------------------------------------------------------------------- */

/*
 * vfu_resource_fd - a file that the device works on, by the name that the policy gives it
 * @name: of letters, digits, '_', '.' and '-', at most 64
 *
 * Under vfu-broker: the descriptor of that one of the policy's resources, which the broker opened.
 * Standalone: the file that the environment names is opened by the first call. The variable is
 * VFU_RESOURCE_ and @name, with '_' for '.' and '-'. Its value is a path, which is opened for
 * reading, or "rw:" and a path; so "disk.0" may be VFU_RESOURCE_disk_0=rw:/srv/disk.
 *
 * Returns the descriptor, the same for each call with this name. It belongs to the library: it
 * stays open until the process ends. Or -1 with errno: EINVAL (@name), ENOENT (there is no such
 * resource), ENOSPC (more than 64 standalone), or that of open(2). From any thread.
 */
int vfu_resource_fd(const char *name);

/*
 * vfu_is_sealed - whether this process is jailed for good: no file can be opened and no thread be
 * started any more. False standalone, and under vfu-broker until the first vfu_attach_ctx().
 */
bool vfu_is_sealed(void);

/*
 * vfu_policy_name - the name of vfu-broker's policy: of its file, without ".json"
 *
 * NULL standalone. Valid until the process ends, or changes its environment.
 */
const char *vfu_policy_name(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* VFU_BROKER_H */
