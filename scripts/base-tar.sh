#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# base-tar.sh [FILE]: makes the tar of a minimal Debian root file system, from
# which the tests import their base image (default: .cache/base/trixie.tar). Does
# nothing if the file is there. Needs mmdebstrap and Debian's packages; as an
# ordinary user also a range of subordinate ids.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/.cache/base/trixie.tar}
[ -s "$out" ] && exit 0
"$root/scripts/setup.sh" base
echo "base-tar.sh: making $out with mmdebstrap (a minute, once)" >&2
if [ "$(id -u)" -eq 0 ]; then mode=root; else mode=unshare; fi
mkdir -p "$(dirname "$out")"
# By way of another file: a half-made tree must not be taken for a base.
trap 'rm -f "$out.new"' EXIT
mmdebstrap --mode=$mode --variant=minbase --quiet --format=tar --skip=output/dev \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	trixie "$out.new"
mv "$out.new" "$out"
