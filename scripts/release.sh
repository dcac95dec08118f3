#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# release.sh [DIRECTORY]: makes the packages of the version that HEAD is tagged with
# (vX.Y.Z), in dist/ or DIRECTORY:
#
#   cpc_VERSION_ARCH.deb            for Debian 12 and later
#   cpc-VERSION-linux-ARCH.tar.gz   the same files, to be unpacked in /usr/local
#   cpc-VERSION-linux-ARCH.spdx.json, .cyclonedx.json   what is linked into the programs
#   SHA256SUMS
#
# ARCHES names the architectures (default: amd64 arm64). The same commit, Go and
# compiler give the same bytes, in any directory: times are the commit's, owners are
# root, and no path of this machine gets into a file. dpkg-deb makes the packages: it
# is part of every Debian, where these have to be built for their C compiler anyway.
set -eu -o pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
out=$(realpath -m "${1:-dist}")
arches=${ARCHES:-amd64 arm64}
native=$(dpkg --print-architecture)
work=.cache/release

die() { echo "release.sh: $*" >&2 && exit 1; }

# find_version sets tag and version. The programs take theirs from the same tag.
find_version() {
	tag=$(git tag --points-at HEAD --list 'v[0-9]*' --sort=-version:refname | head -n 1)
	[ -n "$tag" ] || die "HEAD has no tag vX.Y.Z, so there is no version; tag the commit first"
	[ -z "$(git status --porcelain)" ] || die "the work tree differs from $tag; commit or remove the changes first"
	version=${tag#v}
}

triplet() {
	case $1 in
	amd64) echo x86_64-linux-gnu ;;
	arm64) echo aarch64-linux-gnu ;;
	*) die "architecture $1: choose from amd64 and arm64" ;;
	esac
}

# build ARCH: the programs, in $work/ARCH/bin.
build() {
	local arch=$1 sysroot=$root/.cache/sysroot-$1 triplet settings
	triplet=$(triplet "$arch")
	settings=("GOARCH=$arch" "CC=$triplet-gcc")
	if [ "$arch" != "$native" ]; then
		settings+=("PKG_CONFIG_LIBDIR=$sysroot/usr/lib/$triplet/pkgconfig" "PKG_CONFIG_SYSROOT_DIR=$sysroot")
	fi
	env "${settings[@]}" make --no-print-directory -s BIN="$work/$arch/bin" LDFLAGS='-s -w -buildid=' build
	for program in "$work/$arch/bin"/*; do
		scripts/go version -m "$program" | grep -q -F "$(printf 'cpc\t%s\t' "$tag")" ||
			die "$program does not say that its version is $tag: $(scripts/go version -m "$program" | grep -w mod)"
	done
}

# record PACKAGE SOURCE VERSION: as dpkg keeps it.
record() {
	printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\nSource: %s\nVersion: %s\n\n' "$1" "$arch" "$2" "$3"
}

# libraries ARCH: records of the C libraries that are linked into cpc-runtime.
libraries() {
	local libc=libc6-dev seccomp
	if [ "$1" = "$native" ]; then
		seccomp=$(dpkg-query -W -f '${Version}' libseccomp-dev)
	else
		libc=libc6-dev-$1-cross
		seccomp=$(zcat ".cache/sysroot-$1/usr/share/doc/libseccomp-dev/changelog.Debian.gz" | sed -n '1s/.*(\(.*\)).*/\1/p;q')
	fi
	record libc6 glibc "$(dpkg-query -W -f '${Version}' "$libc" | sed 's/cross.*//')"
	record libseccomp2 libseccomp "$seccomp"
}

