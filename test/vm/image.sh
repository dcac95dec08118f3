#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# image.sh: makes the VM's image where it is not there yet, and prints its
# directory: disk.img, vmlinuz, initrd.img and the key that opens it. Images are
# kept in the user's cache by the hash of their recipe. Root is not needed where
# the user has a range of subordinate ids.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cpc/vm
recipe=$here/recipe.sh
key=$(cat "$recipe" "$here/image.sh" | sha256sum | cut -c 1-16)
dir=$cache/$key

say() { echo "image: $*" >&2; }

if [ -e "$dir/disk.img" ]; then
	echo "$dir"
	exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -e "$dir/disk.img" ]; then # another made it while we waited
	echo "$dir"
	exit 0
fi
rm -rf "$cache"/making.* # of one that was killed; the lock says it is not at work
say "making the VM's image $key (some minutes, once)"
work=$(mktemp -d "$cache/making.XXXXXX")
log=$cache/$key.log
# The hooks run among a user's subordinate ids, to whom the user's home may be
# closed.
hooks=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-vm.XXXXXX")
trap 'rm -rf "$work" "$hooks"' EXIT
chmod 0755 "$hooks"
install -m 0755 "$recipe" "$hooks/recipe.sh"
ssh-keygen -q -t ed25519 -N '' -C cpc-vm -f "$work/key"

if [ "$(id -u)" -eq 0 ]; then mode=root; else mode=unshare; fi
# Variant important brings what a login session needs (PAM, udev, …).
if ! mmdebstrap --mode=$mode --variant=important --quiet --format=tar --skip=output/dev \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="$("$recipe" packages)" \
	--essential-hook="'$hooks/recipe.sh' early \"\$1\"" \
	--customize-hook="upload '$work/key.pub' /tmp/authorized_keys" \
	--customize-hook="'$hooks/recipe.sh' late \"\$1\"" \
	"$("$recipe" suite)" "$work/root.tar" >"$log" 2>&1 </dev/null; then
	say "mmdebstrap did not manage; the end of $log:"
	tail -n 20 "$log" >&2
	exit 1
fi

# The file system is filled by mkfs: no mount, no loop device. Files must
# belong to their owners while it reads them, so a user does this among the
# subordinate ids, which reach the output only by the descriptors they are
# given: the directory is closed to them.
# shellcheck disable=SC2016 # expanded by the inner shell
fill='
	set -eu
	tree=$(mktemp -d "${TMPDIR:-/var/tmp}/cpc-vm.XXXXXX")
	trap "rm -rf \"$tree\"" EXIT
	tar -x --numeric-owner --xattrs -C "$tree" <&3
	mkdir -p "$tree/dev"
	cat "$tree"/boot/vmlinuz-* >&4
	cat "$tree"/boot/initrd.img-* >&5
	chmod 0755 "$tree"
	PATH=$PATH:/usr/sbin mkfs.ext4 -q -F -L vm -m 0 -E lazy_itable_init=1 -d "$tree" /proc/self/fd/6
'
chmod 0700 "$work"
truncate -s "$("$recipe" size)" "$work/disk"
chmod 0666 "$work/disk"
set --
[ $mode = root ] || set -- mmdebstrap --unshare-helper
"$@" sh -c "$fill" 3<"$work/root.tar" 4>"$work/vmlinuz" 5>"$work/initrd.img" 6<>"$work/disk" >>"$log" 2>&1 || {
	say "making the file system failed; the end of $log:"
	tail -n 20 "$log" >&2
	exit 1
}
chmod 0600 "$work/disk"
rm -rf "$dir" "$work/root.tar"
mv "$work/disk" "$work/disk.img"
mv "$work" "$dir"
# Those of older recipes are of no use to anyone on this branch; keep a few.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name 'making.*' -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- |
	while read -r old; do rm -rf "$old"; done
echo "$dir"
