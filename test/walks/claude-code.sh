#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# claude-code.sh: Claude Code in a sandbox without an account, as docs/claude-code.md says:
# version and help, a task against a fake API, its screens at a terminal, and which hosts
# it reaches. Builds the image if there is none (some minutes, 450 MB from npm).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=scripts/cpc.sh
. "$root/scripts/cpc.sh"

claude='claude-pocket-console/claude:latest'
walks=$root/test/walks
name=walk-claude-$$
failed=0

ok() { echo "ok   $*"; }
fail() {
	echo "FAIL $1"
	while IFS= read -r line; do echo "     | $line"; done <<<"$2"
	failed=1
}
has() { if grep -qF -- "$3" <<<"$2"; then ok "$1"; else fail "$1: no \"$3\"" "$2"; fi; }

# screen TEXT KEY…: waits until the terminal shows TEXT, then types the keys.
screen() {
	local text=$1 shown=
	shift
	for _ in $(seq 300); do
		shown=$(tmux -L "$name" capture-pane -p 2>&1) || true
		if grep -qF -- "$text" <<<"$shown"; then
			ok "at a terminal: $text"
			[ $# -eq 0 ] || tmux -L "$name" send-keys "$@"
			return
		fi
		sleep 0.2
	done
	fail "at a terminal: no \"$text\"" "$shown"
}

choose_limits
dir=$(mktemp -d)
trap 'tmux -L "$name" kill-server 2>/dev/null || true; "$cpc" rm -f "$name" >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
"$cpc" inspect --type image "$claude" >/dev/null 2>&1 || "$walks/build-claude.sh"

# The key is in a file of the host that only its owner can read.
(umask 077 && echo 'ANTHROPIC_API_KEY=sk-ant-of-the-walk' >"$dir/key")
"$cpc" run -dit --name "$name" --env-file "$dir/key" -e ANTHROPIC_BASE_URL=http://127.0.0.1:8123 "$claude" bash >/dev/null
"$cpc" exec -i "$name" sh -c 'cat >fake-api.mjs' <"$walks/fake-api.mjs"
"$cpc" exec -d "$name" sh -c 'node fake-api.mjs >requests'

has "version" "$("$cpc" exec "$name" claude --version 2>&1)" "(Claude Code)"
has "help" "$("$cpc" exec "$name" claude --help 2>&1)" "--print"
has "a task" "$("$cpc" exec "$name" sh -c 'mkdir -p task && cd task && claude -p --allowedTools Bash -- "Name the kernel."' 2>&1)" "The task is done."
has "its command ran" "$("$cpc" exec "$name" cat task/made 2>&1)" "Linux"
has "with the key from the file" "$("$cpc" exec "$name" cat requests 2>&1)" "POST /v1/messages sk-ant-of-the-walk"
if "$cpc" history --no-trunc "$claude" | grep -q sk-ant; then fail "the image has no key" ""; else ok "the image has no key"; fi

# Its screens, on to the prompt. It asks api.anthropic.com itself before the first sign-in,
# so the first screen is one that says that it has no such connection.
tmux -L "$name" new-session -d -x 100 -y 34 "'$cpc' exec -it -e ANTHROPIC_API_KEY= '$name' claude; sleep 60"
screen "Welcome to Claude Code"
screen "api.anthropic.com: no rule names this host"
screen "cpc net allow $name @anthropic"
tmux -L "$name" kill-server
"$cpc" exec "$name" sh -c 'echo "{\"hasCompletedOnboarding\":true,\"theme\":\"dark\"}" >.claude.json'
tmux -L "$name" new-session -d -x 100 -y 34 "'$cpc' exec -it -w /home/sandbox/task '$name' claude; sleep 60"
screen "I trust this folder" Down Enter
screen "Do you want to use this API key" Up Enter
screen "Claude Code v"

reaches() { "$cpc" net test "$name" "$1" 2>&1 || true; }
"$cpc" net allow "$name" @claude-code >/dev/null
has "the API is allowed" "$(reaches api.anthropic.com)" "allowed"
has "others are not" "$(reaches statsig.anthropic.com)" "denied"
exit "$failed"
