#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# fields.sh: runs inside the VM as root: fields of a bundle that need what a
# plain host may lack (AppArmor, cgroup v2, criu), given to cpc-runtime itself.
# shellcheck disable=SC2016 # expanded inside the container
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"

bundle=$work/bundle
oci() { "$cpc_runtime" "--systemd-cgroup=${systemd:-false}" --root "$work/state" "$@"; }

# config SCRIPT: writes config.json: the script as busybox runs it, with $process,
# $mounts, $linux and $namespaces added to the document.
config() {
	local args
	args=$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' <<<"$1")
	cat >"$bundle/config.json" <<-END
		{"ociVersion": "1.3.0", "hostname": "fields", "root": {"path": "rootfs"},
		 "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "args": ["sh", "-c", "$args"] ${process:-}},
		 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
		  {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
		  {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]} ${mounts:-}],
		 "linux": {"cgroupsPath": "${cgroups:-/cpcfields/c1}", "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
		  {"type": "cgroup"}, {"type": "network"} ${namespaces:-}] ${linux:-}}}
	END
}

# said WORDS SCRIPT: the container prints these words and ends well.
said() {
	local out
	config "$2"
	out=$(oci run --bundle "$bundle" c1 2>&1) || { echo "status $?: $out" && return 1; }
	echo "$out"
	words_are "$out" "$1"
}

# refused WORDS: it does not start, and the error has these words.
refused() {
	local out
	config true
	if out=$(oci run --bundle "$bundle" c1 2>&1); then
		echo "it ran: $out"
		return 1
	fi
	echo "$out"
	[[ $out == *"$1"* && ! -e $work/state/c1 ]]
}

