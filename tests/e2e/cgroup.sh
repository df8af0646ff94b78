#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/broker/test_cgroup.py: here, if this is root on a machine that has cgroups of version 2 to
# give away; else as root in a guest, whose kernel has them. The guest's files are this machine's,
# read-only; what the test writes is in the guest's memory.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly cannot=77
test=$e2e_sources/tests/broker/test_cgroup.py
python=$(python3 -c 'import sys; print(sys.executable)')
settings=(PYTHONDONTWRITEBYTECODE=1 "VFU_BUILD=$E2E_BUILD" "VFU_POLICIES=$e2e_sources/policy")

status=0
env "${settings[@]}" "$python" "$test" || status=$?
[ "$status" -eq "$cannot" ] || exit "$status"

E2E_TIMEOUT=1500 # all of the test is one command
e2e_begin
vm_boot -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap
vm_must "mkdir /host && mount -t 9p -o trans=virtio,version=9p2000.L,access=any,cache=loose,ro \
host /host"
vm_must "mount -t proc proc /host/proc && mount -t sysfs sysfs /host/sys && \
mount -t devtmpfs devtmpfs /host/dev && mount -t cgroup2 cgroup2 /host/sys/fs/cgroup"
vm_must "mkdir /host/dev/shm && mount -t tmpfs -o mode=1777 tmpfs /host/dev/shm"
vm_must "ip link set lo up"

# Not chroot(1), in which no user namespace can be made.
vm_must "unshare -m sh -c 'cd /host && mount --move . / && exec chroot . /usr/bin/env -i \
PATH=$PATH TMPDIR=/dev/shm VFU_DEADLINE=300 ${settings[*]} $python $test'"
say "$vm_output"
vm_power_off
echo PASS
