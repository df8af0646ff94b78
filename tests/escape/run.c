/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the escapes: run root|user BUILD [NAME...]
 *
 * Every attempt gets a device process of its own, fresh and sealed; then its control runs outside.
 * What the final filter stops is tried again in a plain process that has the filter and nothing
 * else of the jail; and what other layers have to stop as well in a jail whose filter lets it pass.
 * The result is a table: attempt, what stops it, outcome, what the other layers do alone ("-": one
 * layer alone stops it). "user" run by root gives up its rights
 * first, and works on copies of the programs, because the build may be where only root can look.
 */
#include "tests/escape/checks.h"
#include "tests/escape/scenarios.h"

#include "broker/filter.h"
#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP 77     /* as meson has it */
#define NOBODYS_ID 12345 /* no account has this number, nor need it have one */

struct run {
    const char *build;
    char **names; /* of attempts and scenarios, NULL-terminated; none: all */
    unsigned count;
    unsigned bad;
    unsigned alone; /* that one layer alone stops */
};

static bool is_wanted(const struct run *run, const char *name)
{
    for (char **wanted = run->names; *wanted != NULL; wanted++) {
        if (strcmp(*wanted, name) == 0) {
            return true;
        }
    }
    return run->names[0] == NULL;
}

/* --- the table ------------------------------------------------------------------------------ */

static const char *layer_of(const struct outcome *outcome)
{
    switch (outcome->ending) {
    case ENDING_BLOCKED:
        return "final filter";
    case ENDING_KILLED:
        return "no core file";
    case ENDING_SESSION:
        return "gate";
    default:
        return outcome->layer;
    }
}

static void describe(const struct outcome *outcome, char *text, size_t size)
{
    switch (outcome->ending) {
    case ENDING_BLOCKED:
        snprintf(text, size, "blocked-call %s", outcome->call);
        break;
    case ENDING_KILLED:
        snprintf(text, size, "SIG%s", sigabbrev_np((int)outcome->value));
        break;
    case ENDING_SESSION:
        snprintf(text, size, "device-protocol %s", strerrorname_np((int)outcome->value));
        break;
    case ENDING_SUCCESS:
        snprintf(text, size, "harmless");
        break;
    default:
        describe_value(outcome->value, text, size);
    }
}

static void print_row(struct run *run, const char *group, const char *name, const char *layer,
                      const char *outcome, const char *others, bool good)
{
    printf("%-12s %-26s %-22s %-34s %-28s %s\n", group, name, layer, outcome, others,
           good ? "ok" : "NOT OK");
    fflush(stdout);
    run->count++;
    run->bad += !good;
}

/* --- attempts ------------------------------------------------------------------------------- */

/* The brokers that attempts are made against, and the final filter as a file. */
struct grounds {
    struct broker product;
    struct broker lenient;
    char filter[300];
};

static bool run_attempt(const struct run *run, const struct grounds *grounds,
                        const struct attempt *attempt)
{
    const struct broker *broker = &grounds->product;
    struct trial trial;
    struct control control;
    bool good = trial_in_jail(broker, attempt, &attempt->jail, &trial) &&
                check_trial(broker, run->build, attempt, &trial);

    good = trial_control(run->build, broker->dir, attempt, &control) &&
           check_control(broker, attempt, &control) && good;
    free(control.log);
    if (attempt->jail.ending == ENDING_BLOCKED) {
        good = trial_filtered(run->build, broker->dir, attempt, grounds->filter) && good;
    }
    if (attempt->others.layer != NULL &&
        !trial_in_jail(&grounds->lenient, attempt, &attempt->others, &trial)) {
        good = complain("  (by the other layers alone)");
    }
    return good || complain("  %s: not as expected", attempt->name);
}

/* What the other layers do alone: "-" where there are none. */
static void describe_others(const struct attempt *attempt, char *text, size_t size)
{
    char outcome[40];

    snprintf(text, size, "-");
    if (attempt->others.layer != NULL) {
        describe(&attempt->others, outcome, sizeof(outcome));
        snprintf(text, size, "%s: %s", attempt->others.layer, outcome);
    }
}

static void run_attempts(struct run *run, const struct grounds *grounds)
{
    const struct attempt *attempt;

    for (size_t i = 0; (attempt = attempt_at(i)) != NULL; i++) {
        char outcome[80];
        char others[80];

        if (is_wanted(run, attempt->name)) {
            describe_others(attempt, others, sizeof(others));
            describe(&attempt->jail, outcome, sizeof(outcome));
            run->alone += attempt->others.layer == NULL;
            print_row(run, attempt->group, attempt->name, layer_of(&attempt->jail), outcome, others,
                      run_attempt(run, grounds, attempt));
        }
    }
}

/* After all that, it still does its duty, and ends as it should. */
static bool broker_is_well(struct broker *broker)
{
    struct visit visit;
    bool good = broker_visit(broker, &visit);

    visit_end(&visit);
    return broker_stop(broker) && good;
}

/* The final filter that the broker's devices have, for a plain process to load. */
static bool write_filter(struct grounds *grounds)
{
    const struct policy policy = { .file = NULL };
    struct filter filter = { .code = NULL };
    const char *unknown;
    FILE *file;
    bool good;

    snprintf(grounds->filter, sizeof(grounds->filter), "%s/filter", grounds->product.dir);
    file = fopen(grounds->filter, "we");
    good = file != NULL && filter_compile_final(&filter, &policy, 1, &unknown) == 0 &&
           fwrite(filter.code, sizeof(*filter.code), filter.count, file) == filter.count;
    if (file != NULL) {
        good = fclose(file) == 0 && good;
    }
    filter_free(&filter);
    return good || complain("%s: cannot be written", grounds->filter);
}

