# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What the end-to-end tests and samples/demo.sh share: a device server, a virtual machine with the
# guest of guest-init, commands run in that guest. To be sourced by bash; these may be set before:
#
#   E2E_BUILD    the build directory (default: build beside the sources)
#   E2E_DIR      where provision.sh keeps its things (default: e2e in the build directory)
#   E2E_SERVER   broker (default): the device under vfu-broker; standalone: on its own
#   E2E_TIMEOUT  seconds after which a wait has failed (default 300: emulation on a busy machine)
#
# Every wait is for a condition; the interval between two looks at it is not what a test waits for.

set -euo pipefail

e2e_sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
E2E_BUILD=${E2E_BUILD:-$e2e_sources/build}
E2E_DIR=${E2E_DIR:-$E2E_BUILD/e2e}
E2E_SERVER=${E2E_SERVER:-broker}
E2E_TIMEOUT=${E2E_TIMEOUT:-300}

broker=$E2E_BUILD/broker/vfu-broker
device=$E2E_BUILD/samples/gpio-pci-idio-16

# Firmware, libraries and modules of the private QEMU; nothing of it from the machine.
qemu=("$E2E_DIR/qemu/usr/lib64/ld-linux-x86-64.so.2" --inhibit-cache
    --library-path "$E2E_DIR/qemu/usr/lib/x86_64-linux-gnu"
    "$E2E_DIR/qemu/usr/bin/qemu-system-x86_64"
    -L "$E2E_DIR/qemu/usr/share/qemu" -L "$E2E_DIR/qemu/usr/share/seabios")
export QEMU_MODULE_DIR=$E2E_DIR/qemu/usr/lib/x86_64-linux-gnu/qemu

# Before a command: it ends with this shell, even where SIGKILL leaves that no time to clean up.
with_us=(setpriv --pdeathsig KILL)

work=            # scratch directory of this run
server_pid=
server_socket=
server_log=
vm_pid=
vm_console=      # what the guest's kernel says
guest_program=   # a static one, which the guest then has in /bin; empty: none
vm_options=()    # more of QEMU's
vm_kernel=       # and of the guest's kernel

say() { echo "-- $*"; }

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# expect WHAT WANTED FOUND
expect() {
    [ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"
    say "$1: $3"
}

# wait_until WHAT COMMAND...: until COMMAND succeeds.
wait_until() {
    local what=$1 deadline=$((SECONDS + E2E_TIMEOUT))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "waited $E2E_TIMEOUT s for $what"
        sleep 0.1
    done
}

alive() { kill -0 "$1" 2>/dev/null; }
gone() { ! alive "$1"; }

# --- the run ---------------------------------------------------------------------------------------

# Makes the scratch directory; whatever happens then, no process and no file of this run stays.
# Sockets go to TMPDIR or /tmp, because the path of a socket has at most 107 characters.
e2e_begin() {
    "$e2e_sources/tests/e2e/provision.sh" "$E2E_DIR"
    work=$(mktemp -d "${TMPDIR:-/tmp}/vfu-e2e.XXXXXX")
    server_socket=$work/device.sock
    server_log=$work/server.log
    vm_console=$work/console.log
    trap e2e_end EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

e2e_end() {
    local status=$?
    trap - EXIT
    [ -z "$vm_pid" ] || kill -KILL "$vm_pid" 2>/dev/null || true
    [ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null || true
    wait 2>/dev/null
    if [ "$status" -ne 0 ]; then
        show_log "server" "$server_log"
        show_log "QEMU" "$work/qemu.log"
        show_log "guest console" "$vm_console"
    fi
    rm -rf "$work"
    exit "$status"
}

show_log() {
    [ -s "$2" ] || return 0
    echo "--- $1, last lines:" >&2
    tail -n 40 "$2" | tr -d '\r' >&2
}

# --- the server ------------------------------------------------------------------------------------

# server_start POLICY [ARGUMENT...]: `vfu-broker --policy POLICY`, or standalone the device program
# with the ARGUMENTs that the policy would give it.
server_start() {
    local policy=$1 command
    shift
    case $E2E_SERVER in
    broker) command=("$broker" --policy "$e2e_sources/policy/$policy" --sock "$server_socket") ;;
    standalone) command=("$device" "$@" "$server_socket") ;;
    *) fail "E2E_SERVER is '$E2E_SERVER', not broker or standalone" ;;
    esac
    "${with_us[@]}" "${command[@]}" </dev/null 2>"$server_log" &
    server_pid=$!
    wait_until "the server to listen" server_listens
    say "server: ${command[*]##*/} (pid $server_pid)"
}

