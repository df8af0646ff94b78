#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A reboot of the guest resets the card, on the same connection: outputs that were set read 0
# afterwards, and the interrupt works as after the first boot.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# one_interrupt BOOT: IIN1 changes once and the guest counts one interrupt.
one_interrupt() {
    card_export OUT1 IIN1
    vm_must "echo both >/sys/class/gpio/IIN1/edge"
    card_count_interrupts
    local before=$card_interrupts
    card_set OUT1 1
    wait_until "an interrupt" card_has_interrupted $((before + 1))
    expect "interrupts in the $1 boot" 1 $((card_interrupts - before))
}

e2e_begin
server_start gpio-loopback.json --loopback
vm_start
vm_must "cat /proc/sys/kernel/random/boot_id"
first_boot=$vm_output
card_find
card_export OUT0 OUT15
for line in OUT0 OUT15; do
    card_set "$line" 1
    card_read "$line"
    expect "$line before the reboot" 1 "$vm_output"
done
one_interrupt first

vm_send "reboot -f"
vm_wait_ready
vm_must "cat /proc/sys/kernel/random/boot_id"
[ "$vm_output" != "$first_boot" ] || fail "the guest has not rebooted"

card_find
card_export OUT0 OUT15
for line in OUT0 OUT15; do
    card_read "$line"
    expect "$line after the reboot" 0 "$vm_output"
done
one_interrupt second

vm_power_off
server_stop
echo PASS
