#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The card of policy/gpio-loopback.json: each change of an input is one interrupt that the guest's
# driver counts and acknowledges, and what is written to an output is read from the input.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly changes=20

e2e_begin
server_start gpio-loopback.json --loopback
vm_start
card_find
card_export OUT0 IIN0 OUT15 IIN15

# Each change waits for its interrupt: two changes before the guest gets to its handler are one
# interrupt, on a real card too.
vm_must "echo both >/sys/class/gpio/IIN0/edge"
for ((change = 1; change <= changes; change++)); do
    card_set OUT0 $((change % 2))
    wait_until "interrupt $change" card_has_interrupted "$change"
done
expect "interrupts after $changes changes of IIN0" "$changes" "$card_interrupts"

# With the interrupt disabled a change stays pending, until it is enabled.
vm_must "echo none >/sys/class/gpio/IIN0/edge"
for line in 0 15; do
    for value in 1 0; do
        card_set "OUT$line" "$value"
        card_read "OUT$line"
        expect "OUT$line reads back" "$value" "$vm_output"
        card_read "IIN$line"
        expect "IIN$line follows OUT$line" "$value" "$vm_output"
    done
done
card_count_interrupts
expect "interrupts, none since disabled" "$changes" "$card_interrupts"
vm_must "echo both >/sys/class/gpio/IIN0/edge"
wait_until "the pending interrupt" card_has_interrupted $((changes + 1))
expect "interrupts, the pending one included" $((changes + 1)) "$card_interrupts"

vm_power_off
server_stop
echo PASS