apparmor() {
	local process=', "apparmorProfile": "cpc-fields"'
	printf 'profile cpc-fields flags=(attach_disconnected,mediate_deleted) {\n file,\n signal,\n capability,\n deny /denied rw,\n}\n' |
		apparmor_parser -r || return
	echo secret >"$bundle/rootfs/denied"
	said "cpc-fields (enforce) closed" 'cat /proc/self/attr/current; cat /denied 2>/dev/null || echo closed'
}
# apparmor_ways: a profile does not make init libcontainer's, which has threads.
apparmor_ways() {
	local process=', "apparmorProfile": "cpc-fields", "capabilities": {}' pid way seen status=0
	config 'sleep 100'
	for way in '' 1; do
		CPC_RUNTIME_LONG_WAY=$way oci create --bundle "$bundle" c2 >/dev/null 2>&1 </dev/null || return
		pid=$(oci state c2 | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
		[ -n "$way" ] || [ "$(ls "/proc/$pid/task")" = "$pid" ] || { echo "libcontainer's init" && status=1; }
		oci start c2 && until_true grep -q '^cpc-fields (enforce)$' "/proc/$pid/attr/current" || status=1
		seen=$(CPC_RUNTIME_LONG_WAY=$way oci exec c2 cat /proc/self/attr/current)
		echo "${way:-quick}: $seen"
		[ "$seen" = "cpc-fields (enforce)" ] || status=1
		oci delete -f c2
	done
	return $status
}
apparmor_exec() {
	local out
	config 'sleep 100'
	oci run -d --bundle "$bundle" c2 >/dev/null 2>&1 </dev/null || return
	out=$(oci exec --apparmor cpc-fields c2 cat /proc/self/attr/current)
	echo "$out"
	oci delete -f c2
	[ "$out" = "cpc-fields (enforce)" ]
}
apparmor_missing() {
	local process=', "apparmorProfile": "no-such-profile"'
	refused apparmor
}
unified='"unified": {"memory.high": "50000000", "cpu.weight": "77", "pids.max": "33"}'
unified() {
	local linux=", \"resources\": {$unified}"
	said "$1" 'cd /sys/fs/cgroup; cat memory.high cpu.weight pids.max'
}
unified_systemd() {
	local systemd=true cgroups=system.slice:cpc:fields
	unified "$1"
}
unified_missing() {
	local linux=', "resources": {"unified": {"memory.nosuch": "1"}}'
	refused memory.nosuch
}
rdt() {
	local linux=', "intelRdt": {"l3CacheSchema": "L3:0=f"}'
	refused "intelRdt"
}
net_device() {
	local linux=', "netDevices": {"cpcfield0": {"name": "inside0"}}'
	ip link add cpcfield0 type veth peer name cpcfield1 || return
	ip addr add 192.0.2.7/24 dev cpcfield0 && ip link set cpcfield0 up
	said "inside0 lo 192.0.2.7/24" 'ls /sys/class/net; ip -o -4 addr show inside0 | tr -s " " | cut -d" " -f4'
}
net_device_missing() {
	local linux=', "netDevices": {"nosuch0": {}}'
	refused nosuch0
}
time_namespace() {
	local namespaces=', {"type": "time"}' linux=', "timeOffsets": {"boottime": {"secs": 1000000, "nanosecs": 5}}'
	said "own" '[ $(cut -d. -f1 /proc/uptime) -gt 1000000 ] && echo own'
}
id_mapped() {
	local mounts
	mounts=", {\"destination\": \"/mapped\", \"type\": \"bind\", \"source\": \"$work/mapped\", \"options\": [\"bind\"],
	  \"uidMappings\": [{\"containerID\": 0, \"hostID\": 5000, \"size\": 10}],
	  \"gidMappings\": [{\"containerID\": 0, \"hostID\": 6000, \"size\": 10}]}"
	mkdir -p "$work/mapped" && : >"$work/mapped/f" || return
	said "5000:6000" 'stat -c %u:%g /mapped/f'
}
checkpoint() {
	local seen
	config 'n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.3; done'
	oci run -d --bundle "$bundle" c3 >/dev/null 2>&1 </dev/null || return
	until_true oci exec c3 sh -c '[ $(cat /tmp/n) -gt 5 ]' || return
	oci checkpoint --image-path "$work/image" --work-path "$work/criu" c3 || { tail "$work/criu/dump.log" && return 1; }
	oci state c3 2>/dev/null && return 1
	seen=$(cat "$bundle/rootfs/tmp/n")
	oci restore -d --bundle "$bundle" --image-path "$work/image" --work-path "$work/criu" c3 >/dev/null 2>&1 </dev/null ||
		{ tail "$work/criu/restore.log" && return 1; }
	until_true sh -c "[ \$(cat '$bundle/rootfs/tmp/n') -gt $((seen + 3)) ]" || return
	oci state c3 | grep -q '"status": "running"' || return
	oci delete -f c3
}
nothing_left() {
	[ ! -e /sys/fs/cgroup/cpcfields ] || return # create made it, delete takes it away
	[ -z "$(find "$work/state" -mindepth 1 ! -name @longway)" ] && ! pgrep -f "$work"
}

finish() {
	for id in c1 c2 c3; do oci delete -f $id; done
	ip link del cpcfield0
	echo 'profile cpc-fields {}' | apparmor_parser -R
	rm -rf "$work"
} >/dev/null 2>&1
trap finish EXIT

tiny_root
mkdir -p "$bundle"
mv "$work/tiny" "$bundle/rootfs"
check "cpc-runtime: AppArmor profile applied and read back" apparmor
check "cpc-runtime: AppArmor profile, both ways" apparmor_ways
check "cpc-runtime: exec --apparmor" apparmor_exec
check "cpc-runtime: an AppArmor profile that is not loaded" apparmor_missing
check "cpc-runtime: cgroup v2 unified" unified "49999872 77 33"
check "cpc-runtime: cgroup v2 unified, through systemd" unified_systemd "49999872 77 33"
check "cpc-runtime: unified, a file that there is not" unified_missing
check "cpc-runtime: intelRdt without the hardware" rdt
check "cpc-runtime: a network device" net_device
check "cpc-runtime: a network device that there is not" net_device_missing
check "cpc-runtime: a time namespace with an offset" time_namespace
check "cpc-runtime: an id-mapped mount" id_mapped
check "cpc-runtime: checkpoint and restore by criu" checkpoint
check "cpc-runtime: nothing left" nothing_left
