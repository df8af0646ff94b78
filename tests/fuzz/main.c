/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz target over files and folders of inputs, where libFuzzer is not there to do it. */
#include <dirent.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned run_file(const char *path)
{
    uint8_t data[65536];
    FILE *file = fopen(path, "re");
    size_t size;

    if (file == NULL) {
        err(1, "%s", path);
    }
    size = fread(data, 1, sizeof(data), file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    return 1;
}

static unsigned run(const char *path)
{
    unsigned count = 0;
    struct stat st;
    DIR *dir;

    if (stat(path, &st) < 0) {
        err(1, "%s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return run_file(path);
    }
    dir = opendir(path);
    if (dir == NULL) {
        err(1, "%s", path);
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char below[4096];

        if (entry->d_name[0] != '.') {
            snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
            count += run_file(below);
        }
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++) {
        count += run(argv[i]);
    }
    if (count == 0) {
        errx(1, "no inputs: want files or folders of them");
    }
    printf("%u inputs\n", count);
    return 0;
}
