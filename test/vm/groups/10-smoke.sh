#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# smoke: sandboxes have their limits, as root, as a user, and as one without
# subordinate ids.
run() {
	inside root /work-cpc/test/vm/smoke.sh
	inside user /work-cpc/test/vm/smoke.sh
	inside norange /work-cpc/test/vm/smoke.sh short
}
