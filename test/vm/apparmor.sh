#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# apparmor.sh STEP: runs inside the VM.
#
#   restrict (root): restricts user namespaces, where the kernel can (Ubuntu's)
#   restricted (user): cpc is refused without the profile that grants them
#   confine (root): cpc's programs get a profile that allows all but userns
#   denied (user): so they cannot create user namespaces, and say what mends it
#   load (root): loads deploy/apparmor, in its place
#   sandbox (anybody): sandboxes run under cpc-sandbox, and what it denies
#   after (root): as it was
# shellcheck disable=SC2016 # expanded inside the sandbox
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
profiles=/work-cpc/deploy/apparmor
switch=/proc/sys/kernel/apparmor_restrict_unprivileged_userns

import_base() { cpc images -q "$image" | grep -q . || [ -n "$(cpc import /var/tmp/base.tar "$image")" ]; }
label='cat /proc/self/attr/current'

restrict() { echo 1 >$switch; }

# Without the profile that is asked for nothing runs.
not_loaded() {
	local out
	out=$(cpc run --rm --security-opt apparmor=no-such-profile "$image" true 2>&1) && return 1
	echo "$out"
	[[ $out == *"apparmor=no-such-profile: the AppArmor profile is not loaded"* && $out == *apparmor_parser* ]]
}

refused_userns() {
	local out
	out=$(cpc run --rm "$image" true 2>&1) && return 1
	echo "$out"
}

# What Ubuntu does to programs without a profile, this kernel does to those whose
# profile does not have it: AppArmor's mediation of user namespaces (6.7).
confine() {
	apparmor_parser -r <<-'END' || return
		abi <abi/4.0>,
		include <tunables/global>
		profile cpc /usr/local/bin/cpc flags=(attach_disconnected) {
		  file,
		  capability,
		  network,
		  unix,
		  mqueue,
		  signal,
		  ptrace,
		  mount,
		  remount,
		  umount,
		  pivot_root,
		  change_profile,
		}
	END
	grep -q '^cpc (enforce)' /sys/kernel/security/apparmor/profiles
}

denied() {
	local out status=0
	out=$(cpc run --rm "$image" true 2>&1) || status=$?
	echo "$out"
	[ $status -eq 125 ] && [[ $out == *"does not let this user create user namespaces"*"permission denied"*"cpc setup"* ]]
}

denied_says_doctor() {
	local out status=0
	out=$(cpc doctor 2>&1) || status=$?
	echo "$out"
	[ $status -eq 1 ] && [[ $out == *user-namespaces*'"userns,"'*"profile cpc"* ]]
}

load() {
	local p
	for p in cpc cpc-sandbox; do
		apparmor_parser -r -W "$profiles/$p" || return
	done
	grep -q '^cpc-sandbox (enforce)' /sys/kernel/security/apparmor/profiles
}

labelled() {
	local out
	out=$(cpc run --rm "$image" sh -c "$label") || return
	echo "$out"
	[ "$out" = "cpc-sandbox (enforce)" ]
}

# The program itself has the profile that grants user namespaces.
granted() {
	local monitor out=1
	cpc run -d --name granted "$image" sleep 100 >/dev/null || return
	monitor=/proc/$(cpc inspect --format '{{.State.MonitorPid}}' granted)/attr/current
	cat "$monitor"
	[ "$(cat "$monitor")" = "cpc (unconfined)" ] && out=0
	cpc rm -f granted >/dev/null
	return $out
}

# As root of the sandbox, detached, in a further program, and in inspect.
labelled_everywhere() {
	local ok=1
	cpc run -d --name labelled --user 0 "$image" sleep 100 || return
	[ "$(cpc exec labelled sh -c "$label")" = "cpc-sandbox (enforce)" ] &&
		[ "$(cpc inspect --format '{{.AppArmorProfile}}' labelled)" = cpc-sandbox ] &&
		[[ $(cat "/proc/$(cpc inspect --format '{{.State.Pid}}' labelled)/attr/current") == "cpc-sandbox (enforce)" ]] && ok=0
	cpc inspect labelled | grep -i apparmor
	cpc stop -t 0 labelled >/dev/null || ok=1 # signals from outside arrive
	cpc rm -f labelled >/dev/null
	return $ok
}

unconfined() {
	local out
	out=$(cpc run --rm --security-opt apparmor=unconfined "$image" sh -c "$label") || return
	echo "$out"
	[ "$out" = unconfined ]
}

# Even with a system call filter that is off and all capabilities.
free='--security-opt seccomp=unconfined --cap-add ALL --user 0'
denies() {
	local out
	# shellcheck disable=SC2086 # words
	out=$(cpc run --rm $free "$image" sh -c '
		mount -t tmpfs none /tmp 2>&1 && echo GOT mount
		mount --bind /etc /tmp 2>&1 && echo GOT bind
		unshare --user true 2>&1 && echo GOT userns
		unshare --mount true 2>&1 && echo GOT remounted
		echo 1 2>&1 >/proc/sys/kernel/ns_last_pid && echo GOT sysctl
		echo changeprofile unconfined 2>&1 >/proc/self/attr/current && echo GOT unconfined
		ls /sys/kernel/security/apparmor 2>&1 && echo GOT securityfs
		echo done')
	echo "$out"
	[[ $out == *done && $out != *GOT* ]]
}

# The same mount works without the profile: it is that which denied it.
without() {
	# shellcheck disable=SC2086 # words
	cpc run --rm $free --security-opt apparmor=unconfined "$image" mount -t tmpfs none /tmp
}

# Ordinary work is not disturbed.
allows() {
	local out
	out=$(cpc run --rm --user 0 --read-only=false "$image" sh -c '
		set -e
		echo x >/root/f && chown 5:5 /root/f && mv /root/f /root/g && ln -s g /root/h
		mkfifo /tmp/p && (echo y >/tmp/p &) && cat /tmp/p
		sleep 60 & kill $! && wait $! || true
		perl -e "print 1+1, qq(\n)" && cat /proc/sys/kernel/hostname >/dev/null && ls /proc/self/fd >/dev/null
		echo done') || return
	echo "$out"
	[[ $out == *done ]]
}

unload() {
	[ ! -e $switch ] || echo "$1" >$switch
	local p
	for p in cpc cpc-sandbox; do
		apparmor_parser -R "$profiles/$p" || return
	done
	! grep '^cpc' /sys/kernel/security/apparmor/profiles
}

step=${1:-}
case $step in
restrict | restricted)
	if [ ! -e $switch ]; then
		echo "skip $who: kernel.apparmor_restrict_unprivileged_userns, which this kernel lacks ($step)"
		exit
	fi
	;;
esac
case $step in
restrict) check "user namespaces are restricted" restrict ;;
restricted) check "refused without a profile that grants them" refused_userns ;;
confine) check "a profile without userns" confine ;;
denied)
	check "without userns in its profile cpc is refused" denied
	check "without userns in its profile: doctor" denied_says_doctor
	;;
load) check "the profiles are taken" load ;;
sandbox)
	check "import" import_base
	check "AppArmor label, read from inside" labelled
	check "the profile that grants user namespaces" granted
	check "AppArmor label of all its processes" labelled_everywhere
	check "apparmor=unconfined" unconfined
	check "a profile that is not loaded" not_loaded
	check "the profile denies what else is allowed" denies
	check "and it is the profile that does" without
	check "the profile allows ordinary work" allows
	;;
after) check "the profiles are unloaded" unload 0 ;;
*)
	echo "usage: apparmor.sh restrict|restricted|confine|denied|load|sandbox|after" >&2
	exit 2
	;;
esac
