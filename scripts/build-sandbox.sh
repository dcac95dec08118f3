#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# build-sandbox.sh [--if-changed|--base]: builds the sandbox image from build/image.
# With --base it only gets the image that this one builds on. With either option nothing
# is done, or even hashed, while the image exists and no file of the context is newer or
# other than at the last build.
set -eu
# shellcheck source=scripts/cpc.sh
. "$(dirname "$0")/cpc.sh"

context=$root/build/image
stamp=$root/.cache/sandbox-image.$(id -u)
state=$(cd "$context" && find . -type f -printf '%p %s %m %T@\n' | LC_ALL=C sort)

if [ $# -gt 0 ] && [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] &&
	"$cpc" inspect --type image "$image" >/dev/null 2>&1; then
	exit 0
fi
"$root/scripts/base-image.sh"
[ "${1:-}" != --base ] || exit 0

# Labels change only with the context, so that a rebuild finds every step in
# the cache.
git() { command git -C "$context" "$@" 2>/dev/null || true; }
version=$(git describe --tags --always)
revision=$(git log -1 --format=%H -- .)
created=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd -- .)
granted=$(private_grants deb.debian.org:80,443 security.debian.org:80,443)
if [ -n "$granted" ]; then
	say "packages come from a private address here: cpc build --egress @default" "$granted"
	granted="--egress @default $granted"
fi
# make run does without cpc-scan, and cpc sbom makes the bill later.
if [ -x "${cpc%/*}/cpc-scan" ]; then bill=true; else bill=false; fi
# shellcheck disable=SC2086 # words
"$cpc" build $granted --sbom=$bill -f "$context/Dockerfile.sandbox" -t "$image" \
	--build-arg "VERSION=${version:-0.0.0-dev}" \
	--build-arg "REVISION=${revision:-unknown}" \
	--build-arg "CREATED=${created:-1970-01-01T00:00:00Z}" \
	"$context"
mkdir -p "${stamp%/*}"
printf '%s\n' "$state" >"$stamp"
