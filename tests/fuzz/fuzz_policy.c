/* SPDX-License-Identifier: BSD-3-Clause */
/* Policy files of any content: a policy, or an error of one line. */
#include "policy/policy.h"

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("policy", MFD_CLOEXEC);
    struct policy *policy;
    char error[512] = "";
    char path[32];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        err(1, "memfd");
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    policy = policy_load(path, error, sizeof(error));
    if (policy == NULL && (error[0] == '\0' || strchr(error, '\n') != NULL)) {
        errx(1, "not one line: \"%s\"", error);
    }
    policy_free(policy);
    close(fd);
    return 0;
}
