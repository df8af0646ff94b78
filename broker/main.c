/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/options.h"
#include "broker/supervisor.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* 0-2 must be open, or a socket would come to be one of them and get the log. */
static int open_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 ? -1 : close(fd);
}

static void print_layer(const struct layer *layer)
{
    printf("  %-18s %-4s %s%s%s\n", layer->name, layer->error == 0 ? "yes" : "NO", layer->purpose,
           layer->error == 0 ? "" : ": ", layer->error == 0 ? "" : strerror(layer->error));
}

static void print_call(const char *syscall, const char *condition, const char *reason)
{
    printf("  %-15s %-38s %s\n", syscall, condition, reason);
}

/* The end of every error: one line on standard error, whatever the log goes to. */
static enum exit_status fail(enum exit_status status, const char *message)
{
    fprintf(stderr, "vfu-broker: %s\n", message);
    return status;
}

static enum exit_status check(const struct options *options, const struct jail_plan *plan,
                              const struct filter *gate)
{
    enum exit_status status;

    printf("system calls after the seal:\n");
    filter_describe_final(plan->policy, plan->sockets, print_call);
    printf("program: %s\n", plan->program.path);
    for (size_t i = 1; i < plan->program.file_count; i++) {
        printf("  with %s\n", plan->program.files[i]);
    }
    fflush(stdout);
    status = supervisor_run(options, plan, gate);
    printf("%s\n", status == EXIT_STATUS_OK ? "a device process was started, sealed and verified: "
                                              "the policy can be enforced here"
                                            : "the policy can NOT be enforced here");
    return status;
}

static enum exit_status audit(const struct options *options, struct jail_plan *plan,
                              const struct filter *gate)
{
    struct audit audit = { .seen = { 0 } };
    enum exit_status status;

    plan->audit = &audit;
    log_warning("audit", "cause=\"system calls that the policy does not allow are let through\"");
    status = supervisor_run(options, plan, gate);
    audit_print(&audit, stdout);
    return status;
}

static enum exit_status run(const struct options *options, const struct policy *policy)
{
    const char *sockets[CONTROL_MAX_CHANNELS] = { "inherited" };
    size_t count = options->socket_count > 0 ? options->socket_count : 1;
    struct filter gate = { .code = NULL };
    struct jail_plan plan;
    char error[512];
    int status;

    if (options->check) {
        printf("policy %s: valid\nlayers of this host:\n", policy->file);
    }
    for (size_t i = 0; i < options->socket_count; i++) {
        sockets[i] = options->sockets[i].path;
    }
    status = (int)jail_plan_make(&plan, policy, sockets, count, options->check ? print_layer : NULL,
                                 error, sizeof(error));
    if (status == JAIL_OK) {
        status = (int)jail_plan_use_cgroup(
            &plan, options->cgroup, options->check ? print_layer : NULL, error, sizeof(error));
    }
    fflush(stdout);
    if (status != JAIL_OK) {
        status = fail((enum exit_status)status, error);
    } else if (filter_compile_gate(&gate, policy) < 0) {
        status = fail(EXIT_STATUS_LAYER, "seccomp-filter: the gate's cannot be compiled");
    } else if (options->check) {
        status = check(options, &plan, &gate);
    } else if (options->audit) {
        status = audit(options, &plan, &gate);
    } else {
        status = supervisor_run(options, &plan, &gate);
    }
    filter_free(&gate);
    jail_plan_free(&plan);
    return (enum exit_status)status;
}

static int open_log(const struct options *options)
{
    int fd = STDERR_FILENO;

    if (options->log_file != NULL) {
        fd = open(options->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    }
    if (fd >= 0) {
        log_setup(fd, options->check ? LOG_LEVEL_WARNING : options->log_level);
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct options options;
    struct policy *policy;
    char error[512];
    int status;

    if (open_standard_descriptors() < 0) {
        return EXIT_STATUS_FAILURE;
    }
    status = options_parse(&options, argc, argv);
    if (status >= 0) {
        return status;
    }
    if (open_log(&options) < 0) {
        snprintf(error, sizeof(error), "--log-file %s: %s", options.log_file, strerror(errno));
        return fail(EXIT_STATUS_FAILURE, error);
    }
    policy = policy_load(options.policy, error, sizeof(error));
    if (policy == NULL) {
        return fail(EXIT_STATUS_POLICY, error);
    }
    status = run(&options, policy);
    policy_free(policy);
    return status;
}
