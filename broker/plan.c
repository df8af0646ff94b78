/* SPDX-License-Identifier: BSD-3-Clause */
/* What all sessions of a policy have in common, worked out and checked once, before the first. */
#include "broker/jail.h"

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

/* Replaces each "{socket}" in @text. NULL without memory. */
static char *expand(const char *text, const char *socket)
{
    static const char mark[] = "{socket}";
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL) {
        return NULL;
    }
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(text, mark)) {
        fprintf(out, "%.*s%s", (int)(at - text), text, socket);
        text = at + sizeof(mark) - 1;
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

static bool make_argv(struct jail_plan *plan, const char *socket)
{
    size_t n = count(plan->policy->args);
    bool complete;

    plan->argv = calloc(n + 2, sizeof(char *));
    if (plan->argv == NULL) {
        return false;
    }
    plan->argv[0] = strdup(plan->program.path);
    complete = plan->argv[0] != NULL;
    for (size_t i = 0; complete && i < n; i++) {
        plan->argv[i + 1] = expand(plan->policy->args[i], socket);
        complete = plan->argv[i + 1] != NULL;
    }
    return complete;
}

/* "VFU_BROKER_RESOURCES=name=fd,name=fd" */
static char *resources_variable(const struct policy *policy)
{
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL) {
        return NULL;
    }
    fputs(CONTROL_RESOURCES_ENV "=", out);
    for (size_t i = 0; i < policy->resource_count; i++) {
        fprintf(out, "%s%s=%zu", i > 0 ? "," : "", policy->resources[i].name,
                JAIL_FIRST_RESOURCE_FD + i);
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

/* The policy's variables and ours. LD_ORIGIN_PATH: the loader cannot ask /proc for its $ORIGIN. */
static bool make_envp(struct jail_plan *plan, const char *socket)
{
    size_t n = count(plan->policy->env);
    char *program = strdup(plan->program.path);
    bool complete = program != NULL;

    plan->envp = calloc(n + 5, sizeof(char *));
    complete = complete && plan->envp != NULL;
    for (size_t i = 0; complete && i < n; i++) {
        plan->envp[i] = expand(plan->policy->env[i], socket);
        complete = plan->envp[i] != NULL;
    }
    if (complete) {
        complete = asprintf(&plan->envp[n], "%s=%d", CONTROL_ENV, CONTROL_FD) > 0 &&
                   asprintf(&plan->envp[n + 1], "LD_ORIGIN_PATH=%s", dirname(program)) > 0;
    }
    if (complete) {
        plan->envp[n + 2] = policy_variable(plan->policy);
        complete = plan->envp[n + 2] != NULL;
    }
    if (complete && plan->policy->resource_count > 0) {
        plan->envp[n + 3] = resources_variable(plan->policy);
        complete = plan->envp[n + 3] != NULL;
    }
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

        plan->resources[i] =
            open(resource->path, (resource->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
        if (plan->resources[i] < 0) {
            return FAIL(-1, "%s: resources[%zu].path: %s: %s", policy->file, i, resource->path,
                        strerror(errno));
        }
        if (fstat(plan->resources[i], &st) == 0 && (rlim_t)st.st_size > plan->file_size) {
            plan->file_size = (rlim_t)st.st_size;
        }
    }
    return 0;
}

static int compile_filters(struct jail_plan *plan, char *error, size_t error_size)
{
    const char *unknown;
    int err = filter_compile_final(&plan->final, plan->policy, &unknown);

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

static int open_own_descriptors(struct jail_plan *plan)
{
    plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    plan->supervisor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return plan->null >= 0 && plan->supervisor >= 0 ? 0 : -1;
}

enum jail_result jail_plan_make(struct jail_plan *plan, const struct policy *policy,
                                const char *socket, void (*report)(const struct layer *layer),
                                char *error, size_t error_size)
{
    char cause[512];
    int result;

    *plan = (struct jail_plan){
        .policy = policy,
        .maps_ids = geteuid() == 0,
        .file_size = policy->limit_memory,
        .descriptors = JAIL_FIRST_RESOURCE_FD + policy->resource_count + policy->irq_max_vectors +
                       policy->limit_descriptors + DESCRIPTORS_IN_FLIGHT,
        .null = -1,
        .supervisor = -1,
    };
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
    if (program_resolve(&plan->program, policy->program, policy->jail_files, cause, sizeof(cause)) <
        0) {
        return FAIL(JAIL_BAD_POLICY, "%s: %s", policy->file, cause);
    }
    if (open_resources(plan, error, error_size) < 0) {
        return JAIL_BAD_POLICY;
    }
    if (!make_argv(plan, socket) || !make_envp(plan, socket)) {
        return FAIL(JAIL_BAD_POLICY, "out of memory");
    }
    return JAIL_OK;
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
}
