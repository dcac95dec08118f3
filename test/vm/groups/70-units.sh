#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# units: cpc under systemd: deploy/systemd, as a system unit and as a user's.
# shellcheck disable=SC2154 # test.sh sets stage
build() {
	rm -rf "$stage/installed"
	make -s install DESTDIR="$PWD/$stage/installed"
}

run() {
	inside root /work-cpc/test/vm/units.sh system
	inside user /work-cpc/test/vm/units.sh user
	inside root /work-cpc/test/vm/units.sh remove
}
