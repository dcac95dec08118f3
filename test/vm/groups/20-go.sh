#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# go: packages whose tests ask the kernel for what only the VM has.
# shellcheck disable=SC2154 # test.sh sets stage
build() {
	local package
	rm -rf "$stage/tools/probe" "$stage/tools/cpc-runtime"
	mkdir -p "$stage/tests" "$stage/tools"
	for package in cgroups rootfs sandbox/disk; do
		CGO_ENABLED=0 scripts/go test -c -trimpath -o "$stage/tests/${package//\//_}.test" "./$package"
	done
	# Static, as the VM's libc is another than the host's.
	CGO_ENABLED=1 scripts/go test -c -trimpath -tags 'seccomp netgo osusergo' \
		-ldflags '-linkmode external -extldflags "-static"' -o "$stage/tests/runtime.test" ./runtime
	CGO_ENABLED=0 scripts/go build -trimpath -buildvcs=false -o "$stage/tools/probe" ./runtime/testdata/probe
	ln -f bin/cpc-runtime "$stage/tools/cpc-runtime"
}

# Most of what rootfs and runtime test is the same on the host's kernel, and is
# tested there, in a tenth of the time.
run() {
	local overlay='TestCommitRoundTrip|TestMountShowsSandboxIDs|TestStoreUpperHoldsStoreIDs|TestMountManyLayers|TestMountIsNodevAndCloses'
	# Cgroups, this kernel's mounts, and one life of each kind.
	local kernel='TestLifecycle|TestExec|TestFields|TestMaskedPaths|TestJoinedNamespaces|TestIDMappedMount|TestNetDevice'
	kernel+='|TestSeccompListener|TestExecPlacement|TestDeleteEndsMaking|TestPause|TestProcesses|TestUpdate|TestEvents'
	kernel+='|TestStartSame'
	inside root /work-cpc/test/vm/gotests.sh cgroups sandbox/disk
	inside root env "ONLY=$overlay" /work-cpc/test/vm/gotests.sh rootfs
	inside root env "ONLY=$kernel" /work-cpc/test/vm/gotests.sh runtime
	# Root runs the runtime's tests in a user's namespaces too.
	inside user /work-cpc/test/vm/gotests.sh cgroups
	inside user env "ONLY=$overlay" /work-cpc/test/vm/gotests.sh rootfs
}
