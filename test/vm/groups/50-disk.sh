#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# disk: the tiers of a sandbox's disk, for root and for users, and their end.
run() {
	inside root /work-cpc/test/vm/disk.sh short loop
	inside user /work-cpc/test/vm/disk.sh all fuse2fs
	inside root /work-cpc/test/vm/disk.sh close-fuse
	inside user /work-cpc/test/vm/disk.sh short tmpfs
	inside root /work-cpc/test/vm/disk.sh open-fuse
}
