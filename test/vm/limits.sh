#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# limits.sh all|short|FUNCTION…: runs inside the VM, as root or as a user in a login
# session: every limit, cpc update, pause, events and stats on cgroup v2. With
# functions' names: only these checks; short: not what smoke.sh has shown of this
# user, nor what takes longest. CPC_VM_DELEGATED: the caller is in a directory where every
# controller was delegated, and there is no systemd for it. CPC_VM_RUNS is how many
# runs in a row must leave the cgroup tree as it was (5; each takes some seconds
# under emulation).
# shellcheck disable=SC2016 # expanded inside the sandbox
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
as_root=$([ "$(id -u)" -eq 0 ] && echo yes)

import_base() {
	cpc inspect --type image "$image" >/dev/null 2>&1 || [ -n "$(cpc import /var/tmp/base.tar "$image")" ]
}

# files NAME FILE…: what is in files of the sandbox's cgroup.
files() {
	local name=$1
	shift
	cpc exec "$name" sh -c 'cd /sys/fs/cgroup && cat "$@"' - "$@"
}

# actions NAME: its events.
actions() { cpc events --since 1h --until 0s --filter "container=$1" --format '{{.Action}}' | tr '\n' ' '; }

# await NAME ACTION SECONDS
await() {
	local end=$((SECONDS + $3 * ${SLOW:-1}))
	until [[ " $(actions "$1")" == *" $2 "* ]]; do
		if [ $SECONDS -ge $end ]; then
			echo "no event $2: $(actions "$1")"
			return 1
		fi
		sleep 0.5
	done
}

other_limits() {
	cpc run -d --name lim -m 200m --memory-swap 300m --memory-reservation 50m --memory-high 150m --cpu-shares 512 \
		--cpu-quota 20000 --cpu-period 50000 --pids-limit 40 --oom-score-adj 300 "$image" sleep 600 >/dev/null || return
	local out
	out=$(files lim memory.max memory.swap.max memory.low memory.high cpu.weight cpu.max pids.max /proc/1/oom_score_adj)
	echo "$out"
	cpc rm -f lim
	words_are "$out" "209715200 104857600 52428800 157286400 59 20000 50000 40 300"
}