# stage ARCH: the installed files, in $work/ARCH/root.
stage() {
	local arch=$1 at=$work/$1/root
	rm -rf "$at"
	make --no-print-directory -s BIN="$work/$arch/bin" DESTDIR="$root/$at" PREFIX=/usr install
	rm "$at/usr/share/cpc/installed"
	notices >"$at/usr/share/doc/cpc/copyright"
	find "$at" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# notices: cpc's licence, and those of what is linked into its programs.
notices() {
	cat LICENSE
	scripts/go list -tags seccomp -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/... |
		sort -u | while read -r path its_version directory; do
		for file in "$directory"/LICEN[CS]E* "$directory"/COPYING* "$directory"/NOTICE*; do
			if [ -f "$file" ]; then printf '\n==== %s %s: %s\n\n' "$path" "$its_version" "${file##*/}" && cat "$file"; fi
		done
	done
	for library in libc6-dev libseccomp-dev; do
		printf '\n==== %s\n\n' "$library" && cat "/usr/share/doc/$library/copyright"
	done
}

# pack DIRECTORY: its files as a tar with nothing of this machine in it.
pack() {
	tar --create --directory="$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu "${@:2}" .
}

tarball() {
	local name=cpc-$version-linux-$1
	pack "$work/$1/root/usr" --transform="s,^\.,$name," | gzip -9n >"$out/$name.tar.gz"
}

# bill ARCH: the bill of materials of an image that has the package's files, and
# dpkg's records of the C libraries in cpc-runtime.
bill() {
	local arch=$1 at=$work/$1/bill name=cpc-$version-linux-$1 cpc=$work/$native/bin/cpc format
	rm -rf "$at" && mkdir -p "$at/context"
	cp -a "$work/$arch/root" "$at/root"
	mkdir -p "$at/root/var/lib/dpkg" "$at/root/etc"
	libraries "$arch" >"$at/root/var/lib/dpkg/status"
	cp /etc/os-release "$at/root/etc/os-release"
	pack "$at/root" >"$at/context/root.tar"
	printf 'FROM scratch\nADD root.tar /\n' >"$at/context/Dockerfile"
	export CPC_DATA_DIR=$root/$at/data CPC_STATE_DIR=$root/$at/state
	"$cpc" build --quiet --platform "linux/$arch" -t "cpc:$version" "$at/context" >/dev/null
	for format in spdx cyclonedx; do
		"$cpc" sbom --format $format-json -o "$out/$name.$format.json" "cpc:$version"
	done
	rm -rf "$at"
}

# deb ARCH: the package. Debian has manual pages compressed.
deb() {
	local arch=$1 at=$work/$1/deb deb_version=${version/-/\~}
	rm -rf "$at"
	cp -a "$work/$arch/root" "$at"
	find "$at/usr/share/man" -type f -exec gzip -9n {} +
	mkdir "$at/DEBIAN"
	install -m 0755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$at/DEBIAN"
	sed -e "s/@VERSION@/$deb_version/" -e "s/@ARCH@/$arch/" \
		-e "s/@SIZE@/$(find "$at/usr" -type f -printf '%s\n' | awk '{n += int(($1 + 1023) / 1024)} END {print n}')/" \
		deploy/debian/control.in >"$at/DEBIAN/control"
	(cd "$at" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$at/DEBIAN/md5sums"
	chmod 0644 "$at/DEBIAN/control" "$at/DEBIAN/md5sums"
	# One thread: how many there are shows in the compressed bytes. xz would be a quarter
	# smaller and take 40 s instead of one.
	dpkg-deb --root-owner-group --threads-max=1 -Zzstd --build "$at" "$out/cpc_${deb_version}_$arch.deb" >/dev/null
	rm -rf "$at"
}

umask 022
unset GOFLAGS CGO_CFLAGS CGO_CPPFLAGS CGO_LDFLAGS GOAMD64 GOARM64 GOEXPERIMENT
export LC_ALL=C TZ=UTC0
find_version
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf "$work" "$out" && mkdir -p "$work" "$out"
build "$native"
make --no-print-directory -s bin/man
for arch in $arches; do
	[ "$arch" = "$native" ] || build "$arch"
	stage "$arch"
	tarball "$arch"
	bill "$arch"
	deb "$arch"
done
(cd "$out" && sha256sum -- *.* >SHA256SUMS)
rm -rf "$work"
echo "release.sh: $tag in $out" >&2
