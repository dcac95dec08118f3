#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# fresh.sh PACKAGES SUITE: installs the package in a minimal Debian of that suite
# (bookworm, trixie) with its dependencies, runs a sandbox in it, upgrades the package
# while the sandbox runs, and purges it: nothing is left. PACKAGES is what packages.sh has
# made. It needs root and Debian's packages, takes two minutes, and is run by hand.
set -eu -o pipefail
packages=$(realpath "$1") suite=$2
cd "$(dirname "$0")/../.."
scripts/base-tar.sh
system=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-fresh.XXXXXX")
trap 'rm -rf --one-file-system "$system"' EXIT
mmdebstrap --mode=root --quiet --variant=minbase --skip=output/dev --dpkgopt=force-unsafe-io "$suite" "$system"
cp "$packages"/1/*.deb "$packages/next.deb" "$system/root"
cp .cache/base/trixie.tar "$system/root/base.tar"
cp -L /etc/resolv.conf "$system/etc"

# In that root file system; not by chroot, in which the kernel makes no user namespace.
# shellcheck disable=SC2016 # expanded by the inner shell
inside='
	set -eu
	export DEBIAN_FRONTEND=noninteractive
	files() {
		find / -xdev \( -path /root -o -path /tmp -o -path /var/cache -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/apt \
			-o -path "/etc/*-" \) -prune -o -print | sort
	}
	apt-get update -q >/dev/null
	files >/root/before
	begin=$(date +%s)
	apt-get install -y -q --no-install-recommends /root/cpc_*.deb >/dev/null
	cpc import /root/base.tar debian:trixie-slim >/dev/null
	# No systemd runs in here, so there may be no limits.
	export CPC_LIMITS=best-effort
	cpc run --rm debian:trixie-slim echo "ok   $(cpc version): a sandbox runs"
	echo "ok   $(($(date +%s) - begin)) s from the package to a sandbox on Debian $(cat /etc/debian_version)"
	cpc run -d --name survivor debian:trixie-slim sleep 600 >/dev/null
	dpkg --install /root/next.deb >/dev/null
	cpc exec survivor echo "ok   the sandbox survived the upgrade"
	apt-get purge -y -q cpc >/dev/null
	apt-get autoremove -y -q --purge >/dev/null
	files | diff /root/before -
	if grep -l -x sleep /proc/[0-9]*/comm; then exit 1; fi
	echo "ok   purged, nothing is left"
'
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --pid --fork --kill-child bash -c '
	mount --make-rprivate /
	mount --rbind "$0" "$0"
	cd "$0"
	mount -t proc proc proc
	mount --rbind /sys sys
	mount --rbind /dev dev
	mount -t tmpfs tmpfs run
	mkdir old
	pivot_root . old
	umount --lazy old
	rmdir old
	exec sh -c "$1"
' "$system" "$inside"
