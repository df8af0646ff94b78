/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation
 *
 * The supervisor has started this process in namespaces and with a root of its own, without
 * capabilities, with no_new_privs and a first filter, and with one end of the control channel. The
 * program has had its time to open what it needs. Now, before a client's first byte:
 *
 *   1. Receive SEAL: the final filter and the limits of the policy, and zeros for memory that goes
 *      away (memory_guard.h). A supervisor of another version, or a device with more interrupts
 *      than it may have, ends here.
 *   2. Seal the memory of regions and of shadow ioeventfds against shrinking, so that no client can
 *      pull it away. Needs fcntl(2), which the filter takes away.
 *   3. Warm up: whatever the C library and json-c do only on first use, they do now. Afterwards
 *      they make no system call that the filter does not know. Must follow all set-up of our own.
 *   4. Become non-dumpable: nobody of the same uid may look into this process or attach to it.
 *      exec(2) had reset that.
 *   5. Withhold by other means what the filter will withhold: files, programs (Landlock) and
 *      processes (a limit of one), so that a gap in the filter is not yet a way out.
 *   6. Load the filter, on all threads at once; one that cannot be synchronised is an error. From
 *      here on only what the filter lists works. Everything else reaches the supervisor through the
 *      listener, and this process does not survive it.
 *   7. Send NOTIFY with the listener, and close it: as long as it were here, this process could
 *      answer for the supervisor. Then SEALED: the supervisor now looks at /proc for itself.
 *   8. Declare the regions and the descriptors of ioeventfds, then READY, on the channel of each
 *      context: its gate may accept clients.
 *
 * A failure in 1 to 4 leaves the process as it was, unsealed, and the supervisor, which gets no
 * SEALED, ends it. There is no way back from 5 and 6.
 */
#include "device/seal.h"

#include "device/context.h"
#include "device/memory_guard.h"
#include "device/negotiation.h"
#include "device/progress.h"
#include "device/shared_memory.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <vfio-user/vfu-broker.h>

/* Enough that qsort(3) asks for the size of memory (glibc: above 1024 bytes). */
#define WARM_UP_ITEMS 1024

/* glibc: NARENAS_FROM_NCORES(1), of which no machine has less. */
#define MAX_HEAPS 8

/* The filter is loaded: set once, by the thread that does it. */
static atomic_bool is_sealed;

bool vfu_is_sealed(void)
{
    return atomic_load(&is_sealed);
}

/* A policy that lets guest memory be mapped comes with what to put in its place if it goes. */
static int guard_memory(struct fd_list *fds)
{
    if (fds->count == 0) {
        return 0;
    }
    memory_guard_use(fd_list_take(fds, 0));
    return memory_guard_install();
}

static int receive_seal(struct control_channel *channel, struct control_message *message)
{
    AUTO_FD_LIST fds = { .count = 0 };
    const struct control_seal *seal = &message->body.seal;
    int n = control_receive(channel, message, &fds, 0);

    if (n <= 0) {
        return n == 0 || n == -ECONNRESET ? -ENOTCONN : n;
    }
    if (seal->version != CONTROL_VERSION || seal->filter_count == 0 ||
        seal->filter_count > CONTROL_TAIL_MAX / sizeof(struct sock_filter) ||
        message->tail_size != seal->filter_count * sizeof(struct sock_filter)) {
        return -EPROTO;
    }
    if (seal->watchdog != 0) {
        AUTO_FD memory = fds.count > 0 ? fds.fds[--fds.count] : -1;

        n = memory >= 0 ? progress_share(memory) : -EPROTO;
    }
    return n < 0 ? n : guard_memory(&fds);
}

static int check_limits(struct vfu_ctx *ctx, const struct control_seal *seal)
{
    const struct irq_table *tables = ctx->session.irqs.tables;

    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        if (tables[type].count > seal->irq_max_vectors) {
            vfu_log(ctx, LOG_ERR,
                    "the device has %u interrupts of type %d, the policy allows %u "
                    "(irqs.max_vectors)",
                    tables[type].count, type, seal->irq_max_vectors);
            return -E2BIG;
        }
    }
    return 0;
}

