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
exec "$cpc" run --rm "$image" bash -c "$(cat "$root/scripts/demo.sh")"
