#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# podman.sh all|core: runs inside the VM, as root or as a user in a login
# session: podman does the same things with crun and with cpc-runtime, and what
# comes of it, statuses and messages, must be the same.
#
# all asks both runtimes. core does the steps that core() names, with
# cpc-runtime alone, and compares with podman.crun, which is what crun said
# (podman.sh record prints it). Ids, times and the like are left out of what a
# step prints. STEPS names others to do.
# shellcheck disable=SC2016 # expanded inside the container
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"

image=localhost/tiny:1

# An error is compared by what podman makes of it, at its end, not by the
# runtime's own words.
normalise='s/^Error: .*: (OCI [a-z ]+)$/Error: \1/'

pod() { command podman --runtime "$runtime" "$@"; }
run() { pod run --rm --network none "$@"; }

is() { [ "$(pod inspect --format "{{.State.$2}}" "$1")" = "$3" ]; }

# Each step prints what is compared.
s_run() { status run "$image" sh -c 'echo out; echo err >&2; exit 7'; }
s_missing() { status run "$image" nosuch; }
s_missing_path() { status run "$image" /bin/nosuch; }
s_not_executable() { status run "$image" /etc/passwd; }
s_directory() { status run "$image" /etc; }
s_no_workdir() { status run -w /etc/passwd "$image" pwd; }
s_stdin() { status run -i "$image" sh -c 'read x; echo "got $x"' <<<hello; }
s_terminal() { status terminal podman --runtime "$runtime" run --rm --network none -it "$image" sh -c 'tty; stty size; sleep 1; exit 5'; }
# Masked files are bind mounts of /dev/null, crun's read-only; a user's devices
# are those of the host, crun's noexec.
s_inside() {
	status run --hostname box --env A=b -w /tmp "$image" sh -c '
		id; hostname; echo $A; pwd; cat /proc/self/oom_score_adj
		grep -e Cap -e NoNew -e Seccomp: -e Umask /proc/self/status
		ls /dev; ls /proc/1/fd; ls -l /proc/1/ns | wc -l
		cut -d" " -f5,6 /proc/self/mountinfo | grep -v -e /etc/ -e /run | sort' |
		sed -E 's,^(/proc/(kcore|keys|timer_list)|/dev/(full|null|random|tty|urandom|zero)) .*,\1,'
}
s_user() { status run --user 1000:1000 --group-add 10 "$image" sh -c 'id; grep Cap /proc/self/status'; }
s_caps() { status run --cap-drop all --cap-add chown --security-opt no-new-privileges "$image" grep -e Cap -e NoNew /proc/self/status; }
s_limits() {
	status run --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 30 "$image" \
		sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max'
}
s_cpuset() { status run --cpuset-cpus 0 "$image" cat /sys/fs/cgroup/cpuset.cpus; }
s_unified() { status run --cgroup-conf memory.high=50000000 "$image" cat /sys/fs/cgroup/memory.high; }
s_ulimit() { status run --ulimit nofile=100:200 --ulimit core=0 "$image" sh -c 'ulimit -n; ulimit -Hn; ulimit -c'; }
s_sysctl() { status run --sysctl net.ipv4.ping_group_range='0 5' "$image" cat /proc/sys/net/ipv4/ping_group_range; }
s_bad_sysctl() { status run --sysctl net.nosuch=1 "$image" true | tail -n 1; }
s_mounts() {
	mkdir -p "$work/volume"
	echo inside >"$work/volume/f"
	status run --read-only --tmpfs /data:size=1m,mode=700 -v "$work/volume:/v:ro" "$image" \
		sh -c 'exec 2>&1; cat /v/f; echo x >/v/f; echo x >/x; echo x >/data/x && stat -c "%A %U" /data'
}
s_device() { status run --device /dev/fuse "$image" sh -c 'ls /dev/fuse; head -c 1 /dev/zero | wc -c'; }
s_init() { status run --init "$image" sh -c 'cat /proc/1/comm'; }
s_masked() { status run "$image" sh -c 'cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware; echo 1 >/proc/sys/kernel/domainname'; }
s_unconfined() { status run --security-opt seccomp=unconfined "$image" grep Seccomp: /proc/self/status; }
s_apparmor() { status run "$image" sh -c 'cat /proc/1/attr/current 2>/dev/null || echo none' | sed 's/ .*//'; }
s_privileged() { status run --privileged "$image" sh -c 'grep CapEff /proc/self/status; ls /dev/tty0; mount -t tmpfs x /tmp && echo mounted'; }
s_namespaces() { status run --pid host --ipc host --uts host "$image" sh -c '[ $$ -gt 1 ] && hostname; [ -d /proc/2 ] && echo pids'; }
s_network() { status pod run --rm "$image" sh -c 'ls /sys/class/net; ip route | head -n 1 | cut -d" " -f1,2'; }
s_keep_id() { status run --userns keep-id "$image" sh -c 'id -u; cat /proc/self/uid_map | wc -l'; }
s_userns() { status run --uidmap 0:1:5000 --gidmap 0:1:5000 "$image" sh -c 'id -u; tr -s " " </proc/self/uid_map'; }
s_killed() {
	pod run -d --name killed --network none "$image" sleep 600 >/dev/null
	status pod kill killed
	status pod wait killed
	pod rm killed >/dev/null
}
s_oom() {
	status pod run --name oom --network none --memory 20m --memory-swap 20m "$image" tail /dev/zero
	pod inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' oom
	pod rm oom >/dev/null
}