/* The gate gives clients nothing but memory, which is what has seals. */
static int seal_regions(struct vfu_ctx *ctx)
{
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        int fd = ctx->regions[i].fd;
        int err = fd >= 0 ? shared_memory_seal(fd) : 0;

        if (err == -EINVAL) {
            vfu_log(ctx, LOG_ERR, "region %d is not a file in memory: use memfd_create()", i);
            return err;
        }
        if (err < 0) {
            vfu_log(ctx, LOG_WARNING,
                    "region %d cannot be sealed against shrinking: %s; "
                    "use memfd_create() with MFD_ALLOW_SEALING",
                    i, strerror(-err));
        }
    }
    return 0;
}

/* Memory that a hypervisor writes to at any time must not be pulled away by a client either. */
static int seal_io_fds(struct vfu_ctx *ctx, struct io_fds *io_fds)
{
    int err = ioeventfds_collect(ctx->ioeventfds, io_fds);

    if (err < 0) {
        vfu_log(ctx, LOG_ERR, "ioeventfds have more than %u descriptors", CONTROL_IO_FDS_MAX);
        return err;
    }
    for (uint32_t i = 0; i < io_fds->count; i++) {
        if (io_fds->kind[i] == DESCRIPTOR_MEMORY && shared_memory_seal(io_fds->fds[i]) < 0) {
            vfu_log(ctx, LOG_ERR,
                    "shadow memory of an ioeventfd cannot be sealed against shrinking; "
                    "use memfd_create() with MFD_ALLOW_SEALING");
            return -EINVAL;
        }
    }
    return 0;
}

static int compare_items(const void *a, const void *b)
{
    const int *left = a;
    const int *right = b;

    return (*left > *right) - (*left < *right);
}

/* The first line that a program prints looks at the descriptor and allocates a buffer. */
static void warm_up_stream(FILE *stream)
{
    bool by_line = __flbf(stream) != 0;

    if (__fbufsize(stream) == 0) {
        /* Without a buffer of the caller's, glibc allocates its own right here. */
        setvbuf(stream, NULL, _IOFBF, 0);
        if (by_line) {
            setvbuf(stream, NULL, _IOLBF, 0);
        }
    }
}

/*
 * Threads have heaps of their own. When one shrinks first, glibc reads /proc/sys/vm, and when there
 * are 8 of them it asks for the number of processors: so none shrinks, and there are no more.
 */
static void warm_up_heaps(void)
{
    if (!__libc_single_threaded) {
        mallopt(M_TRIM_THRESHOLD, INT_MAX);
        mallopt(M_ARENA_MAX, MAX_HEAPS);
    }
}

static void warm_up(void)
{
    static int items[WARM_UP_ITEMS];
    char text[64];
    struct timespec time;
    struct tm calendar;
    time_t zero = 0;

    free(malloc(1));
    warm_up_heaps();
    negotiation_warm_up();
    qsort(items, WARM_UP_ITEMS, sizeof(items[0]), compare_items);
    errno = EINVAL;
    snprintf(text, sizeof(text), "%m %f %s", 0.5, strerror(ENOTCONN));
    clock_gettime(CLOCK_MONOTONIC, &time);
    tzset();
    gmtime_r(&zero, &calendar);
    localtime_r(&zero, &calendar);
    sysconf(_SC_PAGESIZE);
    warm_up_stream(stdout);
}

/*
 * No file at all, for this thread: the rules that the process was started with still let the files
 * of its root be read and executed. Those rights that every version knows; the others are withheld
 * since the start. A host without Landlock has been accepted by the policy.
 */
static int withhold_files(void)
{
    const struct landlock_ruleset_attr all = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1),
    };
    long ruleset = syscall(SYS_landlock_create_ruleset, &all, sizeof(all.handled_access_fs), 0);
    int err = 0;

    if (ruleset < 0) {
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
    }
    if (syscall(SYS_landlock_restrict_self, (int)ruleset, 0) < 0) {
        err = -errno;
    }
    close((int)ruleset);
    return err;
}

