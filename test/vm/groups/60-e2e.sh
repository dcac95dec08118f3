#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# e2e: a part of test/e2e, as a user in a session: what depends on the kernel.
# shellcheck disable=SC2154 # test.sh sets stage
build() {
	mkdir -p "$stage/tests" "$stage/tools"
	CGO_ENABLED=0 scripts/go test -c -trimpath -tags seccomp -o "$stage/tests/test_e2e.test" ./test/e2e
	CGO_ENABLED=0 scripts/go build -trimpath -buildvcs=false -o "$stage/tools/e2e-probe" ./test/e2e/testdata/probe
}

run() {
	local tests='TestShellAtATerminal|TestUmask|TestNotify|TestIDsOfTheHost|TestOwnNamespaces|TestNoWayOutByCgroups'
	inside user env "ONLY=$tests" CPC_BASE_TAR=/var/tmp/base.tar CPC_BIN_DIR=/usr/local/bin \
		"CPC_E2E_PROBE=/work-cpc/$stage/tools/e2e-probe" /work-cpc/test/vm/gotests.sh test/e2e
}
