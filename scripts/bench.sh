#!/usr/bin/env bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# Measures bin/cpc-runtime against the newest runc, built here as cpc-runtime
# is, and the runtimes that are installed; then the network of a sandbox against
# a plain veth, pasta and slirp4netns. See docs/performance.md.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh bench
rounds=${ROUNDS:-20}
dir=$PWD/.cache/bench
mkdir -p "$dir"
version=$(scripts/go list -m -f '{{.Version}}' github.com/opencontainers/runc)
if [ ! -x "$dir/runc-$version" ]; then
	echo "building runc $version"
	CGO_ENABLED=1 GOBIN=$dir scripts/go install -trimpath -tags 'seccomp netgo osusergo' \
		-ldflags '-s -w -linkmode external -extldflags "-static"' "github.com/opencontainers/runc@$version"
	mv "$dir/runc" "$dir/runc-$version"
fi
scripts/go build -o "$dir/bench" ./test/bench

# One of the measured callers is an ordinary user, who may not get at this tree.
open=$(mktemp -d /tmp/cpc-bench-XXXXXX)
trap 'rm -rf "$open"' EXIT
chmod 755 "$open"
cp "$dir/bench" "$dir/runc-$version" bin/cpc-runtime "$open"
contenders=("runc-$version=$open/runc-$version" "cpc-runtime=$open/cpc-runtime")
installed=$(PATH=$PATH:/usr/sbin:/sbin command -v runc || true)
if [ -n "$installed" ]; then
	contenders+=("runc-installed=$installed")
fi
echo "== with the machine's cgroups and limits"
"$open/bench" -n "$rounds" "${contenders[@]}"
for name in crun bwrap; do
	if path=$(command -v "$name"); then
		contenders+=("$name=$path")
	fi
done
echo
echo "== with cgroup v2 only, no limits"
"$open/bench" -n "$rounds" -unified "${contenders[@]}"

echo
echo "== the network of a sandbox"
CGO_ENABLED=0 scripts/go build -o "$open/net" ./test/bench/net # it runs in a sandbox, too
"$open/net" -n "$(((rounds + 3) / 4))"

echo
echo "== a connection from a sandbox of cpc run"
image=debian:trixie-slim
if bin/cpc inspect "$image" >/dev/null 2>&1; then
	"$open/net" -n "$(((rounds + 3) / 4))" -cpc bin/cpc -image "$image"
else
	echo "left out: no image $image (cpc pull $image)"
fi