/* Neither process nor thread beside those that are there: the kernel counts this one too. */
static int withhold_processes(void)
{
    const struct rlimit one = { 1, 1 };
    struct rlimit old;

    if (getrlimit(RLIMIT_NPROC, &old) < 0 ||
        (old.rlim_max > one.rlim_max && setrlimit(RLIMIT_NPROC, &one) < 0)) {
        return -errno;
    }
    return 0;
}

/* Returns the listener, or a negative errno. */
static int load_filter(const struct control_message *message)
{
    struct sock_filter filter[CONTROL_TAIL_MAX / sizeof(struct sock_filter)];
    struct sock_fprog program = {
        .len = (unsigned short)message->body.seal.filter_count,
        .filter = filter,
    };
    const unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
                           SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    long listener;
    int err;

    memcpy(filter, message->tail, message->tail_size);
    if (prctl(PR_SET_DUMPABLE, 0) < 0) {
        return -errno;
    }
    err = withhold_files();
    err = err == 0 ? withhold_processes() : err;
    if (err < 0) {
        return err;
    }
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    return listener >= 0 ? (int)listener : -errno;
}

static int send_descriptor(struct control_channel *channel, const struct control_message *message,
                           int fd)
{
    struct fd_list fds;

    fd_list_init(&fds);
    fd_list_add(&fds, fd); /* borrowed, so the list is not closed */
    return control_send(channel, message, &fds, 0);
}

static int report_sealed(struct control_channel *channel, int listener)
{
    const struct control_message message = { .type = CONTROL_NOTIFY };
    int err = send_descriptor(channel, &message, listener);

    close(listener);
    return err < 0 ? err : control_send_plain(channel, CONTROL_SEALED, 0);
}

static int declare_regions(struct vfu_ctx *ctx, struct control_channel *channel)
{
    struct control_message message = { .type = CONTROL_REGION };

    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        int err = 0;

        message.body.region.index = (uint32_t)i;
        if (ctx->regions[i].fd >= 0) {
            err = send_descriptor(channel, &message, ctx->regions[i].fd);
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* The gate numbers them in the order in which they come. */
static int declare_io_fds(const struct io_fds *io_fds, struct control_channel *channel)
{
    struct control_message message = { .type = CONTROL_IO_FD };

    for (uint32_t i = 0; i < io_fds->count; i++) {
        int err;

        message.body.io_fd.kind = io_fds->kind[i];
        err = send_descriptor(channel, &message, io_fds->fds[i]);
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

static int declare(const struct seal_party *party)
{
    int err = declare_regions(party->ctx, party->channel);

    if (err == 0) {
        err = declare_io_fds(party->io_fds, party->channel);
    }
    return err < 0 ? err : control_send_plain(party->channel, CONTROL_READY, 0);
}

static int prepare(const struct seal_party *parties, size_t count, const struct control_seal *seal)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < count; i++) {
        err = check_limits(parties[i].ctx, seal);
    }
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = seal_regions(parties[i].ctx);
    }
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = seal_io_fds(parties[i].ctx, parties[i].io_fds);
    }
    return err;
}

/* The other channels have heard nothing of the seal: they begin here. */
static int declare_all(const struct seal_party *parties, size_t count)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < count; i++) {
        parties[i].ctx->requests = &progress->contexts[i].requests;
        parties[i].channel->state = CONTROL_STATE_SEALED;
        err = declare(&parties[i]);
    }
    return err;
}

int seal_process(const struct seal_party *parties, size_t count, struct control_seal *seal)
{
    struct control_channel *channel = parties[0].channel;
    struct control_message message;
    int listener;
    int err = receive_seal(channel, &message);

    if (err == 0) {
        err = prepare(parties, count, &message.body.seal);
    }
    if (err < 0) {
        return err;
    }
    *seal = message.body.seal;
    warm_up();
    listener = load_filter(&message);
    if (listener < 0) {
        vfu_log(parties[0].ctx, LOG_ERR, "the filter cannot be loaded: %s", strerror(-listener));
        return listener;
    }
    atomic_store(&is_sealed, true);
    err = report_sealed(channel, listener);
    return err < 0 ? err : declare_all(parties, count);
}
