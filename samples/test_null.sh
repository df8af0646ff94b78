#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# test_null.sh PROGRAM: it serves until a signal ends it, and leaves nothing.
set -eu

dir=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
"$1" "$dir/socket" &
pid=$!
while [ ! -S "$dir/socket" ]; do
    kill -0 "$pid"
    sleep 0.01
done
kill -TERM "$pid"
wait "$pid"
[ ! -e "$dir/socket" ]
