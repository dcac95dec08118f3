#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# more-selinux: labels of sandboxes, on a kernel that has SELinux in AppArmor's
# place: CPC_VM_LSM=selinux make test-vm GROUPS=more-selinux
# shellcheck disable=SC2154 # test.sh sets stage
# Debian's policy is built by its package's own scripts, and the VM loads it from
# a tar: its image is the one of all other groups.
build() {
	local tar=$stage/selinux.tar
	if [ "${CPC_VM_LSM:-}" != selinux ]; then
		echo "more-selinux: set CPC_VM_LSM=selinux" >&2
		return 1
	fi
	[ ! "$tar" -nt test/vm/groups/more-selinux.sh ] || return 0
	# shellcheck disable=SC2016 # expanded by mmdebstrap
	mmdebstrap --quiet --variant=essential --format=null --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
		--include=selinux-policy-default \
		--customize-hook='tar -C "$1" -cf "$1/selinux.tar" etc/selinux usr/sbin/load_policy' \
		--customize-hook="download /selinux.tar '$tar.new'" "$(test/vm/recipe.sh suite)"
	mv "$tar.new" "$tar"
}

run() {
	inside root /work-cpc/test/vm/selinux.sh load
	inside root /work-cpc/test/vm/selinux.sh sandbox
	inside user /work-cpc/test/vm/selinux.sh sandbox
	inside root /work-cpc/test/vm/selinux.sh enforcing
}
