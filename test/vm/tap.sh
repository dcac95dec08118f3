#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# tap.sh: sourced by what runs other people's bats tests inside the VM, with
# cpc-runtime, and with another runtime those that fail: what passes with the
# other one must pass.
#
# Whoever sources it sets work (a directory), label, ours and other (how the two
# are told to bats_run) and other_name, and defines
#   bats_run RUNTIME FILE FILTER OUTPUT   the file's tests whose names match
# shellcheck disable=SC2154 # as just said

# tap_name LINE: the test's name, without the prefix that podman's tests give it.
tap_name() { sed -E 's/^(not )?ok [0-9]+ (\[[0-9]+\] )?//; s/ # skip.*//; s/ *$//' <<<"$1"; }

# tap_file FILE: a line for each of the file's tests.
tap_file() {
	local file=$1 line name failed=()
	bats_run "$ours" "$file" "${ONLY:-.}" "$work/$file.ours"
	while read -r line; do
		name=$(tap_name "$line")
		case $line in
		*' # skip'*) echo "skip $who: $label$file: $name" ;;
		ok*) echo "ok   $who: $label$file: $name" ;;
		*) failed+=("$name") ;;
		esac
	done < <(grep -E '^(not )?ok ' "$work/$file.ours")
	for name in "${failed[@]}"; do tap_again "$file" "$name"; done
	grep -qE '^(not )?ok ' "$work/$file.ours" ||
		{ echo "FAIL $who: $label$file: nothing ran" && tail -n 20 "$work/$file.ours" | sed 's/^/       | /'; }
}

# tap_again FILE NAME: what failed, with the other runtime.
tap_again() {
	local file=$1 name=$2 exact
	# bats takes quotes in names with a backslash before them.
	exact="^$(sed 's/[][().*^$?+{}|\\/]/\\&/g' <<<"$name") *\$"
	bats_run "$other" "$file" "$exact" "$work/$file.other"
	if ! grep -q '^ok ' "$work/$file.other"; then
		echo "skip $who: $label$file: $name (fails with $other_name too)"
		[ -z "${VERBOSE:-}" ] || sed 's/^/       | /' "$work/$file.other"
		return
	fi
	echo "FAIL $who: $label$file: $name (passes with $other_name)"
	awk -v want="$name" '/^(not )?ok /{on = index($0, want)} on' "$work/$file.ours" | head -n 60 | sed 's/^/       | /'
}
