#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# doctor.sh STEP: runs inside the VM. cpc doctor finds a host ready, as root and
# as a user; then, for a user without subordinate ids and without the cpu
# controller: withdraw (root), lacks (user: cpc doctor and cpc run say so), setup
# (root: cpc setup), has (user: both are content), undo (root: as it was).
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
less=/etc/systemd/system/user@.service.d/00-less.conf

# status CHECK: in what cpc doctor --json has said.
status() { tr -d ' ",' <<<"$report" | sed -n "/^name:$1\$/{n;s/^status://p}"; }

ready() {
	local name report
	report=$(cpc doctor --json) || { echo "$report" && return 1; }
	for name in user-namespaces nested-user-namespaces limit-memory limit-cpu limit-pids overlay veth nftables seccomp cpc-runtime "$@"; do
		[ "$(status "$name")" = ok ] || { echo "$name: $(status "$name")" && return 1; }
	done
}

withdraw() {
	mkdir -p "$(dirname $less)"
	printf '[Service]\nDelegate=\nDelegate=memory pids\n' >$less
	systemctl daemon-reload
	# Lingers, so that the user's systemd does not end between these steps.
	systemctl restart user@1001.service && loginctl enable-linger norange
}

# Fails, names both, and says how each is mended.
lacks() {
	local out code=0 report
	out=$(cpc doctor) || code=$?
	report=$(cpc doctor --json)
	echo "$out"
	[ $code -eq 1 ] && [ "$(status subordinate-ids)/$(status limit-cpu)/$(status limit-memory)" = fail/fail/ok ] &&
		[[ $out == *"FAIL     limit-cpu"*"user@.service.d/delegate.conf"*"sudo cpc setup"*"not ready"* ]] &&
		[[ $out == *"FAIL     subordinate-ids"*"sudo usermod --add-subuids "* ]]
}

refused() {
	local out code=0
	out=$(cpc run --rm $image true 2>&1) || code=$?
	echo "$out"
	[ $code -eq 125 ] && [[ $out == *"cannot be enforced here: cpu"*"user@.service.d/delegate.conf"* ]]
}

# A service of the user's that must survive the setup.
keeps_running() { systemd-run --user --unit=keep --quiet sleep 3000; }

# It shows the plan, asks, and does nothing without an answer.
asks() {
	local out code=0
	out=$(cpc setup --user norange 2>&1) || code=$?
	echo "$out"
	[ $code -ne 0 ] && [[ $out == *"write $(dirname $less)/delegate.conf"*"usermod --add-subuids"*"add --yes"* ]] || return
	cpc setup --user norange --dry-run || return
	[ ! -e "$(dirname $less)/delegate.conf" ] && ! grep norange /etc/subuid
}

sets_up() {
	cat /etc/subuid /etc/subgid >/var/tmp/subids
	cpc setup --user norange --yes || return
	cat "$(dirname $less)/delegate.conf" && grep norange /etc/subuid /etc/subgid &&
		[ "$(grep -c -e '^cpc ' -e '^cpc-sandbox ' /sys/kernel/security/apparmor/profiles)" = 2 ]
}

again() { [[ $(cpc setup --user norange --linger --yes) == "nothing to do"* ]]; }

lingers() {
	loginctl disable-linger norange && cpc setup --user norange --linger --yes && [ -e /var/lib/systemd/linger/norange ]
}

works() {
	local out
	out=$(cpc run --rm $image sh -c 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max; id -u; cat /proc/self/uid_map') || return
	echo "$out"
	[ "$(cpc run --rm $image cat /proc/self/attr/current)" = "cpc-sandbox (enforce)" ] || return
	words_are "$(head -n 4 <<<"$out")" "2147483648 100000 100000 100 1000" && [[ $out == *"        65535"* || $out == *" 65536"* ]]
}

survived() { systemctl --user is-active keep && systemctl --user stop keep; }

# Exactly what was there before; a file that somebody changed stays.
undone() {
	local dropin
	dropin=$(dirname $less)/delegate.conf
	echo "# changed" >>"$dropin"
	cpc setup --undo --yes || return
	cat /etc/subuid /etc/subgid | diff /var/tmp/subids - && [ ! -e /var/lib/systemd/linger/norange ] &&
		[ -e "$dropin" ] && [ ! -e /var/lib/cpc/setup.json ] && [ ! -e /etc/apparmor.d/cpc-sandbox ] &&
		! grep '^cpc' /sys/kernel/security/apparmor/profiles || return
	rm "$dropin" && systemctl daemon-reload && cpc setup --yes && [ -e "$dropin" ] && cpc setup --undo --yes && [ ! -e "$dropin" ] &&
		[[ $(cpc setup --undo) == "nothing to undo" ]]
}

give_back() {
	# The user's images are unpacked for ids that are gone.
	rm -rf $less /home/norange/.local/share/cpc
	rmdir --ignore-fail-on-non-empty "$(dirname $less)"
	systemctl daemon-reload
	systemctl stop user@1001.service
}

case ${1:-} in
root) check "doctor: ready" ready idmapped-mounts ;;
user) check "doctor: ready" ready id-helpers subordinate-ids systemd-session fuse ;;
withdraw) check "doctor: the cpu controller withdrawn" withdraw ;;
lacks)
	[ -n "$(cpc images -q $image)" ] || check "doctor: image" cpc import /var/tmp/base.tar $image
	check "doctor: what is missing, and how it is mended" lacks
	check "doctor: cpc run is refused" refused
	check "doctor: a service is started" keeps_running
	;;
setup)
	check "setup: shows its plan, and asks" asks
	check "setup: does it" sets_up
	check "setup: a second time there is nothing to do" again
	;;
has)
	check "setup: the same command works, with limits and ids" works
	check "setup: the doctor is content" ready subordinate-ids limit-io limit-cpuset linger apparmor
	check "setup: the user's service did not notice" survived
	;;
undo)
	check "setup: linger" lingers
	check "setup: undone, exactly" undone
	check "doctor: the controller given back" give_back
	;;
*)
	echo "usage: doctor.sh root|user|withdraw|lacks|setup|has|undo" >&2
	exit 2
	;;
esac
