#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# coverage.sh [DIRECTORY]: which lines and branches of device/, ipc/ and policy/ the unit and
# protocol tests reach. A jailed process could not write its counts, so only standalone servers run.
# Prints a table; the build directory has lines in coverage.html.
set -euo pipefail

cd "$(dirname "$0")/.."
build=${1:-$PWD/build-coverage}

tests/install.sh gcc meson ninja-build pkg-config gcovr \
    libseccomp-dev libcap-ng-dev libjson-c-dev libcmocka-dev
[ -e "$build/build.ninja" ] || meson setup "$build" -Db_coverage=true -Dbuildtype=debug
ninja -C "$build"
find "$build" -name '*.gcda' -delete
# shellcheck disable=SC2046 # a list of names
meson test -C "$build" --no-rebuild --num-processes 2 $(
    meson test -C "$build" --list 2>/dev/null |
        sed -nE 's/.*(unit|protocol) \/ (.*)/\2/p' | grep -vE 'brokered|same-bytes|^installed$'
) </dev/null
gcovr --root . "$build" --filter device/ --filter ipc/ --filter policy/ --print-summary \
    --exclude-unreachable-branches --branches --txt --html-details "$build/coverage.html"
