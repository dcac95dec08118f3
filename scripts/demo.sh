#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside a sandbox and reports what it sees there: who am I, what can I
# write, what holds me. Without a failing command: it shows, test/ proves.
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }

writable() {
	if probe=$(mktemp "$1/.probe.XXXXXX" 2>/dev/null); then
		rm -f "$probe"
		echo yes
	else
		echo no
	fi
}

executable() {
	probe=$(mktemp "$1/.probe.XXXXXX" 2>/dev/null) || { echo "-"; return; }
	printf '#!/bin/sh\nexit 0\n' >"$probe"
	chmod 0700 "$probe"
	if "$probe" 2>/dev/null; then echo yes; else echo no; fi
	rm -f "$probe"
}

case $(status Seccomp) in
0) seccomp=off ;;
1) seccomp=strict ;;
2) seccomp="filter, $(status Seccomp_filters) installed" ;;
*) seccomp=unknown ;;
esac

echo "who am I"
echo "  $(id)"
echo "  on $(uname -n), Linux $(uname -r), $(find /proc -maxdepth 1 -name '[0-9]*' | wc -l) processes to be seen"
echo "what can I write"
for d in / /usr /etc /tmp "$HOME"; do
	printf '  %-18s write %-4s execute %s\n' "$d" "$(writable "$d")" "$(executable "$d")"
done
setting=/proc/sys/kernel/hostname
printf '  %-18s write %s\n' "${setting%/*}" "$(if [ -w $setting ]; then echo yes; else echo no; fi)"
echo "what holds me"
echo "  capabilities       effective $(status CapEff), bounding $(status CapBnd)"
echo "  no new privileges  $(status NoNewPrivs)"
echo "  seccomp            $seccomp"
echo "  open files         $(ulimit -n)"
echo "  network            $(find /sys/class/net -mindepth 1 -printf '%f ' 2>/dev/null)"
