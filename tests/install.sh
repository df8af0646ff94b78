#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# install.sh PACKAGE...: installs what is missing of Debian's packages, as root or through sudo.
set -eu

# With foreign architectures a package can be there several times.
installed() {
    dpkg-query -W -f '${Architecture} ${db:Status-Status}\n' "$1" 2>/dev/null |
        grep -qE "^(all|$(dpkg --print-architecture)) installed\$"
}

missing=
for package in "$@"; do
    installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
else
    echo "install.sh: these packages are missing, and installing them takes root:$missing" >&2
    exit 1
fi
echo "installing$missing"
# shellcheck disable=SC2086 # both are lists of words
{
    $root apt-get -q update
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
} </dev/null
