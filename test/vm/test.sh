#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [GROUP…]: boots the VM and runs in it what needs a real host: systemd,
# cgroup v2, AppArmor. Prints a line a check, then the count; exits 1 when one
# failed, or a group checked nothing.
#
# The groups are groups/NN-NAME.sh, in the order of their numbers; default: all.
# Those without a number, groups/more-NAME.sh, take long and run when asked for.
# Each is sourced, in a shell of its own, and has the functions
#   build   optional: prepares on the host what the group needs, below $stage
#   run     calls: inside USER COMMAND…, for scripts that use check.sh
# A group leaves the VM as it found it. The VM does not come to have more than
# the base image's tar, /var/tmp/base.tar, and the programs in /usr/local/bin.
# Programs and Go tests are built on the host, the VM only runs them.
#
# A panic of the guest's kernel is forgiven once, and told: the group that it hit
# runs again, in a new VM.
#
# CPC_VM_PORT=PORT uses a VM that make vm-shell has started from this tree.
set -eu
# shellcheck source=test/vm/vm.sh
. "$(dirname "$0")/vm.sh"
cd "$vm_root"

stage=.cache/vm

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

# inside USER COMMAND…: until it ends, or has said nothing for CPC_VM_SILENCE
# seconds, times what the machine is slower than two idle cores.
inside() {
	local user=$1 status=0
	shift
	# A run that ends early must not pass for one that had nothing to say.
	vm_step "$user" $((${CPC_VM_SILENCE:-300} * vm_slow)) env "VERBOSE=${VERBOSE:-}" "SLOW=$vm_slow" "$@" || status=$?
	[ $status -eq 0 ] || echo "FAIL $user: $* ended with status $status"
}

# group FILE FUNCTION: that function of the group, if it has it.
group() (
	# shellcheck source=/dev/null # each is checked by itself
	. "$1"
	if declare -F "$2" >/dev/null; then "$2"; fi
)

prepare() {
	mkdir -p "$stage"
	base
	local file
	for file in "${files[@]}"; do group "$file" build; done
}

# The emulator breaks the guest's kernel now and then while that patches its own code.
panicked() { ! vm_alive && grep -q 'Kernel panic' "$vm_dir/console.log"; }

# run_groups FIRST: from files[FIRST] on. Status 3: the guest's kernel panicked, for
# the first time, in the group whose number is in the file again.
run_groups() {
	local file name begin lines i
	for ((i = $1; i < ${#files[@]}; i++)); do
		file=${files[i]}
		name=$(basename "$file" .sh)
		begin=$SECONDS
		group "$file" run | tee "$vm_dir/group"
		if panicked && [ ! -e "$vm_dir/again" ]; then
			echo "$i" >"$vm_dir/again"
			return 3
		fi
		lines=$(grep -c -e '^ok ' -e '^FAIL ' "$vm_dir/group") || true
		[ "$lines" -gt 0 ] || echo "FAIL vm: group $name checked nothing"
		cat "$vm_dir/group" >>"$vm_dir/results"
		[ "$lines" -gt 0 ] || echo "FAIL vm: group $name" >>"$vm_dir/results"
		vm_say "group $name took $((SECONDS - begin)) s"
		vm_alive || return 1
	done
}

files=()
for name in "${@:-*}"; do
	# shellcheck disable=SC2206 # the pattern is meant to expand
	found=(test/vm/groups/[0-9][0-9]-$name.sh)
	[ -e "${found[0]}" ] || found=("test/vm/groups/$name.sh")
	[ -e "${found[0]}" ] || { echo "test.sh: no group $name in test/vm/groups" >&2 && exit 2; }
	files+=("${found[@]}")
done

begin=$SECONDS
vm_begin
vm_do prepare
vm_say "built after $((SECONDS - begin)) s"
boot() {
	# For all of it: what hangs is ended by its silence.
	vm_start "${CPC_VM_TIMEOUT:-10800}"
	inside root /work-cpc/test/vm/prepare.sh
}
if [ -n "${CPC_VM_PORT:-}" ]; then
	vm_port=$CPC_VM_PORT
	vm_image=$("$vm_here/image.sh")
	inside root /work-cpc/test/vm/prepare.sh
else
	boot
fi
: >"$vm_dir/results"
status=0
vm_do run_groups 0 || status=$?
if [ $status -eq 3 ]; then
	vm_say "the guest's kernel panicked; ${files[$(cat "$vm_dir/again")]} and what follows run in a new VM, once"
	status=0
	boot
	vm_do run_groups "$(cat "$vm_dir/again")" || status=$?
fi
passed=$(grep -c '^ok ' "$vm_dir/results") || true
failed=$(grep -c '^FAIL ' "$vm_dir/results") || true
skipped=$(grep -c '^skip ' "$vm_dir/results") || true
vm_say "done after $((SECONDS - begin)) s"
[ "$failed" -eq 0 ] || { echo "failed:" && grep '^FAIL ' "$vm_dir/results"; }
echo "$passed passed, $failed failed, $skipped skipped"
[ $status -eq 0 ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
