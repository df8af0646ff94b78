/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that does what a hostile client wants: it tries the escape whose name is written to its
 * register, from inside the callback, sealed. Or, with --control NAME, tries it in a plain process
 * and writes the report to standard output; with --filtered NAME FILE that process has loaded the
 * filter in FILE before, and nothing else of the jail.
 */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vfio-user/libvfio-user.h>

extern char **environ;

#define PAGE 4096

/* More than the program has. */
#define MAX_DESCRIPTORS 64

static struct report report;
static struct surroundings surroundings;

/* What attempts need and could not get later. Returns 0 or -1. */
static int prepare(char **argv)
{
    struct surroundings *s = &surroundings;

    *s = (struct surroundings){
        .pid = getpid(),
        .uid = getuid(),
        .client = -1,
        .control = 3,
        .memory = memfd_create("escape", MFD_CLOEXEC | MFD_ALLOW_SEALING),
        .argv = argv,
        .environ_ = environ,
        .report = &report,
    };
    s->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s->spare = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return s->memory >= 0 && ftruncate(s->memory, PAGE) == 0 && s->page != MAP_FAILED &&
                   s->spare != MAP_FAILED
               ? 0
               : -1;
}

static void try(const char *name)
{
    const struct attempt *attempt = attempt_find(name);

    report.text_size = 0;
    report.value = attempt != NULL ? attempt->run(&surroundings) : -ENXIO;
    report.done = 1;
}

/* --- in the jail ---------------------------------------------------------------------------- */

static ssize_t read_register(char *buf, size_t count, off_t offset)
{
    const uint32_t magic = ATTEMPT_MAGIC;

    if (offset == REGISTER_MAGIC && count == sizeof(magic)) {
        memcpy(buf, &magic, sizeof(magic));
    } else if (offset == REGISTER_REPORT && count <= sizeof(report)) {
        memcpy(buf, &report, count);
    } else {
        errno = EINVAL;
        return -1;
    }
    return (ssize_t)count;
}

/* Deaf to its channel: what ends such a process has to come from outside. */
static _Noreturn void stay(void)
{
    static const char text[] = STAY_TEXT "\n";

    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
        _exit(EXIT_FAILURE);
    }
    for (;;) {
        syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
    }
}

/* The only socket but the channel. Looking at it is what the library does all the time. */
static int find_client(void)
{
    char byte;

    for (int fd = surroundings.control + 1; fd < MAX_DESCRIPTORS; fd++) {
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == EAGAIN) {
            return fd;
        }
    }
    return -1;
}

static ssize_t access_register(vfu_ctx_t *ctx, char *buf, size_t count, off_t offset, bool is_write)
{
    if (!is_write) {
        return read_register(buf, count, offset);
    }
    if (offset == REGISTER_STAY) {
        stay();
    }
    if (offset != REGISTER_TRY || count != REGISTER_TRY_SIZE || buf[count - 1] != '\0') {
        errno = EINVAL;
        return -1;
    }
    surroundings.client = find_client();
    try(buf);
    return (ssize_t)count;
}

static int serve(const char *socket)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, socket, 0, NULL, VFU_DEV_TYPE_PCI);

    surroundings.jailed = true;
    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, REGISTERS_SIZE, access_register,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_realize_ctx(ctx) < 0 || vfu_attach_ctx(ctx) < 0) {
        fprintf(stderr, "escape-device: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    while (vfu_run_ctx(ctx) >= 0) {
    }
    return EXIT_SUCCESS;
}

/* --- outside -------------------------------------------------------------------------------- */

/* A client that has sent 16 bytes and a pipe. Returns the device's end, or -1. */
static int make_client(void)
{
    char bytes[16] = { 0 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { .room = { 0 } };
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    int ends[2], ends_of_pipe[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0 || pipe(ends_of_pipe) < 0) {
        return -1;
    }
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &ends_of_pipe[0], sizeof(int));
    return sendmsg(ends[1], &message, 0) == sizeof(bytes) ? ends[0] : -1;
}

/* Descriptor 3 is a channel to nobody. */
static int make_channel(void)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0) {
        return -1;
    }
    return dup2(ends[0], surroundings.control);
}

/* Nobody listens: what a device is killed for fails with ENOSYS here. */
static int load_filter(const char *path)
{
    static struct sock_filter code[BPF_MAXINSNS];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, code, sizeof(code));
    const struct sock_fprog program = {
        .len = (unsigned short)((size_t)n / sizeof(code[0])),
        .filter = code,
    };

    close(fd);
    return n <= 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
               ? -1
               : (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* Where an attempt has replaced this process by the same program. */
static int report_execution(void)
{
    report.value = EXECUTED;
    report.done = 1;
    return write(STDOUT_FILENO, &report, sizeof(report)) == sizeof(report) ? EXIT_SUCCESS
                                                                           : EXIT_FAILURE;
}

static int run_control(const char *name, const char *filter)
{
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 4);

    /* The channel first: it must not take the place of what was opened before it. */
    if (out < 0 || make_channel() < 0 || (surroundings.client = make_client()) < 0) {
        return EXIT_FAILURE;
    }
    if (filter != NULL && load_filter(filter) < 0) {
        return EXIT_FAILURE;
    }
    try(name);
    return write(out, &report, sizeof(report)) == sizeof(report) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    bool filtered = argc == 4 && strcmp(argv[1], "--filtered") == 0;
    bool control = filtered || (argc == 3 && strcmp(argv[1], "--control") == 0);

    if (argc == 2 && strcmp(argv[1], EXECUTED_OPTION) == 0) {
        return report_execution();
    }

    /* Until descriptor 3 is what it is in the jail, nothing else may be. */
    if (control && open("/dev/null", O_RDONLY) != 3) {
        return EXIT_FAILURE;
    }
    if ((!control && argc != 2) || prepare(argv) < 0) {
        return EXIT_FAILURE;
    }
    return control ? run_control(argv[2], filtered ? argv[3] : NULL) : serve(argv[1]);
}
