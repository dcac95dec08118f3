#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh run|test|base|vm|bench|release: installs what this machine lacks, and only that.
#   run   what building and running needs
#   test  that, and what the tests need
#   base  that, and what makes a base image where no registry answers
#   vm    that, and what the virtual machine of test/vm needs
#   bench that, and what cpc is measured against
#   release that, and what builds the packages for $ARCHES (amd64 arm64)
#
# Debian packages come by apt: directly as root, through sudo as a user. Where
# neither is possible it says what to ask the administrator for. On a machine
# that has everything it looks, changes nothing and says nothing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
me=$(id -u)

say() { echo "setup: $*" >&2; }

# have PROBE…: true when each probe is there. A probe is a command, or the
# path of a file (a pattern may match in any architecture's folder).
have() {
	for probe in "$@"; do
		case $probe in
		/*) # shellcheck disable=SC2086 # the pattern is meant to expand
			set -- $probe
			[ -e "$1" ] || return 1
			;;
		*) command -v "$probe" >/dev/null || [ -x "/usr/sbin/$probe" ] || return 1 ;;
		esac
	done
}

# table WHAT: "package probe…" lines, one a package.
table() {
	cat <<-'END'
		gcc gcc
		libc6-dev /usr/include/*/gnu/libc-version.h /usr/lib/*/libc.a
		make make
		pkgconf pkg-config
		libseccomp-dev /usr/include/seccomp.h /usr/lib/*/libseccomp.a
		ca-certificates /etc/ssl/certs/ca-certificates.crt
	END
	if [ "$me" -ne 0 ] || [ "$1" = test ]; then
		echo "uidmap newuidmap newgidmap"
	fi
	case $1 in
	test)
		cat <<-'END'
			git git
			skopeo skopeo
			umoci umoci
			docker-registry docker-registry
			shellcheck shellcheck
			procps ps
			bsdutils script
			e2fsprogs mkfs.ext4
			fuse2fs fuse2fs
			qemu-user-static qemu-aarch64-static
			xz-utils xz
			mmdebstrap mmdebstrap
			curl curl
			python3-requests /usr/lib/python3/dist-packages/requests
			python3-httpx /usr/lib/python3/dist-packages/httpx
			python3-h2 /usr/lib/python3/dist-packages/h2
			python3-aiohttp /usr/lib/python3/dist-packages/aiohttp
			python3-websockets /usr/lib/python3/dist-packages/websockets
			python3-grpcio /usr/lib/python3/dist-packages/grpc
			nodejs node
			npm npm
		END
		;;
	base)
		cat <<-'END'
			mmdebstrap mmdebstrap
			debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
		END
		;;
	vm)
		cat <<-'END'
			mmdebstrap mmdebstrap
			debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
			qemu-system-x86 qemu-system-x86_64
			e2fsprogs mkfs.ext4
			openssh-client ssh ssh-keygen
			util-linux setpriv
			procps pgrep
		END
		;;
	bench)
		cat <<-'END'
			runc runc
			crun crun
			bubblewrap bwrap
			podman podman
			buildah buildah
			passt pasta
			slirp4netns slirp4netns
			skopeo skopeo
			umoci umoci
			docker-registry docker-registry
			uidmap newuidmap newgidmap
		END
		;;
	release)
		cat <<-'END'
			git git
			dpkg dpkg-deb
			mmdebstrap mmdebstrap
			debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
		END
		for arch in $(foreign); do
			case $arch in
			amd64) machine=x86-64-linux-gnu ;;
			*) machine=aarch64-linux-gnu ;;
			esac
			echo "gcc-$machine $(echo $machine | sed s/x86-/x86_/)-gcc"
			echo "libc6-dev-$arch-cross /usr/$(echo $machine | sed s/x86-/x86_/)/lib/libc.a"
		done
		;;
	esac
}

# foreign: the architectures that packages are built for and that are not this machine's.
foreign() {
	for arch in ${ARCHES:-amd64 arm64}; do
		if [ "$arch" != "$(dpkg --print-architecture)" ]; then echo "$arch"; fi
	done
}

missing_packages() {
	table "$1" | while read -r package probes; do
		# shellcheck disable=SC2086 # one argument a probe
		(set -f; IFS=' '; set -- $probes; set +f; have "$@") || echo "$package"
	done
	"$root/scripts/go" --which >/dev/null || have go || echo golang-go
}

# ask WHY COMMAND: says what only an administrator can do.
ask() {
	say "$1. Ask the administrator to run:"
	say "  $2"
	return 1
}

# as_root TEXT COMMAND…: runs the command as root, directly or through sudo, or
# asks for TEXT, the same for a person to type.
as_root() {
	text=$1
	shift
	if [ "$me" -eq 0 ]; then
		"$@"
	elif ! command -v sudo >/dev/null; then
		ask "this needs root, and sudo is not installed" "$text"
	elif ! [ -t 0 ] && ! sudo -n true 2>/dev/null; then
		ask "this needs root; sudo would ask for a password or refuse, and there is no terminal" "$text"
	else
		sudo "$@" || ask "that did not work" "$text"
	fi
}

