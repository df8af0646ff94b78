/* SPDX-License-Identifier: BSD-3-Clause */
/* What all sessions of a policy have in common, worked out and checked once, before the first. */
#include "broker/jail.h"

#include "broker/cgroup.h"
#include "ipc/control.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAIL(result, ...) (snprintf(error, error_size, __VA_ARGS__), (result))

/* Descriptors that may be in flight to the process at once: one message's. */
#define DESCRIPTORS_IN_FLIGHT FD_LIST_MAX

/* What the library needs for a context beyond the first: epoll, a timer, client, twin socket. */
#define DESCRIPTORS_OF_CONTEXT 4

/* What stands for the path of a socket in the policy. */
#define SOCKET_MARK "{socket}"

/* Replaces each of them in @text. NULL without memory. */
static char *expand(const char *text, const char *socket)
{
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL) {
        return NULL;
    }
    for (const char *at = strstr(text, SOCKET_MARK); at != NULL; at = strstr(text, SOCKET_MARK)) {
        fprintf(out, "%.*s%s", (int)(at - text), text, socket);
        text = at + strlen(SOCKET_MARK);
    }
    fputs(text, out);
    return fclose(out) == 0 ? result : NULL;
}

static size_t count(char *const *list)
{
    size_t n = 0;

    while (list != NULL && list[n] != NULL) {
        n++;
    }
    return n;
}

/* An argument in which "{socket}" stands is repeated for each of the sockets. */
static bool make_argv(struct jail_plan *plan, const char *const *sockets)
{
    size_t n = count(plan->policy->args);
    size_t used = 0;

    plan->argv = calloc(1 + n * plan->sockets + 1, sizeof(char *));
    if (plan->argv == NULL) {
        return false;
    }
    plan->argv[used] = strdup(plan->program.path);
    for (size_t i = 0; i < n; i++) {
        const char *arg = plan->policy->args[i];
        size_t times = strstr(arg, SOCKET_MARK) != NULL ? plan->sockets : 1;

        for (size_t j = 0; j < times && plan->argv[used] != NULL; j++) {
            plan->argv[++used] = expand(arg, sockets[j]);
        }
    }
    return plan->argv[used] != NULL;
}

/* The texts with @separator between each two; NULL without memory. */
static char *join(const char *start, const char *const *texts, size_t n, char separator)
{
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL) {
        return NULL;
    }
    fputs(start, out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%.*s%s", i > 0, &separator, texts[i]);
    }
    return fclose(out) == 0 ? result : NULL;
}

/* "VFU_BROKER_SOCKETS=name/name" */
static char *sockets_variable(const char *const *sockets, size_t n)
{
    const char *names[CONTROL_MAX_CHANNELS];

    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(sockets[i], '/');

        names[i] = slash != NULL ? slash + 1 : sockets[i];
    }
    return join(CONTROL_SOCKETS_ENV "=", names, n, '/');
}

/* "VFU_BROKER_RESOURCES=name=fd,name=fd" */
static char *resources_variable(const struct jail_plan *plan)
{
    const struct policy *policy = plan->policy;
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL) {
        return NULL;
    }
    fputs(CONTROL_RESOURCES_ENV "=", out);
    for (size_t i = 0; i < policy->resource_count; i++) {
        fprintf(out, "%s%s=%zu", i > 0 ? "," : "", policy->resources[i].name,
                jail_first_resource_fd(plan) + i);
    }
    return fclose(out) == 0 ? result : NULL;
}

/* "VFU_BROKER_POLICY=gpio" */
static char *policy_variable(const struct policy *policy)
{
    const char *slash = strrchr(policy->file, '/');
    const char *name = slash != NULL ? slash + 1 : policy->file;
    size_t length = strlen(name);
    char *result = NULL;

    if (length > 5 && strcmp(name + length - 5, ".json") == 0) {
        length -= 5;
    }
    return asprintf(&result, CONTROL_POLICY_ENV "=%.*s", (int)length, name) > 0 ? result : NULL;
}

/*
 * The policy's variables and ours, in which "{socket}" stands for all paths, separated by colons.
 * LD_ORIGIN_PATH: the loader cannot ask /proc for its $ORIGIN.
 */
