#!/usr/bin/env bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# bench-build.sh: measures cpc build against buildah, both rootless, on a
# stand-in for Dockerfile.sandbox that needs no network: cold, unchanged, and with
# one line changed. As root it makes a temporary user and a file system for that; BENCH_DIR
# is another place for it. ROUNDS=5.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/bench-disk.sh
. scripts/bench-disk.sh

scripts/setup.sh bench
scripts/base-tar.sh
rounds=${ROUNDS:-5}
base=.cache/base/trixie.tar
top=$(mktemp -d /var/tmp/cpc-bench-build.XXXXXX)
work=$top/disk
user=

clean() {
	run rm -rf "$work/home/storage" "$work/home/data" 2>/dev/null || true
	if [ -n "$user" ]; then
		run buildah unshare rm -rf "$work/home/storage" 2>/dev/null || true
		userdel "$user" 2>/dev/null || true
	fi
	disk_unmount "$work"
	rm -rf "$top"
}
trap clean EXIT
chmod 0711 "$top"
disk_mount "$work"

if [ "$(id -u)" -eq 0 ]; then
	user=cpcbench
	id "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir "$work/home" --shell /bin/sh "$user"
	grep -q "^$user:" /etc/subuid || usermod --add-subuids 710000000-710065535 --add-subgids 710000000-710065535 "$user"
fi

# run runs a command as the user who is measured.
run() {
	local as=()
	[ -z "$user" ] || as=(setpriv --reuid "$user" --regid "$user" --clear-groups)
	"${as[@]}" env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$work/home" XDG_RUNTIME_DIR="$work/home/run" \
		CPC_DATA_DIR="$work/home/data" CPC_STATE_DIR="$work/home/state" "$@"
}

mkdir -p "$work/ctx/src" "$work/home/run" "$work/bin"
cp bin/cpc bin/cpc-runtime "$work/bin"
cp "$base" "$work/base.tar"
for i in $(seq 300); do seq "$i" >"$work/ctx/src/$i"; done
cat >"$work/ctx/Dockerfile" <<'END'
FROM localhost/bench/base
ENV LANG=C.UTF-8
RUN groupadd --gid 1000 sandbox && useradd --uid 1000 --gid 1000 --create-home sandbox
RUN mkdir -p /opt/tools && cp -a /usr/lib /opt/tools/ && find /opt/tools -name '*.a' -delete
RUN mkdir /opt/many && seq 3000 | while read -r n; do echo "$n" >/opt/many/$n; done
COPY src /opt/src
RUN cat /opt/src/* | sort -n | uniq -c >/opt/counted
RUN echo line-0 >/opt/line && chown -R sandbox:sandbox /opt/many
USER sandbox
WORKDIR /home/sandbox
CMD ["/bin/bash"]
END
chmod -R a+rX "$work"
[ -z "$user" ] || chown -R "$user" "$work/home" "$work/ctx"

store=(--root "$work/home/storage" --runroot "$work/home/run/storage" --storage-driver overlay)
run "$work/bin/cpc" import "$work/base.tar" localhost/bench/base >/dev/null
container=$(run buildah "${store[@]}" from scratch)
run buildah "${store[@]}" add -q "$container" "$work/base.tar" / >/dev/null
run buildah "${store[@]}" commit -q "$container" localhost/bench/base >/dev/null

cpc_build() { run "$work/bin/cpc" build -q --sbom=false --network none -t localhost/bench/cpc "$@" "$work/ctx"; }
buildah_build() {
	run buildah "${store[@]}" build -q --layers --isolation chroot --pull=never -t localhost/bench/buildah "$@" "$work/ctx"
}

# measure NAME COMMAND…: adds the milliseconds of one run to NAME's.
measure() {
	local name=$1 start end
	shift
	start=$(date +%s%N)
	"$@" >/dev/null
	end=$(date +%s%N)
	echo $(((end - start) / 1000000)) >>"$work/$name"
}

for round in $(seq "$rounds"); do
	for tool in cpc buildah; do
		measure "$tool-cold" "${tool}_build" --no-cache
		"${tool}_build" >/dev/null # buildah's --no-cache leaves nothing for the next
		measure "$tool-warm" "${tool}_build"
		sed -i "s/line-[0-9a-z]*/line-$round$tool/" "$work/ctx/Dockerfile"
		measure "$tool-changed" "${tool}_build"
	done
done

median() { sort -n "$work/$1" | sed -n "$(((rounds + 1) / 2))p"; }
echo "medians of $rounds rounds, in ms, and cpc's share of buildah's time"
for what in cold warm changed; do
	c=$(median "cpc-$what") b=$(median "buildah-$what")
	printf '%-8s cpc %6d  buildah %6d  %s\n' "$what" "$c" "$b" "$(awk "BEGIN { printf \"%.2f\", $c / $b }")"
done
