#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# test_readme.sh README BUILD: the lines of the README that migrate a device, as they are, but for
# the place of the build tree and of temporary files.
set -euo pipefail

readme=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n '/^### Live migration/,/^## /{/^```sh/,/^```$/p}' "$readme" | sed '/^```/d' |
    sed "s#/tmp/#$work/#g; s#build/#$build/#" >"$work/lines"
[ "$(wc -l <"$work/lines")" -eq 5 ]
cd "$(dirname "$readme")"
bash -e "$work/lines" >"$work/out"
grep -q '^done: ' "$work/out"
grep -q '^blackout ' "$work/out"
[ ! -e "$work/source" ]
