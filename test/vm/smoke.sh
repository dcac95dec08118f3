#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# smoke.sh [all|short|import]: runs inside the VM, as root or as a user in a login session, and
# shows that sandboxes have their limits there: read from inside, exceeded on
# purpose, and nothing left behind. One line a check: ok or FAIL.
# shellcheck disable=SC2016 # expanded inside the sandbox
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
reason='{{.State.OOMKilled}} {{.State.PidsLimitHits}} {{.State.ExitCode}} {{.State.Reason}}'

import_base() { [ -n "$(cpc import /var/tmp/base.tar "$image")" ]; }

# What the sandbox sees of its cgroup with the default limits.
default_limits() {
	local out
	out=$(cpc run --rm "$image" sh -c 'cd /sys/fs/cgroup && cat memory.max memory.swap.max cpu.max pids.max memory.oom.group') || return
	echo "$out"
	words_are "$out" "2147483648 0 100000 100000 100 0"
}

other_limits() {
	local out
	out=$(cpc run --rm --memory 100m --cpus 0.5 --pids-limit 40 "$image" \
		sh -c 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max') || return
	echo "$out"
	words_are "$out" "104857600 50000 100000 40"
}

# tail keeps all of a line, and /dev/zero is one long line.
memory_hog() {
	local status=0
	cpc run --name hog --memory 64m "$image" tail /dev/zero || status=$?
	cpc inspect --format "$reason" hog
	echo "cpc run: status $status"
	[ $status -eq 137 ] && [[ $(cpc inspect --format "$reason" hog) == true*137*memory* ]]
	status=$?
	cpc rm -f hog
	return $status
}

# In memory too: /tmp is charged to the sandbox, all of which is to end here.
tmpfs_hog() {
	local status=0
	cpc run --name thog --memory 64m --oom sandbox --tmpfs /tmp:size=1g "$image" sh -c 'head -c 200M /dev/zero >/tmp/x; sleep 1' || status=$?
	cpc inspect --format "$reason" thog
	cpc rm -f thog
	[ $status -eq 137 ]
}

fork_bomb() {
	local out status=0
	out=$(cpc run --name bomb "$image" perl -e '
		for (1 .. 300) {
			my $pid = fork;
			if (!defined $pid) { $refused++ }
			elsif ($pid == 0) { sleep 600; exit }
			else { $made++ }
		}
		print "made $made refused $refused\n"') || status=$?
	echo "status $status: $out"
	cpc inspect --format "$reason" bomb
	[ "$out" = "made 99 refused 201" ] && [[ $(cpc inspect --format '{{.State.PidsLimitHits}}' bomb) -ge 201 ]]
	status=$?
	cpc rm -f bomb
	return $status
}

# Half a CPU for two busy loops over 4 s, within 10 %.
cpu_share() {
	local out
	out=$(cpc run --rm --cpus 0.5 "$image" bash -c '
		look() { read -r _ used </sys/fs/cgroup/cpu.stat; now=${EPOCHREALTIME/./}; } # without a fork between
		(while :; do :; done) & (while :; do :; done) &
		sleep 1; look; a=$used b=$now; sleep 4; look
		echo $(((used - a) * 1000 / (now - b)))
		kill -9 %1 %2') || return
	echo "thousandths of a CPU: $out"
	[ "$out" -ge 450 ] && [ "$out" -le 550 ]
}

exec_works() {
	cpc run -d --name ex "$image" sleep 600 >/dev/null || return
	local out
	out=$(cpc exec ex sh -c 'echo hello; cat /sys/fs/cgroup/pids.max; cat /proc/self/cgroup')
	echo "$out"
	cpc stop -t 1 ex && cpc rm ex
	words_are "$out" "hello 100 0::/"
}

terminal_works() {
	local out
	out=$(script -qefc "cpc run -it --rm $image sh -c 'tty; stty size; exit 5'" /dev/null </dev/null)
	[ $? -eq 5 ] && echo "$out" && [[ $out == */dev/pts/* || $out == */dev/console* ]]
}

# units: what systemd has of ours. cgroups: what the kernel has.
units() {
	systemctl list-units --all --plain --no-legend 'cpc*'
	[ "$(id -u)" -eq 0 ] || systemctl --user list-units --all --plain --no-legend 'cpc*'
}
cgroups() { find /sys/fs/cgroup -type d -name 'cpc*' 2>/dev/null; }
nothing_left() {
	local left
	for _ in 1 2 3 4 5; do
		left=$(units; cgroups; pgrep -u "$(id -u)" -a cpc)
		[ -n "$left" ] || return 0
		sleep 1
	done
	echo "$left"
	return 1
}

runs_in_scope() {
	cpc run -d --name sc "$image" sleep 600 >/dev/null || return
	units
	cgroups
	cat "/proc/$(cpc inspect --format '{{.State.Pid}}' sc)/cgroup" "/proc/$(cpc inspect --format '{{.State.MonitorPid}}' sc)/cgroup"
	[ -n "$(units)" ]
	local status=$?
	cpc stop -t 1 sc && cpc rm sc
	return $status
}

monitor_killed() {
	cpc run -d --name gone "$image" sh -c 'sleep 600 & sleep 600' >/dev/null || return
	local pid monitor
	pid=$(cpc inspect --format '{{.State.Pid}}' gone)
	monitor=$(cpc inspect --format '{{.State.MonitorPid}}' gone)
	kill -9 "$monitor" || return
	eventually ended "$monitor"
	cpc ps -a
	cpc inspect --format "$reason" gone
	cpc rm -f gone
	if [ -d "/proc/$pid" ]; then
		echo "the sandbox's init $pid is alive"
		return 1
	fi
	nothing_left
}

no_best_effort() { [ -z "${CPC_LIMITS:-}" ] && cpc run --rm --dry-run "$image" true >/dev/null; }

# import: only make sure that there is an image. short: not what takes long.
part=${1:-all}
if [ "$part" = import ]; then
	cpc inspect --type image "$image" >/dev/null 2>&1 || check "import of a base image" import_base
	exit
fi
check "import of a base image" import_base
check "limits can be enforced" no_best_effort
check "default limits read from inside" default_limits
check "the sandbox has a scope" runs_in_scope
check "exec joins the sandbox's cgroup" exec_works
check "a memory hog is killed, with the reason" memory_hog
check "a fork bomb stops at the limit" fork_bomb
check "monitor killed: nothing left after the next command" monitor_killed
if [ "$part" = all ]; then
	check "other limits read from inside" other_limits
	check "a terminal" terminal_works
	check "half a CPU is half a CPU" cpu_share
	check "files in /tmp count as memory" tmpfs_hog
fi
check "no unit, cgroup or process left" nothing_left
