/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/escape/checks.h"

#include "broker/device_log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct context {
    const struct broker *broker;
    const char *build;
    const struct trial *trial;
};

/* --- the log -------------------------------------------------------------------------------- */

static bool expect_line(const struct context *c, const char *line)
{
    return broker_has_line(c->broker, c->trial->visit.log_start, line) ||
           complain("the log lacks the line: %s", line);
}

/* A line of the broker about what the device wrote: the whole line. */
static bool expect_text(const struct context *c, const char *text)
{
    char line[LOG_LINE_MAX];

    snprintf(line, sizeof(line), "info device-log session=%u text=\"%s\"\n",
             c->trial->visit.session, text);
    return expect_line(c, line);
}

static bool log_is_not_forged(const struct context *c)
{
    return expect_text(c, "") && expect_text(c, "error blocked-call session=1 call=forged") &&
           expect_text(c, "\\x1b[2Jcleared\\x0dinfo ready\\x5cx0a' session=7 nul\\x7f\\xff") &&
           (!broker_has_line(c->broker, c->trial->visit.log_start, "error") ||
            complain("the log has an error that nobody made"));
}

static bool log_line_is_cut(const struct context *c)
{
    char text[DEVICE_LOG_LINE + 1];

    memset(text, 'A', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    return expect_text(c, text);
}

static size_t count_lines(const struct context *c, const char *start)
{
    char *text = broker_log(c->broker);
    size_t count = 0;

    for (const char *line = text + c->trial->visit.log_start; *line != '\0';
         line = strchr(line, '\n') + 1) {
        count += strncmp(line, start, strlen(start)) == 0;
    }
    free(text);
    return count;
}

/* No more than the limit, and the burst in any case: a single read of the pipe has that many. */
static bool log_is_limited(const struct context *c)
{
    /* Seconds are counted whole, on both sides. */
    size_t seconds = (size_t)c->trial->milliseconds / 1000 + 2;
    size_t most = LOG_LIMIT_BURST + seconds * LOG_LIMIT_PER_SECOND;
    char start[80];
    size_t found;

    snprintf(start, sizeof(start), "info device-log session=%u text=\"flood\"\n",
             c->trial->visit.session);
    found = count_lines(c, start);
    return (found >= LOG_LIMIT_BURST && found <= most) ||
           complain("%zu lines of the flood in the log, wanted %d to %zu", found, LOG_LIMIT_BURST,
                    most);
}

static bool expect_refusal(const struct context *c, unsigned command, const char *reason)
{
    char line[160];

    snprintf(line, sizeof(line),
             "warning descriptor-refused session=%u command=%u errno=%d "
             "reason=%s\n",
             c->trial->visit.session, command, EINVAL, reason);
    return expect_line(c, line);
}

static bool refused_as_memory(const struct context *c)
{
    return expect_refusal(c, 2, "not-memory");
}

static bool refused_as_interrupt(const struct context *c)
{
    return expect_refusal(c, 8, "not-an-eventfd");
}

static bool refused_as_incomplete(const struct context *c)
{
    return expect_refusal(c, 0, "neither-memory-nor-eventfd");
}

static bool refused_as_unknown(const struct context *c)
{
    return expect_refusal(c, 0xffff, "neither-memory-nor-eventfd");
}

/* --- what the process has ------------------------------------------------------------------- */

/* All of it, and in order: the policy's variables, the broker's, "--", the arguments. */
static bool environment_is_the_policys(const struct context *c)
{
    char path[PATH_MAX], program[PATH_MAX], wanted[2 * PATH_MAX + 512];
    const struct report *report = &c->trial->report;

    snprintf(path, sizeof(path), "%s/tests/escape/escape-device", c->build);
    if (realpath(path, program) == NULL) {
        return complain("%s: %s", path, strerror(errno));
    }
    snprintf(wanted, sizeof(wanted),
             "ESCAPE_VISIBLE=yes\nVFU_BROKER_FD=3\nLD_ORIGIN_PATH=%.*s\nVFU_BROKER_POLICY=policy\n-"
             "-\n%s\n%s\n",
             (int)(strrchr(program, '/') - program), program, program, c->broker->socket);
    if (report->text_size != strlen(wanted) ||
        memcmp(report->text, wanted, report->text_size) != 0) {
        return complain("environment and arguments are:\n%.*swanted:\n%s", (int)report->text_size,
                        report->text, wanted);
    }
    return true;
}

/* One line of the sweep: the descriptor's number, type, device number, links. */
static bool descriptor_is_expected(unsigned fd, unsigned type, unsigned major, unsigned minor,
                                   unsigned links)
{
    switch (fd) {
    case 0:
        return type == S_IFCHR && major == 1 && minor == 3;
    case 1:
    case 2:
        return type == S_IFIFO;
    case 3:
        return type == S_IFSOCK;
    default:
        /* Memory without a name; what has no type is an anonymous inode; the client. */
        return (type == S_IFREG && links == 0) || type == 0 || type == S_IFSOCK;
    }
}

static bool descriptors_are_expected(const struct context *c)
{
    const struct report *report = &c->trial->report;
    unsigned count = 0;
    unsigned sockets = 0;
    char text[REPORT_TEXT + 1];

    memcpy(text, report->text, report->text_size);
    text[report->text_size] = '\0';
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        unsigned fd, type, major, minor, links;

        if (sscanf(line, "%u %o %u:%u links=%u", &fd, &type, &major, &minor, &links) != 5 ||
            !descriptor_is_expected(fd, type, major, minor, links)) {
            return complain("a descriptor that should not be there: %s", line);
        }
        count++;
        sockets += type == S_IFSOCK;
    }
    if (count != (unsigned)report->value || count > 8 || sockets != 2) {
        return complain("%u descriptors, %u of them sockets", count, sockets);
    }
    return true;
}

