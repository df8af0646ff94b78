/* SPDX-License-Identifier: BSD-3-Clause */
/* What has to hold after an attempt, beyond its outcome: in the log, and in what it reports. */
#pragma once

#include "tests/escape/trial.h"

/*
 * @build is the top folder of the build. Both return false with the reason on standard error; true
 * for an attempt of which nothing more is to be said.
 */
bool check_trial(const struct broker *broker, const char *build, const struct attempt *attempt,
                 const struct trial *trial);
bool check_control(const struct broker *broker, const struct attempt *attempt,
                   const struct control *control);
