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

# words_are TEXT WORDS: whether TEXT is these words, in whatever lines.
words_are() { [ "$(tr -s '\n' ' ' <<<"$1")" = "$2 " ]; }
