#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# run-sandbox.sh [COMMAND…]: a sandbox with a terminal. Without a terminal and
# without a command: a short report from inside (demo.sh).
set -eu
# shellcheck source=scripts/cpc.sh
. "$(dirname "$0")/cpc.sh"

choose_limits
if [ -t 0 ] && [ -t 1 ]; then
	exec "$cpc" run -it --rm "$image" "$@"
fi
if [ $# -gt 0 ]; then
	exec "$cpc" run -i --rm "$image" "$@"
fi
# Not --rm: what holds the sandbox from outside is read from its record.
name=cpc-demo-$$
trap '"$cpc" rm -f "$name" >/dev/null' EXIT
"$cpc" run --name "$name" "$image" bash -c "$(cat "$root/scripts/demo.sh")"
"$cpc" inspect --format 'what limits me
  memory             {{.HostConfig.Memory}} bytes
  cpu                {{.HostConfig.NanoCpus}} billionths of one
  processes          {{.HostConfig.PidsLimit}}
  not enforced here  {{if .HostConfig.LimitsNotEnforced}}{{join .HostConfig.LimitsNotEnforced ", "}}{{else}}nothing{{end}}' "$name"
