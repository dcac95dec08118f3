// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
)

// TestDeviceNodes: as root each sandbox has device nodes of its own, so a lock on one
// is not seen in another. A user cannot make any: there, which is the control, it is.
func TestDeviceNodes(t *testing.T) {
	const try = `for d in null zero full random urandom; do flock -n /dev/$d true && echo free || echo taken; done`
	each(t, func(t *testing.T, w *who) {
		first := w.detach(t, nil, "sh", "-c", `for d in null zero full random urandom; do exec 9</dev/$d; flock 9; sleep 1000 & done; touch /tmp/ready; wait`)
		w.must(t, "exec", first, "sh", "-c", "while ! [ -e /tmp/ready ]; do sleep 0.05; done")
		want := map[string]string{root: "free", mapped: "taken", single: "taken"}[w.mode]
		if got := w.in(t, try); got != strings.Repeat(want+"\n", 5) {
			t.Errorf("locks that another sandbox has: %q, want them %s", got, want)
		}
		out := w.in(t, `cd /dev; stat -c "%n %F %t:%T %a" null zero full random urandom tty; echo x >null; head -c 4 zero | wc -c; head -c 4 urandom | wc -c; echo x 2>/dev/null >full || echo full`)
		const special = " character special file "
		wantNodes := "null" + special + "1:3 666\nzero" + special + "1:5 666\nfull" + special + "1:7 666\nrandom" + special + "1:8 666\nurandom" + special + "1:9 666\ntty" + special + "5:0 666\n4\n4\nfull\n"
		if out != wantNodes {
			t.Errorf("devices:\n%s, want\n%s", out, wantNodes)
		}
	})
}
