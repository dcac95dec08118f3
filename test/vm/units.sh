#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# units.sh system|user|remove: runs inside the VM: the units of deploy/systemd, as
# make install puts them, as a system unit with User= (by root) and as a user's
# (by that user).
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
installed=/work-cpc/.cache/vm/installed
unit=cpc-sandbox@one.service

# ctl: of the manager that this is about. own: a cpc command as the unit's user.
case ${1:-} in
system)
	ctl() { systemctl "$@"; }
	config=/etc/cpc/sandbox
	own() { runuser -u cpc -- env CPC_DATA_DIR=/var/lib/cpc-sandbox CPC_STATE_DIR=/run/cpc-sandbox cpc "$@"; }
	;;
*)
	ctl() { systemctl --user "$@"; }
	config=~/.config/cpc/sandbox
	own() { cpc "$@"; }
	;;
esac
show() { ctl show -P "$1" "${2:-$unit}"; }
pid() { own inspect --format '{{.State.Pid}}' one; }
unit_cgroup() { echo "/sys/fs/cgroup$(show ControlGroup)"; }

install_units() {
	cp -rT $installed / || return
	systemd-sysusers && cpc setup --user cpc --yes || return
	mkdir -p $config
	install -d -o cpc -g cpc -m 0700 /var/lib/cpc-sandbox /run/cpc-sandbox
	systemctl daemon-reload
	own import /var/tmp/base.tar $image
}

parameters() {
	mkdir -p $config
	cat >$config/one.env <<-END
		CPC_IMAGE=$image
		CPC_OPTIONS=--memory 64m --cpus 0.5 --pids-limit 50 --stop-timeout 50
		CPC_COMMAND=sh -c 'echo hello from "\$0"; exec sleep 600' 'the sandbox'
	END
}

verify() {
	local dir=/usr/local/lib/systemd/system
	[ "$(id -u)" -eq 0 ] || dir=/usr/local/lib/systemd/user
	local out
	out=$(ctl cat cpc-sweep.timer && systemd-analyze "$([ "$(id -u)" -eq 0 ] && echo --system || echo --user)" verify --man=no \
		$dir/cpc-sandbox@.service $dir/cpc-sweep.service $dir/cpc-sweep.timer \
		/usr/local/lib/systemd/system/cpc-image.service /usr/local/lib/systemd/system/cpc-image.timer 2>&1 | grep -e cpc) || true
	echo "$out"
	! grep -v '^#' <<<"$out" | grep -i -e 'not found' -e unknown -e 'not executable' -e failed -e invalid
}

# systemctl start returns when the program runs.
starts() {
	ctl start $unit || return
	[ "$(show ActiveState)/$(show SubState)" = active/running ] && [ -d "/proc/$(pid)" ]
}

status() {
	local out
	out=$(ctl status --no-pager -l $unit)
	echo "$out"
	[[ $out == *"cpc sandbox one"*"active (running)"*'Status: "sandbox one of '"$image"' is running, process '* && $out == *"supervisor"* ]]
}

logged() { [[ $(journalctl --no-pager -o cat -u $unit) == *"hello from the sandbox"* ]]; }
log() { eventually logged || { journalctl --no-pager -o cat -u $unit && return 1; }; }

