#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# What the scripts beside this one share; sourced, from any directory.
# shellcheck disable=SC2034 # used by those that source this
root=${root:-$(cd "$(dirname "$0")/.." && pwd)}
cpc=${CPC:-$root/bin/cpc}
image=${SANDBOX_IMAGE:-claude-pocket-console/sandbox:latest}
base=docker.io/library/debian:trixie-slim

say() { echo "${0##*/}: $*" >&2; }

if [ ! -x "$cpc" ]; then
	say "no program at $cpc; run: make build"
	exit 1
fi

# private_grants HOST:PORTS…: the options of cpc build that let it reach those of the hosts
# whose addresses are private here, as behind a mirror of one's own: by name alone the
# gateway refuses those.
private_grants() {
	for host in "$@"; do
		getent ahosts "${host%%:*}" | awk -v ports="${host#*:}" '{print $1, ports}'
	done | sort -u | while read -r address ports; do
		case $address in
		10.* | 192.168.* | 172.1[6-9].* | 172.2?.* | 172.3[01].* | 100.6[4-9].* | 100.[7-9]?.* | 100.1[01]?.* | 100.12[0-7].* | 127.*)
			echo "--egress $address:$ports"
			;;
		f[cd]*:* | ::1) echo "--egress [$address]:$ports" ;;
		esac
	done
}

# Sets CPC_LIMITS where this machine cannot enforce limits, and says so loudly.
# A run that fails with limits and works without them lacked just those.
choose_limits() {
	[ -z "${CPC_LIMITS:-}" ] || return 0
	if why=$("$cpc" run --rm --dry-run "$image" true 2>&1 >/dev/null); then
		return 0
	fi
	if ! CPC_LIMITS=best-effort "$cpc" run --rm --dry-run "$image" true >/dev/null 2>&1; then
		printf '%s\n' "$why" >&2
		return 1
	fi
	{
		echo "*** WARNING: this machine does not let cpc enforce the sandbox's limits. ***"
		printf '%s\n' "$why" | sed 's/^/***   /'
		echo "*** Going on with --limits best-effort. Do not run untrusted programs so.  ***"
	} >&2
	export CPC_LIMITS=best-effort
}
