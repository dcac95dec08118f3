#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# test-sandbox.sh: a sample workload in the sandbox image: a Python script, a
# Node script, a git commit, and an editor in a terminal. Prints PASS or FAIL
# for each, then the count; exits 1 when one failed.
set -eu
# shellcheck source=scripts/cpc.sh
. "$(dirname "$0")/cpc.sh"

choose_limits
passed=0 failed=0
log=$(mktemp "${TMPDIR:-/tmp}/test-sandbox.XXXXXX")
trap 'rm -f "$log"' EXIT

# check NAME WANT COMMAND…: passes when the command succeeds and prints WANT.
check() {
	local name=$1 want=$2
	shift 2
	if "$@" >"$log" 2>&1 && grep -qF -e "$want" "$log"; then
		echo "PASS $name"
		passed=$((passed + 1))
		return
	fi
	echo "FAIL $name: expected \"$want\" in:"
	sed 's/^/     | /' "$log"
	failed=$((failed + 1))
}

in_sandbox() { timeout 120 "$cpc" run --rm "$image" "$@"; }

python_script='
import json, pathlib, subprocess, sys, tempfile
p = pathlib.Path.home() / "squares.json"
p.write_text(json.dumps([n * n for n in range(5)]))
subprocess.run([sys.executable, "-m", "venv", "--without-pip", "env"], cwd=p.parent, check=True)
print("squares", json.loads(p.read_text()))
'
node_script='
const fs = require("fs"), path = require("path"), os = require("os");
const f = path.join(os.homedir(), "words.txt");
fs.writeFileSync(f, ["seccomp", "cgroup", "overlay"].join("\n"));
console.log("sorted", fs.readFileSync(f, "utf8").split("\n").sort().join(" "));
'
git_script='
set -e
git init -q -b main work && cd work
git config user.name Tester && git config user.email tester@example.org
echo one >file && git add file && git commit -q -m "add a file"
git log --format="commit: %s by %an"
'

# expect TEXT: reads what the terminal shows until TEXT comes, for 30 s.
expect() {
	local want=$1 chunk end=$((SECONDS + 30))
	while [ $SECONDS -lt $end ]; do
		if LC_ALL=C IFS= read -r -t 1 -n 1 -d '' chunk <&"${terminal[0]}"; then
			seen+=$chunk
		elif [ $? -le 128 ]; then
			break # closed
		fi
		case $seen in *"$want"*) seen=''; return ;; esac
	done
	echo "the terminal did not show \"$want\" but:"
	printf '%s\n' "$seen" | cat -v
	return 1
}

type_keys() { printf '%b' "$1" >&"${terminal[1]}"; }

# An editor needs a real terminal: script(1) makes one on our side, cpc the
# one inside.
editor() {
	local seen='' status=0 pid
	export cpc image
	# shellcheck disable=SC2016 # expanded by script's shell
	coproc terminal { TERM=xterm script -qefc 'stty rows 24 cols 80; exec "$cpc" run -it --rm "$image" env "PS1=ready> " bash --norc' /dev/null; }
	# shellcheck disable=SC2154 # set by coproc
	pid=$terminal_PID
	expect 'ready> ' &&
		type_keys 'vim -N -u NONE note.txt\r' && expect '~' &&
		type_keys 'ityped in \xc3\xa4 terminal\e' && expect 'typed in' &&
		type_keys ':wq\r' && expect 'ready> ' &&
		type_keys 'sed s/^/saved:/ note.txt; stty size\r' && expect 'saved:typed in' && expect '24 80' &&
		type_keys 'exit 7\r' || status=1
	[ $status -eq 0 ] || kill "$pid" 2>/dev/null || true
	wait "$pid" || { [ $? -eq 7 ] && [ $status -eq 0 ] && echo "editor: saved, exit status 7"; }
}

check "python script" "squares [0, 1, 4, 9, 16]" in_sandbox python3 -c "$python_script"
check "node script" "sorted cgroup overlay seccomp" in_sandbox node -e "$node_script"
check "git commit" "commit: add a file by Tester" in_sandbox bash -c "$git_script"
check "editor in a terminal" "editor: saved, exit status 7" editor

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
