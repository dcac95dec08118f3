#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# podman: drives cpc-runtime as root, and gets what crun gave it. more-podman is all of it.
run() {
	inside root /work-cpc/test/vm/podman.sh core
}
