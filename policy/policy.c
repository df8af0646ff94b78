/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/policy.h"

#include "policy/file.h"
#include "policy/read.h"
#include "policy/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* What no key says alone. */
static int check_together(struct policy_report *report, const struct policy *policy)
{
    if (policy->client_uid_count == 0 && policy->client_gid_count == 0) {
        policy_report_enter(report, "client");
        return policy_report_wrong(report, "found nobody who may connect, wanted one or more in "
                                           "uids or gids");
    }
    /* The kernel refuses a writable shared mapping of such a file: no client could ever be served.
     */
    if (policy->dma_access == DMA_ACCESS_RW &&
        (policy->dma_seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
        policy_report_enter(report, "dma.require_seals");
        return policy_report_wrong(report, "found \"write\" or \"future-write\" with dma.access "
                                           "\"rw\", wanted only \"seal\", \"shrink\", \"grow\"");
    }
    return 0;
}

static int read_root(struct policy_report *report, struct json_object *root, struct policy *policy)
{
    int result = 0;

    /* First of all: about another version's keys nothing true can be said. */
    if (json_object_is_type(root, json_type_object))
        result = policy_read_member(report, policy_root.keys, root, policy);
    if (result == 0)
        result = policy_read_key(report, &policy_root, root, policy);
    if (result == 0)
        result = check_together(report, policy);
    return result;
}

static int load(struct policy_report *report, struct policy *policy)
{
    char *text = NULL;
    struct json_object *root = NULL;
    int result = policy_file_read(report, &text);

    if (result == 0)
        result = policy_text_parse(report, text, &root);
    if (result == 0)
        result = read_root(report, root, policy);
    json_object_put(root);
    free(text);
    return result;
}

struct policy *policy_load(const char *path, char *error, size_t error_size)
{
    struct policy_report report = { .file = path, .error = error, .error_size = error_size };
    struct policy *policy = calloc(1, sizeof(*policy));
    int result;

    if (policy && (policy->file = strdup(path)))
        result = load(&report, policy);
    else
        result = policy_report_no_memory(&report);
    if (result < 0) {
        policy_free(policy);
        errno = -result;
        return NULL;
    }
    return policy;
}

static void free_strings(char **strings)
{
    for (char **string = strings; string && *string; string++)
        free(*string);
    free(strings);
}

struct policy *policy_free(struct policy *policy)
{
    if (!policy)
        return NULL;
    free(policy->file);
    free(policy->program);
    free_strings(policy->args);
    free_strings(policy->env);
    for (size_t i = 0; i < policy->resource_count; i++) {
        free(policy->resources[i].name);
        free(policy->resources[i].path);
    }
    free(policy->resources);
    free_strings(policy->jail_files);
    free_strings(policy->jail_syscalls);
    free(policy);
    return NULL;
}

const char *policy_layer_name(enum jail_layer layer)
{
    for (const struct policy_choice *c = policy_layers; c->word; c++) {
        if (c->value == layer)
            return c->word;
    }
    return "unknown";
}
