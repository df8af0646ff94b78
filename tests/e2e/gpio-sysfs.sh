#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The card of policy/gpio.json in a real guest: its driver binds, and twelve reads of an output give
# a pattern that only twelve reads of the register, no more and no fewer, can give.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

e2e_begin
server_start gpio.json
vm_start
card_find
card_export OUT0
card_read OUT0 12
expect "twelve reads of OUT0" "0 0 0 1 1 1 0 0 0 1 1 1" "$vm_output"
vm_power_off
server_stop
echo PASS
