#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-podman: podman with crun and with cpc-runtime, side by side.
run() {
	CPC_VM_SILENCE=2400 inside root /work-cpc/test/vm/podman.sh all
	CPC_VM_SILENCE=2400 inside user /work-cpc/test/vm/podman.sh all
}
