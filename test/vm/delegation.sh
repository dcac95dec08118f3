#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# delegation.sh STEP: runs inside the VM. What a user sees to whom systemd does
# not delegate the cpu controller, and whether the advice given mends it:
#
#   withdraw (root), refused (user), mend (root), works (user), and
#   directory (root): the same limits, each exceeded, for a user without any
#   systemd, in a directory that root has delegated
#   plain (root): the same for root without systemd
# shellcheck disable=SC2016 # expanded by the inner shell
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

here=$(dirname "$0")
cd / # which a user may read
image=docker.io/library/debian:trixie-slim
told=/var/tmp/told
units=/etc/systemd/system/user@.service.d
limits='cd /sys/fs/cgroup && cat memory.max cpu.max pids.max'

withdraw() {
	mkdir -p $units
	printf '[Service]\nDelegate=\nDelegate=memory pids\n' >$units/00-less.conf
	systemctl daemon-reload
	systemctl restart user@1000.service
}

# The message names the limit, and the command that mends it.
refused() {
	local status=0
	cpc run --rm "$image" true 2>$told || status=$?
	cat $told
	[ $status -eq 125 ] &&
		grep -q 'cannot be enforced here: cpu (systemd does not delegate the cpu controller' $told &&
		grep -q 'user@.service.d/delegate.conf' $told
}

best_effort() {
	local out
	out=$(cpc run --rm --limits best-effort "$image" sh -c 'cd /sys/fs/cgroup && cat memory.max pids.max && ls') || return
	echo "$out"
	[[ $out == "2147483648"$'\n'"100"* && $out != *cpu.max* ]]
}

# No bus: the message says so.
no_bus() {
	local out
	out=$(runtime=$(mktemp -d) && env -u DBUS_SESSION_BUS_ADDRESS "XDG_RUNTIME_DIR=$runtime" \
		cpc run --rm "$image" true 2>&1) && return 1
	echo "$out"
	[[ $out == *"no user bus"* && $out == *dbus-user-session* ]]
}

mend() {
	local advice
	advice=$(sed -n 's/^  \(sudo mkdir .*\)   (.*/\1/p' $told)
	[ -n "$advice" ] && echo "$advice" && sh -c "$advice"
}

works() {
	local out
	out=$(cpc run --rm "$image" sh -c "$limits") || return
	echo "$out"
	words_are "$out" "2147483648 100000 100000 100"
}

# norange has no session here: runuser makes none.
as_norange() (
	echo "$BASHPID" >$dir/start/cgroup.procs
	exec runuser -u norange -- env -i "PATH=$PATH" HOME=/home/norange CPC_VM_DELEGATED=yes CPC_VM_RUNS=5 "VERBOSE=${VERBOSE:-}" "SLOW=${SLOW:-1}" "$@"
)
dir=/sys/fs/cgroup/delegated

make_directory() {
	systemctl stop user@1001.service
	echo "+cpu +memory +pids +cpuset +io" >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p $dir/start
	local d
	for d in $dir $dir/start; do
		chown norange "$d" "$d/cgroup.procs" "$d/cgroup.subtree_control" "$d/cgroup.threads"
	done
	as_norange cpc import /var/tmp/base.tar "$image"
}

in_directory() {
	local out
	out=$(as_norange cpc run --rm "$image" sh -c "$limits; cat /proc/1/cgroup; find /sys/fs/cgroup -type d") || return
	echo "$out"
	words_are "$out" "2147483648 100000 100000 100 0::/ /sys/fs/cgroup"
}

# The sandbox of a monitor that was killed dies with it; its cgroup goes with the
# next command.
killed_in_directory() {
	as_norange cpc run -d --name gone "$image" sh -c 'sleep 600 & sleep 600' >/dev/null || return
	local init
	init=$(as_norange cpc inspect --format '{{.State.Pid}}' gone)
	cat "/proc/$init/cgroup"
	[[ $(cat "/proc/$init/cgroup") == 0::/delegated/cpc-* ]] || return
	kill -9 "$(as_norange cpc inspect --format '{{.State.MonitorPid}}' gone)"
	eventually ended "$init"
	as_norange cpc ps -a
	find $dir -mindepth 1 -type d
	[ ! -d "/proc/$init" ] && [ "$(find $dir -mindepth 1 -type d)" = $dir/start ]
	local status=$?
	as_norange cpc rm -f gone
	return $status
}

directory_empty() {
	as_norange cpc ps -a
	find $dir -mindepth 1 -type d
	[ "$(find $dir -mindepth 1 -type d)" = $dir/start ]
	local status=$?
	rmdir $dir/start $dir
	return $status
}

# Root where no systemd is to be seen, as on a host with another init.
no_systemd() { unshare --mount sh -c 'mount -t tmpfs none /run/systemd && exec "$@"' - env CPC_VM_DELEGATED=yes "$@"; }

root_in_directory() {
	local init status
	no_systemd cpc run -d --name plain "$image" sleep 600 >/dev/null || return
	init=$(cpc inspect --format '{{.State.Pid}}' plain)
	cat "/proc/$init/cgroup"
	[[ $(cat "/proc/$init/cgroup") == 0::/cpc-*[0-9a-f] ]] && words_are "$(no_systemd cpc exec plain sh -c "$limits")" "2147483648 100000 100000 100"
	status=$?
	kill -9 "$(cpc inspect --format '{{.State.MonitorPid}}' plain)"
	eventually ended "$init"
	no_systemd cpc ps -a
	[ ! -d "/proc/$init" ] && [ -z "$(find /sys/fs/cgroup -name 'cpc-*')" ] || status=1
	no_systemd cpc rm -f plain
	return $status
}

case ${1:-} in
withdraw) check "delegation of cpu withdrawn" withdraw ;;
refused)
	check "without delegation: refused, with the drop-in to make" refused
	check "without delegation: best effort keeps the others" best_effort
	check "without a user bus: refused, with what to install" no_bus
	;;
mend) check "the advice, typed as it was given" mend ;;
works) check "with the drop-in: limits hold" works ;;
directory)
	check "a delegated directory is made" make_directory
	check "limits in a delegated directory" in_directory
	as_norange "$here/limits.sh" short
	as_norange "$here/disk.sh" short fuse2fs
	check "SIGKILL of the monitor in a delegated directory" killed_in_directory
	check "nothing left in the delegated directory" directory_empty
	;;
plain)
	"$here/smoke.sh" import
	check "root without systemd: limits, and SIGKILL of the monitor" root_in_directory
	no_systemd "$here/limits.sh" update_live share_follows out_of_memory refused_forks
	;;
*)
	echo "usage: delegation.sh withdraw|refused|mend|works|directory|plain" >&2
	exit 2
	;;
esac
