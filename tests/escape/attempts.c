/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/escape/attempts.h"

#include <errno.h>
#include <string.h>

static const struct attempt_group *const groups[] = {
    &attempts_entry,     &attempts_jail,    &attempts_code,        &attempts_processes,
    &attempts_others,    &attempts_surface, &attempts_descriptors, &attempts_files,
    &attempts_resources, &attempts_channel,
};

const struct attempt *attempt_at(size_t index)
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (index < groups[i]->count) {
            return &groups[i]->attempts[index];
        }
        index -= groups[i]->count;
    }
    return NULL;
}

const struct attempt *attempt_find(const char *name)
{
    const struct attempt *attempt;

    for (size_t i = 0; (attempt = attempt_at(i)) != NULL; i++) {
        if (strcmp(attempt->name, name) == 0) {
            return attempt;
        }
    }
    return NULL;
}

long result_of(long returned)
{
    return returned < 0 ? -errno : returned;
}

void report_line(const struct surroundings *s, const char *text)
{
    struct report *report = s->report;
    size_t size = strlen(text);

    if (size + 1 <= sizeof(report->text) - report->text_size) {
        memcpy(report->text + report->text_size, text, size);
        report->text[report->text_size + size] = '\n';
        report->text_size += (uint32_t)size + 1;
    }
}
