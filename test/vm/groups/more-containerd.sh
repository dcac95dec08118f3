#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-containerd: containerd with runc and with cpc-runtime, side by side.
run() { CPC_VM_SILENCE=2400 inside root /work-cpc/test/vm/containerd.sh all; }
