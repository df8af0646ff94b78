/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/report.h"
#include "bench/limits.h"

#include <err.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

struct figure {
    char name[128];
    const char *unit;
    double value;
    bool compared;   /* the next two are there */
    double baseline; /* in the same unit */
    double ratio;
    const struct limit *limit;
    char missing[96]; /* why there is no value; else empty */
};

static struct {
    struct figure *figures;
    size_t count;
    bool json;
    int processors;
} report;

static void read_processor(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(name, size, "unknown");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, "model name", 10) == 0) {
            snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\"\\\n"), colon + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* How many there were when the report began: since then we keep to one. */
static void describe_machine(const char *format)
{
    struct utsname kernel;
    char processor[128];

    uname(&kernel);
    read_processor(processor, sizeof(processor));
    printf(format, processor, report.processors, kernel.release, kernel.machine);
}

void report_open(bool json)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    report.processors = CPU_COUNT(&set);
    report.json = json;
    if (!json) {
        describe_machine("%s, %d processors, Linux %s (%s)\n");
    }
}

void report_heading(const char *text)
{
    if (!report.json) {
        printf("\n%-92s %13s %13s %7s %8s\n", text, "figure", "baseline", "ratio", "at most");
        fflush(stdout);
    }
}

static const char *digits(double value)
{
    static char text[32];
    double size = value < 0 ? -value : value;
    int places = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;

    snprintf(text, sizeof(text), "%.*f", places, value);
    return text;
}

static void print_row(const struct figure *figure)
{
    const struct limit *limit = figure->limit;

    printf("%-92s ", figure->name);
    if (figure->missing[0] != '\0') {
        printf("%s\n", figure->missing);
        return;
    }
    printf("%8s %-4s", digits(figure->value), figure->unit);
    if (figure->compared) {
        printf(" %8s %-4s", digits(figure->baseline), figure->unit);
        printf(" %7.3f", figure->ratio);
    } else if (limit != NULL) {
        printf(" %13s %7s", "", "");
    }
    if (limit != NULL) {
        double held = limit->of_value ? figure->value : figure->ratio;

        printf(" %8s%s", digits(limit->at_most), held > limit->at_most ? "  not met" : "");
    }
    printf("\n");
}

static struct figure *last(void)
{
    return &report.figures[report.count - 1];
}

static struct figure *add(const char *unit, const char *format, va_list arguments)
{
    struct figure *figures = reallocarray(report.figures, report.count + 1, sizeof(*figures));

    if (figures == NULL) {
        err(EXIT_FAILURE, "report");
    }
    report.figures = figures;
    report.count++;
    memset(last(), 0, sizeof(*figures));
    last()->unit = unit;
    vsnprintf(last()->name, sizeof(last()->name), format, arguments);
    last()->limit = limit_of(last()->name);
    return last();
}

static void show(const struct figure *figure)
{
    if (!report.json) {
        print_row(figure);
        fflush(stdout);
    }
}

void report_value(const char *unit, double value, const char *name, ...)
{
    va_list arguments;

    va_start(arguments, name);
    add(unit, name, arguments)->value = value;
    va_end(arguments);
    show(last());
}

void report_series(const char *unit, const struct series *series, const struct series *baseline,
                   const char *name, ...)
{
    struct figure *figure;
    va_list arguments;

    va_start(arguments, name);
    figure = add(unit, name, arguments);
    va_end(arguments);
    figure->value = series_median(series);
    if (baseline != NULL) {
        figure->compared = true;
        figure->baseline = series_median(baseline);
        figure->ratio = series_ratio(series, baseline);
    }
    show(figure);
}

void report_missing(const char *why, const char *name, ...)
{
    va_list arguments;

    va_start(arguments, name);
    snprintf(add("", name, arguments)->missing, sizeof(last()->missing), "%s", why);
    va_end(arguments);
    show(last());
}

static void print_json_figure(const struct figure *figure)
{
    printf("{\"name\": \"%s\"", figure->name);
    if (figure->missing[0] != '\0') {
        printf(", \"missing\": \"%s\"}", figure->missing);
        return;
    }
    printf(", \"unit\": \"%s\", \"value\": %.6g", figure->unit, figure->value);
    if (figure->compared) {
        printf(", \"baseline\": %.6g, \"ratio\": %.4f", figure->baseline, figure->ratio);
    }
    if (figure->limit != NULL) {
        printf(", \"%s\": %g", figure->limit->of_value ? "value_at_most" : "ratio_at_most",
               figure->limit->at_most);
    }
    printf("}");
}

static void print_json(void)
{
    describe_machine("{\"machine\": {\"processor\": \"%s\", \"processors\": %d, "
                     "\"kernel\": \"%s\", \"architecture\": \"%s\"},\n\"figures\": [");
    for (size_t i = 0; i < report.count; i++) {
        printf("%s\n", i > 0 ? "," : "");
        print_json_figure(&report.figures[i]);
    }
    printf("\n]}\n");
}

void report_close(void)
{
    if (report.json) {
        print_json();
    } else {
        report_heading("What has to hold");
        for (size_t i = 0; i < report.count; i++) {
            if (report.figures[i].limit != NULL) {
                print_row(&report.figures[i]);
            }
        }
    }
    free(report.figures);
}
