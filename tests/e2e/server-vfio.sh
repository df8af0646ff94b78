#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The device of samples/server in a real guest, driven there by guest_vfio.c: INTx with mask and
# unmask, MSI-X, DMA from and to the guest's memory, memory that clients map. After a reboot, on
# the same connection, all of it again.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly id="0x4356 0x0001"

# drive: the guest's vfio-pci takes the device, and the program runs it.
drive() {
    vm_must "cd /sys/bus/pci/devices && for d in *; do \
[ \"\$(cat \$d/vendor) \$(cat \$d/device)\" = '$id' ] && echo \$d; done; true"
    local address=$vm_output
    [ -n "$address" ] || fail "the guest has no such device"
    vm_must "echo vfio-pci >/sys/bus/pci/devices/$address/driver_override"
    vm_must "echo $address >/sys/bus/pci/drivers_probe"
    vm_must "guest-vfio $address"
    expect "guest-vfio says" ok "${vm_output##*$'\n'}"
}

e2e_begin
vm_options=(-device "intel-iommu,caching-mode=on")
vm_kernel="intel_iommu=on"
device=$E2E_BUILD/samples/server
guest_program=$E2E_BUILD/tests/e2e/guest-vfio
server_start server.json
vm_start
drive
vm_send "reboot -f"
vm_wait_ready
drive
vm_power_off
server_stop
echo PASS
