#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# selinux.sh load (root) | sandbox (anybody) | enforcing (root): runs inside the VM, booted with
# SELinux in place of AppArmor: Debian's policy is loaded, permissive, as the
# files of the image have no labels; sandboxes have the labels that they should,
# read from inside.
# shellcheck disable=SC2016 # expanded inside the sandbox
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

image=docker.io/library/debian:trixie-slim
label='tr -d "\0" </proc/self/attr/current'
categories='s0:c[0-9]+,c[0-9]+'

import_base() { cpc images -q "$image" | grep -q . || [ -n "$(cpc import /var/tmp/base.tar "$image")" ]; }

load() {
	tar -x --no-same-owner -C / -f /work-cpc/.cache/vm/selinux.tar || return
	mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux || return
	load_policy || return
	tr -d '\0' </proc/self/attr/current
	[ "$(cat /sys/fs/selinux/enforce)" = 0 ] && grep -q kernel_t /proc/self/attr/current
}

# labelled LABEL FLAG…: whether a sandbox has it, a regular expression.
labelled() {
	local want=$1 out
	shift
	out=$(cpc run --rm "$@" "$image" sh -c "$label") || return
	echo "$out"
	[[ $out =~ ^$want$ ]]
}

by_default() { labelled "system_u:system_r:container_t:$categories"; }
of_type() { labelled "system_u:system_r:container_kvm_t:$categories" --security-opt label=type:container_kvm_t; }
of_level() { labelled system_u:system_r:container_t:s0:c3,c5 --security-opt label=level:s0:c3,c5; }
off() { labelled "$(tr -d '\0' </proc/self/attr/current)" --security-opt label=disable; }

# exec's too; another sandbox has other categories; files have the same.
apart() {
	local one two ok=1
	cpc run -d --name one "$image" sleep 300 >/dev/null && cpc run -d --name two "$image" sleep 300 >/dev/null || return
	one=$(cpc exec one sh -c "$label") two=$(cpc exec two sh -c "$label")
	echo "one $one, two $two"
	cpc exec one stat -c '%C %n' / /etc/hosts /tmp
	[[ $one =~ ^system_u:system_r:container_t:$categories$ && $two =~ ^system_u:system_r:container_t:$categories$ && $one != "$two" ]] &&
		[ "$(cpc exec one stat -c %C / /etc/hosts | sort -u)" = "system_u:object_r:container_file_t:${one#*container_t:}" ] &&
		[ "$(cpc inspect --format '{{.ProcessLabel}}' one)" = "$one" ] && ok=0
	cpc rm -f one two >/dev/null
	return $ok
}

# What the policy does not know is refused, and nothing runs.
unknown() {
	local out status=0
	out=$(cpc run --rm --security-opt label=type:no_such_t "$image" echo ran 2>&1) || status=$?
	echo "status $status: $out"
	[ $status -eq 125 ] && [[ $out == *"the host's policy does not know it"* && $out != *ran* ]]
}

# Enforcing, this policy denies what cpc runs as, kernel_t, the way to
# container_t: the program keeps cpc's label, which is seen, and the program killed.
denied() {
	local out status=0
	echo 1 >/sys/fs/selinux/enforce
	out=$(cpc run --rm "$image" echo output of it 2>&1) || status=$?
	echo 0 >/sys/fs/selinux/enforce
	echo "status $status: $out"
	[ $status -eq 125 ] && [[ $out == *"the program is not confined as it was to be"*container_t* && $out != *"output of it"* ]]
}

seen_by_doctor() { cpc doctor | grep -A1 selinux | tee /dev/stderr | grep -q permissive; }

case ${1:-} in
load) check "Debian's policy, permissive" load ;;
sandbox)
	check "import" import_base
	check "SELinux label, read from inside" by_default
	check "label=type:" of_type
	check "label=level:" of_level
	check "label=disable" off
	check "two sandboxes, exec and files" apart
	check "a type that the policy does not know" unknown
	check "doctor" seen_by_doctor
	;;
enforcing) check "a transition that the policy denies: nothing runs" denied ;;
*)
	echo "usage: selinux.sh load|sandbox|enforcing" >&2
	exit 2
	;;
esac
