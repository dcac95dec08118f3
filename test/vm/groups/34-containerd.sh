#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# containerd: drives cpc-runtime, and gets what runc gave it. more-containerd is all of it.
run() {
	inside root /work-cpc/test/vm/containerd.sh core
}
