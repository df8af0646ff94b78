#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# run.sh: installs what is missing, builds, and runs every test: in a plain build all suites; under
# AddressSanitizer and UBSan unit, protocol and fuzz tests again; under ThreadSanitizer those with
# threads; under valgrind standalone servers; the fuzzers for some seconds. The last line counts them. Arguments are names of suites to
# run alone: tests/run.sh unit protocol.
set -euo pipefail

cd "$(dirname "$0")/.."
sources=$PWD
build=${BUILD:-$sources/build}
sanitized=$build-asan
threaded=$build-tsan
fuzzing=$build-fuzz
passed=0
failed=0
skipped=0

tests/install.sh gcc g++ libc6-dev linux-libc-dev meson ninja-build pkg-config \
    libseccomp-dev libcap-ng-dev libjson-c-dev libcmocka-dev \
    clang-14 libclang-rt-14-dev python3 strace util-linux procps man-db valgrind pciutils

# configure DIRECTORY OPTION...
configure() {
    local directory=$1
    shift
    [ -e "$directory/build.ninja" ] || meson setup "$directory" "$sources" "$@"
    ninja -C "$directory"
}

# run [--setup SETUP] DIRECTORY SUITE...: runs them and adds up what came of it.
run() {
    local directory suites=() suite log
    if [ "$1" = --setup ]; then
        suites=(--setup "$2")
        shift 2
    fi
    directory=$1
    shift
    for suite in "$@"; do
        suites+=(--suite "$suite")
    done
    rm -f "$directory"/meson-logs/testlog*.json
    meson test -C "$directory" --no-rebuild --print-errorlogs "${suites[@]}" </dev/null || true
    log=$(echo "$directory"/meson-logs/testlog*.json)
    # No log: the runner itself failed, and that must not look like success.
    read -r ok bad left < <(python3 - "$log" <<'COUNT' || echo "0 1 0"
import json, sys
results = [json.loads(line)["result"] for line in open(sys.argv[1])]
skipped = results.count("SKIP")
passed = results.count("OK") + results.count("EXPECTEDFAIL")
assert results, "no test ran"
print(passed, len(results) - passed - skipped, skipped)
COUNT
    )
    passed=$((passed + ok))
    failed=$((failed + bad))
    skipped=$((skipped + left))
}

configure "$build"
if [ $# -gt 0 ]; then
    run "$build" "$@"
else
    run "$build" unit fuzz protocol broker escape e2e
    run --setup valgrind "$build" valgrind
    configure "$sanitized" -Db_sanitize=address,undefined -Dbuildtype=debug
    run "$sanitized" unit fuzz protocol
    configure "$threaded" -Db_sanitize=thread -Dbuildtype=debugoptimized
    run "$threaded" threads
    CC=clang-14 configure "$fuzzing" -Dfuzzers=true -Db_sanitize=address,undefined
    run "$fuzzing" fuzz
fi

if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
