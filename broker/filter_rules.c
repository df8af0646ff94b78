/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/filter_rules.h"

#include "broker/vetting.h"
#include "ipc/control.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* clang-format off */
#define ARG_IS(n, value) { .arg = (n), .op = SCMP_CMP_EQ, .datum_a = (value) }
#define ARG_HAS(n, mask, value) \
    { .arg = (n), .op = SCMP_CMP_MASKED_EQ, .datum_a = (scmp_datum_t)(mask), .datum_b = (value) }
/* Where the kernel takes an int: only the low 32 bits are looked at, by it and by us. */
#define INT_ARG_IS(n, value) ARG_HAS(n, 0xffffffffu, value)

#define ANY(call, why) { .syscall = (call), .condition = "", .reason = (why) }
#define ONE(call, text, why, a0) \
    { .syscall = (call), .condition = (text), .reason = (why), .arg_count = 1, .args = { a0 } }
#define TWO(call, text, why, a0, a1) \
    { .syscall = (call), .condition = (text), .reason = (why), .arg_count = 2, .args = { a0, a1 } }

/* The hot calls come first and without conditions: the kernel then answers from its cache of
 * always-allowed calls (since 5.11), without running the filter. */
const struct filter_rule filter_final_rules[] = {
    ANY("read", "receive the client's messages"),
    ANY("write", "send replies, raise interrupts, write the log"),
    ONE("recvfrom", "flags == PEEK|DONTWAIT", "look at the next header; never out-of-band data",
        ARG_IS(3, MSG_PEEK | MSG_DONTWAIT)),
    ANY("ppoll", "wait for the client"),
    ANY("epoll_ctl", "what the descriptor of vfu_get_poll_fd() waits for; adds no descriptor"),
    { .syscall = "recvmsg", .match = FILTER_MATCH_CHANNEL,
      .reason = "receive vetted descriptors on the control channel" },
    { .syscall = "sendmsg", .match = FILTER_MATCH_CHANNEL,
      .reason = "send requests on the control channel" },
    { .syscall = "close", .match = FILTER_MATCH_CLOSABLE,
      .reason = "release guest memory and interrupts; no other must come to mean something else" },
    TWO("mmap", "prot == RW, flags == PRIVATE|ANONYMOUS", "large allocations",
        ARG_IS(2, PROT_READ | PROT_WRITE), ARG_IS(3, MAP_PRIVATE | MAP_ANONYMOUS)),
    TWO("mmap", "prot == RW, flags == SHARED", "map guest memory",
        ARG_IS(2, PROT_READ | PROT_WRITE), ARG_IS(3, MAP_SHARED)),
    TWO("mmap", "prot == R, flags == SHARED", "map guest memory that the device only reads",
        ARG_IS(2, PROT_READ), ARG_IS(3, MAP_SHARED)),
    TWO("mmap", "prot == W, flags == SHARED", "map guest memory that the device only writes",
        ARG_IS(2, PROT_WRITE), ARG_IS(3, MAP_SHARED)),
    TWO("mmap", "prot == NONE, flags == SHARED", "map guest memory without access",
        ARG_IS(2, PROT_NONE), ARG_IS(3, MAP_SHARED)),
    TWO("mmap", "prot == RW, flags == SHARED|FIXED", "put zeros in place of memory that has gone",
        ARG_IS(2, PROT_READ | PROT_WRITE), ARG_IS(3, MAP_SHARED | MAP_FIXED)),
    TWO("mmap", "prot == R, flags == SHARED|FIXED", "the same, of what the device only reads",
        ARG_IS(2, PROT_READ), ARG_IS(3, MAP_SHARED | MAP_FIXED)),
    TWO("mmap", "prot == W, flags == SHARED|FIXED", "the same, of what the device only writes",
        ARG_IS(2, PROT_WRITE), ARG_IS(3, MAP_SHARED | MAP_FIXED)),
    ANY("munmap", "unmap guest memory, free large allocations"),
    ONE("mremap", "flags == MAYMOVE", "grow large allocations", ARG_IS(3, MREMAP_MAYMOVE)),
    ANY("brk", "allocations"),
    ANY("fstat", "compare a memory file's size with what the client claims"),
    ANY("pread64", "read guest memory and resources by descriptor"),
    ANY("pwrite64", "write guest memory and resources by descriptor"),
    ANY("futex", "locks of the C library"),
    ANY("clock_gettime", "limits of time, where the vDSO cannot answer"),
    ANY("rt_sigreturn", "return from a signal handler"),
    ANY("restart_syscall", "resume a wait after a stop signal"),
    ANY("exit_group", "end"),
};
const size_t filter_final_rule_count = ARRAY_SIZE(filter_final_rules);

/* No thread can be made: clone is not among them. device/seal.c sees to it that the C library asks
 * for no more than this. */
