/* SPDX-License-Identifier: BSD-3-Clause */
/* Files, the tree of them, identities; and the files behind memory. */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP "files"
#define ROOT "private root"
#define LANDLOCK "Landlock"
#define START "start filter"

static long openat_of(const char *path, int flags)
{
    return result_of(syscall(SYS_openat, AT_FDCWD, path, flags, 0));
}

static long openat_passwd(const struct surroundings *s)
{
    return openat_of("/etc/passwd", O_RDONLY);
}

static long openat_own_memory(const struct surroundings *s)
{
    return openat_of("/proc/self/mem", O_RDWR);
}

static long openat_parent(const struct surroundings *s)
{
    return openat_of("..", O_RDONLY | O_DIRECTORY);
}

static long openat_null(const struct surroundings *s)
{
    return openat_of("/dev/null", O_RDWR);
}

/* A place to start from, which itself opens nothing. */
static long openat_path(const struct surroundings *s)
{
    return openat_of("/", O_PATH);
}

/* The file of the program, which the private root has. */
static long openat_program(const struct surroundings *s)
{
    return openat_of(s->argv[0], O_RDONLY);
}

/* Without a name, so that nothing is left of it outside. */
static long openat_new_file(const struct surroundings *s)
{
    return openat_of(".", O_TMPFILE | O_RDWR);
}

#ifdef SYS_open
static long open_root(const struct surroundings *s)
{
    return result_of(syscall(SYS_open, "/", O_RDONLY, 0));
}
#endif

