#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [GROUP…]: boots the VM and runs in it what needs a real host: systemd,
# cgroup v2, AppArmor. GROUPs: smoke, delegation, go (default: all). Prints a
# line a check, then the count; exits 1 when one failed, or none ran.
#
# Programs and Go tests are built on the host, the VM only runs them.
set -eu
# shellcheck source=test/vm/vm.sh
. "$(dirname "$0")/vm.sh"
cd "$vm_root"

groups=${*:-smoke delegation go}
# Those whose tests ask the kernel for what only the VM has.
packages='cgroups rootfs runtime'
stage=.cache/vm

compile() {
	rm -rf "$stage/tests" "$stage/tools"
	mkdir -p "$stage/tests" "$stage/tools"
	for package in cgroups rootfs; do
		CGO_ENABLED=0 scripts/go test -c -trimpath -o "$stage/tests/${package//\//_}.test" "./$package"
	done
	# Static, as the VM's libc is another than the host's.
	CGO_ENABLED=1 scripts/go test -c -trimpath -tags 'seccomp netgo osusergo' \
		-ldflags '-linkmode external -extldflags "-static"' -o "$stage/tests/runtime.test" ./runtime
	CGO_ENABLED=0 scripts/go build -trimpath -buildvcs=false -o "$stage/tools/probe" ./runtime/testdata/probe
	ln -f bin/cpc-runtime "$stage/tools/cpc-runtime"
}

# A base image without what nobody looks at: unpacking is slow in the VM.
base() {
	local full=.cache/base/trixie.tar slim=$stage/base.tar
	scripts/base-tar.sh
	[ "$slim" -nt "$full" ] && return
	cp "$full" "$slim.new"
	tar --delete --wildcards -f "$slim.new" \
		'./usr/share/locale/*' './usr/share/zoneinfo/*' './usr/share/man/*' './usr/share/doc/*' \
		'./usr/lib/*/gconv/*' './usr/lib/*/perl-base/unicore/*' './var/lib/dpkg/info/*' 2>/dev/null || true
	mv "$slim.new" "$slim"
}

inside() {
	local user=$1
	shift
	# A run that ends early must not pass for one that had nothing to say.
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout "${CPC_VM_STEP_TIMEOUT:-400}" bash -c '. "$0/vm.sh"; vm_image=$1 vm_port=$2; shift 2; vm_ssh "$@"' \
		"$vm_here" "$vm_image" "$vm_port" "$user" env "VERBOSE=${VERBOSE:-}" "$@" </dev/null ||
		echo "FAIL $user: $* ended with status $?"
}

run_groups() {
	inside root /work-cpc/test/vm/prepare.sh
	case " $groups " in *' smoke '*)
		inside root /work-cpc/test/vm/smoke.sh
		inside user /work-cpc/test/vm/smoke.sh
		inside norange /work-cpc/test/vm/smoke.sh short
		;;
	esac
	case " $groups " in *' go '*)
		# shellcheck disable=SC2086 # one argument a package
		inside root /work-cpc/test/vm/gotests.sh $packages
		# Root runs the runtime's tests in a user's namespaces too.
		inside user /work-cpc/test/vm/gotests.sh cgroups rootfs
		;;
	esac
	# Last, as it restarts the user's systemd.
	case " $groups " in *' delegation '*)
		inside user /work-cpc/test/vm/smoke.sh import
		inside root /work-cpc/test/vm/delegation.sh withdraw
		inside user /work-cpc/test/vm/delegation.sh refused
		inside root /work-cpc/test/vm/delegation.sh mend
		inside user /work-cpc/test/vm/delegation.sh works
		inside root /work-cpc/test/vm/delegation.sh directory
		;;
	esac
}

begin=$SECONDS
mkdir -p "$stage"
base
case " $groups " in *' go '*) compile ;; esac
vm_say "built after $((SECONDS - begin)) s"
vm_start "${CPC_VM_TIMEOUT:-1500}"
run_groups | tee "$vm_dir/results"
passed=$(grep -c '^ok ' "$vm_dir/results") || true
failed=$(grep -c '^FAIL ' "$vm_dir/results") || true
skipped=$(grep -c '^skip ' "$vm_dir/results") || true
vm_say "done after $((SECONDS - begin)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
