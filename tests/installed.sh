#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# installed.sh COMPILER BUILD: the client library as a program outside of this tree sees it: headers
# that need none but installed ones, and what pkg-config says.
set -eu

compiler=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR=$work meson install -C "$build" --no-rebuild --quiet
pc=$(find "$work" -name libvfu-client.pc)
[ -n "$pc" ]
sed -i "s|^prefix=|prefix=$work|" "$pc"

cat >"$work/program.c" <<END
#include <vfu-client/client.h>
#include <vfu-client/live.h>

int main(int argc, char **argv)
{
    struct vfu_client_live live = { .max_rounds = 1 };
    struct vfu_client *client;

    if (argc > 1 && vfu_client_connect(argv[1], VFU_CLIENT_TIMEOUT_MS, &client) == 0) {
        live.from = live.to = client;
        return vfu_client_live_migrate(&live);
    }
    return 0;
}
END
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # words
$compiler -std=gnu17 -Wall -Werror "$work/program.c" -o "$work/program" \
    $(pkg-config --cflags --static --libs libvfu-client)
"$work/program"
