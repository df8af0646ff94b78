/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvfio-user: implements a PCI device in a process of its own, for any VMM that speaks the
 * vfio-user protocol.
 *
 * The life of a device:
 *
 *     vfu_create_ctx()                            a context, one device for one client at a time
 *     vfu_setup_log(), vfu_pci_init(), vfu_pci_set_id(), vfu_pci_set_class(),
 *     vfu_setup_region(), vfu_setup_device_...()  describe the device
 *     vfu_realize_ctx()                           the description is complete
 *     vfu_attach_ctx()                            wait for a client, agree on the protocol
 *     vfu_run_ctx()                               serve it; -1/ENOTCONN when it is gone:
 *                                                 back to vfu_attach_ctx()
 *     vfu_destroy_ctx()
 *
 * vfu_pci_init() comes before the functions that write config space. The calls that describe the
 * device work later too, also while a client is attached; what a client has asked before, it will
 * not ask again.
 *
 * Under vfu-broker the same program runs in a jail, without any change. There the first
 * vfu_attach_ctx() seals the process: from then on it can open no file, make no socket and start
 * no thread, so whatever the device needs has to be there by then. See vfu_attach_ctx().
 *
 * Errors: functions that return int give -1 and errno. Errnos that a function lists are the ones
 * with a meaning of their own; others come from the system call that failed. errno is unspecified
 * after a success. Arguments are checked always, not only in debug builds; @vfu_ctx must not be
 * NULL unless a function says so.
 *
 * Callbacks run in the thread that called vfu_run_ctx(), vfu_device_quiesced(), vfu_attach_ctx() or
 * vfu_destroy_ctx(), inside that call, and must not call these four. They return -1 and set errno
 * to fail; the client gets that errno (EINVAL if it is 0).
 *
 * Threads: a context belongs to one thread at a time; different contexts are independent.
 * vfu_get_private() and vfu_log() may be called from any thread; so may, within the limits that
 * "Guest memory" below gives, the functions for guest memory and vfu_irq_trigger().
 *
 * Units are bytes unless something else is said. Addresses and sizes are host integers; the
 * contents of config space and of registers are little-endian.
 *
 * Source of the facts: the vfio-user protocol, linux/vfio.h, the PCI specifications, and the
 * published interface of the reference library, whose programs compile and run against this one.
 */
#ifndef LIB_VFIO_USER_H
#define LIB_VFIO_USER_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "pci_caps/dsn.h"
#include "pci_caps/msi.h"
#include "pci_caps/msix.h"
#include "pci_caps/pm.h"
#include "pci_caps/px.h"
#include "pci_defs.h"
#include "vfio-user.h"

