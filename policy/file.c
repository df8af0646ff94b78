/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until the end or until @size bytes; the file may change its size under our eyes. */
static ssize_t read_all(int fd, char *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, buffer + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int check_kind(struct policy_report *report, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return policy_report_failure(report, "cannot be examined", errno);
    if (S_ISDIR(st.st_mode))
        return policy_report_wrong(report, "found a directory, wanted a regular file");
    if (!S_ISREG(st.st_mode))
        return policy_report_wrong(report, "found a pipe, socket or device, wanted a regular file");
    return 0;
}

static int check_text(struct policy_report *report, const char *text, size_t length)
{
    if (length > POLICY_FILE_MAX)
        return policy_report_wrong(report, "found a larger file, wanted at most %d bytes",
                                   POLICY_FILE_MAX);
    const char *nul = memchr(text, '\0', length);
    if (nul)
        return policy_report_wrong(report, "found a NUL byte at offset %zu, wanted JSON text",
                                   (size_t)(nul - text));
    return 0;
}

static int read_text(struct policy_report *report, int fd, char **text)
{
    char *buffer = malloc(POLICY_FILE_MAX + 2);
    if (!buffer)
        return policy_report_no_memory(report);

    int result;
    ssize_t length = read_all(fd, buffer, POLICY_FILE_MAX + 1);
    if (length < 0) {
        result = policy_report_failure(report, "cannot be read", (int)-length);
    } else {
        buffer[length] = '\0';
        result = check_text(report, buffer, (size_t)length);
    }
    if (result < 0)
        free(buffer);
    else
        *text = buffer;
    return result;
}

int policy_file_read(struct policy_report *report, char **text)
{
    /* O_NONBLOCK: a FIFO without a writer would hang the open, for ever. */
    int fd = open(report->file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return policy_report_failure(report, "cannot be opened", errno);

    int result = check_kind(report, fd);
    if (result == 0)
        result = read_text(report, fd, text);
    close(fd);
    return result;
}
