/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Escapes: what a device process that a client has taken over would try. One entry of the table
 * is one attempt, one function, and two outcomes that are both exact: the one in the jail, and the
 * one of its control, the same function in a plain process. A control that is blocked would mean
 * that the attempt proves nothing.
 *
 * A function makes one system call (or one message) and no other before it that the jail blocks,
 * with arguments that do no harm where nothing stops it: bad descriptors, bad pointers, itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* Text that the device hands back, at most. */
#define REPORT_TEXT 2048

/* What an attempt that came back has to say, as it is read from the device's register. */
struct report {
    int64_t value; /* what the function returned: the call's result, or -errno */
    uint32_t done; /* 1 */
    uint32_t text_size;
    char text[REPORT_TEXT];
};

/* Where things are in the device's BAR 0. */
#define REGISTER_MAGIC 0x000 /* 32 bits, read */
#define REGISTER_STAY 0x200  /* any byte, written: the device never comes back, whatever happens */
#define REGISTER_REPORT 0x400
#define REGISTER_TRY 0x1000 /* a name, written, and zeros: tries it */
#define REGISTER_TRY_SIZE 0x1000
#define REGISTERS_SIZE 0x2000
#define ATTEMPT_MAGIC 0x65736361u
#define EXECUTED_OPTION "--executed" /* started by an attempt: it reports EXECUTED and ends */
#define EXECUTED 7
#define STAY_TEXT "staying" /* in the log when it does */

/* Secrets are variables of the broker's environment whose names begin so. */
#define SECRET_NAME "ESCAPE_SECRET"
#define SECRET_VALUE "the-wind-is-in-the-north"

/*
 * What an attempt finds when it starts, the same in the jail and outside. The descriptors below 4
 * are those of the jail: 0 null, 1-2 a log, 3 the control channel.
 */
struct surroundings {
    bool jailed;
    pid_t pid;       /* of this process, as it sees itself */
    uid_t uid;       /* the same */
    int client;      /* stream socket to the client */
    int control;     /* 3: SOCK_SEQPACKET */
    int memory;      /* a memfd of one page that the program made at its start */
    void *page;      /* private memory, one page, readable and writable */
    void *spare;     /* another one */
    char **argv;     /* of the program */
    char **environ_; /* the same */
    struct report *report;
};

enum ending {
    ENDING_RETURN,  /* the function returned .value */
    ENDING_SUCCESS, /* it returned something that is not negative */
    ENDING_BLOCKED, /* the supervisor names .call and .value, its number, and ends the process */
    ENDING_KILLED,  /* the process dies of signal .value */
    ENDING_SESSION, /* the gate ends the session as "device-protocol" with errno .value */
};

struct outcome {
    enum ending ending;
    const char *call;
    long value;
    const char *layer; /* what stops it, where the ending does not say */
};

/* What else the client does. */
enum client_part {
    CLIENT_ASKS,             /* nothing */
    CLIENT_SENDS_DESCRIPTOR, /* after the request: 16 bytes that carry a pipe */
};

struct attempt {
    const char *name;
    const char *group;
    long (*run)(const struct surroundings *s);
    struct outcome jail;
    struct outcome control;
    /*
     * The control's other legitimate answer, where the host's kernel or settings decide whether
     * the call exists at all. The jail's outcome has none.
     */
    struct outcome control_or;
    bool optional; /* kernels may lack the call: then the control says ENOSYS */
    /*
     * In the jail, with a final filter that lets the call pass: what the other layers do alone.
     * Given where it has a layer; all else is stopped by one layer.
     */
    struct outcome others;
    enum client_part client;
};

#define RETURNS(number)                                                                            \
    {                                                                                              \
        .ending = ENDING_RETURN, .value = (number)                                                 \
    }
#define FAILS(error) RETURNS(-(error))
#define SUCCEEDS                                                                                   \
    {                                                                                              \
        .ending = ENDING_SUCCESS                                                                   \
    }
#define BLOCKED(name)                                                                              \
    {                                                                                              \
        .ending = ENDING_BLOCKED, .call = #name, .value = SYS_##name                               \
    }
#define BLOCKED_UNKNOWN(number)                                                                    \
    {                                                                                              \
        .ending = ENDING_BLOCKED, .call = "unknown", .value = (number)                             \
    }
#define BLOCKED_AS(name, number)                                                                   \
    {                                                                                              \
        .ending = ENDING_BLOCKED, .call = (name), .value = (number)                                \
    }
#define KILLED(signal)                                                                             \
    {                                                                                              \
        .ending = ENDING_KILLED, .value = (signal)                                                 \
    }
#define ENDS_SESSION(error)                                                                        \
    {                                                                                              \
        .ending = ENDING_SESSION, .value = (error)                                                 \
    }
/* In the jail the call is made and succeeds; what it leads to is for the runner to check. */
#define ALLOWED(by)                                                                                \
    {                                                                                              \
        .ending = ENDING_SUCCESS, .layer = (by)                                                    \
    }
/* In the jail the call is made, and comes to nothing because of a layer that is no filter. */
#define STOPPED(number, by)                                                                        \
    {                                                                                              \
        .ending = ENDING_RETURN, .value = (number), .layer = (by)                                  \
    }

/* The same for a call that is let through by the final filter alone. */
#define OTHERS(number, by) .others = STOPPED(number, by)

/* A row of the table; what follows the control's outcome are further members. */
#define ATTEMPT(name_, run_, jail_, control_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .group = GROUP, .run = (run_), .jail = jail_, .control = control_,        \
        __VA_ARGS__                                                                                \
    }

/* A group of the table, a file each. */
struct attempt_group {
    const struct attempt *attempts;
    size_t count;
};

extern const struct attempt_group attempts_entry;       /* other entries into the kernel */
extern const struct attempt_group attempts_jail;        /* undoing the jail */
extern const struct attempt_group attempts_code;        /* new code */
extern const struct attempt_group attempts_processes;   /* new processes and namespaces */
extern const struct attempt_group attempts_others;      /* other processes */
extern const struct attempt_group attempts_surface;     /* wide kernel surface */
extern const struct attempt_group attempts_descriptors; /* descriptors and sockets */
extern const struct attempt_group attempts_files;       /* files and guest memory */
extern const struct attempt_group attempts_resources;   /* limits, log, secrets */
extern const struct attempt_group attempts_channel;     /* the broker itself */

/* Attempt @index of the whole table; NULL beyond its end. */
const struct attempt *attempt_at(size_t index);

/* NULL if there is none of that name. */
const struct attempt *attempt_find(const char *name);

/* --- for the functions --- */

/* The result of a raw system call as the table has it. */
long result_of(long returned);

/* Adds a line to the report. Without stdio, which may make calls of its own. */
void report_line(const struct surroundings *s, const char *text);
