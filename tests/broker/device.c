/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broker-test-device [OPTION...] SOCKET
 *
 * The device of the broker's tests: an ordinary program on the public API that does, on demand,
 * what a broken or hostile one would. Options act in their order, before the seal:
 *
 *   --print          write arguments and environment to the log
 *   --show-file F    write what F holds to the log, or the error
 *   --show-fd N      the same for an inherited descriptor, with its access mode
 *   --show-resource NAME    the same for the policy's resource of this name
 *   --exit N         end with this status
 *   --crash          end with SIGSEGV
 *   --wait           never become ready
 *   --fork           leave a child behind
 *   --ioeventfd K    have an ioeventfd whose descriptor is of kind K: "event", "pipe", "memory", or
 *                    whose shadow memory is: "sealed", "unsealable"
 *   --await NAME     until the policy's resource of this name is not empty
 *   --reserve        have addresses for CRASH_TABLES
 *   --show-seal      write a limit of the message that seals the process
 *   --use-descriptors    say how many descriptors there can be
 *   --once           end with status 3 when the first client has gone, whoever else has to know
 *
 * BAR0 has 8-byte registers; device.py has the same list.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <vfio-user/vfu-broker.h>

#include "ipc/control.h"

#define BAR0_SIZE 0x1000
#define MSIX_COUNT 253
#define WAIT_SECONDS 3
#define RESERVED ((size_t)32 << 30)  /* bytes: 64 MiB of page tables */
#define TABLE_SPAN ((size_t)2 << 20) /* that one table is for */

enum {
    REG_SCRATCH = 0x00, /* keeps what is written */
    REG_CRASH = 0x08,   /* write: see below */
    REG_LOG = 0x10,     /* write: so many lines to the log */
    REG_NASTY = 0x18,   /* write: a line that tries to look like others */
    REG_LONG = 0x20,    /* write: one line of so many bytes (low half) of this value (or x) */
    REG_TRIGGER = 0x28, /* write: raise this vector */
    REG_MAPPED = 0x30,  /* read: DMA regions with a virtual address */
    REG_TELL = 0x38,    /* write: a line about the jail, as the library knows it */
};

enum {
    CRASH_SEGV = 1,
    CRASH_ABORT = 2,
    CRASH_EXIT = 3, /* with status 3 */
    CRASH_CALL = 4, /* socket(2) */
    CRASH_SPIN = 5,
    CRASH_LEAVE = 6, /* with status 0 */
    CRASH_WHERE = 7, /* getcwd(2) */
    /* These are no crashes: what any program may do, with the calls that the base has for it. */
    CRASH_ONCE = 8,    /* pthread_once(3), which wakes whoever may wait: futex(2) */
    CRASH_CLOCK = 9,   /* a clock that the vDSO cannot read: clock_gettime(2) */
    CRASH_WAIT = 10,   /* sem_timedwait(3), which restart_syscall(2) resumes after a stop */
    CRASH_TABLES = 11, /* touches all that --reserve has */
};

struct device {
    uint64_t scratch;
    uint64_t mapped;
};

/* Like any careful program's log: whole lines, and no harm if nobody reads them. */
static void say(const char *text, size_t size)
{
    if (write(STDERR_FILENO, text, size) < 0) {
        return;
    }
}

static void say_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_line(const char *format, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    n = n < (int)sizeof(line) - 2 ? n : (int)sizeof(line) - 2;
    line[n] = '\n';
    say(line, (size_t)n + 1);
}

/* --- what a register does ------------------------------------------------------------------ */

static const volatile char *reserved;

/* Read-only, so no data in the sense of RLIMIT_DATA; and one page of zeros for all of it. */
static void reserve(void)
{
    void *memory =
        mmap(NULL, RESERVED, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED || madvise(memory, RESERVED, MADV_NOHUGEPAGE) < 0) {
        err(2, "reserve");
    }
    reserved = memory;
}

static void make_page_tables(void)
{
    for (size_t at = 0; at < RESERVED; at += TABLE_SPAN) {
        (void)reserved[at];
    }
}

static void nothing(void)
{
}