# A listening UNIX socket has the flag 00010000 (__SO_ACCEPTCON).
server_listens() {
    alive "$server_pid" || fail "the server ended before it listened"
    awk -v path="$server_socket" '$4 == "00010000" && $8 == path { found = 1 } END { exit !found }' \
        /proc/net/unix
}

# The process that is the device of the client that came last, into server_device. Under the broker
# its log says which one: another is waiting for the next client.
server_find_device() {
    server_device=$server_pid
    [ "$E2E_SERVER" = broker ] || return 0
    server_device=$(sed -n 's/^info client-accepted .* device=\([0-9]*\)$/\1/p' "$server_log" | tail -n 1)
    [ -n "$server_device" ] || fail "the broker's log names no device process"
}

# Asks the server to end; it must do so with status 0 and take its socket with it.
server_stop() {
    local status=0
    kill -TERM "$server_pid"
    wait_until "the server to end after SIGTERM" gone "$server_pid"
    wait "$server_pid" || status=$?
    server_pid=
    expect "exit status of the server" 0 "$status"
    [ ! -e "$server_socket" ] || fail "the server left its socket file behind"
}

# --- the virtual machine ---------------------------------------------------------------------------

# The guest's files, with guest_program: the kernel unpacks one archive behind the other.
make_initramfs() {
    local root=$work/initramfs
    cp "$E2E_DIR/guest/initramfs.gz" "$root.gz"
    [ -n "$guest_program" ] || return 0
    mkdir -p "$root/bin"
    cp "$guest_program" "$root/bin/"
    (cd "$root" && find . | "$E2E_DIR/guest/busybox" cpio -o -H newc 2>/dev/null | gzip) >>"$root.gz"
}

# Boots a guest with the server's device.
vm_start() {
    vm_boot -device '{"driver":"vfio-user-pci","socket":{"path":"'"$server_socket"'","type":"unix"}}'
}

# vm_boot [ARGUMENT...]: boots a guest with what these arguments of QEMU add. Software emulation
# always: /dev/kvm may exist on a virtual machine and still not run a stock kernel.
vm_boot() {
    [ -z "$vm_pid" ] || fail "a virtual machine is running already"
    make_initramfs
    rm -f "$work"/agent.{in,out}
    mkfifo "$work"/agent.{in,out}
    # Opened for both directions, so that neither the opening nor QEMU's end blocks this shell.
    exec {agent_in}<>"$work/agent.in" {agent_out}<>"$work/agent.out"
    "${with_us[@]}" "${qemu[@]}" -nodefaults -no-user-config -display none \
        "${vm_options[@]}" -accel tcg -cpu max -smp 1 -machine q35,memory-backend=ram \
        -object memory-backend-memfd,id=ram,size=512M,share=on -m 512M \
        -kernel "$E2E_DIR/guest/vmlinuz" -initrd "$work/initramfs.gz" \
        -append "console=ttyS0 $vm_kernel" \
        -chardev file,id=console,path="$vm_console" -serial chardev:console \
        -chardev pipe,id=agent,path="$work/agent" -serial chardev:agent \
        "$@" </dev/null >"$work/qemu.log" 2>&1 &
    vm_pid=$!
    vm_wait_ready
}

