/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker/program.h"

#include "broker/isolate.h"
#include "ipc/fd.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOADER_CACHE "/etc/ld.so.cache"

struct context {
    struct program *program;
    const struct policy *policy;
    char *error;
    size_t error_size;
};

#define FAIL(context, ...) (snprintf((context)->error, (context)->error_size, __VA_ARGS__), -1)

static bool executable_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A broker at BUILD/broker/vfu-broker finds BUILD/samples/NAME. */
static bool in_build_tree(char *path, size_t size, const char *name)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *folder;
    size_t length;

    if (n <= 0) {
        return false;
    }
    self[n] = '\0';
    folder = dirname(self);
    length = strlen(folder);
    if (length < 7 || strcmp(folder + length - 7, "/broker") != 0) {
        return false;
    }
    snprintf(path, size, "%.*s/samples/%s", (int)(length - 7), folder, name);
    return executable_file(path);
}

static int find(struct context *c, const char *name)
{
    char path[2 * PATH_MAX];
    char *real;

    if (name[0] == '/') {
        snprintf(path, sizeof(path), "%s", name);
    } else if (!in_build_tree(path, sizeof(path), name)) {
        snprintf(path, sizeof(path), "%s/%s", VFU_DEVICE_DIR, name);
    }
    if (!executable_file(path)) {
        return FAIL(c, "device.program: %s: %s", path,
                    access(path, F_OK) < 0 ? strerror(errno) : "not an executable file");
    }
    real = realpath(path, NULL);
    if (real == NULL) {
        return FAIL(c, "device.program: %s: %s", path, strerror(errno));
    }
    c->program->path = real;
    return 0;
}

static int add_file(struct context *c, const char *path)
{
    struct program *program = c->program;

    for (size_t i = 0; i < program->file_count; i++) {
        if (strcmp(program->files[i], path) == 0) {
            return 0;
        }
    }
    if (program->file_count == PROGRAM_MAX_FILES) {
        return FAIL(c, "device.program: needs more than %d files", PROGRAM_MAX_FILES);
    }
    program->files[program->file_count] = strdup(path);
    if (program->files[program->file_count] == NULL) {
        return FAIL(c, "out of memory");
    }
    program->file_count++;
    return 0;
}

/* Reads PT_INTERP. @loader stays empty for a static program or a script. */
static int find_loader(struct context *c, char *loader, size_t size)
{
    const char *path = c->program->path;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr ehdr;
    Elf64_Phdr phdr;

    loader[0] = '\0';
    if (fd < 0) {
        return FAIL(c, "device.program: %s: %s", path, strerror(errno));
    }
    if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
        memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0) {
        return 0;
    }
    if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_phentsize != sizeof(phdr)) {
        return FAIL(c, "device.program: %s: not a 64-bit ELF file", path);
    }
    for (unsigned i = 0; i < ehdr.e_phnum; i++) {
        off_t at = (off_t)(ehdr.e_phoff + i * sizeof(phdr));

        if (pread(fd, &phdr, sizeof(phdr), at) != sizeof(phdr)) {
            return FAIL(c, "device.program: %s: truncated ELF file", path);
        }
        if (phdr.p_type == PT_INTERP && phdr.p_filesz > 1 && phdr.p_filesz <= size) {
            if (pread(fd, loader, phdr.p_filesz, (off_t)phdr.p_offset) != (ssize_t)phdr.p_filesz) {
                return FAIL(c, "device.program: %s: truncated ELF file", path);
            }
            loader[phdr.p_filesz - 1] = '\0';
        }
    }
    return 0;
}

/* "name => /path (0x...)", or "/path (0x...)"; the vDSO has no path; "name => not found". */
static int add_library(struct context *c, char *line)
{
    char *path = strchr(line, '/');
    char *end;

    if (strstr(line, "=> not found") != NULL) {
        return FAIL(c, "device.program: %s: library missing: %s", c->program->path,
                    line + strspn(line, " \t"));
    }
    if (path == NULL) {
        return 0;
    }
    end = strstr(path, " (0x");
    if (end != NULL) {
        *end = '\0';
    }
    return add_file(c, path);
}

/*
 * The loader is whatever the program names: it gets few rights and little time. Returns its pid,
 * or -1 and errno.
 */
static pid_t start_loader(const struct context *c, char *loader, int output)
{
    char *argv[] = { loader, (char *)"--list", c->program->path, NULL };
    char *envp[] = { NULL };
    pid_t pid = fork();

    if (pid != 0) {
        return pid;
    }
    if (dup2(output, STDOUT_FILENO) < 0 || isolate_readers_rights() < 0) {
        _exit(1);
    }
    alarm(c->policy->start_seconds);
    execve(loader, argv, envp);
    _exit(1);
}

static int list_libraries(struct context *c, char *loader)
{
    int pipe_fds[2];
    FILE *out;
    char line[PATH_MAX + 256];
    int status = -1;
    int err = 0;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return FAIL(c, "device.program: pipe: %s", strerror(errno));
    }
    pid = start_loader(c, loader, pipe_fds[1]);
    close(pipe_fds[1]);
    out = fdopen(pipe_fds[0], "r");
    if (pid < 0 || out == NULL) {
        close(pipe_fds[0]);
        return FAIL(c, "device.program: %s: %s", loader, strerror(errno));
    }
    while (fgets(line, sizeof(line), out) != NULL && err == 0) {
        line[strcspn(line, "\n")] = '\0';
        err = add_library(c, line);
    }
    fclose(out);
    if (waitpid(pid, &status, 0) < 0 || (err == 0 && status != 0)) {
        return FAIL(c, "device.program: %s --list %s failed", loader, c->program->path);
    }
    return err;
}

int program_resolve(struct program *program, const struct policy *policy, char *error,
                    size_t error_size)
{
    struct context c = {
        .program = program,
        .policy = policy,
        .error = error,
        .error_size = error_size,
    };
    char *const *extra = policy->jail_files;
    char loader[PATH_MAX];

    *program = (struct program){ .path = NULL };
    if (find(&c, policy->program) < 0 || add_file(&c, program->path) < 0 ||
        find_loader(&c, loader, sizeof(loader)) < 0) {
        return -1;
    }
    if (loader[0] != '\0' &&
        (add_file(&c, loader) < 0 || list_libraries(&c, loader) < 0 ||
         (access(LOADER_CACHE, R_OK) == 0 && add_file(&c, LOADER_CACHE) < 0))) {
        return -1;
    }
    for (; extra != NULL && *extra != NULL; extra++) {
        if (access(*extra, F_OK) < 0) {
            return FAIL(&c, "jail.files: %s: %s", *extra, strerror(errno));
        }
        if (add_file(&c, *extra) < 0) {
            return -1;
        }
    }
    return 0;
}

void program_free(struct program *program)
{
    for (size_t i = 0; i < program->file_count; i++) {
        free(program->files[i]);
    }
    free(program->path);
    *program = (struct program){ .path = NULL };
}