static bool make_envp(struct jail_plan *plan, const char *const *sockets)
{
    size_t n = count(plan->policy->env);
    char *program = strdup(plan->program.path);
    char *paths = join("", sockets, plan->sockets, ':');
    bool complete = program != NULL && paths != NULL;

    plan->envp = calloc(n + 6, sizeof(char *));
    complete = complete && plan->envp != NULL;
    for (size_t i = 0; complete && i < n; i++) {
        plan->envp[i] = expand(plan->policy->env[i], paths);
        complete = plan->envp[i] != NULL;
    }
    if (complete) {
        complete = asprintf(&plan->envp[n++], "%s=%d", CONTROL_ENV, CONTROL_FD) > 0 &&
                   asprintf(&plan->envp[n++], "LD_ORIGIN_PATH=%s", dirname(program)) > 0;
    }
    if (complete) {
        plan->envp[n] = policy_variable(plan->policy);
        complete = plan->envp[n++] != NULL;
    }
    if (complete && plan->policy->resource_count > 0) {
        plan->envp[n] = resources_variable(plan);
        complete = plan->envp[n++] != NULL;
    }
    if (complete && plan->sockets > 1) {
        plan->envp[n] = sockets_variable(sockets, plan->sockets);
        complete = plan->envp[n] != NULL;
    }
    free(paths);
    free(program);
    return complete;
}

