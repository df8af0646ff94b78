#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# install.sh PACKAGE...: installs what is missing of Debian's packages, as root or through sudo.
set -eu

missing=
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
    [ "$status" = installed ] || missing="$missing $package"
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
