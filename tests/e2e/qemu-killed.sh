#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QEMU dies of SIGKILL, idle and then in the middle of accesses to the card; the next QEMU finds
# on the same server a card that nothing has happened to: under the broker, in another process.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

devices=" "

# new_card WHAT: boots a guest that must find the card as after a reset.
new_card() {
    vm_start
    if [ "$E2E_SERVER" = broker ]; then
        server_find_device
        [[ $devices != *" $server_device "* ]] || fail "device process $server_device is used again"
        devices+="$server_device "
    fi
    card_find
    card_export OUT0
    card_read OUT0 4
    expect "OUT0 $1" "0 0 0 1" "$vm_output"
}

has_read_the_card() {
    vm_must "cat /tmp/reads"
    [ "$vm_output" -ge 10 ]
}

e2e_begin
server_start gpio.json

new_card "at first"
vm_kill

new_card "after a kill of an idle QEMU"
vm_must "mkdir -p /tmp && echo 0 >/tmp/reads"
vm_must "(n=0; while cat /sys/class/gpio/OUT0/value; do n=\$((n + 1)); echo \$n >/tmp/reads.new; \
mv /tmp/reads.new /tmp/reads; done) >/dev/null 2>&1 &"
wait_until "accesses to the card" has_read_the_card
vm_kill

new_card "after a kill amid accesses"
vm_power_off
server_stop
echo PASS
