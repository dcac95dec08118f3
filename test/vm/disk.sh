#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# disk.sh all|short TIER, or open-fuse, close-fuse (root): runs inside the VM and
# shows that a sandbox has a disk of that tier: bounded, kept from the host, and
# gone afterwards.
# shellcheck disable=SC2016 # expanded inside the sandbox
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
tier=${2:-}
data=${XDG_DATA_HOME:-$HOME/.local/share}/cpc
[ "$(id -u)" -ne 0 ] || data=/var/lib/cpc
# One without a session has no cgroups of its own.
limits=
[ "$who" != norange ] || [ -n "${CPC_VM_DELEGATED:-}" ] || limits=best-effort
export CPC_LIMITS=$limits
[ -n "$limits" ] || unset CPC_LIMITS

import_base() { cpc images -q "$image" | grep -q . || [ -n "$(cpc import /var/tmp/base.tar "$image")" ]; }

# Writing ends with ENOSPC at the limit, and what is deleted can be used again.
bounded() {
	local out said size
	# Apart: which of the two comes first is not said.
	said=$(mktemp)
	out=$(cpc run --rm --disk 16m "$@" "$image" sh -c '
		head -c 24m /dev/zero >/var/tmp/f && echo no limit
		wc -c </var/tmp/f
		rm /var/tmp/f && head -c 5m /dev/zero >/var/tmp/g && echo again' 2>"$said")
	echo "$out"
	cat "$said"
	grep -q 'No space left on device' "$said" && rm "$said" || return
	[[ $out == *again && $out != *"no limit"* ]] || return
	size=$(head -n 1 <<<"$out")
	[ "$size" -gt 12000000 ] && [ "$size" -le 16777216 ]
}

# says NAME TEXT: whether its log has it.
says() { [[ $(cpc logs "$1" 2>/dev/null) == *"$2"* ]]; }

# What it takes of the host's disk is no more than its size, even when it is full.
host_kept() {
	[ "$tier" != tmpfs ] || return 0
	cpc run -d --name filled --disk 16m "$image" sh -c 'head -c 24m /dev/zero >/var/tmp/f; sync; echo full; sleep 300' >/dev/null || return
	local took status=0
	eventually says filled full || status=1
	took=$(du -sk "$data/scratch" | cut -f1)
	echo "of the host's disk: $took KiB"
	cpc logs filled
	cpc rm -f filled
	[ $status = 0 ] && [ "$took" -gt 12000 ] && [ "$took" -le 16500 ]
}

on_record() {
	local out
	cpc run --name disk --disk 40m "$image" true || return
	out=$(cpc inspect --format '{{.Disk.Tier}} {{.Disk.Asked}} {{.Disk.Paths}}' disk)
	echo "$out"
	cpc inspect disk | sed -n '/"Disk"/,/}/p'
	cpc rm disk >/dev/null
	[ "$out" = "$tier 41943040 [/var/tmp]" ]
}

# Files of several owners, links, modes and renames, as programs expect them.
behaves() {
	local out
	out=$(cpc run --rm --user 0 --cap-add ALL --disk 32m "$image" sh -c '
		set -e
		cd /var/tmp
		echo a >a && chown 5:7 a && chmod 640 a && mkdir -p d/e && mv a d/e/b && ln d/e/b c && ln -s c l
		stat -c %u:%g:%a:%h c && cat l
		setpriv --reuid 9 --regid 9 --clear-groups cat c 2>&1 && echo read what it must not
		setpriv --reuid 9 --regid 9 --clear-groups sh -c "echo x >mine; stat -c %u mine" && rm -r d mine
		mkfifo p && (echo through >p & cat p)
		dd if=/dev/zero of=sparse bs=1 count=1 seek=20M 2>/dev/null; chown 0 c; truncate -s 5 c; wc -c <c; sync
		echo done') || { echo "$out" && return 1; }
	echo "$out"
	[[ $out == "5:7:640:2"*a*"Permission denied"*9*through*5*done && $out != *"must not"* ]]
}

# Whatever a user's /dev/fuse says: an overlay needs another tier.
writable_root() {
	local out want=$tier
	[ "$tier" = loop ] || want=tmpfs
	cpc run --name rw --read-only=false --user 0 --cap-add ALL --disk 16m "$image" sh -c '
		head -c 24m /dev/zero >/opt/f; rm /opt/f; mkdir /opt/d && rm -r /srv && mkdir /srv && echo done' 2>&1 | tee /dev/stderr | grep -q 'No space left' || return
	out=$(cpc inspect --format '{{.Disk.Tier}} {{.Disk.Paths}} {{.State.ExitCode}}' rw)
	cpc rm rw >/dev/null
	echo "$out"
	[ "$out" = "$want [/] 0" ]
}

# The server has no rights of its user's: namespaces and Landlock.
server() {
	[ "$tier" = fuse2fs ] || return 0
	cpc run -d --name served --disk 16m "$image" sleep 300 >/dev/null || return
	local monitor pid bad=0
	monitor=$(cpc inspect --format '{{.State.MonitorPid}}' served)
	pid=$(pgrep -P "$monitor" -x fuse2fs)
	grep -E 'NoNewPrivs|Seccomp:' "/proc/$pid/status"
	grep -q '^NoNewPrivs:.*1$' "/proc/$pid/status" || bad=1
	local ns
	for ns in user mnt pid net ipc uts; do
		[ "$(sudo -n readlink "/proc/$pid/ns/$ns" 2>/dev/null || readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/$monitor/ns/$ns")" ] || { echo "shares $ns" && bad=1; }
	done
	# Without it the sandbox sees an error.
	kill -KILL "$pid"
	eventually ended "$pid" || return
	timeout 20 cpc exec served sh -c 'echo x >/var/tmp/x' && bad=1
	cpc rm -f served >/dev/null
	return $bad
}

# SIGKILL of the monitor: server, mount and loop device go with it, the file
# with the next command.
killed() {
	cpc run -d --name killed --disk 16m "$image" sh -c 'echo x >/var/tmp/x; sleep 300' >/dev/null || return
	kill -KILL "$(cpc inspect --format '{{.State.MonitorPid}}' killed)"
	cpc rm -f killed
	eventually nothing_left
}

nothing_left() {
	local bad=0
	pgrep -u "$(id -u)" -x fuse2fs && bad=1
	losetup -a | grep . && bad=1
	find "$data/scratch" -mindepth 1 | grep . && bad=1
	grep cpc-disk /proc/self/mounts && bad=1
	return $bad
}

case ${1:-} in
all | short)
	check "import" import_base
	check "disk of tier $tier: ENOSPC at its limit" bounded
	check "disk of tier $tier: no more of the host's" host_kept
	check "disk of tier $tier: in inspect" on_record
	if [ "$1" = all ]; then
		check "disk of tier $tier: owners, modes, links" behaves
		check "disk of a writable root" writable_root
		check "disk of tier $tier: its server is confined" server
		check "disk of a monitor that was killed" killed
	fi
	check "disks: nothing left" nothing_left
	;;
close-fuse) check "/dev/fuse is root's" chmod 0600 /dev/fuse ;;
open-fuse) check "/dev/fuse is everybody's" chmod 0666 /dev/fuse ;;
*)
	echo "usage: disk.sh all|short TIER | close-fuse | open-fuse" >&2
	exit 2
	;;
esac
