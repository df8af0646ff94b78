#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# glibc.sh VERSION BUILD SOURCES: what a device does in its jail, by programs that run with another
# version of the C library than this machine has: they attach, serve registers, do DMA, raise
# interrupts, migrate, are reset, have threads. The broker and its filter are the product's.
set -euo pipefail

wanted=$1 build=$2 sources=$3
here=$build/tests/glibc
e2e=${E2E_DIR:-$build/e2e}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

"$sources/tests/e2e/provision.sh" "$e2e"
ln -sfn "$(realpath "$e2e")/qemu" "$here/root"

# The broker asks the loader, too, what a program needs, and gives it that and nothing else.
loader=$here/root/usr/lib64/ld-linux-x86-64.so.2
library=$here/root/usr/lib/x86_64-linux-gnu/libc.so.6
own=$(getconf GNU_LIBC_VERSION)
[ "$own" != "glibc $wanted" ] || fail "this machine has $own itself"
"$loader" --version | grep -q "^ld.so .* version $wanted\.\$" || fail "$("$loader" --version | head -n 1)"
for program in test-device broker-test-device broker-test-workers gate-without-rules; do
    "$loader" --list "$here/$program" | grep -q "libc.so.6 => $library (" ||
        fail "$program does not load $library"
done
echo "-- devices and a gate with glibc $wanted, the rest with $own"

# A gate does all that it is for, under its filter and not under less.
"$here/gate-without-rules" >"$here/log" || { cat "$here/log"; fail "the gate"; }

# The policies of the protocol tests, of another program.
rm -rf "$here/policies"
mkdir "$here/policies"
for policy in "$build"/tests/protocol/*.json; do
    sed "s|\"$build/tests/protocol/test-device\"|\"$here/test-device\"|" "$policy" \
        >"$here/policies/${policy##*/}"
    grep -q "\"$here/test-device\"" "$here/policies/${policy##*/}" || fail "$policy has no program"
done

# run PROGRAM POLICY
run() {
    echo "-- $1, $2"
    TEST_DEVICE=$here/test-device TEST_BROKER=$build/broker/vfu-broker \
        TEST_POLICIES=$here/policies TEST_POLICY=$2 \
        "$build/tests/protocol/test-protocol-$1" brokered >"$here/log" 2>&1 ||
        { cat "$here/log"; fail "$1 with policy $2"; }
}

for program in access config dma dma_messages info ioeventfds irqs lifecycle message multi \
    negotiate twin; do
    run "$program" plain
done
run access polling
run irqs polling
run capabilities capabilities
run msix capabilities
run migration migration

# Threads, and the calls that devices make seldom; the files of others may be out of their reach.
user=user
[ "$(id -u)" -ne 0 ] || user=root
for test in threads calls program; do
    echo "-- test_$test.py"
    VFU_BUILD=$build VFU_DEVICES=$here VFU_POLICIES=$sources/policy PYTHONDONTWRITEBYTECODE=1 \
        python3 "$sources/tests/broker/test_$test.py" "[$user]" >"$here/log" 2>&1 ||
        { cat "$here/log"; fail "test_$test.py"; }
done
