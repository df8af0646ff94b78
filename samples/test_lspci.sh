#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# test_lspci.sh PROGRAM EXPECTED: what the real lspci makes of the sample's config space. EXPECTED
# has the lines that it prints, as extended regular expressions, for its versions differ in spelling.
set -eu

dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
"$1" >"$dump"
seen=$(lspci -n -vv -F "$dump")
missing=0
while IFS= read -r line; do
    if ! printf '%s\n' "$seen" | grep -qE -- "^$line\$"; then
        echo "missing: $line" >&2
        missing=1
    fi
done <"$2"
[ "$missing" -eq 0 ] || { printf '%s\n' "$seen" >&2; exit 1; }
