#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# neighbour.sh: runs inside the VM as a user in a login session: a container of
# rootless podman's in the same session does not notice what cpc does there.
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"

tiny=localhost/tiny:1
image=docker.io/library/debian:trixie-slim

start_neighbour() {
	tiny_root && tiny_archive "$work/image.tar" "$tiny" && podman load -q -i "$work/image.tar" &&
		podman run -d --name neighbour --network none --memory 256m "$tiny" sleep 100000 &&
		state >"$work/before" && cat "$work/before"
}

# state: what must stay as it is: the process, its start, its cgroup, the limits
# in there, and the scope.
state() {
	local pid cgroup
	pid=$(podman inspect --format '{{.State.Pid}}' neighbour) || return
	cgroup=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	podman inspect --format '{{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}' neighbour
	echo "$pid $(cut -d' ' -f22 "/proc/$pid/stat") $cgroup"
	(cd "/sys/fs/cgroup$cgroup" && cat memory.max cpu.max pids.max cgroup.procs)
	systemctl --user list-units --plain --no-legend 'libpod-*.scope' | awk '{print $1, $3, $4}'
}

unchanged() { diff "$work/before" <(state); }

# What cpc does, the rough things too; each way, that it did is checked.
import_base() { [ -n "$(cpc import /var/tmp/base.tar "$image")" ] && unchanged; }
ordinary_run() { [ "$(cpc run --rm "$image" echo hello)" = hello ] && unchanged; }

out_of_memory() {
	local status=0
	cpc run --rm --memory 32m "$image" tail /dev/zero || status=$?
	[ $status -eq 137 ] && unchanged
}

monitor_killed() {
	cpc run -d --name victim "$image" sleep 600 || return
	kill -9 "$(cpc inspect --format '{{.State.MonitorPid}}' victim)" || return
	cpc sweep && cpc rm -f victim >/dev/null
	[ "$(cpc ps -aq | wc -l)" -eq 0 ] && unchanged
}

all_removed() {
	cpc system prune -f >/dev/null || return
	unchanged
}

finish() {
	podman rm -f -t 0 neighbour >/dev/null 2>&1
	podman system reset --force >/dev/null 2>&1
	rm -rf "$work"
}
trap finish EXIT

check "podman's container beside cpc: started" start_neighbour
check "podman's container beside cpc: an image imported" import_base
check "podman's container beside cpc: a sandbox" ordinary_run
check "podman's container beside cpc: out of memory" out_of_memory
check "podman's container beside cpc: a monitor killed, and swept" monitor_killed
check "podman's container beside cpc: all of cpc removed" all_removed
