/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/own_file.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int own_file_remember(struct own_file *file, const char *path)
{
    const char *slash = strrchr(path, '/');
    char copy[PATH_MAX];
    struct stat st;

    *file = (struct own_file){ .directory = -1, .name = slash != NULL ? slash + 1 : path };
    if (strlen(path) >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(copy, path);
    file->directory = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (file->directory < 0 || fstatat(file->directory, file->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        fd_close(&file->directory);
        return -1;
    }
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return 0;
}

static void remove_if_ours(const struct own_file *file)
{
    struct stat st;

    if (fstatat(file->directory, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == file->device && st.st_ino == file->inode) {
        (void)unlinkat(file->directory, file->name, 0);
    }
}

void own_file_remove(struct own_file *file)
{
    struct stat st;
    bool as_owner;

    if (file->directory < 0) {
        return;
    }
    as_owner = geteuid() == 0 && fstat(file->directory, &st) == 0 && seteuid(st.st_uid) == 0;
    remove_if_ours(file);
    if (as_owner && seteuid(0) < 0) {
        abort(); /* cannot be: our real uid is 0 */
    }
    fd_close(&file->directory);
}

/* No link leads us to another file than the one that is named. */
static int open_regular(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
    struct stat st;

    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)) {
        fd_close(&fd);
        errno = EEXIST;
    }
    return fd;
}

int own_file_write(struct own_file *file, const char *path, const char *text)
{
    AUTO_FD fd = open_regular(path);
    ssize_t size = (ssize_t)strlen(text);

    if (fd < 0 || ftruncate(fd, 0) < 0 || write(fd, text, (size_t)size) != size) {
        return -1;
    }
    return own_file_remember(file, path);
}
