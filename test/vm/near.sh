#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# near.sh [--user NAME] COMMAND…: runs the command as root on this machine, at its
# speed, in a copy of the VM's file system that is forgotten: its programs, mounts,
# processes, network and devices are its own, the kernel is the machine's. There is
# no systemd, and of cgroup v2 only the controllers that the machine has there;
# all the rest is as in the VM, which takes ten times as long. NAME is one of the
# VM's users. The work tree is at /work-cpc, read-only.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

# inner DIR USER COMMAND…: in the namespaces.
inner() {
	local dir=$1 user=$2 new=$1/root name home runtime_dir=()
	shift 2
	mount --make-rprivate /
	mkdir -p "$dir"/{image,over,work,root}
	mount -o loop,ro,noload "$CPC_NEAR_IMAGE/disk.img" "$dir/image"
	mount -t overlay -o "lowerdir=$dir/image,upperdir=$dir/over,workdir=$dir/work" overlay "$new"
	# An overlay cannot lie on another.
	for name in var/lib/containers home/user home/norange var/tmp tmp; do
		mkdir -p "$dir/plain/$name"
		[ ! -d "$new/$name" ] || cp -a "$new/$name/." "$dir/plain/$name/"
		chown --reference="$new/$name" "$dir/plain/$name" 2>/dev/null || true
		mkdir -p "$new/$name"
		mount --bind "$dir/plain/$name" "$new/$name"
	done
	chmod 1777 "$new/tmp" "$new/var/tmp"
	mount -t proc proc "$new/proc"
	mount -t sysfs sysfs "$new/sys"
	mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
	mount -t tmpfs -o mode=755,size=64m run "$new/run"
	devices "$new/dev"
	mount --bind "$root" "$new/work-cpc"
	mount -o remount,bind,ro "$new/work-cpc"
	install -m 0755 "$root"/bin/cpc "$root"/bin/cpc-runtime "$new/usr/local/bin/"
	ip link set lo up
	hostname cpc-vm
	mkdir -p "$new/run/lock"
	chmod 1777 "$new/run/lock"
	name=$(sed -n "s/^$user:x:\([0-9]*\):.*/\1/p" "$new/etc/passwd")
	if [ "$name" -ne 0 ]; then
		install -d -m 0700 -o "$name" -g "$name" "$new/run/user/$name"
		runtime_dir=("XDG_RUNTIME_DIR=/run/user/$name")
	fi
	mkdir "$new/sys/fs/cgroup/session"
	echo $$ >"$new/sys/fs/cgroup/session/cgroup.procs"
	sed 's/\(^\| \)\(.\)/\1+\2/g' "$new/sys/fs/cgroup/cgroup.controllers" >"$new/sys/fs/cgroup/cgroup.subtree_control"
	[ "$name" -eq 0 ] || chown "$name" "$new/sys/fs/cgroup"{,/session}{,/cgroup.{procs,subtree_control,threads}}
	home=$(sed -n "s/^$user:.*:\([^:]*\):[^:]*\$/\1/p" "$new/etc/passwd")
	mkdir -p "$new/etc/containers/containers.conf.d"
	# Limits that podman sets of itself need their controller, or rights.
	printf '[containers]\npids_limit = 0\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
		"$(ulimit -Hn)" "$(ulimit -Hn)" "$(ulimit -Hu)" "$(ulimit -Hu)" >"$new/etc/containers/containers.conf.d/near.conf"
	cd "$new"
	mkdir -p .old
	pivot_root . .old
	umount -l .old
	mount --make-rshared / # as systemd has it
	# The shell stays process 1: it takes in what is left over.
	chroot . setpriv --reuid "$name" --regid "$name" --init-groups env -i "HOME=$home" "USER=$user" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
		"${runtime_dir[@]}" "VERBOSE=${VERBOSE:-}" \
		sh -c 'cd; exec "$@"' sh "$@"
}

# devices DIR: nodes of its own, as a runtime may change those that it finds.
devices() {
	local name rest
	mount -t tmpfs -o mode=755,size=1m dev "$1"
	mkdir "$1/pts" "$1/shm" "$1/mqueue" "$1/net"
	while read -r name rest; do
		# shellcheck disable=SC2086 # words
		mknod -m 666 "$1/$name" c $rest
	done <<-'END'
		null 1 3
		zero 1 5
		full 1 7
		random 1 8
		urandom 1 9
		tty 5 0
		fuse 10 229
		net/tun 10 200
	END
	mount -t devpts -o newinstance,ptmxmode=666,gid=5 devpts "$1/pts"
	ln -s pts/ptmx "$1/ptmx"
	mount -t tmpfs -o mode=1777 shm "$1/shm"
	mount -t mqueue mqueue "$1/mqueue"
	ln -s /proc/self/fd "$1/fd"
	for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "$1/${name%:*}"; done
}

if [ "${1:-}" = --inner ]; then
	shift
	inner "$@"
	exit
fi
user=root
if [ "${1:-}" = --user ]; then user=$2 && shift 2; fi
CPC_NEAR_IMAGE=$("$here/image.sh")
export CPC_NEAR_IMAGE
dir=$(mktemp -d /var/tmp/cpc-near.XXXXXX)
# Where cgroup v2 is: alone, or beside version 1.
unified=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
group=$unified/$(basename "$dir")
mkdir "$group"
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
	[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
	for _ in $(seq 50); do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.2
	done
	rm -rf --one-file-system "$dir"
}
child=''
trap cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
status=0
# In the background, so that a trap does not wait for it.
(
	# The first process of those namespaces alone is in the group: one that has others
	# cannot have controllers below it.
	# shellcheck disable=SC2016 # expanded by the inner shell
	exec unshare --mount --pid --fork --kill-child --net --ipc --uts sh -c 'echo 0 >"$0/cgroup.procs" && exec unshare --cgroup "$@"' \
		"$group" "$here/near.sh" --inner "$dir" "$user" "$@"
) <&0 &
child=$!
wait $child || status=$?
exit $status
