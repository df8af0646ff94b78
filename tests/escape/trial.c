/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/escape/trial.h"

#include "ipc/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- comparing ------------------------------------------------------------------------------ */

void describe_value(long value, char *text, size_t size)
{
    const char *name = value < 0 ? strerrorname_np((int)-value) : NULL;

    if (name != NULL) {
        snprintf(text, size, "%s", name);
    } else {
        snprintf(text, size, "%ld", value);
    }
}

static bool returned_as(const struct outcome *wanted, const struct report *report)
{
    return report->done == 1 &&
           (wanted->ending == ENDING_SUCCESS
                ? report->value >= 0
                : wanted->ending == ENDING_RETURN && report->value == wanted->value);
}

static bool expect_returned(const struct outcome *wanted, const struct report *report)
{
    char found[32];
    char value[32];

    if (returned_as(wanted, report)) {
        return true;
    }
    describe_value(report->value, found, sizeof(found));
    describe_value(wanted->value, value, sizeof(value));
    return complain("it returned %s, wanted %s", found,
                    wanted->ending == ENDING_SUCCESS  ? "success"
                    : wanted->ending == ENDING_RETURN ? value
                                                      : "it not to return");
}

/* --- in the jail ---------------------------------------------------------------------------- */

/* 16 bytes, and with the first of them a pipe. */
static int send_descriptor(struct vfu_client *client)
{
    static const char bytes[16];
    int ends[2];
    int err;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    err = vfu_client_raw_send(client, bytes, sizeof(bytes), ends, 1);
    close(ends[0]);
    close(ends[1]);
    return err;
}

/* Returns what the device answered: 0, or an errno, negative if the connection is gone. */
static int ask(struct vfu_client *client, const struct attempt *attempt)
{
    /* So long that the library cannot see what comes behind it, and be surprised that it goes. */
    char name[REGISTER_TRY_SIZE] = "";
    const struct vfio_user_region_access access = {
        .offset = REGISTER_TRY,
        .count = sizeof(name),
    };
    const struct vfu_client_request request = {
        .command = VFIO_USER_REGION_WRITE,
        .head = &access,
        .head_size = sizeof(access),
        .data = name,
        .data_size = access.count,
    };
    uint16_t id;
    int err;

    snprintf(name, sizeof(name), "%s", attempt->name);
    err = vfu_client_submit(client, &request, &id);
    if (err == 0 && attempt->client == CLIENT_SENDS_DESCRIPTOR) {
        err = send_descriptor(client);
    }
    return err == 0 ? vfu_client_collect(client, id, NULL) : err;
}

/* The start of the line that tells the end that @wanted is. */
static void ending_line(const struct outcome *wanted, const struct visit *visit, char *start,
                        size_t size)
{
    switch (wanted->ending) {
    case ENDING_BLOCKED:
        snprintf(start, size, "error blocked-call session=%u call=%s nr=%ld args=", visit->session,
                 wanted->call, wanted->value);
        break;
    case ENDING_KILLED:
        snprintf(start, size, "error device-died session=%u device=%d signal=SIG%s\n",
                 visit->session, visit->device, sigabbrev_np((int)wanted->value));
        break;
    default:
        snprintf(start, size, "error device-protocol session=%u errno=%ld\n", visit->session,
                 wanted->value);
    }
}

/* The connection ends. */
static bool expect_closed(const struct outcome *wanted, int answer, struct trial *trial)
{
    AUTO_VFU_CLIENT_MESSAGE message = { .size = 0 };

    if (answer >= 0) {
        complain("the device answered with errno %d", answer);
        if (vfu_client_region_read(trial->visit.client, 0, REGISTER_REPORT, &trial->report,
                                   sizeof(trial->report)) == 0) {
            return expect_returned(wanted, &trial->report);
        }
        return false;
    }
    return (answer == -ENOTCONN && vfu_client_raw_receive(trial->visit.client, &message) <= 0) ||
           complain("the connection was not closed: %s", strerror(-answer));
}

/* The log says why. The session is over, so nothing is to come. */
static bool expect_cause(const struct broker *broker, const struct outcome *wanted,
                         const struct visit *visit)
{
    char start[256];
    char *log;

    ending_line(wanted, visit, start, sizeof(start));
    if (broker_has_line(broker, visit->log_start, start)) {
        return true;
    }
    log = broker_log(broker);
    complain("the log lacks the line: %.*s...; it has:\n%s", (int)strcspn(start, "\n"), start,
             log + visit->log_start);
    free(log);
    return false;
}

static bool expect_report(const struct outcome *wanted, int answer, struct trial *trial)
{
    struct report *report = &trial->report;
    int err = answer;

    if (err == 0) {
        err = vfu_client_region_read(trial->visit.client, 0, REGISTER_REPORT, report,
                                     sizeof(*report));
    }
    if (err != 0 || report->done != 1 || report->text_size > sizeof(report->text)) {
        return complain("the device does not report: %d", err);
    }
    return expect_returned(wanted, report);
}