static long openat2_root(const struct surroundings *s)
{
    struct open_how how = { .flags = O_PATH };

    return result_of(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
}

static long open_tree_(const struct surroundings *s)
{
    return result_of(syscall(SYS_open_tree, -1, "", AT_EMPTY_PATH));
}

static long getdents(const struct surroundings *s)
{
    return result_of(syscall(SYS_getdents64, -1, NULL, 0));
}

static long readlink_own_program(const struct surroundings *s)
{
    char target[256];

    return result_of(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", target, sizeof(target)));
}

static long stat_root(const struct surroundings *s)
{
    struct stat st;

    return result_of(syscall(SYS_newfstatat, AT_FDCWD, "/", &st, 0));
}

static long mkdir_(const struct surroundings *s)
{
    return result_of(syscall(SYS_mkdirat, -1, "", 0));
}

static long unlink_(const struct surroundings *s)
{
    return result_of(syscall(SYS_unlinkat, -1, "", 0));
}

static long mount_(const struct surroundings *s)
{
    return result_of(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL));
}

static long fsopen_(const struct surroundings *s)
{
    return result_of(syscall(SYS_fsopen, NULL, 0));
}

static long move_mount_(const struct surroundings *s)
{
    return result_of(syscall(SYS_move_mount, -1, "", -1, "", 0));
}

static long pivot_root_(const struct surroundings *s)
{
    return result_of(syscall(SYS_pivot_root, NULL, NULL));
}

static long setgroups_(const struct surroundings *s)
{
    return result_of(syscall(SYS_setgroups, -1, NULL));
}

static long chroot_(const struct surroundings *s)
{
    return result_of(syscall(SYS_chroot, ""));
}

static long fchdir_(const struct surroundings *s)
{
    return result_of(syscall(SYS_fchdir, -1));
}

/* To what it is already: that takes no right. */
static long setuid_(const struct surroundings *s)
{
    return result_of(syscall(SYS_setuid, s->uid));
}

static long setresuid_(const struct surroundings *s)
{
    return result_of(syscall(SYS_setresuid, -1, -1, -1));
}

static long truncate_memory(const struct surroundings *s)
{
    return result_of(syscall(SYS_ftruncate, s->memory, 0));
}

static long punch_memory(const struct surroundings *s)
{
    return result_of(
        syscall(SYS_fallocate, s->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
}

static long seal_memory(const struct surroundings *s)
{
    return result_of(syscall(SYS_fcntl, s->memory, F_ADD_SEALS, F_SEAL_WRITE));
}

static const struct attempt table[] = {
    ATTEMPT("openat-passwd", openat_passwd, BLOCKED(openat), SUCCEEDS, OTHERS(-ENOENT, ROOT)),
    ATTEMPT("openat-own-memory", openat_own_memory, BLOCKED(openat), SUCCEEDS,
            OTHERS(-ENOENT, ROOT)),
    ATTEMPT("openat-parent", openat_parent, BLOCKED(openat), SUCCEEDS, OTHERS(-EACCES, LANDLOCK)),
    ATTEMPT("openat-null", openat_null, BLOCKED(openat), SUCCEEDS, OTHERS(-ENOENT, ROOT)),
    ATTEMPT("openat-path", openat_path, BLOCKED(openat), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("openat-program", openat_program, BLOCKED(openat), SUCCEEDS, OTHERS(-EACCES, LANDLOCK)),
    ATTEMPT("openat-new-file", openat_new_file, BLOCKED(openat), SUCCEEDS, OTHERS(-EROFS, ROOT)),
#ifdef SYS_open
    ATTEMPT("open-root", open_root, BLOCKED(open), SUCCEEDS, OTHERS(-EACCES, LANDLOCK)),
#endif
    ATTEMPT("openat2-root", openat2_root, BLOCKED(openat2), SUCCEEDS, OTHERS(-ENOSYS, START)),
    ATTEMPT("open-tree", open_tree_, BLOCKED(open_tree), FAILS(EBADF), OTHERS(-ENOSYS, START)),
    ATTEMPT("getdents", getdents, BLOCKED(getdents64), FAILS(EBADF)),
    ATTEMPT("readlink-own-program", readlink_own_program, BLOCKED(readlinkat), SUCCEEDS),
    ATTEMPT("stat-root", stat_root, BLOCKED(newfstatat), RETURNS(0)),
    ATTEMPT("mkdir", mkdir_, BLOCKED(mkdirat), FAILS(ENOENT)),
    ATTEMPT("unlink", unlink_, BLOCKED(unlinkat), FAILS(ENOENT)),
    ATTEMPT("mount", mount_, BLOCKED(mount), FAILS(EFAULT), OTHERS(-ENOSYS, START)),
    ATTEMPT("fsopen", fsopen_, BLOCKED(fsopen), FAILS(EFAULT), .control_or = FAILS(EPERM),
            OTHERS(-ENOSYS, START)),
    ATTEMPT("move-mount", move_mount_, BLOCKED(move_mount), FAILS(ENOENT),
            .control_or = FAILS(EPERM), OTHERS(-ENOSYS, START)),
    ATTEMPT("pivot-root", pivot_root_, BLOCKED(pivot_root), FAILS(EFAULT),
            .control_or = FAILS(EPERM), OTHERS(-ENOSYS, START)),
    ATTEMPT("setgroups", setgroups_, BLOCKED(setgroups), FAILS(EINVAL), .control_or = FAILS(EPERM)),
    ATTEMPT("chroot", chroot_, BLOCKED(chroot), FAILS(ENOENT), OTHERS(-ENOSYS, START)),
    ATTEMPT("fchdir", fchdir_, BLOCKED(fchdir), FAILS(EBADF)),
    ATTEMPT("setuid", setuid_, BLOCKED(setuid), RETURNS(0)),
    ATTEMPT("setresuid", setresuid_, BLOCKED(setresuid), RETURNS(0)),
    ATTEMPT("truncate-memory", truncate_memory, BLOCKED(ftruncate), RETURNS(0)),
    ATTEMPT("punch-memory", punch_memory, BLOCKED(fallocate), RETURNS(0)),
    ATTEMPT("seal-memory", seal_memory, BLOCKED(fcntl), SUCCEEDS),
};

const struct attempt_group attempts_files = { table, sizeof(table) / sizeof(table[0]) };