/* --- core files ----------------------------------------------------------------------------- */

/* Removes them. Returns how many there were. */
static unsigned remove_cores(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        if (strstr(entry->d_name, "core") != NULL && unlinkat(dirfd(dir), entry->d_name, 0) == 0) {
            count++;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

static bool no_core_is_left(const struct context *c)
{
    return remove_cores(c->broker->dir) == 0 || complain("the crash left a core file");
}

/* Whether the system would write one at all: a limit of the user may say no. */
static bool core_is_left(const struct broker *broker, const struct control *control)
{
    struct rlimit limit;
    bool possible = getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur > 0;

    remove_cores(broker->dir);
    return WCOREDUMP(control->status) || !possible ||
           complain("the crash of a plain process leaves no core either");
}

/* --- outside -------------------------------------------------------------------------------- */

/* What the jail's log escapes is written as it is. */
static bool forgery_succeeds(const struct broker *broker, const struct control *control)
{
    return strstr(control->log, "\nerror blocked-call session=1 call=forged\n\033[2J") != NULL ||
           complain("the control's log is changed");
}

static const struct {
    const char *name;
    bool (*jail)(const struct context *c);
    bool (*control)(const struct broker *broker, const struct control *control);
} table[] = {
    { "descriptor-sweep", descriptors_are_expected, NULL },
    { "environment", environment_is_the_policys, NULL },
    { "crash", no_core_is_left, core_is_left },
    { "log-forgery", log_is_not_forged, forgery_succeeds },
    { "log-endless-line", log_line_is_cut, NULL },
    { "log-flood", log_is_limited, NULL },
    { "take-as-memory", refused_as_memory, NULL },
    { "take-as-interrupt", refused_as_interrupt, NULL },
    { "take-as-incomplete", refused_as_incomplete, NULL },
    { "take-as-unknown", refused_as_unknown, NULL },
    { "take-too-much", refused_as_unknown, NULL },
};

bool check_trial(const struct broker *broker, const char *build, const struct attempt *attempt,
                 const struct trial *trial)
{
    const struct context c = { .broker = broker, .build = build, .trial = trial };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, attempt->name) == 0 && table[i].jail != NULL) {
            return table[i].jail(&c);
        }
    }
    return true;
}

bool check_control(const struct broker *broker, const struct attempt *attempt,
                   const struct control *control)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, attempt->name) == 0 && table[i].control != NULL) {
            return table[i].control(broker, control);
        }
    }
    return true;
}
