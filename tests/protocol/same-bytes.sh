#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# same-bytes.sh PROGRAM...
#
# Runs each test program standalone and brokered and compares what the server answered: every reply
# is the same, byte for byte, and carries as many descriptors.
set -u

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

for program in "$@"; do
    name=$(basename "$program")
    for mode in standalone brokered; do
        if ! PROTOCOL_TRANSCRIPT="$dir/$mode" "$program" "$mode" >"$dir/output" 2>&1; then
            cat "$dir/output"
            echo "$name $mode: failed"
            failed=1
        fi
    done
    if ! [ -s "$dir/standalone" ]; then
        echo "$name: recorded nothing"
        failed=1
    elif cmp -s "$dir/standalone" "$dir/brokered"; then
        echo "$name: $(grep -c '^id' "$dir/standalone") replies are the same"
    else
        echo "$name: the replies differ (<: standalone, >: brokered)"
        diff "$dir/standalone" "$dir/brokered" | cut -c 1-200 | head -20
        failed=1
    fi
    rm -f "$dir/standalone" "$dir/brokered"
done
exit "$failed"
