#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# test_client.sh SERVER CLIENT BROKER POLICY: the sample client's tour and its migration, from a
# standalone server and from a jailed one, to a broker that it starts itself; and what it says when
# that cannot be started.
set -euo pipefail

server=$1 client=$2 broker=$3 policy=$4
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$work"' EXIT

start() {
    "$@" 2>"$work/log" &
    pid=$!
    for ((i = 0; i < 3000; i++)); do
        [ -S "$work/socket" ] && return
        kill -0 "$pid"
        sleep 0.01
    done
    return 1
}

stop() {
    kill "$pid"
    wait "$pid"
    pid=
    [ ! -e "$work/socket" ]
}

check() {
    "$client" --verify "$work/socket" >"$work/out"
    for word in VERSION DEVICE_GET_INFO DEVICE_GET_REGION_INFO DEVICE_GET_REGION_IO_FDS \
        DEVICE_GET_IRQ_INFO DEVICE_SET_IRQS REGION_READ REGION_WRITE REGION_WRITE_MULTI DMA_MAP \
        DMA_UNMAP DMA_READ DMA_WRITE DEVICE_RESET DEVICE_FEATURE MIG_DATA_READ MIG_DATA_WRITE \
        "round 0:" "verified" "done:" "blackout"; do
        grep -q "$word" "$work/out"
    done
    "$client" --no-tour --json --rounds 0 "$work/socket" >"$work/json"
    python3 - "$work/json" <<END
import json, sys
r = json.load(open(sys.argv[1]))
assert r["result"] == "done" and r["error"] == 0, r
assert sum(r["interrupts"].values()) == 1, r
assert len(r["rounds"]) == 1 and r["rounds"][0]["stopped"], r
assert r["device_bytes"] >= 16 << 20, r
parts = r["blackout_ns"]
assert sum(v for k, v in parts.items() if k != "total") <= parts["total"], r
END
    "$client" --no-tour --keep-dirty --guest-rate 0 --rate 4096 --window 64K --json \
        "$work/socket" >"$work/json"
    python3 - "$work/json" <<END
import json, sys
last = json.load(open(sys.argv[1]))["rounds"][-1]
assert last["stopped"] and last["memory_bytes"] == 0 and last["device_bytes"] >= 65536, last
END
    "$client" --transfer --json "$work/socket" >"$work/json"
    python3 - "$work/json" <<END
import json, sys
r = json.load(open(sys.argv[1]))
assert r["bytes"] > 16 << 20 and r["plain"]["to_plain"] == 1, r
assert all(r[k]["bytes_per_second"] > 0 for k in ("plain", "read", "write", "bare")), r
END
    # Without a destination the source is left as it is.
    ! "$client" --no-tour --broker /nonexistent "$work/socket" >"$work/out" 2>&1
    grep -q "no destination" "$work/out"
    "$client" --no-migration "$work/socket" >"$work/out"
}

start "$server" "$work/socket"
check
stop
start "$server" --size 8M "$work/socket"
! "$client" --no-tour "$work/socket" >"$work/out" 2>&1
grep -q "a --policy that starts it with --size 8388608" "$work/out"
stop
start "$broker" --policy "$policy" --sock "$work/socket"
check
stop
echo PASS
