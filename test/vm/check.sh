#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# check.sh: sourced by the scripts that run inside the VM.
who=$(id -un)

# check NAME COMMAND…: one line; what the command printed only if it failed, or
# with VERBOSE.
check() {
	local name=$1 out begin=$SECONDS status=0
	shift
	out=$("$@" 2>&1 </dev/null) || status=$?
	if [ $status -eq 0 ]; then
		echo "ok   $who: $name ($((SECONDS - begin)) s)"
		[ -z "${VERBOSE:-}" ] || printf '%s\n' "$out" | sed 's/^/       | /'
	else
		echo "FAIL $who: $name ($((SECONDS - begin)) s), status $status"
		printf '%s\n' "$out" | tail -n 40 | sed 's/^/       | /'
	fi
}

# eventually COMMAND…: whether it comes true within 20 s, times what the machine is
# slower than two idle cores.
eventually() {
	local end=$((SECONDS + 20 * ${SLOW:-1}))
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			echo "never came true: $*"
			return 1
		fi
		sleep 0.2
	done
}

# ended PID: whether there is no such process.
ended() { [ ! -d "/proc/$1" ]; }

# words_are TEXT WORDS: whether TEXT is these words, in whatever lines.
words_are() { [ "$(tr -s '\n' ' ' <<<"$1")" = "$2 " ]; }
