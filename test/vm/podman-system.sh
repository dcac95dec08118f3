#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# podman-system.sh [FILE…]: runs inside the VM, as root or as a user in a login
# session: podman's own system tests (names without .bats; default: those that
# concern the runtime), with cpc-runtime where crun stands in containers.conf, and
# with crun those that fail: what passes with crun must pass.
#
# The tests are what the group's build took from podman's module; nothing of them
# is in this repository. Images cannot be fetched: one of busybox alone has the
# names, files, labels and command that the tests look for. CPC_RUNTIME names
# another runtime than the VM's.
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"
# shellcheck source=test/vm/tap.sh
. "$here/tap.sh"

made=$(cd "$here/../../.cache/vm/tools/podman" && pwd)
tag=$(sed -n 's/.*PODMAN_TEST_IMAGE_TAG:-"\([0-9]*\)".*/\1/p' "$made/system/helpers.bash")
image=quay.io/libpod/testimage:$tag
conf=$HOME/.config/containers/containers.conf.d/podman-system.conf
[ "$(id -u)" -ne 0 ] || conf=/etc/containers/containers.conf.d/podman-system.conf

default='030-run 032-sig-proxy 035-logs 040-ps 045-start 050-stop 055-rm 060-mount 065-cp 075-exec 080-pause 085-top
	130-kill 140-diff 160-volumes 170-run-userns 180-blkio 190-run-ipcns 195-run-namespaces 200-pod 220-healthcheck
	260-sdnotify 280-update 320-system-df 400-unprivileged-access 420-cgroups 450-interactive 520-checkpoint
	550-pause-process 700-play 950-preexec-hooks'

# testimage: what stands in for podman's.
testimage() {
	local home config name
	tiny_root
	home=$work/tiny/home/podman
	mkdir -p "$home" "$work/tiny/var/tmp" "$work/tiny/run" "$work/tiny/srv" "$work/tiny/mnt" "$work/tiny/lib" "$work/tiny"/usr/{bin,sbin,local/bin} \
		"$work/tiny/sbin" "$work/tiny/var/log"
	chmod 1777 "$work/tiny/var/tmp"
	ln -s /bin/busybox "$work/tiny/usr/bin/env"
	cp "$made/socat" "$work/tiny/usr/bin/socat"
	for name in bin:1 daemon:2 mail:8 games:35 nobody:65534; do
		echo "${name%:*}:x:${name#*:}:${name#*:}::/:/sbin/nologin" >>"$work/tiny/etc/passwd"
		echo "${name%:*}:x:${name#*:}:" >>"$work/tiny/etc/group"
	done
	sed -i /sandbox/d "$work/tiny/etc/passwd" "$work/tiny/etc/group"
	echo 'ping:x:999:' >>"$work/tiny/etc/group"
	ln -s /proc/mounts "$work/tiny/etc/mtab"
	# Applets that Debian's busybox has not.
	# shellcheck disable=SC2016 # expanded by those shells
	{
		printf '#!/bin/sh\n[ $# -gt 0 ] || exec env\nenv | grep "^$1=" | sed "s/^[^=]*=//"\n' >"$work/tiny/usr/bin/printenv"
		# adduser -u UID -G GROUP -D -g GECOS -s SHELL NAME
		printf '#!/bin/sh\necho "${10}:x:$2:$2:$7:/home/${10}:$9" >>/etc/passwd\n' >"$work/tiny/usr/bin/adduser"
	}
	chmod 755 "$work/tiny/usr/bin"/{printenv,adduser}
	printf 'NAME=tiny\nID=tiny\n' >"$work/tiny/etc/os-release"
	echo 'http 80/tcp' >"$work/tiny/etc/services"
	echo tiny | tee "$work/tiny/etc/alpine-release" >"$work/tiny/etc/shadow"
	echo "$tag" >"$home/testimage-id"
	touch --date=@1600000000 "$home/testimage-id"
	# Ends by SIGTERM with status 0, and says by which name it was called.
	# shellcheck disable=SC2016 # expanded by that shell
	printf '#!/bin/sh\ntrap "exit 0" TERM\necho "Confirmed: testimage pause invoked as $0"\nwhile :; do sleep 0.1; done\n' >"$home/pause"
	cat >"$home/healthcheck" <<-'END'
		#!/bin/sh
		if [ -e /uh-oh ] || [ -e /uh-oh-only-once ]; then
			echo "Uh-oh on stdout!"
			echo "Uh-oh on stderr!" >&2
			rm -f /uh-oh-only-once
			exit 1
		fi
		echo "Life is Good on stdout"
		echo "Life is Good on stderr" >&2
	END
	chmod 755 "$home/pause" "$home/healthcheck"
	tar -C "$work/tiny" --owner=0 --group=0 -cf "$work/layer.tar" .
	config='{"Cmd": ["/bin/echo", "This container is intended for podman CI testing"], "WorkingDir": "/home/podman",
		"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
		"Labels": {"created_by": "test/system/build-testimage", "created_at": "2024-10-11T00:00:00Z"}}'
	CONFIG=$config tiny_archive "$work/image.tar" "$image"
	mkdir -p "$cache"
	skopeo copy -q "docker-archive:$work/image.tar" "oci-archive:$cache/quay.io--libpod--testimage--$tag.tar"
	podman load -q -i "$work/image.tar" >/dev/null
}

# programs: what the tests call and the VM has not.
programs() {
	mkdir -p "$work/bin"
	ln -s /usr/bin/busybox "$work/bin/nc"
	cp "$made/socat" "$work/bin/"
	PATH=$work/bin:$PATH
}

# bats_run RUNTIME FILE FILTER OUTPUT, with a controlling terminal, which some
# use. Its input does not end, or script would type a NUL.
bats_run() {
	mkdir -p "${conf%/*}"
	printf '[engine]\nruntime = "crun"\n[engine.runtimes]\ncrun = ["%s"]\n' "$1" >"$conf"
	(cd "$work/system" && script -qefc "bats --tap --filter $(printf %q "$3") $2.bats >$4 2>&1" /dev/null) >/dev/null 2>&1 <>"$work/quiet"
}

finish() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman pod rm -fa -t 0 >/dev/null 2>&1
	podman system reset --force >/dev/null 2>&1
	rm -rf "$conf" "$cache"
	podman unshare rm -rf "$work" 2>/dev/null || rm -rf "$work"
}
trap finish EXIT

# shellcheck disable=SC2034 # tap.sh uses them
ours=${CPC_RUNTIME:-$cpc_runtime} other=$(command -v crun) other_name=crun label='podman system '
cache=/tmp/podman-systest-imagecache-$(id -u)
# The VM is slow, and there is no image with systemd.
export PODMAN_TIMEOUT=300 BATS_TEST_TIMEOUT=900 PODMAN_SYSTEMD_IMAGE_NAME=testimage PODMAN_SYSTEMD_IMAGE_TAG=$tag
version=$(podman --version)
[ "${version##* }" = "$(cat "$made/version")" ] || { echo "FAIL $who: the tests are of podman $(cat "$made/version"), the VM has ${version##* }" && exit 1; }
chmod 0755 "$work"
mkfifo "$work/quiet"
cp -r "$made/system" "$work/"
programs
if [ ! -d /run/systemd/system ]; then # near.sh
	PODMAN_TIMEOUT=60
	sed -i '/^@test .*\(journald\|systemd\)/a skip "no systemd"' "$work/system"/*.bats
fi
testimage || { echo "FAIL $who: no image to test with" && exit 1; }
# shellcheck disable=SC2086 # words
[ $# -gt 0 ] || set -- $default
for file in "$@"; do tap_file "$file"; done