/* What it does wrong is meant: no sanitizer shall report it first. */
__attribute__((no_sanitize("address", "undefined"))) static void crash(uint64_t how)
{
    volatile int *nowhere = NULL;
    char directory[64];
    struct timespec now;
    sem_t never;

    switch (how) {
    case CRASH_SEGV:
        *nowhere = 1;
        break;
    case CRASH_ABORT:
        abort();
    case CRASH_EXIT:
        _exit(3);
    case CRASH_CALL:
        say_line("socket(2) gave %ld", syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
        break;
    case CRASH_SPIN:
        for (;;) {
            __asm__ volatile("" ::: "memory");
        }
    case CRASH_WHERE:
        say_line("getcwd(2) gave %ld", syscall(SYS_getcwd, directory, sizeof(directory)));
        break;
    case CRASH_ONCE:
        pthread_once(&(pthread_once_t){ PTHREAD_ONCE_INIT }, nothing);
        break;
    case CRASH_CLOCK:
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        break;
    case CRASH_WAIT:
        sem_init(&never, 0, 0);
        clock_gettime(CLOCK_REALTIME, &now);
        now.tv_sec += WAIT_SECONDS;
        sem_timedwait(&never, &now);
        break;
    case CRASH_LEAVE:
        _exit(0);
    case CRASH_TABLES:
        make_page_tables();
        break;
    default:
        break;
    }
}

static void flood(uint64_t lines)
{
    for (uint64_t i = 0; i < lines; i++) {
        say_line("line %" PRIu64, i);
    }
}

static void say_nasty_line(void)
{
    static const char text[] = "before\" level=error\r\033[2J\x80\xff\\\0after\nerror forged x=1\n";

    say(text, sizeof(text) - 1);
}

static void say_long_line(uint64_t value)
{
    static char text[65536];
    uint64_t size = (uint32_t)value;

    size = size < sizeof(text) ? size : sizeof(text) - 1;
    memset(text, value >> 32 ? (int)(value >> 32) : 'x', size);
    text[size] = '\n';
    say(text, size + 1);
}

static void tell(const char *when)
{
    const char *policy = vfu_policy_name();

    say_line("%s sealed=%d policy=%s fw=%d", when, vfu_is_sealed(),
             policy != NULL ? policy : "(none)", vfu_resource_fd("fw"));
}

static void write_register(vfu_ctx_t *ctx, struct device *device, uint64_t offset, uint64_t value)
{
    switch (offset) {
    case REG_SCRATCH:
        device->scratch = value;
        break;
    case REG_CRASH:
        crash(value);
        break;
    case REG_LOG:
        flood(value);
        break;
    case REG_NASTY:
        say_nasty_line();
        break;
    case REG_LONG:
        say_long_line(value);
        break;
    case REG_TELL:
        tell("inside");
        break;
    case REG_TRIGGER:
        vfu_irq_trigger(ctx, (uint32_t)value);
        break;
    default:
        break;
    }
}

static ssize_t access_bar0(vfu_ctx_t *ctx, char *buffer, size_t count, loff_t offset, bool is_write)
{
    struct device *device = vfu_get_private(ctx);
    uint64_t value = 0;

    if (count != sizeof(value)) {
        errno = EINVAL;
        return -1;
    }
    if (is_write) {
        memcpy(&value, buffer, sizeof(value));
        write_register(ctx, device, (uint64_t)offset, value);
    } else {
        value = offset == REG_SCRATCH ? device->scratch : offset == REG_MAPPED ? device->mapped : 0;
        memcpy(buffer, &value, sizeof(value));
    }
    return (ssize_t)count;
}

static void on_map(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct device *device = vfu_get_private(ctx);

    device->mapped += info->vaddr != NULL;
}

static void on_unmap(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    struct device *device = vfu_get_private(ctx);

    device->mapped -= info->vaddr != NULL;
}

/* --- before the seal ----------------------------------------------------------------------- */

static void print_all(char **argv)
{
    for (int i = 0; argv[i] != NULL; i++) {
        say_line("argument %d %s", i, argv[i]);
    }
    for (char **variable = environ; *variable != NULL; variable++) {
        say_line("environment %s", *variable);
    }
}

static void show_descriptor(const char *name, int fd)
{
    static const char *const modes[] = { "ro", "wo", "rw" };
    char text[65] = "";
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

    if (n < 0) {
        say_line("content %s: %s", name, strerror(errno));
        return;
    }
    text[strcspn(text, "\n")] = '\0';
    say_line("content %s: %s %s", name, modes[fcntl(fd, F_GETFL) & O_ACCMODE], text);
}

static void show_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    show_descriptor(path, fd);
    if (fd >= 0) {
        close(fd);
    }
}

/* It is the first in the channel, and stays there for the library. */
static void show_seal(void)
{
    uint8_t message[8 + sizeof(struct control_seal)];
    struct control_seal seal;

    if (recv(CONTROL_FD, message, sizeof(message), MSG_PEEK) != sizeof(message)) {
        err(2, "no seal");
    }
    memcpy(&seal, message + 8, sizeof(seal));
    say_line("seal poll_us=%u", seal.poll_us);
}

static bool once;
static int io_event = -1;
static int io_shadow = -1;

