#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# net: a sandbox's network on a distribution's own kernel, which loads veth and
# nf_tables as modules when they are asked for.
# shellcheck disable=SC2154 # test.sh sets stage
build() {
	mkdir -p "$stage/tests"
	CGO_ENABLED=0 scripts/go test -c -trimpath -o "$stage/tests/netns.test" ./netns
}

# Of an ordinary user: root's are tested on the host.
run() {
	local tests='TestAllowed|TestDenied|TestAdversarial|TestChange|TestFate|TestTwoSandboxes|TestLinkGone|TestSourcePort'
	inside user env "ONLY=$tests" /work-cpc/test/vm/gotests.sh netns
}
