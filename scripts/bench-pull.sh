#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# bench-pull.sh [--rootless] [ROUNDS]: pulling, unpacking and first running an image of 500 MB of this
# machine's own files, in four layers, from a registry on this machine: cpc
# beside podman, and skopeo with umoci. As root or, with --rootless, as an
# ordinary user, which root makes for it. In every round each goes once,
# in turn; printed are medians, and the median of the ratios to podman. Every
# round has directories of its own, on a file system made for it; BENCH_DIR is
# another place for that.
set -eu -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/bench-disk.sh
. scripts/bench-disk.sh
rootless=
if [ "${1:-}" = --rootless ]; then
	rootless=yes
	shift
fi
rounds=${1:-5}
scripts/setup.sh bench
[ "$(id -u)" -eq 0 ] || rootless=yes
work=$(mktemp -d /var/tmp/cpc-bench-pull.XXXXXX)
registry='' user=''
cleanup() {
	if [ -n "$rootless" ]; then
		as podman unshare rm -rf "$work"/rounds/[0-9]* 2>/dev/null || true
		kill "$(cat "$work/rounds/run/libpod/tmp/pause.pid")" 2>/dev/null || true # podman leaves it
	fi
	awk -v below="$work/rounds/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mounted; do
		umount -l "$mounted"
	done
	[ -z "$registry" ] || kill "$registry" 2>/dev/null || true
	[ -z "$user" ] || userdel "$user" || true
	disk_unmount "$work/rounds"
	rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/bin"
disk_mount "$work/rounds"
cp bin/cpc bin/cpc-runtime "$work/bin"
export TMPDIR=$work HOME=$work

# as runs a command as who is measured.
as() {
	local prefix=()
	[ -z "$user" ] || prefix=(setpriv --reuid "$user" --regid "$user" --clear-groups)
	"${prefix[@]}" env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$work/rounds" TMPDIR="$work/rounds" XDG_RUNTIME_DIR="$work/rounds/run" \
		CPC_STATE_DIR="$work/rounds/state" "$@"
}

if [ "$(id -u)" -eq 0 ] && [ -n "$rootless" ]; then
	user=cpcbenchpull
	useradd --system --user-group --no-create-home --home-dir "$work/rounds" --shell /bin/sh "$user"
	usermod --add-subuids 720000000-720065535 --add-subgids 720000000-720065535 "$user"
	chown "$user:" "$work/rounds"
	chmod 0711 "$work"
	chmod -R a+rX "$work/bin"
fi
as mkdir -m 0700 "$work/rounds/run"

# image: four layers, of 125 MB of files each.
image() {
	mkdir "$work/tree"
	find /usr/lib /usr/share /usr/bin -xdev -type f -size -4096k -printf '%s %p\n' 2>/dev/null | sort -k2 |
		awk -v dir="$work" '{ n = int(sum / 125000000); if (n > 3) next; sum += $1; sub(/^[0-9]+ /, ""); print > (dir "/list" n) }'
	umoci init --layout "$work/layout"
	umoci new --image "$work/layout:v1"
	for n in 0 1 2 3; do
		mkdir "$work/tree/$n"
		tar -C / -cf - --no-recursion -T "$work/list$n" 2>/dev/null | tar -C "$work/tree/$n" -xf -
		umoci insert --image "$work/layout:v1" "$work/tree/$n" "/part$n" >/dev/null
	done
	umoci insert --image "$work/layout:v1" bin/cpc-runtime /program >/dev/null # static: it runs anywhere
	rm -rf "$work/tree"
}

serve() {
	cat >"$work/registry.yml" <<-END
		version: 0.1
		log: {level: error, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $work/registry}}
		http: {addr: "127.0.0.1:5077"}
	END
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 </dev/null &
	registry=$!
	for _ in $(seq 50); do
		(echo >/dev/tcp/127.0.0.1/5077) 2>/dev/null && return
		sleep 0.1
	done
	echo "bench-pull: the registry does not answer" >&2
	return 1
}

ref=127.0.0.1:5077/bench:v1
here=$work/rounds # and the number of the round
storage() { printf '%s\n' --root "$here/podman" --runroot "$work/rounds/run/podman" --storage-driver overlay --cgroup-manager cgroupfs; }
cpc() { as env CPC_DATA_DIR="$here/cpc" "$work/bin/cpc" "$@"; }
podman() { # shellcheck disable=SC2046 # words
	as podman $(storage) "$@"
}
cpc_pull() { cpc pull -q "$ref"; }
podman_pull() { podman pull -q --tls-verify=false "$ref"; }
skopeo_umoci() {
	# shellcheck disable=SC2086 # none or one
	as skopeo copy -q --src-tls-verify=false "docker://$ref" "oci:$here/skopeo:v1" &&
		as umoci unpack ${rootless:+--rootless} --image "$here/skopeo:v1" "$here/bundle"
}
cpc_run() { cpc run --rm --limits best-effort --network none "$ref" /program --version; }
podman_run() {
	podman run --runtime runc --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$ref" /program --version
}

# once NAME COMMAND: seconds that it takes.
once() {
	local start end
	sync
	start=$(date +%s.%N)
	"$2" >"$work/out" 2>&1 || { cat "$work/out" >&2; return 1; }
	end=$(date +%s.%N)
	echo "$start $end" | awk '{ printf "%.3f\n", $2 - $1 }' >>"$work/times.$1"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

image
serve
skopeo copy -q --dest-tls-verify=false "oci:$work/layout:v1" "docker://$ref"
for round in $(seq "$rounds"); do
	here=$work/rounds/$round
	as mkdir "$here"
	once cpc cpc_pull
	once podman podman_pull
	once skopeo skopeo_umoci
	once cpc-run cpc_run
	once podman-run podman_run
done
echo "pull and unpack${rootless:+, as a user}, 500 MB in 4 layers, $(find "$work/registry" -name data -size +100k -printf '%s\n' | awk '{ s += $1 } END { printf "%d MB compressed", s / 1e6 }'), $rounds rounds:"
report() {
	local ratio
	ratio=$(paste "$work/times.$1" "$work/times.$2" | awk '{ print $1 / $2 }' | median)
	printf '  %-16s %7.2f s  %5.2f of podman\n' "$1" "$(median <"$work/times.$1")" "$ratio"
}
for name in cpc podman skopeo; do report "$name" podman; done
echo "the first run after it:"
for name in cpc-run podman-run; do report "$name" podman-run; done