static void run_all(struct run *run)
{
    static const char policy[] = ", \"dma\": {\"access\": \"rw\"}";
    struct grounds grounds = { .filter = "" };
    bool good = broker_start(&grounds.product, run->build, policy) &&
                broker_start_kind(&grounds.lenient, run->build, policy, BROKER_LENIENT) &&
                write_filter(&grounds);

    if (good) {
        run_attempts(run, &grounds);
        good = broker_is_well(&grounds.product);
        good = broker_is_well(&grounds.lenient) && good;
    }
    unlink(grounds.filter);
    broker_clean(&grounds.product);
    broker_clean(&grounds.lenient);
    good = nobody_is_left() && good;
    print_row(run, "after all", "broker", "", "serves, ends, leaves nobody", "", good);
    for (size_t i = 0; i < scenario_count; i++) {
        const struct scenario *s = &scenarios[i];

        if (is_wanted(run, s->name)) {
            print_row(run, "scenario", s->name, s->layer, s->outcome, "", s->run(run->build));
        }
    }
}

/* A crash may leave a core where nothing forbids it: the control has to. */
static void permit_cores(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_CORE, &limit);
    }
}

static int run_here(const char *build, char **names)
{
    struct run run = { .build = build, .names = names };

    permit_cores();
    /* Whoever loses its parent becomes a child of this process, and is missed at the end. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        perror("prctl");
        return EXIT_FAILURE;
    }
    printf("%-12s %-26s %-22s %-34s %s\n", "group", "attempt", "stopped by", "outcome",
           "by other layers alone");
    run_all(&run);
    printf("%u attempts as uid %u, %u of them stopped by one layer alone, %u not as expected\n",
           run.count, geteuid(), run.alone, run.bad);
    return run.bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- as somebody else ----------------------------------------------------------------------- */

/* The programs find each other and the library by these places. */
static const char *const copies[] = { "broker/vfu-broker", "device/libvfio-user.so.0",
                                      "tests/escape/escape-device", "tests/escape/run",
                                      "tests/rules/broker-of-other-rules" };
/* A path in a folder. */
#define PATH_SIZE (2 * PATH_MAX)

static const char *const folders[] = { "broker", "device", "tests", "tests/escape", "tests/rules" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool copy_file(const char *from, const char *to)
{
    AUTO_FD in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_FD out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    char bytes[65536];
    ssize_t n = -1;

    while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof(bytes))) > 0) {
        if (write(out, bytes, (size_t)n) != n) {
            return false;
        }
    }
    return n == 0 && fchmod(out, 0755) == 0;
}

static bool make_copies(const char *build, char *dir)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    bool good = mkdtemp(dir) != NULL && chmod(dir, 0755) == 0;

    for (size_t i = 0; good && i < COUNT(folders); i++) {
        snprintf(to, sizeof(to), "%s/%s", dir, folders[i]);
        good = mkdir(to, 0700) == 0 && chmod(to, 0755) == 0;
    }
    for (size_t i = 0; good && i < COUNT(copies); i++) {
        snprintf(from, sizeof(from), "%s/%s", build, copies[i]);
        snprintf(to, sizeof(to), "%s/%s", dir, copies[i]);
        good = copy_file(from, to);
    }
    return good || complain("%s: the programs cannot be copied: %s", dir, strerror(errno));
}

static void remove_copies(const char *dir)
{
    char path[PATH_SIZE];

    for (size_t i = 0; i < COUNT(copies); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, copies[i]);
        unlink(path);
    }
    for (size_t i = COUNT(folders); i-- > 0;) {
        snprintf(path, sizeof(path), "%s/%s", dir, folders[i]);
        rmdir(path);
    }
    rmdir(dir);
}

/* Executes the copy of this program: only then is it a process that its own uid may look into. */
static _Noreturn void become_somebody_else(const char *dir, char **argv)
{
    char program[PATH_SIZE];
    char *copy = strdup(dir);

    snprintf(program, sizeof(program), "%s/tests/escape/run", dir);
    argv[2] = copy;
    if (setgroups(0, NULL) == 0 && setresgid(NOBODYS_ID, NOBODYS_ID, NOBODYS_ID) == 0 &&
        setresuid(NOBODYS_ID, NOBODYS_ID, NOBODYS_ID) == 0 && chdir("/") == 0) {
        execv(program, argv);
    }
    perror(program);
    _exit(EXIT_FAILURE);
}

static int run_as_somebody_else(const char *build, char **argv)
{
    const char *base = getenv("TMPDIR");
    char dir[PATH_MAX];
    int status = EXIT_FAILURE << 8;
    pid_t pid;

    snprintf(dir, sizeof(dir), "%s/escape-build-XXXXXX", base != NULL ? base : "/tmp");
    if (make_copies(build, dir)) {
        pid = fork();
        if (pid == 0) {
            become_somebody_else(dir, argv);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            perror("fork");
        }
    }
    remove_copies(dir);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    bool as_root = argc >= 3 && strcmp(argv[1], "root") == 0;

    if (argc < 3 || (!as_root && strcmp(argv[1], "user") != 0)) {
        complain("usage: %s root|user BUILD [NAME...]", argv[0]);
        return EXIT_FAILURE;
    }
    if (as_root && geteuid() != 0) {
        printf("skipped: not root, so what root's broker does differently cannot be tried\n");
        return EXIT_SKIP;
    }
    if (!as_root && geteuid() == 0) {
        return run_as_somebody_else(argv[2], argv);
    }
    return run_here(argv[2], argv + 3);
}
