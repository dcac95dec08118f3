#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-podman-system: podman's own system tests, with cpc-runtime in crun's place
# and, where one fails, with crun; as root and rootless. It takes an hour and more.
# shellcheck disable=SC2154 # test.sh sets stage
# The tests come from podman's module, in the version that Debian 13 has.
build() {
	local out=$PWD/$stage/tools/podman version=5.4.2 module
	[ "$(cat "$out/version" 2>/dev/null)" != $version ] || return 0
	rm -rf "$out"
	mkdir -p "$out"
	module=$(scripts/go mod download -json "github.com/containers/podman/v5@v$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	cp -r "$module/test/system" "$out/"
	chmod -R u+w "$out/system"
	CGO_ENABLED=0 scripts/go build -trimpath -ldflags '-s -w' -o "$out/socat" ./test/vm/socat
	echo $version >"$out/version"
}

# What needs no systemd and no controllers runs on this machine, at its speed,
# where that can be done: as root. Under emulation it is a matter of days.
run() {
	local systemd='080-pause 220-healthcheck 260-sdnotify 280-update 420-cgroups' name
	for name in root user; do
		if [ "$(id -u)" -eq 0 ]; then
			test/vm/near.sh --user $name /work-cpc/test/vm/podman-system.sh
		else
			systemd=''
		fi
		# shellcheck disable=SC2086 # words
		CPC_VM_SILENCE=9000 inside $name /work-cpc/test/vm/podman-system.sh $systemd
	done
}
