#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# packages.sh DIRECTORY: makes the packages of what the work tree has, committed or
# not, for this machine's architecture, as version 0.9.1; twice, in differing places
# and circumstances: DIRECTORY/1 and DIRECTORY/2. And from the first a package that is
# 0.9.2: DIRECTORY/next.deb.
set -eu -o pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
here=$PWD
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-packages.XXXXXX")
trap 'rm -rf "$work"' EXIT
ARCHES=$(dpkg --print-architecture)
export ARCHES

# clone FROM TO: a clone that finds the Go which setup.sh has fetched.
clone() {
	git clone --quiet --shared "$1" "$2"
	mkdir -p "$2/.cache"
	if [ -d "$here/.cache/go" ]; then ln -s "$here/.cache/go" "$2/.cache/go"; fi
}

rm -rf "$out"
mkdir -p "$out"
clone . "$work/first"
git diff --binary HEAD | git -C "$work/first" apply --allow-empty
git ls-files --others --exclude-standard -z | xargs -0 -r cp --parents -t "$work/first"
git -C "$work/first" add --all
git -C "$work/first" -c user.name=test -c user.email=test@localhost commit --quiet --allow-empty -m "a release"
git -C "$work/first" tag v0.9.1
clone "$work/first" "$work/a/longer/path"
(cd "$work/first" && make --no-print-directory -s release)
(cd "$work/a/longer/path" && umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 CGO_CFLAGS=-O1 make --no-print-directory -s release)
mv "$work/first/dist" "$out/1"
mv "$work/a/longer/path/dist" "$out/2"

dpkg-deb --raw-extract "$out"/1/*.deb "$work/next"
sed -i 's/^Version: .*/Version: 0.9.2/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -Zzstd --build "$work/next" "$out/next.deb" >/dev/null