static bool await_session_end(const struct broker *broker, const struct visit *visit)
{
    char line[64];

    snprintf(line, sizeof(line), "info session-end session=%u\n", visit->session);
    return broker_await_line(broker, visit->log_start, line, line, sizeof(line));
}

bool trial_in_jail(const struct broker *broker, const struct attempt *attempt,
                   const struct outcome *wanted, struct trial *trial)
{
    bool returns = wanted->ending == ENDING_RETURN || wanted->ending == ENDING_SUCCESS;
    int64_t start = now_ms();
    bool good;
    int answer;

    *trial = (struct trial){ .milliseconds = 0 };
    if (!broker_visit(broker, &trial->visit)) {
        return false;
    }
    answer = ask(trial->visit.client, attempt);
    good = returns ? expect_report(wanted, answer, trial) : expect_closed(wanted, answer, trial);
    visit_end(&trial->visit);
    good = await_session_end(broker, &trial->visit) && good;
    good = good && (returns || expect_cause(broker, wanted, &trial->visit));
    trial->milliseconds = now_ms() - start;
    return good;
}

/* --- outside -------------------------------------------------------------------------------- */

/* @filter: NULL for none. */
static _Noreturn void become_control(const char *build, const char *dir, const char *name,
                                     const char *filter, int out, int err)
{
    char program[4096];

    snprintf(program, sizeof(program), "%s/tests/escape/escape-device", build);
    setenv(SECRET_NAME, SECRET_VALUE, 1);
    if (chdir(dir) == 0 && dup2(open("/dev/null", O_RDWR | O_CLOEXEC), 0) == 0 &&
        dup2(out, 1) == 1 && dup2(err, 2) == 2 && close_range(3, ~0u, 0) == 0) {
        execl(program, program, filter != NULL ? "--filtered" : "--control", name, filter, NULL);
    }
    _exit(127);
}

static char *read_all(int fd)
{
    struct stat st;
    char *text;

    if (fstat(fd, &st) < 0 || (text = calloc(1, (size_t)st.st_size + 1)) == NULL ||
        pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
        abort();
    }
    return text;
}

/* Files, not pipes: nothing that the control writes can make it wait. */
static bool run_control(const char *build, const char *dir, const char *name, const char *filter,
                        struct control *control)
{
    AUTO_FD out = memfd_create("report", MFD_CLOEXEC);
    AUTO_FD err = memfd_create("log", MFD_CLOEXEC);
    pid_t pid = fork();

    if (pid == 0) {
        become_control(build, dir, name, filter, out, err);
    }
    if (pid < 0 || waitpid(pid, &control->status, 0) != pid) {
        return complain("the control cannot be run: %s", strerror(errno));
    }
    control->log = read_all(err);
    if (pread(out, &control->report, sizeof(control->report), 0) != sizeof(control->report)) {
        control->report.done = 0;
    }
    return true;
}

static bool ended_as(const struct outcome *wanted, const struct control *control)
{
    if (wanted->ending == ENDING_KILLED) {
        return WIFSIGNALED(control->status) && WTERMSIG(control->status) == wanted->value;
    }
    return control->status == 0 && returned_as(wanted, &control->report);
}

/* An entry of the table that says nothing is RETURNS(0), which no control has for a second. */
static bool is_given(const struct outcome *outcome)
{
    return outcome->ending != ENDING_RETURN || outcome->value != 0;
}

bool trial_control(const char *build, const char *dir, const struct attempt *attempt,
                   struct control *control)
{
    *control = (struct control){ .status = -1 };
    if (!run_control(build, dir, attempt->name, NULL, control)) {
        return false;
    }
    if (ended_as(&attempt->control, control) ||
        (attempt->optional && ended_as(&(struct outcome)FAILS(ENOSYS), control)) ||
        (is_given(&attempt->control_or) && ended_as(&attempt->control_or, control))) {
        return true;
    }
    if (control->status != 0 || attempt->control.ending == ENDING_KILLED) {
        return complain("the control ended with status %#x", (unsigned)control->status);
    }
    complain("the control:");
    return expect_returned(&attempt->control, &control->report);
}

bool trial_filtered(const char *build, const char *dir, const struct attempt *attempt,
                    const char *filter)
{
    static const struct outcome wanted = FAILS(ENOSYS);
    struct control control = { .status = -1 };
    bool good = run_control(build, dir, attempt->name, filter, &control);

    free(control.log);
    if (good && control.status != 0) {
        return complain("under the filter alone it ended with status %#x",
                        (unsigned)control.status);
    }
    return good &&
           (expect_returned(&wanted, &control.report) || complain("  (under the filter alone)"));
}
