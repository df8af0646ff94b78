#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# demo.sh: the main job from end to end, on a fresh Debian 12 (amd64), as root or with sudo.
#
# Installs what is missing, builds, provisions QEMU and a guest below the build directory, starts
# vfu-broker with policy/gpio.json, boots the guest, and shows: the guest's own driver bound to the
# card, twelve reads of an output, and what the kernel says of the process that is the card. Exit
# status 0 only if all of that is as it should be. A second run finds everything in place.
#
# E2E_BUILD names another build directory than build.

set -euo pipefail

sources=$(cd "$(dirname "$0")/.." && pwd)
E2E_SERVER=broker
# shellcheck source=tests/e2e/lib.sh
. "$sources/tests/e2e/lib.sh"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

build() {
    say "building in $E2E_BUILD"
    [ -e "$E2E_BUILD/build.ninja" ] || meson setup "$E2E_BUILD" "$sources"
    ninja --quiet -C "$E2E_BUILD"
}

"$sources/tests/install.sh" gcc libc6-dev linux-libc-dev meson ninja-build pkg-config python3 \
    libseccomp-dev libcap-ng-dev libjson-c-dev libcmocka-dev
build
e2e_begin
server_start gpio.json
say "booting a guest, by software emulation"
vm_start
card_find
card_export OUT0
card_read OUT0 12
expect "twelve reads of OUT0/value" "0 0 0 1 1 1 0 0 0 1 1 1" "$vm_output"

server_find_device
say "the jail, from /proc"
as_root "$sources/samples/jail-report.py" --policy "$sources/policy/gpio.json" \
    "$server_device" "$server_pid" || fail "the jail is not as the policy says"

vm_power_off
server_stop
say "all as it should be"
