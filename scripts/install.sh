#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# install.sh install|uninstall: what `make install` and `make uninstall` do below
# $DESTDIR$PREFIX. The programs are taken from
# $BIN, manual pages and completions from $MAN.
#
# install writes a list of the files and directories that it has made. uninstall
# removes what is on the list: a directory only when it is empty. An installation
# over an older one removes the files that only the older one had.
set -eu
cd "$(dirname "$0")/.."
to=${DESTDIR:-}${PREFIX:-/usr/local}
bin=${BIN:-bin} man=${MAN:-bin/man}
list=share/cpc/installed

# copies MODE DIRECTORY FILE…: a line "MODE FILE TARGET" for each file.
copies() {
	mode=$1 directory=$2
	shift 2
	for file in "$@"; do echo "$mode $file $directory/${file##*/}"; done
}

files() {
	copies 0755 bin "$bin/cpc" "$bin/cpc-runtime" "$bin/cpc-scan"
	copies 0644 share/man/man1 "$man"/*.1
	copies 0644 share/zsh/site-functions "$man/_cpc"
	copies 0644 share/fish/vendor_completions.d "$man/cpc.fish"
	echo "0644 $man/cpc.bash share/bash-completion/completions/cpc"
	copies 0644 lib/systemd/system deploy/systemd/*.service deploy/systemd/*.timer
	copies 0644 lib/systemd/user deploy/systemd/user/*
	copies 0644 lib/sysusers.d deploy/sysusers.d/cpc.conf
	copies 0644 share/cpc/apparmor deploy/apparmor/cpc deploy/apparmor/cpc-sandbox
	copies 0644 share/cpc/seccomp seccomp/testdata/default-amd64.json seccomp/testdata/default-arm64.json
	copies 0644 share/doc/cpc ./*.md LICENSE docs/*.md
	copies 0644 share/doc/cpc/cli docs/cli/*.md
}

# directory NAME: makes it and its parents below $to, and prints those that were
# missing, the outermost first.
directory() {
	if [ -d "$to/$1" ]; then return; fi
	case $1 in
	*/*) directory "${1%/*}" ;;
	esac
	mkdir "$to/$1"
	chmod 0755 "$to/$1"
	echo "$1/"
}

# remove: the files and directories that standard input names, the last first.
remove() {
	tac | while read -r name; do
		case /$name in
		*/../*) continue ;;
		*/) if [ -d "$to/$name" ]; then rmdir --ignore-fail-on-non-empty "$to/$name"; fi ;;
		*) rm -f "$to/$name" ;;
		esac
	done
}

install_files() {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cat "$to/$list" >"$work/old" 2>/dev/null || true
	grep '/$' "$work/old" >"$work/new" || true
	mkdir -p "$to"
	{ files && echo "0644 /dev/null $list"; } | while read -r mode source target; do
		directory "${target%/*}"
		install -m "$mode" "$source" "$to/$target"
		echo "$target"
	done >>"$work/new"
	# Links between pages, for where the pages are now.
	find "$to/share/doc/cpc" -maxdepth 1 -name '*.md' -exec sed -i \
		-e 's,](\.\./deploy/apparmor,](../../cpc/apparmor,g' -e 's,](deploy/apparmor,](../../cpc/apparmor,g' \
		-e 's,](\.\./\([A-Z][A-Za-z]*\.md\),](\1,g' -e 's,](docs/,](,g' {} +
	grep -v -x -F -f "$work/new" "$work/old" | remove
	cat "$work/new" >"$to/$list"
}

case ${1:-} in
install) install_files ;;
uninstall)
	if [ ! -r "$to/$list" ]; then
		echo "install.sh: nothing is installed below $to (there is no $to/$list)" >&2
		exit 1
	fi
	remove <"$to/$list"
	;;
*)
	echo "usage: install.sh install|uninstall" >&2
	exit 2
	;;
esac