# install_packages PACKAGE…
install_packages() {
	if ! command -v apt-get >/dev/null; then
		say "missing: $* (the names of Debian's packages; there is no apt-get here: install them by hand)"
		return 1
	fi
	say "missing packages: $*"
	# Lists may be absent or old. A third-party source that does not answer
	# must not stop us: the installation decides.
	# shellcheck disable=SC2016 # expanded by the inner shell
	as_root "apt-get update && apt-get install -y --no-install-recommends $*" \
		env DEBIAN_FRONTEND=noninteractive sh -c \
		'apt-get update -q; apt-get install -y -q -o Dpkg::Use-Pty=0 --no-install-recommends "$@"' sh "$@" >&2
}

# The content sums (as in go.sum) of the toolchain modules, by architecture.
toolchain_sum() {
	case $1 in
	amd64) echo "h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM=" ;;
	arm64) echo "h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc=" ;;
	*) return 1 ;;
	esac
}

# Makes sure that scripts/go finds a Go. Debian 13's golang-go can fetch the
# release that go.mod names. Debian 12's is too old for that, but can download
# it as a module, which the sum above and the checksum database check.
setup_go() {
	"$root/scripts/go" --which >/dev/null && return
	need=$(sed -n 's/^go //p' "$root/go.mod")
	arch=$(go env GOARCH)
	want=$(toolchain_sum "$arch") || {
		say "no Go $need for $arch is known here; install it from https://go.dev/dl and run this again"
		return 1
	}
	say "fetching Go $need for $arch into .cache/go"
	mkdir -p "$root/.cache"
	work=$(mktemp -d "$root/.cache/toolchain.XXXXXX")
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	module=golang.org/toolchain@v0.0.1-go$need.linux-$arch
	# A module of its own: an old Go cannot read the project's go.mod.
	echo "module scratch" >"$work/go.mod"
	(cd "$work" && GOFLAGS=-modcacherw GO111MODULE=on GOMODCACHE=$work/mod go mod download -json "$module") >"$work/answer" || {
		cat "$work/answer" >&2
		say "fetching Go $need did not work; is the Go module proxy reachable? Or install it from https://go.dev/dl"
		return 1
	}
	got=$(sed -n 's/.*"Sum": "\(.*\)".*/\1/p' "$work/answer")
	if [ "$got" != "$want" ]; then
		say "Go $need for $arch has the sum $got, not $want: not used"
		return 1
	fi
	tree=$work/mod/$module
	# Modules carry no modes; these are the programs among the files.
	chmod -R u+w "$tree"
	chmod 0755 "$tree"/bin/* "$tree"/pkg/tool/*/* 2>/dev/null || chmod 0755 "$tree"/bin/*
	rm -rf "$root/.cache/go"
	mv "$tree" "$root/.cache/go"
	"$root/scripts/go" --which >/dev/null
}

# has_range FILE: true when the user has subordinate ids in it, by name or id.
has_range() { [ -r "$1" ] && grep -q -e "^$(id -un):" -e "^$me:" "$1"; }

# A user without a range of subordinate ids cannot build images that have
# files of several owners.
setup_subids() {
	[ "$me" -ne 0 ] || return 0
	if has_range /etc/subuid && has_range /etc/subgid; then return; fi
	first=$(cat /etc/subuid /etc/subgid 2>/dev/null |
		awk -F: 'BEGIN { n = 100000 } $2 + $3 > n { n = $2 + $3 } END { print n }')
	range=$first-$((first + 65535))
	say "$(id -un) has no range of subordinate ids in /etc/subuid and /etc/subgid; adding $range"
	set -- usermod --add-subuids "$range" --add-subgids "$range" "$(id -un)"
	as_root "$*" "$@"
}

# The packages of npm that test clients use, as their lock file says.
setup_modules() {
	from=$root/netns/testdata/clients to=$root/.cache/clients
	if [ -d "$to/node_modules" ] && cmp -s "$from/package-lock.json" "$to/package-lock.json"; then return; fi
	say "fetching npm packages for the tests into .cache/clients"
	rm -rf "$to"
	mkdir -p "$to.new"
	cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to.new"
	(cd "$to.new" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >&2)
	mv "$to.new" "$to"
}

# The one C library that cpc links besides libc, for another architecture: from the same
# Debian, into a directory, so that dpkg here need not know that architecture.
setup_sysroot() {
	to=$root/.cache/sysroot-$1
	if [ -d "$to" ]; then return; fi
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-trixie}")
	say "fetching libseccomp-dev of Debian $suite for $1 into .cache/sysroot-$1"
	rm -rf "$to.new"
	mkdir -p "$to.new"
	mmdebstrap --quiet --variant=extract --architectures="$1" --include=libseccomp-dev "$suite" - </dev/null |
		tar -x --no-same-owner -C "$to.new" --wildcards './usr/include/*seccomp*' './usr/lib/*seccomp*' './usr/share/doc/libseccomp-dev/*'
	[ -s "$(echo "$to.new"/usr/lib/*/libseccomp.a)" ]
	mv "$to.new" "$to"
}

case ${1:-} in
run | test | base | vm | bench | release) ;;
*)
	echo "usage: setup.sh run|test|base|vm|bench|release" >&2
	exit 2
	;;
esac
packages=$(missing_packages "$1")
if [ -n "$packages" ]; then
	# shellcheck disable=SC2086 # one argument a package
	install_packages $packages
	packages=$(missing_packages "$1")
	if [ -n "$packages" ]; then
		say "still missing after the installation: $(echo "$packages" | tr "\n" " ")"
		exit 1
	fi
fi
setup_subids
setup_go
if [ "$1" = test ]; then setup_modules; fi
if [ "$1" = release ]; then
	for arch in $(foreign); do setup_sysroot "$arch"; done
fi