# One line from the guest's agent into agent_line.
vm_read_line() {
    local deadline=$((SECONDS + E2E_TIMEOUT)) part
    agent_line=
    until IFS= read -r -t 1 -u "$agent_out" part; do
        agent_line+=$part
        alive "$vm_pid" || fail "QEMU has ended"
        [ "$SECONDS" -lt "$deadline" ] || fail "waited $E2E_TIMEOUT s for the guest"
    done
    agent_line+=$part
}

# After a start or a reboot: until the guest takes commands.
vm_wait_ready() {
    agent_line=
    until [ "$agent_line" = "=ready" ]; do
        vm_read_line
    done
}

# vm_send COMMAND: without waiting for an answer (there is none to a reboot).
vm_send() { printf '%s\n' "$1" >&"$agent_in"; }

# vm_run COMMAND: runs one line of shell in the guest; vm_output has what it printed, and its exit
# status is returned.
vm_run() {
    vm_output=
    vm_send "$1"
    vm_read_line
    while [ "${agent_line:0:1}" = "|" ]; do
        vm_output+=${vm_output:+$'\n'}${agent_line:1}
        vm_read_line
    done
    [ "${agent_line:0:1}" = "=" ] || fail "unexpected line from the guest: $agent_line"
    return "${agent_line:1}"
}

# vm_must COMMAND: as vm_run, and the command must succeed.
vm_must() { vm_run "$1" || fail "in the guest: $1: $vm_output"; }

# Ends QEMU as a crash would, with no chance to say good-bye to the device.
vm_kill() {
    kill -KILL "$vm_pid"
    wait "$vm_pid" 2>/dev/null || true
    vm_closed
}

# Powers the guest off; QEMU ends by itself.
vm_power_off() {
    local status=0
    vm_send "poweroff -f"
    wait_until "QEMU to end" gone "$vm_pid"
    wait "$vm_pid" || status=$?
    expect "exit status of QEMU" 0 "$status"
    vm_closed
}

vm_closed() {
    exec {agent_in}>&- {agent_out}>&-
    vm_pid=
}

# --- the card in the guest -------------------------------------------------------------------------

readonly card_driver=/sys/bus/pci/drivers/pci-idio-16

# The card's address on the guest's PCI bus into card_address, once the driver has bound to it.
card_find() {
    vm_run "cd $card_driver && ls -d 0000:*" || fail "the guest's driver has not bound to the card"
    card_address=$vm_output
    say "pci-idio-16 is bound to $card_address"
}

# card_export LINE...: the GPIO lines OUT0-OUT15 and IIN0-IIN15 get their directories in
# /sys/class/gpio.
card_export() {
    local line number
    for line in "$@"; do
        case $line in
        OUT*) number=${line#OUT} ;;
        IIN*) number=$((16 + ${line#IIN})) ;;
        *) fail "the card has no line $line" ;;
        esac
        vm_must "base=\$(cat $card_driver/0000:*/gpio/gpiochip*/base) && \
echo \$((base + $number)) >/sys/class/gpio/export && [ -e /sys/class/gpio/$line/value ]"
    done
}

# card_read LINE [COUNT]: reads the line's value COUNT times, one register read each, into
# vm_output, as words.
card_read() {
    vm_must "for i in \$(seq ${2:-1}); do \
dd if=/sys/class/gpio/$1/value bs=16 count=1 2>/dev/null || exit; done"
    vm_output=${vm_output//$'\n'/ }
}

# The interrupts of the card's inputs that the guest has counted, into card_interrupts.
card_count_interrupts() {
    vm_must "awk '\$3 == \"pci-idio-16\" { n += \$2 } END { print n + 0 }' /proc/interrupts"
    card_interrupts=$vm_output
}

card_has_interrupted() {
    card_count_interrupts
    [ "$card_interrupts" -ge "$1" ]
}

# card_set LINE VALUE
card_set() { vm_must "echo $2 >/sys/class/gpio/$1/value"; }
