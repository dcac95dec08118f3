#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# containerd.sh all|core|cri: runs inside the VM as root: a containerd of its own
# with the shim io.containerd.runc.v2 does the same things with runc and with
# cpc-runtime as its binary.
#
# all asks both. core does what core() names with cpc-runtime alone, and compares
# with containerd.runc, which is what runc said (containerd.sh record prints it).
# cri has critest, of sigs.k8s.io/cri-tools, do so through the CRI.
# shellcheck disable=SC2016 # expanded inside the container
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"

image=localhost/tiny:1
socket=$work/containerd.sock

# configure: runtimes runc and cpc for the CRI, nothing outside of $work.
configure() {
	local name
	mkdir -p "$work/cni"
	cat >"$work/cni/10-test.conflist" <<-END
		{"cniVersion": "1.0.0", "name": "test", "plugins": [
		  {"type": "bridge", "bridge": "cpctest0", "isGateway": true, "ipMasq": true,
		   "ipam": {"type": "host-local", "dataDir": "$work/ipam", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	END
	cat >"$work/config.toml" <<-END
		version = 2
		root = "$work/root"
		state = "$work/state"
		[grpc]
		  address = "$socket"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "localhost/pause:1"
		[plugins."io.containerd.grpc.v1.cri".cni]
		  bin_dir = "/usr/lib/cni"
		  conf_dir = "$work/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd]
		  default_runtime_name = "cpc"
	END
	for name in runc cpc; do
		cat >>"$work/config.toml" <<-END
			[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$name]
			  runtime_type = "io.containerd.runc.v2"
			[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$name.options]
			  BinaryName = "$([ $name = runc ] && echo /usr/sbin/runc || echo "$cpc_runtime")"
			  SystemdCgroup = $([ -d /run/systemd/system ] && echo true || echo false)
		END
	done
}

daemon=''
begin() {
	containerd -c "$work/config.toml" >"$work/log" 2>&1 </dev/null &
	daemon=$!
	until_true ctr -a "$socket" version
}

end() {
	[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; }
	daemon=''
} 2>/dev/null

ctl() { ctr -a "$socket" "$@"; }
run() { ctl run --runc-binary "$runtime" "$@"; }
task_is() { ctl task ls | grep -q "^$1 .*$2"; }

# Each step prints what is compared. An error is its last words: the others name
# the runtime.
last_words() { sed -E 's/^.*(exec: "|exec failed|: not found)/\1/'; }
s_run() { status run --rm "$image" c1 sh -c 'echo out; echo err >&2; exit 7' | sort; } # two pipes, in any order
s_stdin() { status run --rm "$image" c1 sh -c 'read x; echo "got $x"' <<<hello; }
s_missing() { status run --rm "$image" c1 nosuch | last_words; }
s_not_executable() { status run --rm "$image" c1 /etc/passwd | last_words; }
s_terminal() { status terminal ctr -a "$socket" run --runc-binary "$runtime" --rm -t "$image" c1 sh -c 'tty; exit 5'; }
s_inside() {
	status run --rm --env A=b --cwd /tmp --hostname box "$image" c1 sh -c '
		id -u; hostname; echo $A; pwd; grep -e Cap -e NoNew -e Seccomp: -e Umask /proc/self/status
		ls /dev; ls /proc/1/fd; cut -d" " -f5,6 /proc/self/mountinfo | sort'
}
s_limits() {
	status run --rm --memory-limit 67108864 --cpus 0.5 --cgroup /cpctest/c1 \
		--mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev "$image" c1 sh -c \
		'cat /proc/self/cgroup; cd /sys/fs/cgroup/cpctest/c1 && cat memory.max cpu.max' | sed 's,.*c1$,CGROUP,'
}
s_user() { status run --rm --user 1000:1000 --read-only --cap-add CAP_NET_ADMIN "$image" c1 sh -c 'id; grep Cap /proc/self/status; touch /x'; }
s_seccomp() { status run --rm --seccomp --no-pivot "$image" c1 sh -c 'grep Seccomp: /proc/self/status; unshare -U true 2>&1'; }
s_privileged() { status run --rm --privileged "$image" c1 sh -c 'grep CapEff /proc/self/status; mount -t tmpfs x /tmp && echo mounted'; }
s_userns() { status run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 --snapshotter native "$image" c1 sh -c 'tr -s " " </proc/self/uid_map'; }
# The steps from here on share one container, until s_delete.
s_detached() {
	status run -d "$image" one sh -c 'trap "exit 3" TERM; echo hello; while :; do sleep 0.1; done'
	task_is one RUNNING && echo running
}
s_exec() { status ctl task exec --exec-id e1 --user 1000 --cwd /tmp one sh -c 'id -u; pwd; exit 9'; }
s_exec_stdin() { status ctl task exec --exec-id e2 one cat <<<hello; }
s_exec_terminal() { status terminal ctr -a "$socket" task exec --exec-id e3 -t one sh -c 'tty | cut -c1-9; exit 6' | grep -v resize; }
s_exec_missing() { status ctl task exec --exec-id e4 one nosuch | last_words; }
s_exec_detached() {
	status ctl task exec -d --exec-id e5 one touch /tmp/ran
	until_true ctl task exec --exec-id e6 one test -e /tmp/ran && echo ran
}
s_ps() { ctl task ps one | grep -q '^[0-9]' && echo listed; }
s_metrics() {
	status ctl task metrics --format json one | sed 's/^{.*/{}/' | tail -n 1
	ctl task metrics one | sed 's/ .*//' | sort
}
s_pause() {
	status ctl task pause one
	task_is one PAUSED && echo paused
	status ctl task exec --exec-id e7 one true | sed 's/.*: cannot exec/cannot exec/'
	status ctl task resume one
	task_is one RUNNING && echo running
}
s_kill() {
	status ctl task kill --signal SIGTERM one
	until_true task_is one STOPPED && echo stopped
	status ctl task exec --exec-id e8 one true | last_words
}
s_delete() {
	status ctl task delete one
	status ctl container delete one
	ctl task ls -q | wc -l
}
s_killed() {
	status run -d "$image" two sleep 600
	status ctl task kill --signal SIGKILL --all two
	until_true task_is two STOPPED
	status ctl task delete two
	ctl container delete two
}
s_checkpoint() {
	status run -d "$image" three sh -c 'n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.1; done'
	until_true ctl task exec --exec-id f1 three sh -c '[ $(cat /tmp/n) -gt 5 ]'
	ctl container checkpoint --rw --task three localhost/three:1 >/dev/null
	echo "status $?"
	ctl task kill --signal SIGKILL three
	until_true task_is three STOPPED
	ctl task delete three 2>/dev/null
	ctl container delete three
	status ctl container restore --rw --live four localhost/three:1
	until_true task_is four RUNNING && echo running
	until_true ctl task exec --exec-id f2 four sh -c '[ $(cat /tmp/n) -gt 8 ]' && echo "goes on"
	ctl task kill --signal SIGKILL four
	until_true task_is four STOPPED
	ctl task delete four 2>/dev/null
	ctl container delete four
	ctl image rm localhost/three:1 >/dev/null
}
s_left() {
	ctl container ls -q | wc -l
	find /sys/fs/cgroup -path '*/default/*' -name 'one' 2>/dev/null | wc -l
	find "$work/state" -name state.json | wc -l
	pgrep -fc "containerd-shim-runc-v2.*$socket"
}

# cri_image ENTRYPOINT USER NAME…: an image for critest, with these names.
cri_image() {
	local entry=$1 user=$2
	shift 2
	CONFIG="{\"Entrypoint\": $entry, \"User\": \"$user\", \"Env\": [\"PATH=/bin\"]}" tiny_archive "$work/cri.tar" "$@"
	ctl -n k8s.io image import "$work/cri.tar" >/dev/null
}

# cri_images: no registry is reached, so its images are made here: busybox for
# all of them, its httpd for the web servers.
cri_images() {
	local staging=gcr.io/k8s-staging-cri-tools e2e=registry.k8s.io/e2e-test-images
	mkdir -p "$work/tiny/www"
	echo hello >"$work/tiny/www/index.html"
	printf 'www-data:x:33:33::/:/bin/sh\nuid:x:1002:1002::/:/bin/sh\n' >>"$work/tiny/etc/passwd"
	printf 'www-data:x:33:\ngroup-defined-in-image:x:50000:sandbox\n' >>"$work/tiny/etc/group"
	tar -C "$work/tiny" --owner=0 --group=0 -cf "$work/layer.tar" .
	cri_image '["/bin/sleep", "100000"]' "" localhost/pause:1
	cri_image null "" "$e2e/busybox:1.29-2"
	cri_image '["/bin/httpd", "-f", "-p", "80", "-h", "/www"]' "" "$e2e/nginx:1.14-2" "$e2e/httpd:2.4.39-4"
	cri_image '["/bin/httpd", "-f", "-p", "12003", "-h", "/www"]' "" "$staging/hostnet-nginx-amd64:latest"
	cri_image null 1002 "$staging/test-image-user-uid:latest"
	cri_image null www-data "$staging/test-image-user-username:latest"
	cri_image null 1003:users "$staging/test-image-user-uid-group:latest"
	cri_image null www-data:100 "$staging/test-image-user-username-group:latest"
	cri_image null 1000 "$staging/test-image-predefined-group:latest"
}

# critest HANDLER: prints "status name" of each test that ran. Left out: what is
# about images, of registries and of a plugin interface (NRI); what needs an image
# with a program of its own (NoNewPrivs).
critest() {
	"$here/../../.cache/vm/tools/critest" -runtime-endpoint "unix://$socket" -runtime-handler "$1" \
		-ginkgo.junit-report "$work/$1.xml" -ginkgo.no-color -ginkgo.timeout 90m -ginkgo.focus "${CRITEST_FOCUS:-}" \
		-ginkgo.skip 'Image Manager|Image Identifier|Image Consistency|Image Volume|NRI|NoNewPrivs|benchmark' >"$work/critest.$1" 2>&1
	sed -n 's/.*<testcase name="\([^"]*\)".* status="\([a-z]*\)".*/\2 \1/p' "$work/$1.xml" |
		grep -v '^skipped' | sort -k 2
}

# cri: what passes with runc must pass with cpc-runtime.
cri() {
	local status name
	cri_images
	critest runc >"$work/cri.runc"
	critest cpc >"$work/cri.cpc"
	while read -r status name; do
		if [ "$status" = passed ]; then
			echo "ok   $who: critest $name"
		elif grep -qxF "passed $name" "$work/cri.runc"; then
			echo "FAIL $who: critest $name (passes with runc)"
			grep -F -A 15 "[FAILED]" "$work/critest.cpc" | head -n 40 | sed 's/^/       | /'
		else
			echo "skip $who: critest $name (fails with runc too)"
		fi
	done <"$work/cri.cpc"
	[ -s "$work/cri.cpc" ] || { echo "FAIL $who: critest ran nothing" && tail -n 30 "$work/critest.cpc" | sed 's/^/       | /'; }
}

core() { echo "${STEPS:-missing terminal inside detached exec metrics pause kill delete left}"; }

finish() {
	local id space
	for space in default k8s.io; do
		for id in $(ctl -n $space container ls -q); do
			ctl -n $space task delete -f "$id"
			ctl -n $space container delete "$id"
		done
	done
	end
	ip link del cpctest0 2>/dev/null
	rmdir /sys/fs/cgroup/default /sys/fs/cgroup/cpctest 2>/dev/null
	umount -R "$work"/root/*/*/*/fs 2>/dev/null
	rm -rf "$work"
} >/dev/null 2>&1
trap finish EXIT

chmod 0711 "$work" # roots of user namespaces pass through
tiny_root
tiny_archive "$work/image.tar" "$image"
configure
begin || { echo "FAIL $who: containerd does not start"; tail "$work/log"; exit 1; }
ctl image import "$work/image.tar" >/dev/null || { echo "FAIL $who: ctr image import"; exit 1; }
case ${1:-all} in
core) for step in $(core); do check "containerd, cpc-runtime as runc: $step" same_as_recorded "$here/containerd.runc" "$step"; done ;;
record) record /usr/sbin/runc ;;
cri) cri ;;
all) compare "containerd, cpc-runtime as runc" /usr/sbin/runc ;;
*) outcome "${2:-$cpc_runtime}" "$1" ;;
esac
