#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# sides.sh: sourced by what runs inside the VM and has one program do the same
# things with two runtimes: another one and cpc-runtime. What comes of it, output
# and status, must be the same.
#
# The things are functions s_NAME, done in the order in which they are written.
# What one prints has nothing in it that differs from run to run.
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

# shellcheck disable=SC2034 # used by those that source this
here=$(dirname "$0")
work=$(mktemp -d "/var/tmp/$(basename "$0" .sh).XXXXXX")
runtime='' # the one to use
cpc_runtime=/usr/local/bin/cpc-runtime

# tiny_root: a root file system of busybox alone, in $work/tiny.
tiny_root() {
	local root=$work/tiny
	mkdir -p "$root"/{bin,dev,etc,home,proc,root,sys,tmp,var}
	cp /usr/bin/busybox "$root/bin/busybox"
	(cd "$root/bin" && for name in $(./busybox --list); do [ -e "$name" ] || ln -s busybox "$name"; done)
	printf 'root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000::/home:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nsandbox:x:1000:\nwheel:x:10:sandbox\n' >"$root/etc/group"
	chmod 1777 "$root/tmp"
	tar -C "$root" --owner=0 --group=0 -cf "$work/layer.tar" .
}

# tiny_archive FILE NAME…: that as an archive that docker load would take, under
# these names, with CONFIG for the image's configuration.
tiny_archive() {
	local file=$1 dir=$work/archive names config
	config=${CONFIG:-}
	[ -n "$config" ] || config='{"Cmd": ["sh"], "Env": ["PATH=/bin"]}'
	shift
	mkdir -p "$dir"
	ln -f "$work/layer.tar" "$dir/layer.tar"
	names=$(printf '"%s",' "$@")
	cat >"$dir/config.json" <<-END
		{"architecture": "amd64", "os": "linux", "config": $config,
		 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)"]}}
	END
	echo "[{\"Config\": \"config.json\", \"RepoTags\": [${names%,}], \"Layers\": [\"layer.tar\"]}]" >"$dir/manifest.json"
	tar -C "$dir" -cf "$file" manifest.json config.json layer.tar
}

normalise='' # a sed script, for status

# status COMMAND…: what it prints on both outputs, without ids, and its exit
# status.
status() {
	local out code=0
	out=$("$@" 2>&1) || code=$?
	sed -E -e 's/[0-9a-f]{64}/ID/g' -e 's/\r|\x00|\^@//g' -e 's/^time="[^"]*"/time/' -e "$normalise" <<<"$out" | sed '/^$/d'
	echo "status $code"
}

# terminal COMMAND…: with a terminal of 30 lines and 100 columns.
terminal() { script -qefc "stty rows 30 cols 100; $(printf '%q ' "$@")" /dev/null; }

# until_true COMMAND…: for two minutes and more.
until_true() {
	for _ in $(seq 240); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.5
	done
	echo "never came true: $*"
	return 1
}

# steps: their names; STEPS, if set, is the ones to do.
steps() {
	local name
	[ -z "${STEPS:-}" ] || { tr ' ' '\n' <<<"$STEPS" && return; }
	for name in $(declare -F | sed -n 's/^declare -f s_//p'); do
		! left_out "$name" || continue
		echo "$(grep -n "^s_$name()" "$0" | cut -d: -f1) $name"
	done | sort -n | cut -d' ' -f2
}

# left_out NAME: what this user cannot do, whatever the runtime; the script says.
left_out() { false; }

outcome() {
	# shellcheck disable=SC2034 # used by the steps
	runtime=$1
	"s_$2" 2>&1 </dev/null
}

# recorded FILE: prints what steps come to with another runtime, for
# same_as_recorded.
record() {
	local other=$1 step
	for step in $(steps); do
		echo "== $who $step"
		outcome "$other" "$step"
	done
	echo "== "
}

same_as_recorded() {
	local file=$1 step=$2
	diff <(sed -n "/^== $who $step\$/,/^== /p" "$file" | sed '/^== /d') <(outcome "$cpc_runtime" "$step")
}

same_as_kept() { diff "$work/other.$1" <(outcome "$cpc_runtime" "$1"); }

# compare LABEL OTHER: all steps, first with the other runtime, as later ones use
# what earlier ones made.
compare() {
	local label=$1 other=$2 step
	for step in $(steps); do outcome "$other" "$step" >"$work/other.$step"; done
	for step in $(steps); do check "$label: $step" same_as_kept "$step"; done
}
