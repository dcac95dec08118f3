#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-bats: runc's own integration tests, with cpc-runtime and, where one fails,
# with runc.
# shellcheck disable=SC2154 # test.sh sets stage
# The tests, the programs that they use and runc itself come from runc's module,
# in the version of go.mod.
build() {
	local out=$PWD/$stage/tools/runc module source name
	[ ! -e "$out/done" ] || return 0
	rm -rf "$out"
	mkdir -p "$out/c" "$out/tests/cmd/_bin"
	scripts/go mod download github.com/opencontainers/runc
	module=$(scripts/go list -m -f '{{.Dir}}' github.com/opencontainers/runc)
	source=$(mktemp -d "$out/source.XXXXXX")
	cp -r "$module/." "$source"
	chmod -R u+w "$source"
	for name in tests/cmd/recvtty tests/cmd/sd-helper tests/cmd/seccompagent tests/cmd/fs-idmap tests/cmd/pidfd-kill \
		tests/cmd/remap-rootfs tests/cmd/key_label .; do
		# Static, as the VM's libc is another than the host's.
		(cd "$source" && CGO_ENABLED=1 ../../../../../scripts/go build -mod=mod -trimpath -tags 'seccomp netgo osusergo' \
			-ldflags "-s -w -linkmode external -extldflags -static -X main.version=$(cat VERSION)" \
			-o "$out/tests/cmd/_bin/" "./$name")
	done
	mv "$out/tests/cmd/_bin/runc" "$out/runc"
	cp -r "$source/tests/integration" "$out/tests/"
	chmod -R u+w "$out/tests"
	for name in "$source"/tests/integration/testdata/*.c; do
		gcc -static -o "$out/c/$(basename "$name" .c)" "$name"
	done
	gcc -shared -o "$out/c/empty" -x c /dev/null
	debian "$PWD/$stage/base.tar" "$source/debian" "$out/debian.tar"
	rm -rf "$source"
	: >"$out/done"
}

# debian BASE DIR TAR: of the base image what the tests use, as unpacking it all
# for each is slow.
debian() {
	local lib=./usr/lib/x86_64-linux-gnu name programs=()
	for name in bash cat dash findmnt grep id ionice ls mount sh sleep stat touch; do programs+=("./usr/bin/$name"); done
	mkdir "$2"
	tar -C "$2" -xf "$1" --wildcards ./bin ./sbin ./lib ./lib64 ./usr/lib64 ./tmp ./etc/passwd ./etc/group ./etc/ld.so.conf \
		'./etc/ld.so.conf.d*' "${programs[@]}" ./usr/sbin/ldconfig "$lib/ld-linux*" "$lib/libc.so*" \
		"$lib"/lib{blkid,cap,mount,pcre2,selinux,smartcols,tinfo,udev}'*'
	mkdir -p "$2"/{dev,proc,sys,root,var/cache/ldconfig}
	tar -C "$2" -cf "$3" .
}

run() {
	local files='cgroup_delegation cgroups checkpoint delete events pause run update userns'
	CPC_VM_SILENCE=5400 inside root /work-cpc/test/vm/bats.sh
	CPC_VM_SILENCE=5400 inside user /work-cpc/test/vm/bats.sh
	# shellcheck disable=SC2086 # words
	CPC_VM_SILENCE=3600 inside root /work-cpc/test/vm/bats.sh --systemd $files
}
