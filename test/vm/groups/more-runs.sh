#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-runs: 200 runs in a row leave the cgroup tree as it was (limits: 20).
run() {
	CPC_VM_SILENCE=3000 inside root env CPC_VM_RUNS=200 /work-cpc/test/vm/limits.sh many_runs
	CPC_VM_SILENCE=3000 inside user env CPC_VM_RUNS=200 /work-cpc/test/vm/limits.sh many_runs
}