# A user has these two controllers only if an administrator delegates them, and
# no disk of the host's to write to.
cpuset_and_io() {
	local out status=0
	if [ -n "${CPC_VM_DELEGATED:-}" ] && [ -z "$as_root" ]; then
		out=$(cpc run --rm --cpuset-cpus 1 --cpuset-mems 0 --blkio-weight 300 --device-write-bps /dev/vda:1m "$image" sh -c '
			cd /sys/fs/cgroup && cat cpuset.cpus cpuset.mems io.max io.weight') || return
		echo "$out"
		words_are "$out" "1 0 254:0 rbps=max wbps=1048576 riops=max wiops=max default 2930"
		return
	fi
	if [ -z "$as_root" ]; then
		out=$(cpc run --rm --cpuset-cpus 0 "$image" true 2>&1) || status=$?
		echo "$out"
		[ $status -eq 125 ] && [[ $out == *"does not delegate the cpuset controller"*delegate.conf* ]]
		return
	fi
	cpc run -d --name io --cpuset-cpus 1 --cpuset-mems 0 --blkio-weight 300 --device-write-bps /dev/vda:1m --device-read-iops /dev/vda:5000 \
		--read-only=false "$image" sleep 600 >/dev/null || return
	out=$(files io cpuset.cpus cpuset.mems io.max io.weight)
	echo "$out"
	local begin=$SECONDS
	cpc exec -u 0 io sh -c 'dd if=/dev/zero of=/x bs=1M count=6 oflag=direct' 2>&1
	local took=$((SECONDS - begin))
	local written
	written=$(cpc stats --no-stream --format '{{.BlockIO}}' io)
	echo "6 MiB took $took s; $written"
	cpc update --device-write-bps /dev/vda:2m --cpuset-cpus 0-1 io
	local after
	after=$(files io cpuset.cpus io.max)
	echo "$after"
	cpc rm -f io
	[[ $written == *" / "[1-9]* ]] && words_are "$out" "1 0 254:0 rbps=max wbps=1048576 riops=5000 wiops=max default 2930" &&
		words_are "$after" "0-1 254:0 rbps=max wbps=2097152 riops=5000 wiops=max" && [ $took -ge 4 ]
}

update_live() {
	cpc run -d --name up --pids-limit -1 -m 128m --tmpfs /tmp:size=100m "$image" sh -c 'head -c 60M /dev/zero >/tmp/x; sleep 600' >/dev/null || return
	cpc update -m 200m --memory-high 180m --pids-limit 50 --cpus 0.5 --cpu-shares 2048 up
	local one two status=0 out
	one=$(files up memory.max memory.high pids.max cpu.max cpu.weight)
	echo "$one"
	cpc inspect --format '{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' up
	until [ "$(cpc exec up stat -c %s /tmp/x)" = 62914560 ]; do sleep 0.5; done
	out=$(cpc update --pids-limit 60 -m 20m --memory-high 0 up 2>&1) || status=$?
	echo "status $status: $out"
	two=$(files up memory.max memory.high pids.max cpu.max cpu.weight)
	echo "$two"
	[ $status -eq 1 ] && [[ $out == *"the sandbox uses"* ]] && [ "$one" = "$two" ] &&
		words_are "$one" "209715200 188743680 50 50000 100000 174" &&
		cpc update -m 0 --memory-high 0 --pids-limit -1 --cpus 0 --cpu-shares 0 up &&
		words_are "$(files up memory.max memory.high pids.max cpu.max cpu.weight)" "max max max max 100000 100"
	status=$?
	files up memory.max memory.high pids.max cpu.max cpu.weight
	cpc rm -f up
	return $status
}

# share NAME: thousandths of a CPU that it has over 5 s. No fork comes between a
# look at what it used and one at the clock: it would wait for its turn.
share() {
	cpc exec "$1" bash -c '
		look() { read -r _ used </sys/fs/cgroup/cpu.stat; now=${EPOCHREALTIME/./}; }
		look; a=$used b=$now; sleep 5; look
		echo $(((used - a) * 1000 / (now - b)))'
}

# near WANT: spin's share; looked at again, twice at most, when that is not within
# 10 %, as the host may have had no time for the VM.
near() {
	local got
	for _ in 1 2 3; do
		got=$(share spin)
		[ "$got" -lt $(($1 * 9 / 10)) ] || [ "$got" -gt $(($1 * 11 / 10)) ] || break
	done
	echo "$got"
}

# Within 10 % of what it was given, and then of what it is given.
share_follows() {
	cpc run -d --name spin --cpus 0.4 "$image" bash -c 'while :; do :; done & while :; do :; done' >/dev/null || return
	sleep 1
	local first second status
	first=$(near 400)
	cpc update --cpus 0.2 spin
	sleep 1
	second=$(near 200)
	echo "thousandths of a CPU: $first of 400, $second of 200"
	await spin cpu-throttled 30 && [ "$first" -ge 360 ] && [ "$first" -le 440 ] && [ "$second" -ge 180 ] && [ "$second" -le 220 ]
	status=$?
	cpc rm -f spin
	return $status
}

out_of_memory() {
	local out status=0
	out=$(cpc run --name oom -m 64m "$image" tail /dev/zero 2>&1) || status=$?
	echo "status $status: $out"
	cpc ps -a
	actions oom
	cpc inspect --format '{{.State.OOMKilled}} {{.State.OOMVictim}}: {{.State.Reason}}' oom
	[ $status -eq 137 ] && [[ $out == *'killed: out of memory at the 64 MiB limit'* ]] && [[ $(cpc ps -a) == *"out of memory"* ]] &&
		[[ $(actions oom) == *" oom "*"die "* ]] && [[ $(cpc inspect --format '{{.State.OOMKilled}}' oom) = true ]] &&
		[[ $(cpc events --since 1h --until 0s --filter container=oom --filter event=oom) == *limit=67108864*name=oom* ]]
	status=$?
	# Whom the kernel killed: root may read its log, a user's monitor has looked.
	if [ -n "$as_root" ] && [[ $(cpc inspect --format '{{.State.OOMVictim}}' oom) != "tail (process "* ]]; then
		echo "not the victim"
		status=1
	fi
	cpc rm -f oom
	return $status
}

# Only the victim ends: the first program, another one's files and the session stay. With
# --oom sandbox, also if it is said later, all ends. memory.oom.group is what does it.
oom_of_a_process() {
	local out status=0 group later
	cpc run -d --name lives -m 64m "$image" sh -c 'echo work >/tmp/w; sleep 600' >/dev/null || return
	group=$(files lives memory.oom.group)
	out=$(cpc exec lives tail /dev/zero 2>&1) || status=$?
	echo "status $status: $out"
	[ $status -eq 137 ] && [[ $out == *'killed: out of memory at the 64 MiB limit'* ]] && [ "$(cpc exec lives cat /tmp/w)" = work ] &&
		[[ $(cpc inspect --format '{{.State.Status}} {{.State.OOMKilled}} {{.State.OOMKills}} {{.HostConfig.Oom}}' lives) = "running true 1 process" ]]
	status=$?
	cpc update --oom sandbox lives
	later=$(files lives memory.oom.group)
	echo "memory.oom.group $group, then $later"
	[ "$group $later" = "0 1" ] || status=1
	cpc exec lives tail /dev/zero
	[ "$(cpc wait lives)" = 137 ] && [[ $(cpc inspect --format '{{.State.Reason}}' lives) == "killed: out of memory"* ]] || status=1
	cpc inspect --format '{{json .State}}' lives
	cpc rm -f lives
	# A scope that systemd made must not end for a kill below it (OOMPolicy=).
	cpc run --rm -m 64m "$image" sh -c 'tail /dev/zero; echo after' 2>&1 | tee /dev/stderr | grep -q after || status=1
	return $status
}

# Who may not read the kernel's log has looked who had most memory: it must not
# have been too fast.
slow_hog() {
	local status=0
	cpc run --name slow -m 64m "$image" perl -e '$x .= "a" x 1e6, select undef, undef, undef, .05 while 1' || status=$?
	cpc inspect --format '{{.State.OOMVictim}}: {{.State.Reason}}' slow
	[ $status -eq 137 ] && [[ $(cpc inspect --format '{{.State.OOMVictim}}: {{.State.Reason}}' slow) == "perl (process "*'which "perl" used up'* ]] &&
		[[ $(cpc events --since 1h --until 0s --filter container=slow --filter event=oom) == *victim=perl* ]]
	status=$?
	cpc rm -f slow
	return $status
}

refused_forks() {
	local out status=0
	out=$(cpc run --name forks --pids-limit 20 "$image" perl -e 'for (1..60) { my $p = fork; exit 9 unless defined $p; sleep 600 unless $p }' 2>&1) || status=$?
	echo "status $status: $out"
	actions forks
	[ $status -eq 9 ] && [[ $out == *"the limit of 20 processes"* ]] && [[ $(actions forks) == *" pids-max "* ]]
	status=$?
	cpc rm -f forks
	return $status
}

nearly_full() {
	cpc run -d --name full -m 100m --tmpfs /tmp:size=100m "$image" sh -c 'head -c 85M /dev/zero >/tmp/x; sleep 20; head -c 11M /dev/zero >/tmp/y; sleep 600' >/dev/null || return
	await full memory-80 20 && [[ $(actions full) != *memory-95* ]] && await full memory-95 60 &&
		[[ $(cpc stats --no-stream --format '{{.Name}} {{.Tmpfs}} {{.PIDsLimit}} {{.Pressure}}' full) == "full 9"*MiB" 100 "*/*/* ]]
	local status=$?
	actions full
	cpc stats --no-stream full
	cpc rm -f full
	return $status
}

exited() { [[ $(cpc inspect --format '{{.State.Status}}' "$1") = exited ]]; }

paused() {
	cpc run -d --name pau "$image" sh -c 'while :; do date +%N; sleep 0.1; done' >/dev/null || return
	cpc pause pau
	cpc ps
	local before after status
	before=$(cpc logs pau | wc -l)
	sleep 2
	after=$(cpc logs pau | wc -l)
	echo "$before lines before, $after after"
	[ "$before" -eq "$after" ] && [[ $(cpc ps) == *"(Paused)"* ]] && ! cpc exec pau true && cpc unpause pau && cpc exec pau true
	status=$?
	cpc pause pau
	kill -9 "$(cpc inspect --format '{{.State.MonitorPid}}' pau)"
	eventually exited pau || status=1
	cpc rm -f pau
	return $status
}

# As a table that goes on, and as JSON.
stats_shown() {
	cpc run -d --name st --cpus 0.5 -m 200m "$image" sh -c 'while :; do :; done' >/dev/null || return
	cpc exec st getent hosts nosuch.example # no answer, but traffic
	sleep 3
	local out rows status
	out=$(cpc stats --no-stream --json st | tr -d ' \n')
	rows=$(timeout 60 cpc stats --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}/{{.PIDsLimit}}' st |
		grep -m 2 'st [1-9].*% .* / 200MiB [1-9]*/100')
	printf '%s\n' "$out" "$rows"
	[[ $out == *'"memoryLimit":209715200'*'"pidsLimit":100'* && $out =~ '"cpuPercent":'[1-9] && $out =~ '"received":'[1-9] && $out =~ '"sent":'[1-9] ]] &&
		[ "$(wc -l <<<"$rows")" -eq 2 ]
	status=$?
	cpc rm -f st
	return $status
}

# top_has TEXT…: whether the processes of the sandbox "top" include these.
top_has() {
	local out text
	out=$(cpc top top -o pid,args)
	for text; do [[ $out == *"$text"* ]] || return; done
}

processes_shown() {
	cpc run -d --name top "$image" sh -c 'sleep 601 & sleep 602' >/dev/null || return
	local status
	eventually top_has "sleep 601" "sleep 602"
	status=$?
	cpc top top -o pid,args
	cpc rm -f top
	return $status
}

# own_quotas: root has CAP_SYS_RESOURCE here, so a sandbox's own range owns its user
# namespace (NS_GET_OWNER_UID), and what all of its ids take is not counted for root.
# Each id gets 16 inotify instances.
own_quotas() {
	local pid first owner out
	cpc run -d --name own "$image" sleep 600 >/dev/null || return
	pid=$(cpc inspect --format '{{.State.Pid}}' own)
	read -r _ first _ <"/proc/$pid/uid_map"
	owner=$(perl -e 'open F, "<", "/proc/$ARGV[0]/ns/user" or die $!; $b = "\0" x 4; ioctl(F, 0xb704, $b) or die $!; print unpack("L", $b)' "$pid")
	out=$(cpc run --rm --user 0 "$image" perl -e '
		sub take { my $n = 0; $n++ while $n < 100 && syscall(294, 0) >= 0; $n }
		my $first = take(); $( = $) = 5; $< = $> = 5; print "$first ", take(), " $>\n"')
	echo "owner $owner, ids from $first; instances: $out"
	cpc rm -f own
	[ "$first" != 0 ] && [ "$owner" = "$first" ] && [ "$out" = "16 16 5" ]
}

# tree leaves out what comes and goes by itself: sessions, and the system's services.
tree() { find /sys/fs/cgroup -type d | grep -v '/session-\|/run-\|/system.slice/[^/]*\.service' | sort; }
tree_is() { [ "$(tree)" = "$1" ]; }

many_runs() {
	local before n=${CPC_VM_RUNS:-5} begin=$SECONDS
	# The first scope brings a slice, and the bus, that systemd keeps.
	cpc run --rm "$image" true || return
	before=$(tree)
	for _ in $(seq "$n"); do
		cpc run --rm --limits enforce "$image" true || return
	done
	echo "$n runs took $((SECONDS - begin)) s"
	eventually tree_is "$before" || diff <(echo "$before") <(tree)
}

check "an image" import_base
case ${1:-all} in
all | short) ;;
*)
	for what in "$@"; do check "$what" "$what"; done
	exit
	;;
esac
check "every other limit, read from inside" other_limits
check "cpuset and io" cpuset_and_io
check "update of a running sandbox; refused values leave the old ones" update_live
[ "${1:-all}" = short ] || check "the share of the CPU follows an update, throttling is told" share_follows
check "out of memory: event, victim and record" out_of_memory
check "out of memory: only the victim ends, or all where that is asked for" oom_of_a_process
[ "${1:-all}" = short ] || check "a slow hog: the victim is named" slow_hog
check "refused forks: event and record" refused_forks
check "memory at 80 and 95 percent, stats" nearly_full
check "pause, also with a monitor that is killed" paused
[ "${1:-all}" = short ] || check "top" processes_shown
[ -z "$as_root" ] || check "what a sandbox takes of the kernel's quotas is not root's" own_quotas
[ -n "${CPC_VM_DELEGATED:-}" ] || check "stats, going on and as JSON" stats_shown
check "${CPC_VM_RUNS:-5} runs leave the cgroup tree as it was" many_runs
