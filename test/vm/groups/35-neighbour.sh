#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# neighbour: a user's podman container does not notice cpc in the same session.
run() {
	inside user /work-cpc/test/vm/neighbour.sh
}
