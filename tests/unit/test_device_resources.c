/* SPDX-License-Identifier: BSD-3-Clause */
/* Resources and policy as a device program sees them: vfu-broker.h. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-user/vfu-broker.h>

static void expect_error(const char *name, int error)
{
    errno = 0;
    assert_int_equal(vfu_resource_fd(name), -1);
    assert_int_equal(errno, error);
}

static int mode_of(int fd)
{
    return fcntl(fd, F_GETFL) & O_ACCMODE;
}

static void test_bad_names_are_einval(void **state)
{
    char longest[66];

    memset(longest, 'a', 65);
    longest[65] = '\0';
    expect_error(NULL, EINVAL);
    expect_error("", EINVAL);
    expect_error("a=b", EINVAL);
    expect_error("a,b", EINVAL);
    expect_error("../a", EINVAL);
    expect_error("\xc3\xa4", EINVAL);
    expect_error(longest, EINVAL);
    expect_error(longest + 1, ENOENT);
}

static void test_standalone_opens_what_the_environment_says(void **state)
{
    char path[] = "/tmp/resource-XXXXXX";
    char value[64];
    int file = mkstemp(path);
    struct stat wanted, got;
    int fd;

    assert_true(file >= 0);
    assert_int_equal(fstat(file, &wanted), 0);
    close(file);
    snprintf(value, sizeof(value), "rw:%s", path);
    expect_error("disk.0", ENOENT);
    assert_int_equal(setenv("VFU_RESOURCE_disk_0", value, 1), 0);
    fd = vfu_resource_fd("disk.0");
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &got), 0);
    assert_int_equal(got.st_ino, wanted.st_ino);
    assert_int_equal(mode_of(fd), O_RDWR);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(vfu_resource_fd("disk.0"), fd); /* the same each time */
    assert_int_equal(setenv("VFU_RESOURCE_rom", path, 1), 0);
    assert_int_equal(mode_of(vfu_resource_fd("rom")), O_RDONLY);
    assert_true(vfu_resource_fd("rom") != fd);
    unlink(path);
    assert_int_equal(setenv("VFU_RESOURCE_gone", path, 1), 0);
    expect_error("gone", ENOENT);
    assert_int_equal(setenv("VFU_RESOURCE_gone", "/", 1), 0); /* was not remembered */
    assert_true(vfu_resource_fd("gone") >= 0);
}

static void test_standalone_opens_64_at_most(void **state)
{
    char name[32], variable[64];
    int count = 0;

    for (; count < 100; count++) {
        snprintf(name, sizeof(name), "many.%d", count);
        snprintf(variable, sizeof(variable), "VFU_RESOURCE_many_%d", count);
        assert_int_equal(setenv(variable, "/dev/null", 1), 0);
        if (vfu_resource_fd(name) < 0) {
            break;
        }
    }
    assert_int_equal(errno, ENOSPC);
    assert_in_range(count, 1, 64);
}

static void test_brokered_finds_what_was_inherited(void **state)
{
    assert_int_equal(setenv("VFU_BROKER_FD", "3", 1), 0);
    expect_error("disk.0", ENOENT); /* not what the environment says standalone */
    assert_int_equal(setenv("VFU_BROKER_RESOURCES", "fw=4,disk.0=5,disk=16", 1), 0);
    assert_int_equal(vfu_resource_fd("fw"), 4);
    assert_int_equal(vfu_resource_fd("disk.0"), 5);
    assert_int_equal(vfu_resource_fd("disk"), 16);
    expect_error("f", ENOENT);
    expect_error("w", ENOENT);
    expect_error("isk", ENOENT);
    expect_error("disk.", ENOENT);
    assert_int_equal(unsetenv("VFU_BROKER_RESOURCES"), 0);
    assert_int_equal(unsetenv("VFU_BROKER_FD"), 0);
}

static void test_policy_has_a_name_under_the_broker_alone(void **state)
{
    assert_int_equal(setenv("VFU_BROKER_POLICY", "gpio", 1), 0);
    assert_null(vfu_policy_name());
    assert_int_equal(setenv("VFU_BROKER_FD", "3", 1), 0);
    assert_string_equal(vfu_policy_name(), "gpio");
    assert_int_equal(unsetenv("VFU_BROKER_FD"), 0);
    assert_false(vfu_is_sealed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_names_are_einval),
        cmocka_unit_test(test_standalone_opens_what_the_environment_says),
        cmocka_unit_test(test_standalone_opens_64_at_most),
        cmocka_unit_test(test_brokered_finds_what_was_inherited),
        cmocka_unit_test(test_policy_has_a_name_under_the_broker_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
