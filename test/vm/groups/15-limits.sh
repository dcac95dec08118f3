#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# limits: all of them, changed on a running sandbox, exceeded on purpose, and
# what cpc says of it.
run() {
	inside root /work-cpc/test/vm/limits.sh all
	inside user /work-cpc/test/vm/limits.sh short
}
