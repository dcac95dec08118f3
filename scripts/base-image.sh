#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# base-image.sh: makes sure that the base of Dockerfile.sandbox is in the
# store: pulled, or where no registry answers made from Debian's packages.
set -eu
# shellcheck source=scripts/cpc.sh
. "$(dirname "$0")/cpc.sh"

if "$cpc" inspect --type image "$base" >/dev/null 2>&1; then
	exit 0
fi
say "pulling $base"
if timeout 300 "$cpc" pull "$base"; then
	exit 0
fi
say "no registry answers; making the base from Debian's packages with mmdebstrap"
"$root/scripts/setup.sh" base
if [ "$(id -u)" -eq 0 ]; then mode=root; else mode=unshare; fi
# By way of a file: a half-made tree must not become an image.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-base.XXXXXX")
trap 'rm -rf "$work"' EXIT
mmdebstrap --mode=$mode --variant=minbase --quiet --format=tar --skip=output/dev \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	trixie "$work/base.tar"
"$cpc" import - "$base" <"$work/base.tar"
