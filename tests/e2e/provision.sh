#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# provision.sh DIRECTORY: what a virtual machine for the tests is made of, everything below
# DIRECTORY. What is already there is used again; the network is needed only the first time.
#
#   DIRECTORY/qemu/    the files of Debian's QEMU (trixie-backports: the first in Debian with the
#                      vfio-user client) and of every library it needs, unpacked, not installed.
#                      lib.sh starts it with the dynamic loader found there, which needs no chroot
#                      and so no privilege.
#   DIRECTORY/guest/   vmlinuz, from the package that Debian 12's linux-image-amd64 depends on, and
#                      initramfs.gz: a static busybox (also beside it), the modules named below,
#                      guest-init.
#
# Packages are fetched and checked by the machine's own apt, from the mirror that its own sources
# name, with apt's state kept apart below DIRECTORY. No package's script is ever run.

set -euo pipefail

# For the card, for guest-vfio, and for cgroup.sh the files of this machine.
readonly modules=(gpio-pci-idio-16 vfio-pci vfio_iommu_type1 virtio_pci 9pnet_virtio 9p)
readonly guest_release=bookworm qemu_release=trixie-backports

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: provision.sh DIRECTORY" >&2; exit 2; }
note() { echo "provision: $*"; }
die() { echo "provision: $*" >&2; exit 1; }

recipe=$(cat "$0" "$here/guest-init" | sha256sum)
is_done() { [ -f "$1/recipe" ] && [ "$recipe" = "$(cat "$1/recipe")" ]; }

# Before anything is written: another user may have provisioned.
! is_done "$1" || exit 0

# One at a time: tests may be started side by side.
mkdir -p "$1"
dir=$(cd "$1" && pwd)
exec 9>"$dir/lock"
flock 9
! is_done "$dir" || exit 0

[ "$(dpkg --print-architecture)" = amd64 ] || die "needs an amd64 machine: guest and QEMU are amd64"

work=$dir/work
rm -rf "$work" "$dir/recipe"
mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial} "$work/debs"
: >"$work/apt/status"

# apt with a state of its own, but the machine's configuration: proxies and the like hold here too.
apt_private() {
    local tool=$1
    shift
    "$tool" -q -o Dir::State="$work/apt/state" -o Dir::State::status="$work/apt/status" \
        -o Dir::Cache="$work/apt/cache" -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 \
        "$@" </dev/null
}

# apt from the sources made here and no others.
apt_e2e() {
    local tool=$1
    shift
    apt_private "$tool" -qq -o Dir::Etc::sourcelist="$work/apt/e2e.sources" \
        -o Dir::Etc::sourceparts=/dev/null "$@"
}

# The archives that the machine's sources name for Debian 12 itself. What apt would fetch tells it
# for either format of source files, with every option and comment they may have.
machine_archives() {
    apt_private apt-get --print-uris update |
        sed -n "s|^'\(.*\)/dists/$guest_release/InRelease'.*|\1|p" | sort -u
}

# Another vendor's archive can have a release of the same name, so the mirror is the first one that
# has all three, signed by Debian (which signs a release with the keys of the one before, too).
use_mirror() {
    local archive
    for archive in $(machine_archives); do
        cat >"$work/apt/e2e.sources" <<SOURCE
Types: deb
URIs: $archive
Suites: $guest_release ${qemu_release%-backports} $qemu_release
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCE
        if apt_e2e apt-get -o APT::Update::Error-Mode=any update; then
            return 0
        fi
    done
    die "no apt source of this machine is a Debian mirror with $guest_release and $qemu_release"
}

# fetch PACKAGE[/RELEASE] DIRECTORY: unpacks one package there.
fetch() {
    (cd "$work/debs" && apt_e2e apt-get download "$1")
    dpkg-deb -x "$work/debs/${1%%/*}"_*.deb "$2"
}

fetch_qemu() {
    local package
    mkdir "$work/qemu"
    apt_e2e apt-get -y --download-only -t "$qemu_release" install qemu-system-x86
    for package in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/qemu"
    done
}

fetch_guest() {
    local kernel
    kernel=$(apt_e2e apt-cache show --no-all-versions "linux-image-amd64/$guest_release" |
        sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
    [ -n "$kernel" ] || die "linux-image-amd64 of $guest_release depends on no linux-image package"
    note "the guest runs $kernel"
    fetch "$kernel" "$work/modules"
    fetch "busybox-static/$guest_release" "$work/initramfs"
}

# The modules wanted and those they need, in the places where modprobe looks for them.
copy_modules() {
    local busybox=$work/initramfs/bin/busybox version tree module file
    version=$(ls "$work/modules/lib/modules")
    tree=lib/modules/$version
    "$busybox" depmod -b "$work/modules" "$version"
    for module in "${modules[@]}"; do
        grep -q "/$module\.ko:" "$work/modules/$tree/modules.dep" || die "the kernel has no $module"
        # shellcheck disable=SC2013 # words are wanted: the module and each that it needs
        for file in $(sed -n "s|^\(.*/$module\.ko\):|\1|p" "$work/modules/$tree/modules.dep"); do
            install -D -m 644 "$work/modules/$tree/$file" "$work/initramfs/$tree/$file"
        done
    done
    "$busybox" depmod -b "$work/initramfs" "$version"
}

make_guest() {
    copy_modules
    mkdir -p "$work"/initramfs/{dev,etc,proc,sys} "$work/guest"
    printf '%s\n' "${modules[@]}" >"$work/initramfs/etc/modules"
    install -m 755 "$here/guest-init" "$work/initramfs/init"
    (cd "$work/initramfs" && find . | bin/busybox cpio -o -H newc 2>/dev/null | gzip) \
        >"$work/guest/initramfs.gz"
    cp "$work"/modules/boot/vmlinuz-* "$work/guest/vmlinuz"
    cp "$work/initramfs/bin/busybox" "$work/guest/"
}

started=$SECONDS
note "fetching QEMU and a guest, once"
use_mirror
fetch_qemu
fetch_guest
make_guest

rm -rf "$dir/qemu" "$dir/guest"
mv "$work/qemu" "$work/guest" "$dir/"
rm -rf "$work"

E2E_DIR=$dir
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
version=$("${qemu[@]}" --version | head -n 1)
"${qemu[@]}" -device help | grep -q '"vfio-user-pci"' || die "$version has no vfio-user-pci device"
echo "$recipe" >"$dir/recipe"
note "$version, ready after $((SECONDS - started)) s"
