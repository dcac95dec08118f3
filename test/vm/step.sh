#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# step.sh ID OFFSET SECONDS COMMAND…: runs inside the VM. Starts the command,
# unless a step ID has been started already, prints what it says from byte
# OFFSET on, and exits as it does. The command does not end with the connection
# that brought it here. It is ended when it has said nothing for SECONDS: how long
# it takes in all is the machine's affair, but one that hangs is silent.
set -u
dir=/var/tmp/step.$(id -u).$1 offset=$2 seconds=$3
shift 3
if mkdir "$dir" 2>/dev/null; then
	: >"$dir/out"
	# shellcheck disable=SC2016 # expanded by the inner shell
	setsid bash -c '
		echo $$ >"$0/pid.new" && mv "$0/pid.new" "$0/pid"
		silence=$1
		shift
		setsid "$@" &
		command=$!
		(
			while [ $(($(date +%s) - $(stat -c %Y "$0/out"))) -lt "$silence" ]; do sleep 1; done
			echo "step: $1: said nothing for $silence s, ended"
			kill -TERM -- -$command
			sleep 10
			kill -KILL -- -$command
		) &
		watch=$!
		wait $command
		status=$?
		kill $watch
		wait $watch 2>/dev/null
		echo $status >"$0/status.new" && mv "$0/status.new" "$0/status"
	' "$dir" "$seconds" "$@" >"$dir/out" 2>&1 </dev/null &
fi
until [ -e "$dir/pid" ]; do sleep 0.1; done
tail -c "+$((offset + 1))" -f --pid="$(cat "$dir/pid")" -s 0.2 "$dir/out"
status=$(cat "$dir/status" 2>/dev/null || echo 254) # killed
[ "$status" -ne 255 ] || status=254                 # 255 is ssh's
exit "$status"
