#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# vm.sh: starts, asks and ends the VM; sourced by run.sh and test.sh.
#
# One QEMU, without a window, its disk a snapshot that is forgotten, the work
# tree read-only at /work-cpc. It ends with the shell that started it, however
# that ends: a trap; a parent-death signal where the trap cannot run; a timeout
# where nobody notices that it hangs.
# shellcheck disable=SC2034 # used by those that source this
vm_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_root=$(cd "$vm_here/../.." && pwd)
vm_pid='' vm_port='' vm_dir='' vm_image=''

vm_say() { echo "vm: $*" >&2; }

# vm_start SECONDS: boots, and returns when root can log in. The VM is ended
# after SECONDS, at latest.
vm_start() {
	local limit=$1 boot=${CPC_VM_BOOT_TIMEOUT:-300} begin=$SECONDS program
	if ! command -v qemu-system-x86_64 >/dev/null; then
		vm_say "qemu-system-x86_64 is not installed; run: scripts/setup.sh vm"
		return 1
	fi
	vm_image=$("$vm_here/image.sh") || return
	vm_dir=$(mktemp -d "${TMPDIR:-/tmp}/cpc-vm.XXXXXX")
	trap vm_stop EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	local tries=0
	until vm_qemu "$limit" && vm_wait $((boot - SECONDS + begin)); do
		tries=$((tries + 1))
		# The port may have been taken by another: the only failure to be
		# tried again.
		if [ $tries -lt 5 ] && grep -q 'Could not set up host forwarding' "$vm_dir/qemu.log"; then
			continue
		fi
		vm_say "the VM did not come up ($((SECONDS - begin)) s, at most $boot); what QEMU and the console said:"
		tail -n 5 "$vm_dir/qemu.log" >&2
		tail -n 40 "$vm_dir/console.log" | tr -d '\r' >&2
		return 1
	done
	vm_say "up after $((SECONDS - begin)) s"
}

# vm_qemu SECONDS: starts QEMU in the background.
vm_qemu() {
	local accel=(-accel "tcg,thread=multi,tb-size=512") cpu=max
	: >"$vm_dir/console.log"
	vm_port=$((20000 + RANDOM % 20000))
	case ${CPC_VM_ACCEL:-tcg} in
	tcg) ;;
	*) accel=(-accel "$CPC_VM_ACCEL") cpu=host ;;
	esac
	setpriv --pdeathsig TERM timeout --kill-after=5 "$1" qemu-system-x86_64 \
		-machine q35 "${accel[@]}" -cpu $cpu -smp 2 -m "${CPC_VM_MEMORY:-4096}" \
		-nodefaults -no-user-config -no-reboot -display none -monitor none \
		-serial "file:$vm_dir/console.log" \
		-kernel "$vm_image/vmlinuz" -initrd "$vm_image/initrd.img" \
		-append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=error mitigations=off apparmor=1 security=apparmor" \
		-drive "file=$vm_image/disk.img,format=raw,if=virtio,snapshot=on,cache=unsafe,aio=threads" \
		-nic "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:$vm_port-:22" \
		-device virtio-rng-pci \
		-virtfs "local,path=$vm_root,mount_tag=work,security_model=none,readonly=on,multidevs=remap" \
		>"$vm_dir/qemu.log" 2>&1 </dev/null &
	vm_pid=$!
}

# vm_wait SECONDS: until root can log in.
vm_wait() {
	local end=$((SECONDS + $1))
	while [ $SECONDS -lt $end ]; do
		if ! kill -0 "$vm_pid" 2>/dev/null ||
			grep -q -e '(initramfs)' -e 'Kernel panic' -e 'emergency mode' "$vm_dir/console.log"; then
			return 1
		fi
		if vm_ssh root true >/dev/null 2>&1 </dev/null; then
			return
		fi
		sleep 1
	done
	return 1
}

# vm_ssh USER COMMAND…: runs the command in a login session of USER's, with the
# arguments as they are. Without a command: a shell.
vm_ssh() {
	local user=$1 terminal=()
	shift
	if [ $# -eq 0 ]; then
		terminal=(-t)
	else
		set -- "$(printf '%q ' "$@")"
	fi
	# The VM is made anew each time, on this machine: there is no host key to know.
	ssh -F none -q "${terminal[@]}" -i "$vm_image/key" -p "$vm_port" \
		-o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o ServerAliveInterval=20 -o ServerAliveCountMax=6 \
		"$user@127.0.0.1" "$@"
}

# vm_stop ends the VM at once: its disk is forgotten anyway.
vm_stop() {
	if [ -n "$vm_pid" ]; then
		kill "$vm_pid" 2>/dev/null
		wait "$vm_pid" 2>/dev/null
		vm_pid=''
	fi
	if [ -n "$vm_dir" ]; then
		rm -rf "$vm_dir"
		vm_dir=''
	fi
}
