#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# test_vfu.sh VFU GPIO: the commands of vfu against the GPIO card, standalone.
set -euo pipefail

vfu=$1
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT

# expect PATTERN COMMAND...: it succeeds, and prints a line that matches.
expect() {
    local pattern=$1
    shift
    "$@" >"$dir/out" 2>&1 || { echo "failed: $*"; cat "$dir/out"; exit 1; }
    [ -z "$pattern" ] || grep -qE -- "$pattern" "$dir/out" ||
        { echo "no $pattern: $*"; cat "$dir/out"; exit 1; }
}

# fails STATUS PATTERN COMMAND...
fails() {
    local status=$1 pattern=$2 got=0
    shift 2
    "$@" >"$dir/out" 2>&1 || got=$?
    [ "$got" -eq "$status" ] || { echo "status $got: $*"; cat "$dir/out"; exit 1; }
    [ -z "$pattern" ] || grep -qE -- "$pattern" "$dir/out" ||
        { echo "no $pattern: $*"; cat "$dir/out"; exit 1; }
}

wait_for() {
    until [ -S "$1" ]; do
        sleep 0.01
    done
}

start() {
    "$2" --loopback "$dir/$1" >/dev/null 2>&1 &
    wait_for "$dir/$1"
}

start device "$2"
expect '^  bar2 +0x100 bytes rw$' "$vfu" info "$dir/device"
expect '^  intx +1$' "$vfu" info "$dir/device"
expect 'device 494f:0dc8, subsystem 494f:0dc8, class 118000' "$vfu" info "$dir/device"
expect '^bar2\+0 0x00$' "$vfu" read "$dir/device" bar2 1
expect '^bar2\+0x4 0x0000$' "$vfu" read "$dir/device" bar2+2 2 2
expect '^config\+0 0x0dc8494f$' "$vfu" read "$dir/device" config
expect '' "$vfu" write "$dir/device" bar2 1 0x55 0xaa
expect '' "$vfu" reset "$dir/device"
expect '^100 reads of 4 bytes: median [0-9.]+ us' "$vfu" bench "$dir/device" config 100
fails 1 'the device answers: Invalid argument' "$vfu" read "$dir/device" bar2+0x200
fails 1 "$dir/none: No such file" "$vfu" info "$dir/none"
fails 2 'wanted: SOCKET' "$vfu" read "$dir/device" bar9
fails 2 'values that fit' "$vfu" write "$dir/device" bar2 1 0x100
fails 2 'wanted: a command' "$vfu" frobnicate
expect '^vfu [0-9.]+$' "$vfu" --version
expect 'vfu trace --listen' "$vfu" --help

"$vfu" trace --listen "$dir/proxy" --connect "$dir/device" >"$dir/trace" &
wait_for "$dir/proxy"
expect '^bar2\+0x1 0x00$' "$vfu" read "$dir/proxy" bar2+1 1
wait $!
grep -qE '> [0-9]+ VERSION [0-9]+ bytes 0\.[0-9] \{"capabilities"' "$dir/trace"
grep -qE '< [0-9]+ REGION_READ reply 33 bytes bar2\+0x1 count=1 data=00$' "$dir/trace"

# The card's outputs move to another card, which runs on, and not to one that is made otherwise.
start destination "$2"
"$2" "$dir/other" >/dev/null 2>&1 &
wait_for "$dir/other"
expect '' "$vfu" write "$dir/device" bar2 1 0x5a
fails 1 "pre-copy failed; the source runs on" "$vfu" migrate "$dir/device" "$dir/other"
"$vfu" trace --listen "$dir/proxy" --connect "$dir/destination" >"$dir/trace" &
wait_for "$dir/proxy"
# A client that goes has its device reset: what the destination got is seen in the trace.
expect '^round 0( \(stopped\))?: [0-9]+ bytes in ' "$vfu" migrate "$dir/device" "$dir/proxy"
grep -q '; the destination runs$' "$dir/out"
wait $!
grep -qE '> [0-9]+ MIG_DATA_WRITE [0-9]+ bytes size=[0-9]+ data=[0-9a-f]+' "$dir/trace"
grep -qE '> [0-9]+ DEVICE_FEATURE [0-9]+ bytes feature=2 set' "$dir/trace"
fails 2 'wanted: FROM TO' "$vfu" migrate "$dir/device"

# Interrupts: the first write raises none, because nobody has enabled it; nothing comes.
"$vfu" irq "$dir/device" intx >"$dir/irq" 2>"$dir/ready" &
until grep -q 'waiting for 1 vectors of intx' "$dir/ready"; do
    sleep 0.01
done
kill -INT $!
wait $!
grep -q '^0 in all$' "$dir/irq"
