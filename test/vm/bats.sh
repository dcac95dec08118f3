#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# bats.sh [--systemd] [FILE…]: runs inside the VM, as root or as a user with
# subordinate ids: runc's own integration tests (names without .bats; default: all)
# with cpc-runtime, and with runc those that fail: what passes with runc must pass.
# CPC_RUNTIME and BUSYBOX (a static one) name others than the VM's; ONLY is a
# pattern of the tests to run.
#
# The tests are what the group's build took from runc's module; nothing of them is
# in this repository. Images cannot be fetched, so busybox and a part of the base
# image stand in for theirs.
set -u
here=$(dirname "$0")
# shellcheck source=test/vm/check.sh
. "$here/check.sh"
# shellcheck source=test/vm/tap.sh
. "$here/tap.sh"

made=$(cd "$here/../../.cache/vm/tools/runc" && pwd)
work=$(mktemp -d /var/tmp/bats.XXXXXX)
tests=$work/runc/tests/integration
export PATH=$work/bin:$PATH BATS_TMPDIR=$work/tmp TMPDIR=$work/tmp
trap 'rm -rf "$work"' EXIT

busybox_image() {
	local root=$work/busybox
	mkdir -p "$root"/{bin,dev,etc,home,root,tmp,usr/sbin,var}
	cp "${BUSYBOX:-/usr/bin/busybox}" "$root/bin/busybox"
	(cd "$root/bin" && for name in $(./busybox --list); do [ -e "$name" ] || ln busybox "$name"; done)
	printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/false\nnobody:x:65534:65534::/home:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\ndaemon:x:1:\n' >"$root/etc/group"
	chmod 1777 "$root/tmp"
	tar -C "$root" -cf "$work/busybox.tar" .
}

# rootless: what the tests want to know of a user's subordinate ids.
rootless() {
	export ROOTLESS_FEATURES=idmap ROOTLESS_UIDMAP_START ROOTLESS_UIDMAP_LENGTH ROOTLESS_GIDMAP_START ROOTLESS_GIDMAP_LENGTH
	IFS=: read -r _ ROOTLESS_UIDMAP_START ROOTLESS_UIDMAP_LENGTH < <(grep "^$who:" /etc/subuid)
	IFS=: read -r _ ROOTLESS_GIDMAP_START ROOTLESS_GIDMAP_LENGTH < <(grep "^$who:" /etc/subgid)
	# A directory of uid 1024 in a container, where 1000 is the first of them.
	export ROOTLESS_AUX_UID=1024 ROOTLESS_AUX_DIR=$work/aux
	mkdir -m 0700 "$ROOTLESS_AUX_DIR"
	sudo chown $((ROOTLESS_UIDMAP_START - 1000 + ROOTLESS_AUX_UID)) "$ROOTLESS_AUX_DIR"
}

# compiled: gcc, which the VM has not, by what the build has compiled.
compiled() {
	mkdir -p "$work/bin"
	cat >"$work/bin/gcc" <<-END
		#!/bin/sh
		out='' from=empty
		while [ \$# -gt 0 ]; do
			case \$1 in -o) out=\$2 && shift ;; *.c) from=\$(basename "\$1" .c) ;; esac
			shift
		done
		exec cp "$made/c/\$from" "\$out"
	END
	chmod +x "$work/bin/gcc"
}

# bats_run RUNTIME FILE FILTER OUTPUT: the file's tests whose names match, with a
# controlling terminal, which some of them use. Its input does not end, or script
# would type a NUL.
bats_run() {
	(cd "$tests" && RUNC=$1 script -qefc "bats --tap --filter $(printf %q "$3") $2.bats >$4 2>&1" /dev/null) >/dev/null 2>&1 <>"$work/quiet"
}

# shellcheck disable=SC2034 # tap.sh uses them
ours=$work/cpc/runc other=$made/runc other_name=runc label='runc bats '
if [ "${1:-}" = --systemd ]; then
	export RUNC_USE_SYSTEMD=yes
	label='runc bats, systemd, '
	shift
fi
mkdir -p "$work/tmp" "$work/runc" "$work/cpc"
chmod 0711 "$work" "$work/tmp" # roots of user namespaces pass through
mkfifo "$work/quiet"
cp -r "$made/tests" "$work/runc/"
# recvtty is slow to start: a test may want its socket sooner, and one that ends
# before the pid is written leaves it behind, where bats would wait for it.
# shellcheck disable=SC2016 # expanded by the tests
sed -i '/recvtty" --pid-file/{s/ &) &$/ >\/dev\/null 2>\&1 3>\&- \&) \&/; a\
	for _ in $(seq 200); do [ ! -S "$dir/sock" ] || [ ! -s "$dir/pid" ] || break; sleep 0.05; done
}' "$tests/helpers.bash"
# By this name it passes for runc in --version, --help and /proc/PID/fd.
cp "${CPC_RUNTIME:-/usr/local/bin/cpc-runtime}" "$ours"
busybox_image
compiled
[ "$EUID" -eq 0 ] || rootless
printf '#!/bin/sh\necho "BUSYBOX_IMAGE=%s"\necho "DEBIAN_IMAGE=%s"\n' "$work/busybox.tar" "$made/debian.tar" >"$tests/get-images.sh"
chmod +x "$tests/get-images.sh"
if [ $# -eq 0 ]; then
	set -- "$tests"/*.bats
	set -- "${@##*/}"
	set -- "${@%.bats}"
fi
for file in "$@"; do tap_file "$file"; done
