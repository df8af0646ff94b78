/* SPDX-License-Identifier: BSD-3-Clause */
/* Where client and server run: on the same processor, or on two. */
#pragma once

#include <stdbool.h>

enum placement { ONE_PROCESSOR, TWO_PROCESSORS, PLACEMENTS, ANYWHERE = PLACEMENTS };

extern const char *const placement_names[PLACEMENTS];

/* Remembers what there is and moves this process, the client, to the first processor. */
void processors_open(void);

/* Whether there are two. */
bool processors_allow(enum placement placement);

/*
 * In a child: moves to where a server of that placement belongs. All it starts stays there. And
 * into a session of its own, as those of jailed devices are: the kernel schedules sessions as
 * groups, and going from one group to another takes longer than within one.
 */
void processors_enter(enum placement placement);