# The sandbox is below the unit, with its limits, and systemd was asked for
# no scope.
limits() {
	local out at
	out=$(own exec one sh -c 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max') || return
	at=$(sed -n 's/^0:://p' "/proc/$(pid)/cgroup")
	echo "$out in $at"
	words_are "$out" "67108864 50000 100000 50" &&
		[[ /sys/fs/cgroup$at == "$(unit_cgroup)"/cpc-* ]] &&
		[ -z "$(ctl list-units --plain --no-legend 'cpc-*.scope')" ]
}

restarts() {
	local before
	before=$(pid)
	ctl restart $unit || return
	[ "$(show ActiveState)" = active ] && [ "$(pid)" != "$before" ] && [ ! -d "/proc/$before" ]
}

restarted() { [ "$(show NRestarts)" = 1 ] && [ "$(show ActiveState)" = active ]; }

# Whatever it is that ends the unit's main process, systemd starts it again.
comes_back() {
	local before
	before=$(show MainPID)
	kill -9 "$before" || return
	eventually restarted
	echo "restarts: $(show NRestarts), $(show ActiveState)"
	[ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$before" ] && limits
}

# The program ends by SIGTERM: nothing waits for the 50 s that it is given.
stops() {
	local init group begin=$SECONDS
	init=$(pid) group=$(unit_cgroup)
	ctl stop $unit || return
	echo "stopped after $((SECONDS - begin)) s: $(show ActiveState), $(show Result)"
	[ "$(show ActiveState)/$(show Result)" = inactive/success ] && [ $((SECONDS - begin)) -lt $((10 * ${SLOW:-1})) ] &&
		[ ! -d "/proc/$init" ] && [ ! -d "$group" ] && [ -z "$(own ps -aq)" ]
}

ended_with() { [ "$(show ExecMainStatus)" = "$1" ]; }

# The exit status is the program's, and a start that fails is a failed start.
fails() {
	sed -i "s/^CPC_COMMAND=.*/CPC_COMMAND=sh -c 'exit 3'/" $config/one.env
	ctl start $unit
	eventually ended_with 3 || { echo "$(show ActiveState) $(show ExecMainStatus)" && return 1; }
	sed -i 's/^CPC_IMAGE=.*/CPC_IMAGE=docker.io\/library\/nosuch:1/' $config/one.env
	ctl stop $unit
	ctl reset-failed $unit
	! ctl start $unit || return
	[ "$(show ExecMainStatus)" = 125 ]
	local status=$?
	ctl stop $unit
	ctl reset-failed $unit
	return $status
}

# cpc run -d hands the unit over to the monitor; here without DelegateSubgroup=,
# so cpc moves aside by itself.
detached() {
	local more=() name=cpc-test-detached.service monitor status
	if [ "$(id -u)" -eq 0 ]; then
		more=(--uid=cpc -E CPC_DATA_DIR=/var/lib/cpc-sandbox -E CPC_STATE_DIR=/run/cpc-sandbox)
	else
		more=(--user)
	fi
	systemd-run --unit=$name "${more[@]}" --collect --quiet -p Type=notify -p Delegate=yes \
		cpc run -d --rm --name detached --memory 64m $image sleep 600 || return
	monitor=$(own inspect --format '{{.State.MonitorPid}}' detached)
	echo "main process $(show MainPID $name), monitor $monitor, $(show ActiveState $name)"
	own exec detached cat /sys/fs/cgroup/memory.max
	[ "$(show MainPID $name)" = "$monitor" ] && [ "$(show ActiveState $name)" = active ] &&
		[ "$(own exec detached cat /sys/fs/cgroup/memory.max)" = 67108864 ]
	status=$?
	own stop -t 1 detached
	ctl stop $name
	return $status
}

# A sandbox whose monitor was killed is swept away by the timer's service.
sweeps() {
	own run -d --rm --name dead --limits best-effort $image sleep 600 >/dev/null || return
	local monitor state=/run/cpc-sandbox
	[ "$(id -u)" -eq 0 ] || state=$XDG_RUNTIME_DIR/cpc
	monitor=$(own inspect --format '{{.State.MonitorPid}}' dead) && kill -9 "$monitor" || return
	eventually ended "$monitor"
	[ -n "$(find "$state/sandboxes" -mindepth 1 -maxdepth 1 2>/dev/null)" ] || { echo "nothing to sweep in $state" && return 1; }
	ctl start cpc-sweep.service && ctl start cpc-sweep.timer || return
	ctl list-timers --no-pager cpc-sweep.timer
	[ "$(show Result cpc-sweep.service)" = success ] && [ -z "$(find "$state/sandboxes" -mindepth 1 -maxdepth 1)" ] &&
		[[ $(ctl list-timers --no-pager cpc-sweep.timer) == *"1 timers listed"* ]]
	local status=$?
	ctl stop cpc-sweep.timer
	return $status
}

remove() {
	cpc setup --user cpc --undo --yes || return
	userdel cpc
	rm -rf /var/lib/cpc-sandbox /run/cpc-sandbox /etc/cpc/sandbox
	(cd $installed && find . -type f) | while read -r file; do
		case $file in */bin/*) ;; *) rm "/$file" ;; esac
	done
	systemctl daemon-reload
}

case ${1:-} in
remove)
	check "units: removed again" remove
	exit
	;;
system) check "units: installed" install_units ;;
user) [ -n "$(cpc images -q $image)" ] || check "units: image" cpc import /var/tmp/base.tar $image ;;
esac
check "units: parameters" parameters
check "units: systemd has nothing to say against them" verify
check "units: start returns when the program runs" starts
check "units: limits in force, below the unit" limits
check "units: status says what runs" status
[ "$1" = user ] || check "units: output is in the journal" log
check "units: restart" restarts
check "units: killed, it comes back" comes_back
check "units: stop is a clean end" stops
check "units: failures are the unit's" fails
check "units: run -d in a unit" detached
check "units: the sweep's timer" sweeps
