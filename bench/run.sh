#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Measures what the project's parts cost and prints a table, with the bare sockets and processors
# that they are compared with.
#
#   bench/run.sh [--json] [--quick] [--only GROUP,...] [--build DIR]
#                [--peer-lib DIR --peer-include DIR]
#
# --build: the build tree, made if it is not there (build). --peer-lib, --peer-include: where
# another libvfio-user.so and its headers are; what a library does by itself is measured with both.
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
build=$source/build
peer_lib=''
peer_include=''
options=''

usage() {
    sed -n 's/^#   *\(.*\[\)/  \1/p' "$0" >&2
    exit 2
}

need() {
    [ $# -ge 2 ] || usage
}

while [ $# -gt 0 ]; do
    case $1 in
    --json | --quick) options="$options $1" ;;
    --only) need "$@"; options="$options --only $2"; shift ;;
    --build) need "$@"; build=$2; shift ;;
    --peer-lib) need "$@"; peer_lib=$(cd "$2" && pwd); shift ;;
    --peer-include) need "$@"; peer_include=$(cd "$2" && pwd); shift ;;
    *) usage ;;
    esac
    shift
done
[ -n "$peer_lib" ] && [ -n "$peer_include" ] || [ -z "$peer_lib$peer_include" ] || usage

[ -d "$build" ] || meson setup "$build" "$source" >&2
ninja -C "$build" bench/bench bench/bench-device broker/vfu-broker >&2

if [ -n "$peer_lib" ]; then
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    trap 'exit 1' HUP INT TERM
    # shellcheck disable=SC2086 # CC and CFLAGS are words
    ${CC:-cc} -D_GNU_SOURCE -std=gnu17 -O2 ${CFLAGS:-} -I "$peer_include" \
        -I "$peer_include/vfio-user" -o "$directory/bench-device" "$source/bench/device.c" \
        -L "$peer_lib" -Wl,-rpath,"$peer_lib" -lvfio-user
    options="$options --peer-device $directory/bench-device"
fi

# shellcheck disable=SC2086 # none of the options has a space
"$build/bench/bench" $options
