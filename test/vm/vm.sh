#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# vm.sh: starts, asks and ends the VM; sourced by run.sh and test.sh.
#
# One QEMU, without a window, its disk a snapshot that is forgotten, the work
# tree read-only at /work-cpc. It ends with the shell that started it, however
# that ends: a trap; a parent-death signal where the trap cannot run; a timeout
# where nobody notices that it hangs. And that shell ends with the make that it
# runs under (vm_watch).
# shellcheck disable=SC2034 # used by those that source this
vm_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_root=$(cd "$vm_here/../.." && pwd)
vm_pid='' vm_port='' vm_dir='' vm_image=''
# By how much bounds are longer than on two idle cores.
vm_slow=3

vm_say() { echo "vm: $*" >&2; }

# vm_begin: a directory for this run, and traps that end what it starts.
vm_begin() {
	vm_dir=$(mktemp -d "${TMPDIR:-/tmp}/cpc-vm.XXXXXX")
	trap vm_stop EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	vm_watch
}

# vm_do COMMAND…: runs it; unlike a command in the foreground, it does not keep
# the traps waiting.
vm_do() {
	"$@" &
	wait $!
}

# vm_watch ends this shell when a make above it is gone: make that is killed
# with SIGKILL tells nobody.
vm_watch() {
	local pid=$PPID chain=() upto=0
	while [ "${pid:-0}" -gt 1 ]; do
		chain+=("/proc/$pid")
		if [[ $(cat "/proc/$pid/comm") == *make ]]; then upto=${#chain[@]}; fi
		pid=$(sed -n 's/^PPid:\t//p' "/proc/$pid/status")
	done
	chain=("${chain[@]:0:upto}")
	[ "$upto" -gt 0 ] || return 0
	mkfifo "$vm_dir/tick"
	(
		exec <>"$vm_dir/tick"
		while [ -d "/proc/$$" ]; do
			for pid in "${chain[@]}"; do
				if [ ! -d "$pid" ]; then
					kill -TERM $$
					exit
				fi
			done
			read -r -t 1 || true
		done
	) >/dev/null 2>&1 &
}

# vm_start SECONDS: boots, and returns when root can log in. The VM is ended
# after SECONDS, at latest.
vm_start() {
	local limit=$1 boot=${CPC_VM_BOOT_TIMEOUT:-300} begin=$SECONDS
	if ! command -v qemu-system-x86_64 >/dev/null; then
		vm_say "qemu-system-x86_64 is not installed, so what needs systemd, cgroup v2 and AppArmor cannot be tested here;" \
			"run scripts/setup.sh vm to install it (make test-host is all the rest)"
		return 1
	fi
	vm_do "$vm_here/image.sh" >"$vm_dir/image" || return
	vm_image=$(cat "$vm_dir/image")
	begin=$SECONDS
	local tries=0
	until vm_qemu "$limit" && vm_wait $((boot - SECONDS + begin)); do
		tries=$((tries + 1))
		# The port may have been taken by another: the only failure to be
		# tried again.
		if [ $tries -lt 5 ] && grep -q 'Could not set up host forwarding' "$vm_dir/qemu.log"; then
			continue
		fi
		vm_say "the VM did not come up ($((SECONDS - begin)) s, at most $boot)"
		vm_console
		return 1
	done
	vm_slow=$(vm_slowness $((SECONDS - begin)))
	vm_say "up after $((SECONDS - begin)) s; bounds are times $vm_slow"
}

# vm_slowness SECONDS: how many times slower than two idle cores this machine is,
# a whole number, by how long the VM took to boot (there: 60 s).
vm_slowness() { echo $((($1 + 59) / 60)); }

# vm_console shows what QEMU and the VM's console said last.
vm_console() {
	vm_say "what QEMU and the console said last:"
	{
		tail -n 5 "$vm_dir/qemu.log"
		tail -n 40 "$vm_dir/console.log" | tr -d '\r'
	} | sed 's/^/       | /' >&2
}

# vm_qemu SECONDS: starts QEMU in the background.
vm_qemu() {
	# One thread for both processors: with thread=multi, which is not faster
	# here, one of them can execute a breakpoint that the other has just removed
	# while it patches the kernel's code (static keys, such as that of the first
	# cpuset), and the kernel panics (int3). Seen with QEMU 7.2.
	local accel=(-accel "tcg,thread=single,tb-size=512") cpu=max
	# The kernel has both security modules, and takes one.
	local lsm="apparmor=1 security=apparmor"
	[ "${CPC_VM_LSM:-apparmor}" = apparmor ] || lsm="selinux=1 security=selinux enforcing=0"
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
		-append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=error mitigations=off panic=-1 oops=panic $lsm" \
		-drive "file=$vm_image/disk.img,format=raw,if=virtio,snapshot=on,cache=unsafe,aio=threads" \
		-nic "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:$vm_port-:22" \
		-device virtio-rng-pci \
		-virtfs "local,path=$vm_root,mount_tag=work,security_model=none,readonly=on,multidevs=remap" \
		>"$vm_dir/qemu.log" 2>&1 </dev/null &
	vm_pid=$!
}

# vm_alive: whether the VM that this shell started, if it did, still runs.
vm_alive() { [ -z "$vm_pid" ] || kill -0 "$vm_pid" 2>/dev/null; }

# vm_wait SECONDS: until root can log in.
vm_wait() {
	local end=$((SECONDS + $1))
	while [ $SECONDS -lt $end ]; do
		if ! vm_alive || grep -q -e '(initramfs)' -e 'Kernel panic' -e 'emergency mode' "$vm_dir/console.log"; then
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
	ssh -F none -o LogLevel=ERROR "${terminal[@]}" -i "$vm_image/key" -p "$vm_port" \
		-o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=30 \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o TCPKeepAlive=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=8 \
		"$user@127.0.0.1" "$@"
}

# vm_step USER SECONDS COMMAND…: the command in a login session of USER's, ended
# when it has said nothing for SECONDS. It runs once, also where the connection has to be made
# again: step.sh detaches it, and a further connection reads on.
vm_step() {
	local user=$1 seconds=$2 out tries=0 status
	shift 2
	out=$(mktemp "$vm_dir/step.XXXXXX")
	while :; do
		echo 0 >"$out.status"
		{ vm_ssh "$user" /work-cpc/test/vm/step.sh "${out##*.}" "$(stat -c %s "$out")" "$seconds" "$@" </dev/null ||
			echo $? >"$out.status"; } | tee -a "$out"
		status=$(cat "$out.status")
		[ "$status" -eq 255 ] || return "$status" # ssh's own status: no connection, or lost
		tries=$((tries + 1))
		if ! vm_alive || [ $tries -ge 10 ]; then
			vm_say "no connection to the VM ($tries tries; $(vm_alive || echo "QEMU has ended"))"
			vm_console
			return 255
		fi
		vm_say "the connection was lost; connecting again"
		sleep $tries
	done
}

# vm_descendants PID: the processes below it.
vm_descendants() {
	local child
	for child in $(pgrep -P "$1"); do
		echo "$child"
		vm_descendants "$child"
	done
}

# vm_stop ends the VM at once, as its disk is forgotten anyway, and whatever
# else this shell has started.
vm_stop() {
	local left=() pid
	mapfile -t left < <(vm_descendants $$)
	kill "${left[@]}" 2>/dev/null || true
	for _ in $(seq 50); do
		for pid in "${left[@]}"; do
			[ ! -d "/proc/$pid" ] || { sleep 0.1; continue 2; }
		done
		break
	done
	kill -KILL "${left[@]}" 2>/dev/null || true
	vm_pid=''
	if [ -n "$vm_dir" ]; then
		rm -rf "$vm_dir"
		vm_dir=''
	fi
}
