#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-critest: containerd's CRI with runc and with cpc-runtime, as critest sees it.
# shellcheck disable=SC2154 # test.sh sets stage
# test/vm/critest is a go.mod alone: cmd/critest is a test, which nothing imports.
build() {
	local out=$PWD/$stage/tools/critest
	mkdir -p "$stage/tools"
	(cd test/vm/critest && CGO_ENABLED=0 ../../../scripts/go test -c -trimpath -ldflags '-s -w' -o "$out" \
		sigs.k8s.io/cri-tools/cmd/critest)
}

run() { CPC_VM_SILENCE=5400 inside root /work-cpc/test/vm/containerd.sh cri; }
