#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--user NAME] [--timeout SECONDS] [COMMAND…]: boots the VM, runs the
# command inside, ends the VM, and exits as the command did. Without a command:
# a shell. NAME is root (the default), user (uid 1000, with subordinate ids) or
# norange (uid 1001, without). The work tree is at /work-cpc, read-only.
set -eu
# shellcheck source=test/vm/vm.sh
. "$(dirname "$0")/vm.sh"

user=root limit=''
while [ $# -gt 0 ]; do
	case $1 in
	--user) user=$2 && shift 2 ;;
	--timeout) limit=$2 && shift 2 ;;
	--) shift && break ;;
	-*)
		echo "usage: run.sh [--user root|user|norange] [--timeout SECONDS] [COMMAND…]" >&2
		exit 2
		;;
	*) break ;;
	esac
done
if [ $# -eq 0 ]; then
	limit=${limit:-28800}
else
	limit=${limit:-900}
fi
vm_begin
vm_start "$limit"
if [ $# -eq 0 ]; then
	vm_say "a shell as $user; bin/ of the work tree is /work-cpc/bin; it is all gone when you leave"
	vm_say "from another terminal: ssh -i $vm_image/key -p $vm_port $user@127.0.0.1"
	vm_say "and groups of tests:   CPC_VM_PORT=$vm_port test/vm/test.sh GROUP…"
fi
status=0
vm_ssh "$user" "$@" || status=$?
exit $status