# The steps from here on share one container, until s_remove.
s_detached() {
	status pod run -d --name one --network none --health-cmd 'test -e /tmp/well' --health-interval disable "$image" \
		sh -c 'trap "echo bye; exit 3" TERM; echo hello; while :; do sleep 0.1; done'
	until_true sh -c "podman logs one | grep -q hello"
	pod ps --format '{{.Names}} {{.State}} {{.Command}}'
	pod inspect --format '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.OCIRuntime}}' one | sed "s,$runtime,RUNTIME,"
	[ "$(pod inspect --format '{{.State.Pid}}' one)" -gt 1 ] && echo pid
}
s_logs() { status pod logs one; }
s_exec() { status pod exec --env C=d --user 1000 -w /tmp one sh -c 'id -u; echo $C; pwd; exit 9'; }
s_exec_stdin() { status pod exec -i one cat <<<hello; }
s_exec_terminal() { status terminal podman --runtime "$runtime" exec -it one sh -c 'tty | cut -c1-9; stty size; exit 6'; }
s_exec_missing() { status pod exec one nosuch; }
s_exec_not_executable() { status pod exec one /etc/passwd; }
s_exec_no_workdir() { status pod exec -w /nosuch one pwd; }
s_exec_no_user() { status pod exec --user nosuch one id; }
s_exec_privileged() { status pod exec --privileged one grep CapEff /proc/self/status; }
s_exec_detached() {
	status pod exec -d one touch /tmp/detached
	until_true pod exec one test -e /tmp/detached && echo ran
}
s_exec_many() {
	local i pids=()
	for i in 1 2 3 4; do pod exec one sh -c "exit $i" & pids+=($!); done
	for i in "${pids[@]}"; do wait "$i"; echo "status $?"; done
}
s_top() { status pod top one user comm | tr -s ' ' | sort; }
s_stats() { status pod stats --no-stream --format '{{.Name}}' one; }
s_healthcheck() {
	status pod healthcheck run one
	pod exec one touch /tmp/well
	status pod healthcheck run one
	pod inspect --format '{{.State.Health.Status}}' one
}
s_pause() {
	status pod pause one
	is one Status paused && echo paused
	status pod exec one true | sed 's/container .* is/container is/'
	status pod pause one | sed 's/"[a-z0-9]*"/X/g'
	status pod unpause one
	is one Status running && echo running
	pod exec one echo alive
}
s_update() {
	status pod update --memory 100m --cpus 0.3 --pids-limit 55 one
	pod exec one sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max'
}
s_copy() {
	echo copied >"$work/copied"
	status pod cp "$work/copied" one:/tmp/
	pod exec one cat /tmp/copied
	pod diff one | grep -v -e well -e detached | sort
}
s_kill() {
	status pod kill --signal NOSUCH one
	status pod kill --signal TERM one
	status pod wait one
	is one Status exited && echo exited
}
s_exec_stopped() { status pod exec one true; }
s_start() {
	status pod start one
	until_true is one Status running && pod exec one echo alive
}
s_stop() {
	until_true pod exec one true
	sleep 1
	status pod stop -t 20 one
	pod inspect --format '{{.State.ExitCode}} {{.State.Status}}' one
	pod logs one | tail -n 1
}
s_restart() { status pod restart one && is one Status running && echo running; }
s_remove() {
	status pod rm one | sed 's/container [^ ]* /container X /'
	status pod rm -f -t 0 one
	pod ps -aq | wc -l
}
s_attach() {
	pod create --name att -i --network none "$image" sh -c 'read x; echo "got $x"; exit 4' >/dev/null
	status pod start -a -i att <<<hello
	pod rm att >/dev/null
}
s_restart_policy() {
	pod run -d --name again --network none --restart on-failure:2 "$image" false >/dev/null
	until_true sh -c "[ \$(podman inspect --format '{{.RestartCount}}' again) -eq 2 ]"
	pod inspect --format '{{.RestartCount}}' again
	pod rm -f -t 0 again >/dev/null
}
s_pod() {
	status pod pod create --name group --network none --share pid,ipc,net,uts
	pod run -d --pod group --name a "$image" sleep 600 >/dev/null
	pod run -d --pod group --name b "$image" sleep 601 >/dev/null
	pod exec a sh -c 'ps -o comm,args | grep -c "[s]leep 60"'
	pod pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'
	status pod pod pause group | tail -n 1
	status pod pod unpause group | tail -n 1
	status pod pod stats --no-stream --format '{{.Name}}' group | sed 's/^.*-infra/infra/' | sort
	status pod pod stop -t 0 group | tail -n 1
	status pod pod rm group | tail -n 1
}
s_kube() {
	cat >"$work/pod.yaml" <<-END
		apiVersion: v1
		kind: Pod
		metadata: {name: kube}
		spec:
		  restartPolicy: Never
		  containers:
		  - name: main
		    image: $image
		    imagePullPolicy: Never
		    command: [sh, -c, "echo from kube; sleep 600"]
		    resources: {limits: {memory: 64Mi, cpu: 500m}}
		    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}
		    volumeMounts: [{name: v, mountPath: /v}]
		  volumes: [{name: v, emptyDir: {}}]
	END
	status pod play kube --network none "$work/pod.yaml" | tail -n 1
	until_true sh -c "podman logs kube-main | grep -q kube"
	status pod logs kube-main
	pod exec kube-main sh -c 'cat /sys/fs/cgroup/memory.max; grep NoNew /proc/self/status; touch /x 2>&1; touch /v/x && ls /v'
	status pod kube down "$work/pod.yaml" | tail -n 1
	pod ps -aq | wc -l
}
s_checkpoint() {
	pod run -d --name cr --network none "$image" sh -c 'n=0; while :; do n=$((n + 1)); echo $n; sleep 0.2; done' >/dev/null
	until_true sh -c "podman logs cr | grep -q 3"
	status pod container checkpoint cr
	local last
	last=$(pod logs cr | tail -n 1)
	pod inspect --format '{{.State.Status}} {{.State.Checkpointed}}' cr
	status pod container restore cr
	until_true sh -c "podman logs cr | grep -q '^$((last + 3))\$'"
	pod logs cr | sort -n | uniq -d # it goes on where it was, and counts nothing twice
	pod inspect --format '{{.State.Status}}' cr
	pod rm -f -t 0 cr >/dev/null
}
# The snippet of docs/oci.md: a runtime that containers.conf names.
s_conf() {
	printf '[engine]\nruntime = "%s"\nruntime_supports_json = ["crun", "runc", "%s"]\n[engine.runtimes]\n%s = ["%s"]\n' \
		named named named "$(command -v "$runtime")" >"$work/containers.conf"
	CONTAINERS_CONF=$work/containers.conf status podman info --format '{{.Host.OCIRuntime.Name}}'
	CONTAINERS_CONF=$work/containers.conf status podman run --rm --network none "$image" sh -c 'echo out; exit 7'
	CONTAINERS_CONF=$work/containers.conf status podman run --rm --network none "$image" nosuch
}
s_left() { pod ps -aq | wc -l; find /sys/fs/cgroup -name 'libpod-*' -not -name '*.slice' 2>/dev/null | wc -l; }

left_out() {
	case $who:$1 in
	root:keep_id) ;;
	user:checkpoint | user:apparmor | user:cpuset) ;; # root's only
	*) return 1 ;;
	esac
}

core() {
	[ -z "${STEPS:-}" ] || { echo "$STEPS" && return; }
	echo run missing terminal inside limits detached exec exec_terminal pause update kill start remove left
}

finish() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman pod rm -fa >/dev/null 2>&1
	podman system reset --force >/dev/null 2>&1
	rm -rf "$work" /var/tmp/intermediate-mountpoint-*
}
trap finish EXIT

tiny_root
tiny_archive "$work/image.tar" "$image"
command podman load -q -i "$work/image.tar" >/dev/null || { echo "FAIL $who: podman load"; exit 1; }
case ${1:-all} in
core) for step in $(core); do check "podman, cpc-runtime as crun: $step" same_as_recorded "$here/podman.crun" "$step"; done ;;
record) record crun ;;
all) compare "podman, cpc-runtime as crun" crun ;;
*) outcome "${2:-$cpc_runtime}" "$1" ;;
esac
