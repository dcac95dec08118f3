#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# delegation: what a user sees whom systemd delegates too little. Last, as it
# restarts the user's systemd.
run() {
	inside user /work-cpc/test/vm/smoke.sh import
	inside root /work-cpc/test/vm/delegation.sh withdraw
	inside user /work-cpc/test/vm/delegation.sh refused
	inside root /work-cpc/test/vm/delegation.sh mend
	inside user /work-cpc/test/vm/delegation.sh works
	inside root /work-cpc/test/vm/delegation.sh directory
	inside root /work-cpc/test/vm/delegation.sh plain
}
