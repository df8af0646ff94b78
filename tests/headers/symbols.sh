#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# symbols.sh NM LIBRARY LIST: the library exports what is in LIST, under those versions, and nothing
# else. Prints the difference.
set -eu

"$1" -D --defined-only --with-symbol-versions "$2" |
    awk '$2 != "A" { print $3 }' | sed 's/@@*/ /' | LC_ALL=C sort |
    diff -u "$3" -