static void make_ioeventfd(const char *kind)
{
    int pipe_fds[2];

    if (strcmp(kind, "event") == 0) {
        io_event = eventfd(0, EFD_CLOEXEC);
    } else if (strcmp(kind, "memory") == 0) {
        io_event = memfd_create(kind, MFD_CLOEXEC);
    } else if (strcmp(kind, "pipe") == 0 && pipe2(pipe_fds, O_CLOEXEC) == 0) {
        close(pipe_fds[0]);
        io_event = pipe_fds[1];
    } else if (strcmp(kind, "sealed") == 0) {
        io_shadow = memfd_create(kind, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    } else if (strcmp(kind, "unsealable") == 0) {
        io_shadow = memfd_create(kind, MFD_CLOEXEC);
    }
    if (io_event < 0 && io_shadow < 0) {
        err(2, "ioeventfd %s", kind);
    }
}

static void use_descriptors(void)
{
    int first = dup(STDERR_FILENO);
    int last = first;
    int next;

    for (next = first; next >= 0; next = dup(STDERR_FILENO)) {
        last = next;
    }
    if (errno != EMFILE || close_range((unsigned)first, (unsigned)last, 0) < 0) {
        err(2, "descriptors");
    }
    say_line("descriptors %d", last + 1);
}

static void await_resource(const char *name)
{
    char byte;

    while (pread(vfu_resource_fd(name), &byte, 1, 0) == 0) {
        usleep(1000);
    }
}

/* Returns true if @option has taken @value. */
static bool obey(const char *option, const char *value, char **argv)
{
    if (strcmp(option, "--print") == 0) {
        print_all(argv);
        tell("outside");
        return false;
    }
    if (strcmp(option, "--show-seal") == 0) {
        show_seal();
        return false;
    }
    if (strcmp(option, "--once") == 0) {
        once = true;
        return false;
    }
    if (strcmp(option, "--fork") == 0) {
        while (fork() == 0) {
            pause();
        }
        return false;
    }
    if (strcmp(option, "--use-descriptors") == 0) {
        use_descriptors();
        return false;
    }
    if (strcmp(option, "--reserve") == 0) {
        reserve();
        return false;
    }
    if (strcmp(option, "--crash") == 0) {
        crash(CRASH_SEGV);
    }
    while (strcmp(option, "--wait") == 0) {
        pause();
    }
    if (value == NULL) {
        errx(2, "%s: unknown, or its value is missing", option);
    }
    if (strcmp(option, "--show-file") == 0) {
        show_file(value);
    } else if (strcmp(option, "--show-fd") == 0) {
        show_descriptor(value, atoi(value));
    } else if (strcmp(option, "--show-resource") == 0) {
        show_descriptor(value, vfu_resource_fd(value));
    } else if (strcmp(option, "--await") == 0) {
        await_resource(value);
    } else if (strcmp(option, "--ioeventfd") == 0) {
        make_ioeventfd(value);
    } else if (strcmp(option, "--exit") == 0) {
        exit(atoi(value));
    } else {
        errx(2, "%s: unknown", option);
    }
    return true;
}

/* Returns the socket's path. */
static const char *obey_all(char **argv)
{
    int i = 1;

    for (; argv[i] != NULL && argv[i][0] == '-'; i++) {
        i += obey(argv[i], argv[i + 1], argv);
    }
    if (argv[i] == NULL || argv[i + 1] != NULL) {
        errx(2, "usage: broker-test-device [OPTION...] SOCKET");
    }
    return argv[i];
}

/* --- the device ---------------------------------------------------------------------------- */

static void describe(vfu_ctx_t *ctx)
{
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, BAR0_SIZE, access_bar0,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        ((io_event >= 0 || io_shadow >= 0) &&
         vfu_create_ioeventfd(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, io_event, 0x100, 4, 0, 0, io_shadow,
                              0) < 0) ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, MSIX_COUNT) < 0 ||
        vfu_setup_device_dma(ctx, 64, on_map, on_unmap) < 0 || vfu_realize_ctx(ctx) < 0) {
        err(EXIT_FAILURE, "device");
    }
}

/* Whether vfu_attach_ctx() failed for a reason that concerns one client. */
static bool client_failed(int error)
{
    return error == EINVAL || error == EINTR || error == ENOMSG || error == ECONNRESET ||
           error == EFAULT || error == ETIMEDOUT;
}

int main(int argc, char **argv)
{
    static struct device device;
    const char *path = obey_all(argv);
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, 0, &device, VFU_DEV_TYPE_PCI);

    if (ctx == NULL) {
        err(EXIT_FAILURE, "%s", path);
    }
    describe(ctx);
    while (vfu_attach_ctx(ctx) == 0 || client_failed(errno)) {
        while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
        }
        if (once) {
            return 3;
        }
    }
    say_line("attach: %s", strerror(errno));
    vfu_destroy_ctx(ctx);
    return EXIT_FAILURE;
}