const struct filter_rule filter_thread_rules[] = {
    ANY("rseq", "the start of a thread, which may come after the seal"),
    ANY("set_robust_list", "the start of a thread"),
    ANY("rt_sigprocmask", "the start and the end of a thread: its signals"),
    ONE("mprotect", "prot == RW", "allocations of a thread: its heap grows",
        ARG_IS(2, PROT_READ | PROT_WRITE)),
    /* glibc 2.36 sets NORESERVE, 2.41 does not. */
    TWO("mmap", "prot == NONE, flags == PRIVATE|ANONYMOUS or PRIVATE|ANONYMOUS|NORESERVE",
        "the first allocation of a thread: room for its heap",
        ARG_IS(2, PROT_NONE), ARG_HAS(3, ~MAP_NORESERVE, MAP_PRIVATE | MAP_ANONYMOUS)),
    ONE("madvise", "advice == DONTNEED", "the end of a thread: its stack is given back",
        ARG_IS(2, MADV_DONTNEED)),
    ANY("exit", "the end of a thread"),
};
const size_t filter_thread_rule_count = ARRAY_SIZE(filter_thread_rules);

const struct filter_rule filter_gate_rules[] = {
    ANY("ppoll", "wait for supervisor, device and clients"),
    ANY("recvmsg", "receive messages and descriptors"),
    ANY("sendmsg", "send messages and descriptors"),
    ANY("write", "tell the supervisor, in a pipe"),
    ANY("accept4", "accept a client"),
    TWO("getsockopt", "SOL_SOCKET, SO_PEERCRED", "ask who the client is",
        INT_ARG_IS(1, SOL_SOCKET), INT_ARG_IS(2, SO_PEERCRED)),
    ONE("fcntl", "F_GET_SEALS", "vet memory: which files have seals",
        INT_ARG_IS(1, F_GET_SEALS)),
    ONE("fcntl", "F_GETFL", "vet descriptors: access mode", INT_ARG_IS(1, F_GETFL)),
    TWO("fcntl", "F_SETFL, O_RDWR|O_NONBLOCK", "the device's end of a twin socket must not block",
        INT_ARG_IS(1, F_SETFL), ARG_IS(2, O_RDWR | O_NONBLOCK)),
    TWO("socketpair", "AF_UNIX, STREAM|CLOEXEC", "the twin socket for the device's own commands",
        INT_ARG_IS(0, AF_UNIX), INT_ARG_IS(1, SOCK_STREAM | SOCK_CLOEXEC)),
    ANY("readlinkat", "vet interrupts: what an anonymous inode is"),
    ANY("fstat", "vet memory: which file system instance"),
    ANY("fstatfs", "vet memory: huge pages or not"),
    ANY("close", "drop refused descriptors"),
    ANY("clock_gettime", "handshake limit, where the vDSO cannot answer"),
    ANY("exit_group", "end"),
#ifdef VFU_SANITIZED
    ANY("sigaltstack", "AddressSanitizer's view of a function that does not return"),
#endif
};
const size_t filter_gate_rule_count = ARRAY_SIZE(filter_gate_rules);

const struct filter_rule filter_gate_reopen_rule =
    TWO("openat", "fd == 4, flags == RDONLY|NONBLOCK|NOCTTY|CLOEXEC",
        "open guest memory again, to be read only; Landlock leaves nothing else to open",
        INT_ARG_IS(0, VETTING_PROC_FDS), INT_ARG_IS(2, VETTING_REOPEN_FLAGS));
/* clang-format on */

const char *const filter_start_denied[] = {
    /* other doors into the kernel */
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "add_key",
    "keyctl",
    "request_key",
    "fanotify_init",
    "lookup_dcookie",
    "personality",
    "modify_ldt",
    "iopl",
    "ioperm",
    "vm86",
    "vm86old",
    "uselib",
    "map_shadow_stack",
    "remap_file_pages",
    /* what no other layer would stop, were it not for the final filter */
    "openat2",
    "execveat",
    "socket",
    "socketpair",
    /* other processes */
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "kcmp",
    "move_pages",
    "migrate_pages",
    /* new namespaces and mounts (clone is filtered by its flags, clone3 cannot be) */
    "unshare",
    "setns",
    "clone3",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "open_by_handle_at",
    "name_to_handle_at",
    "quotactl",
    "quotactl_fd",
    /* the machine */
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "stime",
    "sethostname",
    "setdomainname",
    "syslog",
    "vhangup",
    "nfsservctl",
    "sysfs",
    "_sysctl",
    "ustat",
    /* System V and POSIX message passing */
    "shmget",
    "shmat",
    "shmctl",
    "shmdt",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "mq_open",
    "mq_unlink",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_notify",
    "mq_getsetattr",
};
const size_t filter_start_denied_count = ARRAY_SIZE(filter_start_denied);

/* A socket: of its own kind alone (filter.c). */
const char *const filter_supervisor_needs[] = {
    "clone3",      "open_tree",         "mount_setattr", "fsopen",
    "fsconfig",    "fsmount",           "move_mount",    "mount",
    "umount2",     "pivot_root",        "socketpair",    "socket",
    "pidfd_getfd", "pidfd_send_signal",
#ifdef VFU_SANITIZED
    "ptrace", /* LeakSanitizer's look at its own process */
#endif
};
const size_t filter_supervisor_needs_count = ARRAY_SIZE(filter_supervisor_needs);
