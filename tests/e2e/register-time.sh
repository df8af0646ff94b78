#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# By hand, on a machine that is quiet: what a guest waits for one read of a register of the card,
# with poll_us 0 and 50, each in a guest of its own and in turn. QEMU has the first processor, the
# broker and the device the second one. Prints microseconds and the ratio.
#
#   tests/e2e/register-time.sh [READS [ROUNDS]]

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

reads=${1:-5000}
rounds=${2:-3}

# The median of the numbers that are its input, one a line.
median() { sort -n | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }

# measure POLL_US: into the file of that name.
measure() {
    sed "s/\"version\": 1,/&\n    \"poll_us\": $1,/" "$e2e_sources/policy/gpio.json" >"$work/poll.json"
    taskset -pc 1 $$ >/dev/null
    server_start "$(realpath --relative-to="$e2e_sources/policy" "$work/poll.json")"
    taskset -pc 0 $$ >/dev/null
    vm_start
    card_find
    for _ in 1 2 3; do
        vm_must "guest-register /sys/bus/pci/devices/$card_address/resource2 $reads"
        echo "$vm_output" >>"$work/$1"
        say "poll_us $1: $vm_output ns"
    done
    vm_power_off
    server_stop
}

e2e_begin
guest_program=$E2E_BUILD/tests/e2e/guest-register
for ((round = 0; round < rounds; round++)); do
    measure 0
    measure 50
done
awk -v asleep="$(median <"$work/0")" -v awake="$(median <"$work/50")" 'BEGIN {
    printf "a read of a register in the guest: %.1f us, with poll_us 50 %.1f us: %.2f of it\n",
        asleep / 1000, awake / 1000, awake / asleep }'
