#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-images: images between cpc and podman, buildah, skopeo and umoci.
run() {
	CPC_VM_SILENCE=2400 inside root /work-cpc/test/vm/images.sh
	CPC_VM_SILENCE=2400 inside user /work-cpc/test/vm/images.sh
}
