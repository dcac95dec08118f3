#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# gotests.sh PACKAGE…: runs inside the VM: each package's tests, compiled on the
# host, in the package's directory. One line a test, and why it failed. ONLY names
# the tests to run, separated by | (default: all); one that there is not fails.
set -u
# shellcheck source=test/vm/check.sh
. "$(dirname "$0")/check.sh"

# These need the go command or other tools, have nothing to do with the kernel,
# and run on the host.
skip='TestImports|TestOtherToolsRead|TestDebianRegistry|TestSaveForOthers|TestSaveForPodman'
# These take long here, and find no other kernel feature here than on the host.
skip+='|TestCVE_2026_41579|TestKilledAnywhere|TestCVE_2024_21626|TestCVE_2019_5736|TestKilledCreate|TestReaper|TestDefaultSeccomp32|TestDamagedState|TestCommandNotRunnable|TestPidFileUnwritable'
# Two bundles have most of what the others have.
export CPC_TEST_BUNDLES=${CPC_TEST_BUNDLES-sandbox podman}
export CPC_TEST_TOOLS=/work-cpc/.cache/vm/tools
for package in "$@"; do
	work=$(mktemp -d /var/tmp/gotest.XXXXXX)
	chmod 1777 "$work" # tests run parts of themselves as other users
	install -m 0755 "/work-cpc/.cache/vm/tests/${package//\//_}.test" "$work/test"
	status=0
	# A test's line as soon as it has ended: a step that says nothing is ended.
	(cd "/work-cpc/$package" && TMPDIR=$work "$work/test" -test.v "-test.timeout=$((20 * ${SLOW:-1}))m" -test.run "^(${ONLY:-.*})\$" -test.skip "^($skip)\$" 2>&1 </dev/null) |
		tee "$work/out" |
		sed -u -n -e "s,^--- PASS: \([^ ]*\) (\(.*\)),ok   $who: $package \1 (\2),p" \
			-e "s,^--- FAIL: \([^ ]*\) (\(.*\)),FAIL $who: $package \1 (\2),p" \
			-e "s,^--- SKIP: \([^ ]*\) .*,skip $who: $package \1,p"
	status=${PIPESTATUS[0]}
	IFS='|' read -r -a names <<<"${ONLY:-}"
	for name in "${names[@]}"; do
		grep -q "^--- [A-Z]*: $name " "$work/out" || echo "FAIL $who: $package has no test $name, or did not come to it"
	done
	if [ "$status" -ne 0 ]; then
		echo "FAIL $who: $package, status $status"
		grep -v '^=== \|--- PASS' "$work/out" | tail -n 60 | sed 's/^/       | /'
	elif [ -n "${VERBOSE:-}" ]; then
		sed 's/^/       | /' "$work/out"
	fi
	rm -rf "$work"
done