#ifdef __cplusplus
extern "C" {
#endif

/* These functions are in the shared library, also for a program that hides its own symbols. */
#pragma GCC visibility push(default)

/* A guest address, in the shape of a pointer; never to be dereferenced. */
typedef void *vfu_dma_addr_t;

struct dma_sg;
typedef struct dma_sg dma_sg_t;

typedef struct vfu_ctx vfu_ctx_t;

/* ---- Context ---------------------------------------------------------------------------- */

typedef enum {
    VFU_TRANS_SOCK, /* a UNIX stream socket */
    VFU_TRANS_PIPE, /* not supported */
    VFU_TRANS_MAX,
} vfu_trans_t;

typedef enum {
    VFU_DEV_TYPE_PCI,
} vfu_dev_type_t;

/* vfu_attach_ctx() and vfu_run_ctx() never wait. */
#define LIBVFIO_USER_FLAG_ATTACH_NB (1 << 0)

/*
 * vfu_create_ctx - makes a context, and the socket that a client will connect to
 * @trans: VFU_TRANS_SOCK
 * @path: of the socket, which must not exist yet, at most 107 bytes; copied. The file is removed
 *        by vfu_destroy_ctx(). An empty path means an abstract address of 108 zero bytes.
 *        Under vfu-broker nothing is bound: the broker has the socket. Of several the context gets
 *        the one whose path has the same last component, else the first that is free.
 * @flags: 0 or LIBVFIO_USER_FLAG_ATTACH_NB
 * @pvt: the program's own, given back by vfu_get_private()
 * @dev_type: VFU_DEV_TYPE_PCI
 *
 * A new context has no region, one ERR and one REQ interrupt and no others.
 *
 * Returns the context, owned by the caller until vfu_destroy_ctx(); or NULL with errno:
 *   EINVAL        unknown flags, or @path is NULL; under vfu-broker: VFU_BROKER_FD is not a
 *                 descriptor of the broker
 *   ENOTSUP       unknown transport or device type
 *   ENAMETOOLONG  @path is too long
 *   EADDRINUSE    @path exists
 *   EBUSY         under vfu-broker: there are contexts for all of the broker's sockets already
 */
vfu_ctx_t *vfu_create_ctx(vfu_trans_t trans, const char *path, int flags, void *pvt,
                          vfu_dev_type_t dev_type);

/*
 * vfu_realize_ctx - completes the description: BAR type bits, interrupt pin, interrupt tables
 *
 * Returns 0, also if it was done before; or -1 with errno ENOMEM.
 */
int vfu_realize_ctx(vfu_ctx_t *vfu_ctx);

/*
 * vfu_attach_ctx - takes a client and agrees with it on version and capabilities
 *
 * Waits, unless the context was created with LIBVFIO_USER_FLAG_ATTACH_NB: then it returns
 * -1/EAGAIN as long as there is no client or the client has not said everything, and is called
 * again when vfu_get_poll_fd() is readable.
 *
 * Under vfu-broker the first call of any context seals the process before any byte of a client is
 * read; every context that the broker has a socket for has to be there by then, and complete. Each
 * context of a sealed process serves one client: when that has gone, further calls wait for the end
 * of the session, which comes when the clients of all contexts have gone.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL      a client is attached already; or the client's message was not acceptable: the
 *               connection is closed, and another client can be attached; or, under vfu-broker,
 *               the memory of a region is not a memfd, shadow memory cannot be sealed, or a socket
 *               of the broker has no context
 *   EAGAIN      see above
 *   EINTR       a signal; call again
 *   ENOMSG      the client closed the connection before it said anything
 *   ECONNRESET  the same, in the middle
 *   EFAULT      the client attached descriptors to its first message
 *   ETIMEDOUT   the client did not complete the exchange within 10 seconds (under vfu-broker: the
 *               policy's client.handshake_seconds)
 *   ENOTCONN    under vfu-broker: the broker is gone
 *   ESHUTDOWN   under vfu-broker: this session is over, the process should end
 *   E2BIG       under vfu-broker: more interrupts than the policy's irqs.max_vectors, or too many
 *               descriptors of ioeventfds
 *   EPROTO      under vfu-broker: library and broker do not understand each other
 */
int vfu_attach_ctx(vfu_ctx_t *vfu_ctx);

/*
 * vfu_run_ctx - serves the client
 *
 * Without LIBVFIO_USER_FLAG_ATTACH_NB it serves request after request and returns only with an
 * error. With the flag it serves at most one request, and never waits: an incomplete request is
 * kept until its rest has come, a reply that the client does not read until it does.
 *
 * A client that leaves a request incomplete or a reply unread for 30 seconds (under vfu-broker:
 * the policy's client.stall_seconds) is disconnected.
 *
 * When a client is gone, in this order: the device is asked to be quiet, every DMA region is
 * removed (unregister callback), the reset callback runs with VFU_RESET_LOST_CONN, the eventfds of
 * interrupts and the connection are closed. Config space, regions and everything set up by the
 * program stay.
 *
 * Returns the number of requests (0 or 1), or -1 with errno:
 *   EINVAL    vfu_realize_ctx() was not called
 *   ENOTCONN  there is no client, or it has just gone
 *   EINTR     a signal interrupted the wait; nothing is lost, call again
 *   EBUSY     the device is not quiet yet, as its quiesce callback said: call
 *             vfu_device_quiesced() when it is. The client's socket is not looked at until then.
 *   others    the client has gone, and the quiesce callback failed with this; call again
 */
int vfu_run_ctx(vfu_ctx_t *vfu_ctx);

/*
 * vfu_get_poll_fd - what to wait on before vfu_attach_ctx() or vfu_run_ctx()
 *
 * Returns a descriptor that is readable when there is something to do: a client to attach, a
 * request to serve, the rest of a reply to send, a client that took too long. It belongs to the
 * library, an epoll instance, and is the same for the life of the context, also under vfu-broker.
 * Wait for it with poll(2) or put it into another epoll instance; do not change it.
 *
 * That a client took too long is told for contexts with LIBVFIO_USER_FLAG_ATTACH_NB only, and up
 * to a second late: others see it in the call that waits.
 */
int vfu_get_poll_fd(vfu_ctx_t *vfu_ctx);

/*
 * vfu_destroy_ctx - ends everything; NULL is ignored
 *
 * In this order: every DMA region is removed (unregister callback), the reset callback runs with
 * VFU_RESET_LOST_CONN, eventfds and connection are closed, config space is gone, the socket file
 * is removed. Descriptors that the program handed in stay open. Under vfu-broker the broker's
 * channel stays open until the process ends.
 */
void vfu_destroy_ctx(vfu_ctx_t *vfu_ctx);

/* vfu_get_private - the @pvt of vfu_create_ctx(); from anywhere, also other threads */
void *vfu_get_private(vfu_ctx_t *vfu_ctx);

/* ---- Log -------------------------------------------------------------------------------- */

/*
 * @level: a priority of syslog(3). @msg: one line, valid during the call. Must not call back into
 * the library, but for vfu_get_private().
 */
typedef void(vfu_log_fn_t)(vfu_ctx_t *vfu_ctx, int level, const char *msg);

/*
 * vfu_log - gives a formatted line to the function of vfu_setup_log()
 *
 * Nothing happens if there is none, if @level is above the one set up, or if @fmt is NULL. At most
 * 8191 bytes; the rest is cut off. errno stays as it is, and "%m" works.
 */
void vfu_log(vfu_ctx_t *vfu_ctx, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * vfu_setup_log - says where the log goes
 * @log: called for every line; NULL for no log
 * @level: the least important priority that is logged, LOG_EMERG to LOG_DEBUG
 *
 * At any time. Returns 0, or -1 with errno EINVAL for an unknown level.
 */
int vfu_setup_log(vfu_ctx_t *vfu_ctx, vfu_log_fn_t *log, int level);

/* ---- Regions ---------------------------------------------------------------------------- */

/* Indexes of regions, as in linux/vfio.h. */
enum {
    VFU_PCI_DEV_BAR0_REGION_IDX,
    VFU_PCI_DEV_BAR1_REGION_IDX,
    VFU_PCI_DEV_BAR2_REGION_IDX,
    VFU_PCI_DEV_BAR3_REGION_IDX,
    VFU_PCI_DEV_BAR4_REGION_IDX,
    VFU_PCI_DEV_BAR5_REGION_IDX,
    VFU_PCI_DEV_ROM_REGION_IDX,
    VFU_PCI_DEV_CFG_REGION_IDX,
    VFU_PCI_DEV_VGA_REGION_IDX,
    VFU_PCI_DEV_NUM_REGIONS,
};

/* Unused, kept for programs that name them. */
enum {
    VFU_GENERIC_DEV_MIGR_REGION_IDX,
    VFU_GENERIC_DEV_NUM_REGIONS,
};

#define VFU_REGION_FLAG_READ (1 << 0)
#define VFU_REGION_FLAG_WRITE (1 << 1)
#define VFU_REGION_FLAG_RW (VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE)
#define VFU_REGION_FLAG_MEM (1 << 2)       /* memory; else I/O ports */
#define VFU_REGION_FLAG_ALWAYS_CB (1 << 3) /* config space: the callback gets all of it */
#define VFU_REGION_FLAG_64_BITS (1 << 4)   /* BARs 0, 2, 4: takes the BAR above as well */
#define VFU_REGION_FLAG_PREFETCH (1 << 5)
#define VFU_REGION_FLAG_MASK                                                                       \
    (VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_ALWAYS_CB |                        \
     VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH)

/*
 * Called for an access of the client to a region. For config space only where the library does
 * not handle it: beyond the standard header and capabilities.
 * @buf: read: zeroed, to be filled; write: the bytes. 16-byte aligned except in config space.
 * @count: bytes, 1 to 1 MiB; a guest's register access has 1, 2, 4 or 8
 * @offset: in the region; @offset + @count is within it
 *
 * Returns @count, or -1 and errno. Any other value is an error (EINVAL to the client).
 */
typedef ssize_t(vfu_region_access_cb_t)(vfu_ctx_t *vfu_ctx, char *buf, size_t count, off_t offset,
                                        bool is_write);
/* loff_t in the callbacks of programs is the same type. */
static_assert(sizeof(off_t) == 8, "only 64-bit platforms");

/*
 * vfu_setup_region - describes a region, or changes it
 * @region_idx: VFU_PCI_DEV_*_REGION_IDX
 * @size: bytes; BARs: a power of two, at least 16 (memory) or 4 (I/O). 0 removes the region.
 *        For config space it counts only before vfu_pci_init(), which has the last word.
 * @region_access: NULL if clients reach it by mapping alone
 * @flags: VFU_REGION_FLAG_*, with at least one of READ and WRITE, also to remove a region
 * @mmap_areas: what clients may map: iov_base is the offset in the region, iov_len the length.
 *              Copied. NULL with a descriptor means all of the region.
 * @nr_mmap_areas: how many
 * @fd: the memory behind the region, -1 for none. Borrowed: it has to stay open as long as the
 *      context; clients get it. It ought to be a memfd with MFD_ALLOW_SEALING: the first
 *      vfu_attach_ctx() seals it against shrinking, for a client that made it shorter would kill
 *      the device; standalone, later calls of this function do so at once. What takes no seals is
 *      shared as it is. Under vfu-broker it has to be a memfd, and to be set up before that call.
 * @offset: where in @fd the region starts
 *
 * Returns 0, or -1 with errno EINVAL (an argument, or BARs that would overlap because one of them
 * is 64 bits wide) or ENOMEM; then nothing has changed.
 */
int vfu_setup_region(vfu_ctx_t *vfu_ctx, int region_idx, size_t size,
                     vfu_region_access_cb_t *region_access, int flags, struct iovec *mmap_areas,
                     uint32_t nr_mmap_areas, int fd, uint64_t offset);

/*
 * vfu_create_ioeventfd - lets the client's hypervisor signal @fd for writes of the guest
 * @region_idx: VFU_PCI_DEV_*_REGION_IDX
 * @fd: an eventfd; -1 for none. Borrowed: it has to stay open as long as the context.
 * @gpa_offset: where in the region, bytes
 * @size: of the writes that count, bytes; 0 for any
 * @flags: KVM_IOEVENTFD_FLAG_* of linux/kvm.h
 * @datamatch: value that counts, with KVM_IOEVENTFD_FLAG_DATAMATCH
 * @shadow_fd: memory in which the hypervisor leaves the value written; -1 for none. Borrowed too.
 * @shadow_offset: where in @shadow_fd
 *
 * What is described is for the client to do or not; nothing of it is looked at but that it lies in
 * the region. Clients may ask at any time, and see the newest first. There is no way to take an
 * ioeventfd back; they survive clients.
 *
 * @shadow_fd is sealed against shrinking as the memory of regions is: see vfu_setup_region(). Under
 * vfu-broker it has to be a memfd that can be, and after the first vfu_attach_ctx() only
 * descriptors can be used that some ioeventfd had before. At most 512 different ones in all
 * regions.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  no such region, not within it, or no descriptor
 *   ENOSPC  more than 253 descriptors in one region, more than 21845 ioeventfds
 *   ENOMEM
 *   EPERM   under vfu-broker: too late for this descriptor
 */
int vfu_create_ioeventfd(vfu_ctx_t *vfu_ctx, uint32_t region_idx, int fd, size_t gpa_offset,
                         uint32_t size, uint32_t flags, uint64_t datamatch, int shadow_fd,
                         size_t shadow_offset);

/* ---- Quiesce ---------------------------------------------------------------------------- */

/*
 * Asks the device to be quiet: to start no access to guest memory and no call of the functions for
 * it, and to be through with those it has started. Called before
 *
 *     a client's DMA_MAP, DMA_UNMAP (of a device with DMA), DEVICE_RESET
 *     a write that reaches the device control register of PCI Express, and so may reset the
 * function changes of the migration state; the start and end of dirty page logging the end of a
 * session, when the client has gone; not in vfu_destroy_ctx()
 *
 * and called for each, also twice in a row. Callbacks may use guest memory all the same, and so may
 * this one. It must not call vfu_device_quiesced().
 *
 * Returns
 *   0       the device is quiet, until the call of vfu_run_ctx() returns or the next callback for a
 *           request runs; the work is done now
 *   -1 and  EBUSY: it is not, but begins to be. The work is parked: vfu_run_ctx() fails with EBUSY,
 *   errno   and the client waits, until the program calls vfu_device_quiesced(). The device goes on
 *           meanwhile, and may use all functions for guest memory and interrupts.
 *           Another one: it refuses. The client gets that errno, and nothing is done. At the end of
 *           a session vfu_run_ctx() fails with it, and asks again the next time.
 */
typedef int(vfu_device_quiesce_cb_t)(vfu_ctx_t *vfu_ctx);

/* vfu_setup_device_quiesce_cb - @quiesce_cb NULL: the device is quiet at any time */
void vfu_setup_device_quiesce_cb(vfu_ctx_t *vfu_ctx, vfu_device_quiesce_cb_t *quiesce_cb);

/*
 * vfu_device_quiesced - the device is quiet now, as it promised with EBUSY
 * @quiesce_errno: 0; or an errno: it cannot be. The client gets that, and its request is not
 *                 executed. The end of a session is asked for again by the next vfu_run_ctx().
 *
 * The parked work is done before this returns, with all its callbacks; then the device may go on.
 * From the thread of vfu_run_ctx(), and not from a callback.
 *
 * Returns 0, also if the client has gone meanwhile; or -1 with errno:
 *   EINVAL  nothing is parked
 *   others  the reply could not be sent; the session is over
 */
int vfu_device_quiesced(vfu_ctx_t *vfu_ctx, int quiesce_errno);

/* ---- Reset ------------------------------------------------------------------------------ */

typedef enum vfu_reset_type {
    VFU_RESET_DEVICE,    /* the client asks for it */
    VFU_RESET_LOST_CONN, /* the client is gone, or the context is destroyed; result ignored */
    VFU_RESET_PCI_FLR,   /* the guest asks for it */
} vfu_reset_type_t;

/*
 * Brings the device to its state after power-on. The library resets nothing of it: config space,
 * DMA regions and interrupts stay as they are; but see "Migration". Returns 0, or -1 and errno.
 */
typedef int(vfu_reset_cb_t)(vfu_ctx_t *vfu_ctx, vfu_reset_type_t type);

/* vfu_setup_device_reset_cb - @reset may be NULL: then a reset just succeeds. Returns 0. */
int vfu_setup_device_reset_cb(vfu_ctx_t *vfu_ctx, vfu_reset_cb_t *reset);

/* ---- Interrupts ------------------------------------------------------------------------- */

enum vfu_dev_irq_type {
    VFU_DEV_INTX_IRQ,
    VFU_DEV_MSI_IRQ,
    VFU_DEV_MSIX_IRQ,
    VFU_DEV_ERR_IRQ,
    VFU_DEV_REQ_IRQ,
    VFU_DEV_NUM_IRQS,
};

/*
 * vfu_setup_device_nr_irqs - says how many interrupts of a type the device has
 *
 * INTx: 1 sets the interrupt pin to INTA. ERR and REQ have at most 1.
 * Returns 0, or -1 with errno EINVAL (unknown type, more than one ERR or REQ), ENOMEM.
 */
int vfu_setup_device_nr_irqs(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, uint32_t count);

/*
 * The client masks or unmasks interrupts @start to @start + @count - 1. The library does not keep
 * this and does trigger masked interrupts: it is for the device to honour. An INTx whose cause
 * persists is triggered again on unmask.
 *
 * A client may also give INTx an eventfd that its hypervisor signals when the guest has dealt with
 * the interrupt (resample). Each time this is called as for an unmask.
 */
typedef void(vfu_dev_irq_state_cb_t)(vfu_ctx_t *vfu_ctx, uint32_t start, uint32_t count, bool mask);

/*
 * vfu_setup_irq_state_callback - for INTx, MSI and MSI-X; @cb NULL for none
 *
 * Returns 0, or -1 with errno EINVAL for an unknown type.
 */
int vfu_setup_irq_state_callback(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type,
                                 vfu_dev_irq_state_cb_t *cb);

/*
 * vfu_irq_trigger - signals interrupt @subindex of the type that the client uses
 *
 * INTx, MSI and MSI-X have tables of their own. The one that the client gave an eventfd to last is
 * looked at first, then the others. Mask and enable bits are not looked at.
 *
 * Adds 1 to an eventfd of the client. The library does not make it non-blocking, because that
 * would change it for the client too: a client that fills the counter (2^64 - 2) of an eventfd
 * that blocks stops this thread, and harms its own device.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  no such interrupt, or vfu_realize_ctx() was not called
 *   ENOENT  the client has not given an eventfd for it
 *   EAGAIN  the counter is full: the client has an interrupt that it did not take
 */
int vfu_irq_trigger(vfu_ctx_t *vfu_ctx, uint32_t subindex);

/* ---- Guest memory ----------------------------------------------------------------------- */

#define LIBVFIO_USER_MAX_DMA_REGIONS (1000 * 1000)

/* A range of guest memory. It belongs to the library; valid until its unregister callback returns.
 */
typedef struct vfu_dma_info {
    struct iovec iova;    /* guest address and length */
    void *vaddr;          /* where its first byte is here; NULL if it is not mapped */
    struct iovec mapping; /* the whole mapping, page-aligned; { NULL, 0 } if it is not mapped */
    size_t page_size;     /* of the mapping */
    uint32_t prot;        /* PROT_READ, PROT_WRITE: what the client allows, mapped or not */
} vfu_dma_info_t;
static_assert(sizeof(vfu_dma_info_t) == 56, "layout");

/*
 * Called when the client has added a range; not again when it repeats itself. Memory that is
 * shared without a descriptor, or that the policy of vfu-broker withholds, has no vaddr.
 * The client can change the contents at any time: read a value once, then check it.
 *
 * The client can also take the memory away, by truncating its file. It then reads as zeros, and
 * what is written is lost: the library handles SIGBUS, from the first vfu_attach_ctx() on, and
 * passes on what is not guest memory to the handler that the program had by then. All calls for
 * the range fail with EFAULT afterwards.
 */
typedef void(vfu_dma_register_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);

/*
 * Called before a range is unmapped: every pointer into it must be forgotten when this returns.
 * Ranges go in ascending order when they all go at once.
 */
typedef void(vfu_dma_unregister_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);

/*
 * vfu_setup_device_dma - the device does DMA
 * @max_regions: how many ranges a client may add at most; see LIBVFIO_USER_MAX_DMA_REGIONS
 * @dma_register, @dma_unregister: may be NULL
 *
 * Without this call a client's ranges are acknowledged and ignored. A second call replaces limit
 * and callbacks. Returns 0.
 */
int vfu_setup_device_dma(vfu_ctx_t *vfu_ctx, size_t max_regions,
                         vfu_dma_register_cb_t *dma_register,
                         vfu_dma_unregister_cb_t *dma_unregister);

/*
 * Programs that leave @max_regions out, as its first callers did, get LIBVFIO_USER_MAX_DMA_REGIONS.
 * The macro replaces calls with three arguments alone: any other use of the name, its address
 * among them, means the function.
 */
static inline int vfu_setup_device_dma_3_(vfu_ctx_t *vfu_ctx, vfu_dma_register_cb_t *dma_register,
                                          vfu_dma_unregister_cb_t *dma_unregister)
{
    return vfu_setup_device_dma(vfu_ctx, LIBVFIO_USER_MAX_DMA_REGIONS, dma_register,
                                dma_unregister);
}
#define VFU_SETUP_DEVICE_DMA_PICK_(a, b, c, d, e, f, g, h, name, ...) name
#define vfu_setup_device_dma(...)                                                                  \
    VFU_SETUP_DEVICE_DMA_PICK_(__VA_ARGS__, vfu_setup_device_dma, vfu_setup_device_dma,            \
                               vfu_setup_device_dma, vfu_setup_device_dma, vfu_setup_device_dma,   \
                               vfu_setup_device_dma_3_, vfu_setup_device_dma,                      \
                               vfu_setup_device_dma, 0)                                            \
    (__VA_ARGS__)

/*
 * Guest memory is used by way of entries: a range of guest addresses is translated into one entry
 * per region that it touches, and an entry is used as often as one likes until its region goes. The
 * contents of an entry are the library's; an array of them has dma_sg_size() bytes for each. What
 * is all zero is no entry.
 *
 * Threads. These functions, vfu_addr_to_sgl() to vfu_sgl_write(), and vfu_irq_trigger() may be
 * called by any thread of the program, also while the context's thread is in vfu_run_ctx(),
 * vfu_device_quiesced() or vfu_attach_ctx(). But for copying through messages they take no lock and
 * allocate nothing. Exactly:
 *
 *   - Not while the device is quiesced, except in callbacks: a quiesce callback that returns 0, and
 *     a vfu_device_quiesced(ctx, 0), say that no other thread is in one of them or will be.
 *   - vfu_addr_to_sgl() and vfu_sg_is_mappable() are safe even so, and in programs without quiesce
 *     callback: a region that a client adds or removes at the same time is found or not, all
 *     others are found.
 *   - When the unregister callback of a region returns, no thread may be using one of its entries
 *     in any of the other functions, or memory that vfu_sgl_get() gave. A program whose threads
 *     do that has a quiesce callback; or it waits for them in its unregister callback, after it
 *     has made sure that they do not begin again: until the callback returns the region is found.
 *     An entry whose region has gone is recognised: EINVAL, whatever has taken the region's place.
 *   - vfu_irq_trigger() is safe at any time but within vfu_destroy_ctx() and functions that
 *     describe the device. A write to an eventfd may happen after the client took it back.
 *   - Copying through messages (see vfu_sgl_read()) uses the connection, which is one thread's at a
 *     time. In callbacks, and where no other thread is in the library with this context, it just
 *     works. Otherwise, with LIBVFIO_USER_FLAG_ATTACH_NB, threads take their turn: vfu_run_ctx()
 *     returns 0 meanwhile. Without the flag the context's thread has it all the time, and another
 *     thread gets EBUSY.
 *
 * The memory is the client's too, who can change it at any time: read a value once, then check it.
 */

/* dma_sg_size - bytes of one entry */
size_t dma_sg_size(void);

/*
 * vfu_addr_to_sgl - translates guest addresses @dma_addr to @dma_addr + @len - 1
 * @sgl: room for @max_nr_sgs entries
 * @prot: with PROT_WRITE the entries are for writing, and the client must allow that. Whether it
 *        allows reading is not looked at here.
 *
 * Returns how many entries there are, in ascending order (0 if @len is 0); or
 *   -1  errno ENOENT: some of the addresses are not in any region
 *       errno EACCES: the client does not allow writing to one of the regions
 *       errno EINVAL: vfu_setup_device_dma() was not called
 *   -n - 1  @max_nr_sgs is too small, n entries are needed. errno is 0, the entries that there is
 *       room for are filled in.
 */
int vfu_addr_to_sgl(vfu_ctx_t *vfu_ctx, vfu_dma_addr_t dma_addr, size_t len, dma_sg_t *sgl,
                    size_t max_nr_sgs, int prot);

/*
 * vfu_sgl_get - tells where the memory of @cnt entries is
 * @iov: filled in, one for each entry; pointers are valid until the region's unregister callback
 *       returns
 * @flags: 0
 *
 * Returns 0, or -1 with errno; entries before the one at fault are filled in:
 *   EINVAL  @cnt is 0, @flags is not, an entry is invalid or its region has gone; or the program
 *           has no unregister callback, and could not know when to forget the pointers
 *   EFAULT  memory that is not mapped (no descriptor came with it, it is to be accessed as a file),
 *           or not for what the entry is meant: the client allows no access
 */
int vfu_sgl_get(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt, int flags);

/*
 * vfu_sgl_put, vfu_sgl_mark_dirty - the memory of the entries that are for writing has been written
 *
 * Both do the same: tell the log of dirty pages, if the client has one kept. Call one of them after
 * the last write, before the guest learns of it; more often does no harm. Nothing else has to be
 * undone for vfu_sgl_get(). @iov is not used. Invalid entries are ignored.
 */
void vfu_sgl_put(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt);
void vfu_sgl_mark_dirty(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t cnt);

/* Flag of the functions that copy: memory that is here is accessed here. */
#define VFU_SGL_DIRECT_ACCESS 1

/*
 * vfu_sgl_read, vfu_sgl_write - copies all of one entry from or to guest memory
 * @sg_cnt: 1
 * @data: as many bytes as the entry has
 * @flags: VFU_SGL_DIRECT_ACCESS: copy here what can be; what vfu_sgl_write() writes so is told to
 *         the log of dirty pages. Else, and for memory that is not here, the client is asked to
 *         read or write, which it logs itself.
 *
 * Asking the client takes DMA_READ or DMA_WRITE messages, of what it takes in one, and waits for
 * each answer. Commands that come meanwhile are kept and served later. All of it together has as
 * long as a client may stall: 30 seconds, or the policy's client.stall_seconds. Some clients cannot
 * answer before they have the reply to their current command: better not in a callback of theirs.
 *
 * Returns 0, or -1 with errno; some of the data may have been copied then:
 *   EINVAL     unknown flags, an entry that is invalid or whose region has gone; the client's
 *              answer is not what was asked for, or its error is none
 *   ENOTSUP    @sg_cnt is not 1
 *   EPERM      the entry is not for writing, or the client does not allow the access
 *   EIO        the memory's file has an error, or ended
 * and from messages:
 *   EBADF      there is no client
 *   ENOTCONN   the client has gone, or does not keep to the protocol: the next vfu_run_ctx() ends
 *              the session. Regions are still there until then.
 *   ETIMEDOUT  no answer in time
 *   ENOBUFS    the client sent more than 1024 commands, 4 MiB or 253 descriptors before its answer
 *   EPROTO     it answered something else
 *   EBUSY      another thread has the connection, see above
 *   ENOMEM
 *   any other  what the client says
 */
int vfu_sgl_read(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags);
int vfu_sgl_write(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags);

/* vfu_sg_is_mappable - whether vfu_sgl_get() works for this entry; false for an invalid one */
bool vfu_sg_is_mappable(vfu_ctx_t *vfu_ctx, dma_sg_t *sg);

/* ---- PCI -------------------------------------------------------------------------------- */

typedef enum {
    VFU_PCI_TYPE_CONVENTIONAL, /* 256 bytes of config space */
    VFU_PCI_TYPE_PCI_X_1,      /* 256 bytes */
    VFU_PCI_TYPE_PCI_X_2,      /* 4096 bytes */
    VFU_PCI_TYPE_EXPRESS,      /* 4096 bytes */
} vfu_pci_type_t;

/*
 * vfu_pci_init - makes the config space, all zero
 * @hdr_type: 0 (PCI_HEADER_TYPE_NORMAL)
 * @revision: not used; write the revision through vfu_pci_get_config_space()
 *
 * Returns 0, or -1 with errno EINVAL (arguments) or EEXIST (there is one already).
 */
int vfu_pci_init(vfu_ctx_t *vfu_ctx, vfu_pci_type_t pci_type, int hdr_type, int revision);

/* vfu_pci_set_id, vfu_pci_set_class - write these fields; only after vfu_pci_init() */
void vfu_pci_set_id(vfu_ctx_t *vfu_ctx, uint16_t vid, uint16_t did, uint16_t ssvid, uint16_t ssid);
void vfu_pci_set_class(vfu_ctx_t *vfu_ctx, uint8_t base, uint8_t sub, uint8_t pi);

/*
 * vfu_pci_get_config_space - the live config space
 *
 * The program may read and write any byte of it at any time. It belongs to the library until
 * vfu_destroy_ctx(). NULL before vfu_pci_init() or vfu_realize_ctx().
 */
vfu_pci_config_space_t *vfu_pci_get_config_space(vfu_ctx_t *vfu_ctx);

/* Flags of capabilities. */
#define VFU_CAP_FLAG_EXTENDED (1 << 0)
#define VFU_CAP_FLAG_CALLBACK (1 << 1)
#define VFU_CAP_FLAG_READONLY (1 << 2)

/*
 * vfu_pci_add_capability - places a capability in config space and links it
 * @pos: where: a multiple of 4 that overlaps no other; standard ones from 0x40, extended ones from
 *       0x100, where the first of them has to be. 0: behind the one that was added last.
 * @flags: VFU_CAP_FLAG_EXTENDED   an extended one; the device is PCI-X 2 or PCI Express
 *         VFU_CAP_FLAG_CALLBACK   the callback of the config region handles all of it
 *         VFU_CAP_FLAG_READONLY   writes of clients fail (EPERM)
 * @data: one of the structures of pci_caps/, copied: struct pmcap, msicap, msixcap, pxcap, vsc;
 *        extended: struct dsncap, pcie_ext_cap_vsc_hdr. Its link to the next one is ignored.
 *
 * Links follow the order of the calls. Also after vfu_realize_ctx().
 *
 * Without the flags the library handles what clients write. A failing part ends the request; what
 * came before it stays done. EPERM: the first bytes (id and link; of vendor-specific ones their
 * size too), the serial number. Reserved and read-only bits of what is accepted are ignored.
 *
 *   power management  control and status, as 2 bytes; the status bit clears by writing 1. Other
 *                     registers: ENOTSUP. Other sizes and offsets: EINVAL.
 *   MSI               enable, number of vectors (EINVAL: too many; enable is stored then), address,
 *                     data, mask; in any pieces
 *   MSI-X             enable, function mask; in any pieces
 *   PCI Express       the control registers, as 2 bytes; else EINVAL. Link, slot and root control
 *                     are accepted and ignored. The reset bit of device control reads 0. Setting it
 *                     is EINVAL without the capability for it (flrc); with it, the reset callback
 *                     runs (VFU_RESET_PCI_FLR), and its errno is the client's.
 *   vendor-specific   everything
 *
 * Nothing tells the program of these writes, but for the reset.
 *
 * Returns the offset, or -1 with errno:
 *   EINVAL   unknown flags; no callback; not a device with extended ones; @data is NULL, or says
 *            that it is smaller than its own header; @pos
 *   ENOTSUP  an id other than these
 *   ENOSPC   no room; or 128 of the kind are there already
 */
ssize_t vfu_pci_add_capability(vfu_ctx_t *vfu_ctx, size_t pos, int flags, void *data);

/*
 * vfu_pci_find_capability, vfu_pci_find_next_capability - look for a capability with id @cap_id
 * @pos: of a capability: search behind it. 0: from the beginning.
 *
 * They follow the links in the live config space.
 * Returns the offset, or 0 with errno ENOENT (there is none) or EINVAL (@pos or a link is not
 * where a capability can be).
 */
size_t vfu_pci_find_capability(vfu_ctx_t *vfu_ctx, bool extended, int cap_id);
size_t vfu_pci_find_next_capability(vfu_ctx_t *vfu_ctx, bool extended, size_t pos, int cap_id);

/* Sizes of structures in config space that the kernel's header does not name. */
#define VFIO_USER_PCI_CAP_MSI_SIZEOF 0x18
#define VFIO_USER_PCI_CAP_EXP_SIZEOF 0x3c

/* ---- Migration -------------------------------------------------------------------------- */

/*
 * A device that can migrate has a state, through which the client moves it arc by arc:
 *
 *     STOP to RUNNING, STOP_AND_COPY, RESUME       RUNNING to STOP, PRE_COPY
 *     PRE_COPY to RUNNING, STOP_AND_COPY           STOP_AND_COPY, RESUME to STOP
 *
 * What the client asks for may take several arcs; if the device refuses one, it stays where it has
 * come to. In STOP and STOP_AND_COPY the client can do little else than go on with the migration,
 * and in STOP_AND_COPY it cannot access regions. A device must not write to guest memory or raise
 * interrupts but in RUNNING and PRE_COPY.
 *
 * A device reset (VFU_RESET_DEVICE) that succeeds, and the end of a session, leave the device in
 * RUNNING and end the log of dirty pages; the reset callback alone tells the device.
 */
typedef enum {
    VFU_MIGR_STATE_STOP,
    VFU_MIGR_STATE_RUNNING,
    VFU_MIGR_STATE_STOP_AND_COPY,
    VFU_MIGR_STATE_PRE_COPY,
    VFU_MIGR_STATE_RESUME,
} vfu_migr_state_t;

#define VFU_MIGR_CALLBACKS_VERS 2

typedef struct {
    int version; /* VFU_MIGR_CALLBACKS_VERS */
    /* One arc, to @state; the device is quiet. Returns 0; or -1 and errno: it stays where it was.
     */
    int (*transition)(vfu_ctx_t *vfu_ctx, vfu_migr_state_t state);
    /*
     * In PRE_COPY and STOP_AND_COPY: puts up to @count bytes of the device's state, which go on
     * where the last call ended, into @buf, which is zeroed. @count is what the client asks for, 0
     * to 1 MiB. Returns how many; 0: nothing for now (PRE_COPY), or nothing more; or -1 and errno.
     */
    ssize_t (*read_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);
    /*
     * In RESUME: takes @count bytes, 0 to 1 MiB. Returns @count; any other value is an error, also
     * 0. Whether the data are good may be told later too, by the transition to STOP.
     */
    ssize_t (*write_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);
} vfu_migration_callbacks_t;
static_assert(sizeof(vfu_migration_callbacks_t) == 32, "layout");

/*
 * vfu_setup_device_migration_callbacks - the device can migrate
 * @callbacks: all of them; copied
 *
 * The state is RUNNING then, also after a second call. A client that is attached already has been
 * told that the device cannot migrate.
 * Returns 0, or -1 with errno EINVAL: another version, or a callback is missing.
 */
int vfu_setup_device_migration_callbacks(vfu_ctx_t *vfu_ctx,
                                         const vfu_migration_callbacks_t *callbacks);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_H */
