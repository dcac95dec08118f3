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
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-base.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$root/scripts/base-tar.sh" "$work/base.tar"
"$cpc" import - "$base" <"$work/base.tar"
