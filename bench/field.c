/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/field.h"
#include "bench/report.h"

#include <string.h>
#include <unistd.h>

const char *const field_names[CONTENDERS] = {
    [BARE] = "bare echo",
    [BARE_WAITING] = "bare ppoll, peek, read, write",
    [BARE_SPINNING] = "bare spinning peek, read, write",
    [STANDALONE] = "standalone",
    [BROKERED] = "broker",
    [STANDALONE_POLLING] = "standalone, adaptive wait",
    [BROKERED_POLLING] = "broker, adaptive wait",
    [PEER] = "peer library",
};

static const struct {
    enum server_kind kind;
    unsigned poll_us;
} servers[CONTENDERS] = {
    [STANDALONE] = { SERVER_STANDALONE, 0 },
    [BROKERED] = { SERVER_BROKERED, 0 },
    [STANDALONE_POLLING] = { SERVER_STANDALONE, SERVER_POLL_US },
    [BROKERED_POLLING] = { SERVER_BROKERED, SERVER_POLL_US },
    [PEER] = { SERVER_PEER, 0 },
};

bool field_polls(enum contender who)
{
    return servers[who].poll_us > 0;
}

void field_open(struct field *field, const struct bench *bench, enum placement placement,
                bool polling)
{
    memset(field, 0, sizeof(*field));
    field->bench = bench;
    field->placement = placement;
    for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
        if ((who == PEER && bench->peer_device == NULL) || (servers[who].poll_us > 0 && !polling)) {
            continue;
        }
        server_start(&field->servers[who], bench, servers[who].kind, placement,
                     servers[who].poll_us);
        field->socks[who] = server_connect(&field->servers[who]);
        field->present[who] = true;
    }
}

void field_drop_bare(struct field *field, enum contender who)
{
    if (field->present[who]) {
        echo_stop(&field->echoes[who]);
        field->present[who] = false;
    }
}

void field_close(struct field *field)
{
    for (enum contender who = BARE; who < STANDALONE; who++) {
        field_drop_bare(field, who);
    }
    for (enum contender who = STANDALONE; who < CONTENDERS; who++) {
        if (field->present[who]) {
            close(field->socks[who]);
            server_stop(&field->servers[who]);
        }
    }
}

void field_set_bare(struct field *field, enum contender who,
                    void (*serve)(int sock, const void *opaque), const void *opaque)
{
    field_drop_bare(field, who);
    echo_spawn(&field->echoes[who], field->placement, serve, opaque);
    field->socks[who] = field->echoes[who].sock;
    field->present[who] = true;
}

void field_set_echo(struct field *field, const struct echo_script *script)
{
    field_set_bare(field, BARE, echo_serve, script);
}

void field_run(struct field *field, size_t rounds, field_measure_fn *measure, const void *opaque,
               struct tally *tallies, size_t count)
{
    double values[FIELD_VALUES_MAX];

    memset(tallies, 0, count * sizeof(*tallies));
    for (size_t round = 0; round <= rounds; round++) {
        for (enum contender i = 0; i < CONTENDERS; i++) {
            enum contender who = (enum contender)((round + i) % CONTENDERS);

            if (!field->present[who]) {
                continue;
            }
            measure(field, who, opaque, values);
            for (size_t k = 0; round > 0 && k < count; k++) {
                series_add(&tallies[k].of[who], values[k]);
            }
        }
    }
}

/* Who is compared with whom, besides all with the baseline. */
static const struct {
    enum contender who, with;
} pairs[] = {
    { BROKERED, STANDALONE },
    { BROKERED_POLLING, STANDALONE_POLLING },
    { STANDALONE, PEER },
};

static const struct series *baseline_of(const struct field *field, const struct tally *tally,
                                        const struct tally *bare, enum contender who)
{
    if (bare != NULL) {
        return &bare->of[who];
    }
    return field->present[BARE] ? &tally->of[BARE] : NULL;
}

void field_report(const struct field *field, const char *unit, const struct tally *tally,
                  const struct tally *bare, const char *name)
{
    for (enum contender who = BARE + 1; who < CONTENDERS; who++) {
        if (field->present[who]) {
            report_series(unit, &tally->of[who], baseline_of(field, tally, bare, who), "%s: %s",
                          name, field_names[who]);
        }
    }
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        enum contender who = pairs[i].who, with = pairs[i].with;

        if (field->present[who] && field->present[with]) {
            report_series(unit, &tally->of[who], &tally->of[with], "%s: %s against %s", name,
                          field_names[who], field_names[with]);
        }
    }
}