static int open_resources(struct jail_plan *plan, char *error, size_t error_size)
{
    const struct policy *policy = plan->policy;

    plan->resources = malloc((policy->resource_count + 1) * sizeof(int));
    if (plan->resources == NULL) {
        return FAIL(-1, "out of memory");
    }
    for (size_t i = 0; i < policy->resource_count; i++) {
        plan->resources[i] = -1;
    }
    for (size_t i = 0; i < policy->resource_count; i++) {
        const struct policy_resource *resource = &policy->resources[i];
        struct stat st;

        /* Without waiting for the other end of a pipe. */
        plan->resources[i] = open(resource->path, (resource->writable ? O_RDWR : O_RDONLY) |
                                                      O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (plan->resources[i] < 0) {
            return FAIL(-1, "%s: resources[%zu].path: %s: %s", policy->file, i, resource->path,
                        strerror(errno));
        }
        if (fstat(plan->resources[i], &st) < 0 || !S_ISREG(st.st_mode)) {
            return FAIL(-1, "%s: resources[%zu].path: %s: wanted a regular file", policy->file, i,
                        resource->path);
        }
        if ((rlim_t)st.st_size > plan->file_size) {
            plan->file_size = (rlim_t)st.st_size;
        }
    }
    return 0;
}

static int compile_filters(struct jail_plan *plan, char *error, size_t error_size)
{
    const char *unknown;
    int err = filter_compile_final(&plan->final, plan->policy, plan->sockets, &unknown);

    if (unknown != NULL) {
        return FAIL(JAIL_BAD_POLICY,
                    "%s: jail.syscalls: \"%s\" is not a system call that a device "
                    "may be given",
                    plan->policy->file, unknown);
    }
    if (err == 0) {
        err = filter_compile_start(&plan->start);
    }
    if (err == 0 && plan->final.count * sizeof(struct sock_filter) > CONTROL_TAIL_MAX) {
        return FAIL(JAIL_BAD_POLICY, "%s: jail.syscalls: too many for one filter",
                    plan->policy->file);
    }
    if (err < 0) {
        return FAIL(JAIL_LAYER_MISSING, "seccomp-filter: cannot be compiled: %s", strerror(-err));
    }
    return JAIL_OK;
}

static int find_layers(struct jail_plan *plan, void (*report)(const struct layer *layer),
                       char *error, size_t error_size)
{
    const struct layer *missing = layers_probe(&plan->layers, plan->policy, report);

    if (!plan->layers.user_namespaces && geteuid() != 0 &&
        (plan->policy->jail_optional & JAIL_LAYER_USER_NAMESPACE)) {
        return FAIL(JAIL_LAYER_MISSING, "without user namespaces the broker must be root");
    }
    if (plan->policy->dma_access == DMA_ACCESS_RO && !plan->layers.landlock) {
        return FAIL(JAIL_LAYER_MISSING,
                    "this host does not offer landlock, which dma.access \"ro\" cannot do without: "
                    "the gate may open files then");
    }
    if (missing != NULL && missing->optional) {
        return FAIL(JAIL_LAYER_MISSING,
                    "this host does not offer %s; a policy with \"jail\": {\"optional\": [\"%s\"]} "
                    "would accept that",
                    missing->name, missing->name);
    }
    if (missing != NULL) {
        return FAIL(JAIL_LAYER_MISSING,
                    "this host does not offer %s, which no policy can do without", missing->name);
    }
    return JAIL_OK;
}

/* What cannot be killed by its pidfd would outlive its session: not every container allows that. */
static int open_own_descriptors(struct jail_plan *plan)
{
    plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    plan->supervisor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return plan->null >= 0 && plan->supervisor >= 0 &&
                   syscall(SYS_pidfd_send_signal, plan->supervisor, 0, NULL, 0) == 0
               ? 0
               : -1;
}

enum jail_result jail_plan_make(struct jail_plan *plan, const struct policy *policy,
                                const char *const *sockets, size_t socket_count,
                                void (*report)(const struct layer *layer), char *error,
                                size_t error_size)
{
    char cause[512];
    int result;

    *plan = (struct jail_plan){
        .policy = policy,
        .maps_ids = geteuid() == 0,
        .file_size = policy->limit_memory,
        .sockets = socket_count,
        .null = -1,
        .supervisor = -1,
        .cgroup = -1,
    };
    plan->descriptors = jail_first_resource_fd(plan) + policy->resource_count +
                        socket_count * policy->irq_max_vectors +
                        (socket_count - 1) * DESCRIPTORS_OF_CONTEXT + policy->limit_descriptors +
                        DESCRIPTORS_IN_FLIGHT;
    if (open_own_descriptors(plan) < 0) {
        return FAIL(JAIL_LAYER_MISSING, "/dev/null or a pidfd: %s", strerror(errno));
    }
    result = compile_filters(plan, error, error_size);
    if (result == JAIL_OK) {
        result = find_layers(plan, report, error, error_size);
    }
    if (result != JAIL_OK) {
        return (enum jail_result)result;
    }
    if (program_resolve(&plan->program, policy, cause, sizeof(cause)) < 0) {
        return FAIL(JAIL_BAD_POLICY, "%s: %s", policy->file, cause);
    }
    if (open_resources(plan, error, error_size) < 0) {
        return JAIL_BAD_POLICY;
    }
    if (!make_argv(plan, sockets) || !make_envp(plan, sockets)) {
        return FAIL(JAIL_BAD_POLICY, "out of memory");
    }
    return JAIL_OK;
}

enum jail_result jail_plan_use_cgroup(struct jail_plan *plan, const char *path,
                                      void (*report)(const struct layer *layer), char *error,
                                      size_t error_size)
{
    bool wanted = path != NULL || plan->policy->limit_cpu_percent > 0;
    int fd = path != NULL ? cgroup_open(path, plan->policy) : -ENOENT;
    struct layer layer = { "cgroup", JAIL_LAYER_CGROUP, "limits for the kernel's memory and CPU",
                           fd < 0 ? -fd : 0 };

    plan->cgroup = fd < 0 ? -1 : fd;
    if (report != NULL) {
        report(&layer);
    }
    if (fd >= 0 || !wanted || (plan->policy->jail_optional & JAIL_LAYER_CGROUP)) {
        return JAIL_OK;
    }
    return FAIL(JAIL_LAYER_MISSING,
                "this host does not offer cgroup: %s%s%s; a policy with \"jail\": {\"optional\": "
                "[\"cgroup\"]} would accept that",
                path != NULL ? path : "jail.limits.cpu_percent takes --cgroup",
                path != NULL ? ": " : "", path != NULL ? strerror(-fd) : "");
}

static void free_list(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++) {
        free(*item);
    }
    free(list);
}

void jail_plan_free(struct jail_plan *plan)
{
    for (size_t i = 0; plan->resources != NULL && i < plan->policy->resource_count; i++) {
        fd_close(&plan->resources[i]);
    }
    free(plan->resources);
    free_list(plan->argv);
    free_list(plan->envp);
    filter_free(&plan->start);
    filter_free(&plan->final);
    program_free(&plan->program);
    fd_close(&plan->null);
    fd_close(&plan->supervisor);
    fd_close(&plan->cgroup);
}
