#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# limits: all of them, changed on a running sandbox, exceeded on purpose, and
# what cpc says of it.
run() {
	CPC_VM_STEP_TIMEOUT=${CPC_VM_STEP_TIMEOUT:-600} inside root /work-cpc/test/vm/limits.sh all
	CPC_VM_STEP_TIMEOUT=${CPC_VM_STEP_TIMEOUT:-600} inside user /work-cpc/test/vm/limits.sh short
}
