#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# delegation.sh STEP: runs inside the VM. What a user sees to whom systemd does
# not delegate the cpu controller, and whether the advice given mends it:
#
#   withdraw (root), refused (user), mend (root), works (user), and
#   directory (root): the same limits for a user without any systemd, in a
#   directory that root has delegated.
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

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
as_norange() {
	echo "$BASHPID" >$dir/start/cgroup.procs
	exec runuser -u norange -- env -i "PATH=$PATH" HOME=/home/norange "$@"
}
dir=/sys/fs/cgroup/delegated

make_directory() {
	systemctl stop user@1001.service
	echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p $dir/start
	local d
	for d in $dir $dir/start; do
		chown norange "$d" "$d/cgroup.procs" "$d/cgroup.subtree_control" "$d/cgroup.threads"
	done
	(as_norange cpc import /var/tmp/base.tar "$image")
}

in_directory() {
	local out
	out=$(as_norange cpc run --rm "$image" sh -c "$limits") || return
	echo "$out"
	words_are "$out" "2147483648 100000 100000 100"
}

hog_in_directory() {
	local status=0
	(as_norange cpc run --rm --memory 64m "$image" tail /dev/zero) || status=$?
	[ $status -eq 137 ]
}

directory_empty() {
	(as_norange cpc ps -a)
	find $dir -mindepth 1 -type d
	[ "$(find $dir -mindepth 1 -type d)" = $dir/start ]
	local status=$?
	rmdir $dir/start $dir
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
	check "a memory hog in a delegated directory" hog_in_directory
	check "nothing left in the delegated directory" directory_empty
	;;
*)
	echo "usage: delegation.sh withdraw|refused|mend|works|directory" >&2
	exit 2
	;;
esac
